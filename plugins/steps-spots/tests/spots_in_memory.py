"""Frames that are made when read, and what find_spots needs of a run, for the tests beside this file."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace

import attrs
import numpy as np

from xtal.models import ExperimentList
from xtal.run.bands import Bands
from xtal.table import Shoeboxes
from xtal.testing import tiny_experiment
from xtal_steps_spots import find_spots as step
from xtal_steps_spots.options import FindSpotsOptions, SpotfinderOptions

SIZE = (60, 50)


class Frames:
    """A reader of frames that are made when read."""

    def __init__(self, make, z0=0, z1=10, shapes=((SIZE[1], SIZE[0]),), dtype=np.int32):
        self.make, self.z0, self.z1, self.shapes, self.dtype = make, z0, z1, list(shapes), np.dtype(dtype)
        self.closed = False

    def read(self, z, out):
        for panel, array in enumerate(out):
            array[:] = self.make(z, panel, array.shape)
        return out

    def allocate(self):
        return [np.empty(shape, self.dtype) for shape in self.shapes]

    def allocate_masks(self):
        return self.static_mask()

    def static_mask(self):
        return [np.ones(shape, bool) for shape in self.shapes]

    def mask(self, z, images, out=None):
        return [image >= 0 for image in images]

    def bands(self, static, halos):
        return Bands(self, static, halos)

    def stream(self, z):
        return None

    def shadows(self, z):
        return []

    def panel_mask(self, panel, image, static, shadow, out):
        return np.logical_and(image >= 0, static, out=out)

    def close(self):
        self.closed = True


class Above:
    """A threshold plugin: more than 20 counts."""

    def prepare(self, experiment, panel, mask):
        return lambda image, mask, strong, frame: np.logical_and(image > 20, mask, out=strong)


class Threads:
    def __init__(self, n_workers):
        self.n_workers = n_workers

    def map(self, function, blocks):
        with ThreadPoolExecutor(self.n_workers) as pool:
            yield from pool.map(function, blocks)


class Context:
    """What the step uses of `xtal.run.Context`."""

    def __init__(self, models, frames, options=None, threads=1, directory=None, **more):
        self.experiments = ExperimentList(models)
        self.options = FindSpotsOptions(options or SpotfinderOptions(), **more)
        self.directory = directory
        self.readers = dict(zip(map(id, models), frames, strict=False))
        self.executor = Threads(threads)
        self.said, self.warnings, self.lines, self.table = [], [], [], None
        self.print, self.warn = self.said.append, self.warnings.append
        self.tables, self.used_masks, self.outputs = [], [], {}

    def frames(self, experiment):
        return self.readers[id(experiment)]

    def plugin(self, choice):
        return Above()

    def progress(self, total, unit):
        return nullcontext(SimpleNamespace(advance=lambda n: None))

    def summary(self, *lines):
        self.lines += lines

    def write_reflections(self, table):
        self.table = table

    def write_experiments(self, experiments, role):
        self.written = experiments

    def table_(self, title, columns, rows):
        self.tables.append((title, columns, rows))

    @contextmanager
    def writing(self, role, name):
        self.outputs[role] = self.directory / name
        yield self.outputs[role]


def spotty(z, panel, shape):
    """Background of 10 and spots that last over frames 0-2, 3-5, ..."""
    image = np.full(shape, 10, np.int32)
    rng = np.random.default_rng([z // 3, panel])
    for y, x in zip(*(rng.integers(2, n - 3, 6) for n in shape), strict=True):
        image[y : y + 2, x : x + 2] = 40 + 20 * (z % 3 == 1)
    image[0] = -1
    return image


def run(frames=None, experiment=None, threads=1, **options):
    frames = frames or Frames(spotty)
    experiment = experiment or tiny_experiment(size=SIZE)
    context = Context([experiment], [frames], SpotfinderOptions(**options), threads)
    step.run(context)
    assert frames.closed
    return context


def equal(a, b):
    assert a.columns() == b.columns()
    for name in a:
        pairs = [(a[name], b[name])]
        if isinstance(a[name], Shoeboxes):
            pairs = [(getattr(a[name], f.name), getattr(b[name], f.name)) for f in attrs.fields(Shoeboxes)]
        for x, y in pairs:
            assert x.dtype == y.dtype
            np.testing.assert_array_equal(x, y, err_msg=name)
