"""The step over frames in memory, so that every path can be taken in a moment."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from types import SimpleNamespace

import attrs
import numpy as np
import pytest

from xtal.errors import AlgorithmFailed, OptionError
from xtal.models import Detector, ExperimentList, Images
from xtal.physics.resolution import d_of_panel
from xtal.table import Flag, Shoeboxes
from xtal.testing import simulated, tiny_experiment
from xtal_steps_spots import find_spots as step
from xtal_steps_spots import search
from xtal_steps_spots.histogram import histogram
from xtal_steps_spots.masks import search_masks
from xtal_steps_spots.options import FilterOptions, FindSpotsOptions, IceRingOptions, SpotfinderOptions

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

    def static_mask(self):
        return [np.ones(shape, bool) for shape in self.shapes]

    def mask(self, z, images, out):
        for image, mask in zip(images, out, strict=True):
            np.greater_equal(image, 0, out=mask)
        return out

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

    def __init__(self, experiments, frames, options=None, threads=1):
        self.experiments, self.options = ExperimentList(experiments), FindSpotsOptions(options or SpotfinderOptions())
        self.readers = dict(zip(map(id, experiments), frames, strict=True))
        self.executor = Threads(threads)
        self.said, self.warnings, self.lines, self.table = [], [], [], None
        self.print, self.warn = self.said.append, self.warnings.append

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


def test_spots_are_found_and_described():
    context = run()
    table = context.table
    assert 15 < len(table) <= 24
    assert table.columns() == [
        "bbox", "flags", "id", "intensity.sum.value", "intensity.sum.variance", "n_signal", "panel", "shoebox",
        "xyzobs.px.value", "xyzobs.px.variance",
    ]  # fmt: skip
    assert table.identifiers == {0: "tiny"}
    assert (table["flags"] == Flag.STRONG).all()
    whole = table["n_signal"] == 12
    np.testing.assert_allclose(table["xyzobs.px.value"][whole, 2] % 3, 1.5)
    assert len(context.lines) == 3
    assert "spots per image" in context.said[-1]


@pytest.mark.parametrize(("threads", "block"), [(1, 1), (1, 3), (3, 2), (2, 16)])
def test_blocks_and_threads_change_nothing(threads, block, monkeypatch):
    expected = run().table
    monkeypatch.setattr(
        search.Search, "blocks", lambda self, a, b, n: [range(z, min(z + block, b)) for z in range(a, b, block)]
    )
    equal(run(threads=threads).table, expected)


@pytest.mark.parametrize(("n", "workers"), [(1, 4), (180, 2), (2000, 16), (7, 1)])
def test_blocks_cover_all_frames_once(n, workers):
    blocks = search.Search.blocks(None, 5, 5 + n, workers)
    assert [z for b in blocks for z in b] == list(range(5, 5 + n))
    assert max(map(len, blocks)) <= search.FRAMES_PER_BLOCK


def test_scan_range_searches_only_those_images():
    table = run(scan_range=((2, 3), (7, 9))).table
    z = table["xyzobs.px.value"][:, 2]
    assert (((z > 1) & (z < 3)) | ((z > 6) & (z < 9))).all()
    assert table["bbox"][:, 4].min() == 1
    assert table["bbox"][:, 5].max() == 9


def test_scan_range_outside_is_an_error():
    with pytest.raises(OptionError, match="1 to 10"):
        run(scan_range=((20, 30),))


@pytest.mark.parametrize(
    ("asked", "expected"),
    [((), [(3, 13)]), (((5, 6),), [(4, 6)]), (((5, 7), (6, 9)), [(4, 9)]), (((1, 4), (13, 99)), [(3, 4), (12, 13)])],
)
def test_frame_ranges(asked, expected):
    assert step.frame_ranges(3, 13, asked) == expected


def test_stills_are_not_joined():
    experiment = tiny_experiment(size=SIZE)
    experiment.scan.oscillation_deg = (0.0, 0.0)
    bbox = run(experiment=experiment).table["bbox"]
    assert (bbox[:, 5] - bbox[:, 4] == 1).all()
    bbox = run(force_2d=True).table["bbox"]
    assert (bbox[:, 5] - bbox[:, 4] == 1).all()


def test_several_experiments_and_panels():
    first, second, again = (tiny_experiment(size=SIZE) for _ in range(3))
    second.detector = Detector(second.detector.panels * 2)
    second.identifier = "two panels"
    for e, name in ((first, "a_###.cbf"), (second, "b_###.cbf"), (again, "a_###.cbf")):
        e.images = Images(name)
    frames = [Frames(spotty), Frames(spotty, shapes=[(SIZE[1], SIZE[0])] * 2), Frames(spotty)]
    context = Context([first, second, again], frames)
    step.run(context)
    table = context.table
    assert set(zip(table["id"].tolist(), table["panel"].tolist(), strict=True)) == {(0, 0), (1, 0), (1, 1)}
    assert table.identifiers[1] == "two panels"
    assert "not searched again" in context.warnings[0]
    zero = table.select(table["id"] == 0)
    one = table.select((table["id"] == 1) & (table["panel"] == 0))
    np.testing.assert_array_equal(zero["xyzobs.px.value"], one["xyzobs.px.value"])


def test_sizes_and_separation_filter():
    assert len(run(filter=FilterOptions(min_spot_size=12)).table) < len(run().table)
    with pytest.raises(AlgorithmFailed, match="No spot was found on 10 images"):
        run(filter=FilterOptions(max_spot_size=3))

    def comet(z, panel, shape):
        image = np.full(shape, 10, np.int32)
        if z != 4:
            return image
        image[20, 10:30] = 50
        image[20, 10] = 60
        image[30:32, 10:12] = 40
        return image

    assert len(run(Frames(comet)).table) == 1
    assert len(run(Frames(comet), filter=FilterOptions(max_separation=20)).table) == 2


def test_image_plates_need_larger_spots():
    def small(z, panel, shape):
        image = np.full(shape, 10, np.int32)
        image[20, 10:14] = 50 if z == 4 else 10
        image[30, 10:17] = 50 if z == 4 else 10
        return image

    plate = tiny_experiment(size=SIZE)
    plate.detector[0].type = "SENSOR_IMAGE_PLATE"
    options = {"filter": FilterOptions(max_separation=9)}
    assert len(run(Frames(small), **options).table) == 2
    assert len(run(Frames(small), experiment=plate, **options).table) == 1


def test_no_spot_is_an_error_with_advice():
    with pytest.raises(AlgorithmFailed, match="No spot was found") as caught:
        run(Frames(lambda z, p, shape: np.zeros(shape)))
    assert "blank" in caught.value.advice


def test_few_spots_are_a_warning():
    def one(z, panel, shape):
        image = np.zeros(shape, np.int32)
        image[20:22, 30:32] = 50 if z == 4 else 0
        return image

    context = run(Frames(one))
    assert "Only 1 spot found" in context.warnings[0]


def test_too_many_strong_pixels_name_the_image():
    def bright(z, panel, shape):
        return np.full(shape, 50 if z == 6 else 0)

    with pytest.raises(AlgorithmFailed, match=r"On image 7 there are 3000 strong pixels, more than the 750") as caught:
        run(Frames(bright))
    assert "max_strong_pixel_fraction" in caught.value.advice
    run(Frames(bright), filter=FilterOptions(max_strong_pixel_fraction=1.0, max_spot_size=5000, max_separation=99))


@pytest.mark.parametrize(
    ("gain", "pedestal", "kind"), [(1.0, 5.0, "i"), (2.0, 0.0, "f"), (1.0, 0.5, "f"), (0.5, 3.0, "f")]
)
def test_gain_and_pedestal_are_corrected(gain, pedestal, kind):
    experiment = tiny_experiment(size=SIZE)
    panel = experiment.detector[0]
    panel.gain, panel.pedestal = gain, pedestal
    correction = search.Correction.of_panel(panel, np.dtype(np.uint16))
    assert correction.dtype.kind == kind
    raw = np.array([[0, 7, 60000]], np.uint16)
    out = np.empty(raw.shape, correction.dtype)
    correction.apply(raw, out)
    np.testing.assert_allclose(out, (raw.astype(float) - pedestal) / gain)

    def values(z, panel, shape):
        return np.maximum(spotty(z, panel, shape), 0) * gain + pedestal

    frames = Frames(values, dtype=np.float64 if kind == "f" else np.int32)
    table, plain = run(frames, experiment).table, run().table
    np.testing.assert_allclose(table["intensity.sum.value"], plain["intensity.sum.value"])


def test_no_correction_leaves_the_raw_array():
    panel = tiny_experiment().detector[0]
    assert search.Correction.of_panel(panel, np.dtype(np.int32)) is None


def test_masks_by_option():
    experiment = tiny_experiment(size=SIZE)
    assert search_masks(experiment, SpotfinderOptions()) is None
    (region,) = search_masks(
        experiment, SpotfinderOptions(region_of_interest=(10, 20, 5, 45), filter=FilterOptions(border=8))
    )
    expected = np.zeros((50, 60), bool)
    expected[8:42, 10:20] = True
    np.testing.assert_array_equal(region, expected)
    d = d_of_panel(experiment.detector[0], experiment.beam)
    limits = FilterOptions(d_min=8.0, d_max=40.0, resolution_range=((15.0, 10.0),))
    (mask,) = search_masks(experiment, SpotfinderOptions(filter=limits))
    np.testing.assert_array_equal(mask, (d > 8) & (d < 40) & ~((d >= 10) & (d <= 15)))


def test_ice_rings_are_masked():
    experiment = tiny_experiment(size=(400, 400))
    rings = FilterOptions(ice_rings=IceRingOptions(filter=True))
    (mask,) = search_masks(experiment, SpotfinderOptions(filter=rings))
    q = d_of_panel(experiment.detector[0], experiment.beam) ** -2
    assert not mask[np.abs(q - 3.4406**-2) < 0.0009].any()
    assert mask[q < 0.06].all()


@pytest.mark.parametrize(
    "options",
    [
        SpotfinderOptions(filter=FilterOptions(d_min=3.0, d_max=2.0)),
        SpotfinderOptions(filter=FilterOptions(min_spot_size=9, max_spot_size=3)),
        SpotfinderOptions(region_of_interest=(100, 200, 0, 50)),
        SpotfinderOptions(filter=FilterOptions(d_max=0.5)),
    ],
)
def test_limits_that_leave_nothing(options):
    with pytest.raises(OptionError):
        search_masks(tiny_experiment(size=SIZE), options)


def test_masked_pixels_hold_no_spot():
    table = run(region_of_interest=(10, 40, 10, 40)).table
    bbox = table["bbox"]
    assert (bbox[:, 0] >= 10).all()
    assert (bbox[:, 1] <= 40).all()


def test_shoeboxes_on_request_only():
    assert "shoebox" not in run(shoeboxes=False).table


def test_histogram():
    z = np.repeat([0.5, 1.5, 29.5], [10, 30, 20])
    lines = histogram(z).splitlines()
    assert lines[0].split() == ["images", "spots", "per", "image"]
    assert len(lines) <= 13
    assert lines[1].split()[0] == "1-3"
    assert lines[1].split()[1] == "13.3"
    assert lines[1].count("#") == 40
    assert len(histogram([3.5]).splitlines()) == 2


def test_dials_names_of_options_work():
    from xtal.options import parse
    from xtal.plugins import default_plugins

    tokens = ["spotfinder.filter.d_min=2", "min_spot_size=4", "ice_rings.filter=True", "scan_range=1,5", "gain=1.5",
              "scan_range=10,12", "threshold.dispersion.sigma_strong=4"]  # fmt: skip
    o = parse(FindSpotsOptions, tokens, default_plugins()).spotfinder
    assert (o.filter.d_min, o.filter.min_spot_size, o.filter.ice_rings.filter) == (2.0, 4, True)
    assert o.scan_range == ((1, 5), (10, 12))
    assert (o.threshold.options.gain, o.threshold.options.sigma_strong) == (1.5, 4.0)


def test_simulated_images_from_disk(run_step):
    data = simulated("sim_small")
    run_step("import", *sorted(data.glob("*.cbf")))
    outcome = run_step("find_spots", "imported.expt", "nproc=2")
    from xtal.files import read_reflections

    table = read_reflections(outcome.outputs["reflections"])
    assert 7800 < len(table) < 8700
