"""Targets of files other than images: lists, tables, masks, and what a site decides."""

from __future__ import annotations

import gzip
import io
import json
import random
import struct
import tempfile
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from fuzz_target import NUMBERS, ODD, Target, numbers_replaced, written

from xtal.files import read_experiments, read_reflections, write_experiments, write_reflections
from xtal.files.encode import encode_list
from xtal.files.masks import read_mask, write_mask
from xtal.models import Detector, ExperimentList, Goniometer, Group, Images
from xtal.plugins import Plugins, default_plugins
from xtal.plugins.lock import differences, lock_text
from xtal.plugins.policy import Policy
from xtal.run.settings import step_classes
from xtal.run.site import site_options
from xtal.table import ReflectionTable, Shoeboxes
from xtal.testing import load_module, tiny_experiment

ROOT = Path(__file__).parents[2]


def experiments() -> ExperimentList:
    """A static scan, and a varying one with a tree of panels and a goniometer of three axes."""
    plain, rich = tiny_experiment(3), tiny_experiment(3)
    plain.images = Images("/data/x_####.cbf")
    rich.identifier, rich.images = "rich", Images("/data/x.h5", indices=[0, 1, 2])
    rich.crystal.A_at_scan_points = np.array([rich.crystal.A] * 4)
    rich.crystal.B_covariance = np.eye(9)
    rich.goniometer = Goniometer.from_axes(np.eye(3), [10.0, 20.0, 30.0], ["phi", "chi", "omega"], 2)
    rich.detector = Detector(list(rich.detector), Group(children=[Group(origin=(0, 0, -1), children=[0])]))
    rich.profile = {"__id__": "gaussian_rs", "n_sigma": 3.0, "sigma_b": 0.1, "sigma_m": 0.2}
    return ExperimentList([plain, rich])


def mutate_json(seed: bytes, rng: random.Random) -> bytes:
    """A node of the tree replaced by something odd, removed, or moved elsewhere."""
    tree = json.loads(seed)
    places = list(_places(tree))
    for _ in range(rng.choice((1, 1, 2, 4))):
        parent, key = rng.choice(places)
        what = rng.random()
        try:
            if what < 0.6:
                parent[key] = rng.choice(ODD)
            elif what < 0.8:
                del parent[key]
            else:
                other, name = rng.choice(places)
                parent[key] = json.loads(json.dumps(other[name]))
        except (KeyError, IndexError):
            continue
    return json.dumps(tree).encode()


def _places(node: Any) -> Any:
    """Every (container, key) of a JSON tree."""
    for key in list(node) if isinstance(node, dict) else range(len(node)):
        yield node, key
        if isinstance(node[key], (dict, list)):
            yield from _places(node[key])


def read_and_encode(path: Path) -> None:
    """What can be read can be written."""
    json.dumps(encode_list(read_experiments(path)))


def expt() -> Target:
    seed = written(lambda p: write_experiments(experiments(), p), "a.expt")
    small = json.dumps(json.loads(seed)).encode()
    words = (*NUMBERS, b"[" * 5000, b'"__id__"')
    return Target("expt", ".expt", (seed, small), read_and_encode, words, mutate_json)


def table() -> ReflectionTable:
    """Every type of column, shoeboxes with and without pixels."""
    n, rng = 4, np.random.default_rng(0)
    bbox = np.array([[0, 2, 0, 3, 0, 2], [5, 5, 0, 0, 0, 0], [1, 4, 1, 2, 0, 1], [0, 1, 0, 1, 0, 1]], np.int32)
    boxes = Shoeboxes.allocate(np.zeros(n, np.uint32), bbox)
    boxes.data[:] = rng.random(len(boxes.data))
    return ReflectionTable(
        {
            "id": np.zeros(n, np.int32), "flags": np.ones(n, np.uint64), "d": rng.random(n), "bbox": bbox,
            "pair": rng.random((n, 2)), "miller_index": np.ones((n, 3), np.int32), "ub_matrix": rng.random((n, 9)),
            "xyzobs.px.value": rng.random((n, 3)), "entering": rng.random(n) < 0.5, "shoebox": boxes,
        },
        {0: "a", 1: "b"},
    )  # fmt: skip


def read_columns(path: Path) -> None:
    """Every column, each of the length that the table says."""
    found = read_reflections(path)
    for name in found.columns():
        assert len(found[name]) == len(found)


def refl() -> Target:
    seed = written(lambda p: write_reflections(table(), p), "a.refl")
    lengths = (b"\xc6\xff\xff\xff\xff", b"\xcf" + b"\xff" * 8, b"\xdf\xff\xff\xff\xff", b"\xdd\x7f\xff\xff\xff")
    names = (b"\xa6double", b"\xa3int", b"\xa9Shoebox<>", b"\xabstd::string", b"\x80\x04", b"\x1f\x8b\x08")
    return Target("refl", ".refl", (seed,), read_columns, (*lengths, *names, b"\xff\xff\xff\x7f"))


def refl_gz() -> Target:
    seed = gzip.compress(written(lambda p: write_reflections(table(), p), "a.refl"), mtime=0)
    bomb = gzip.compress(bytes(1 << 28), mtime=0)

    def mutate(whole: bytes, rng: random.Random) -> bytes:
        """Bytes of the content changed, under a checksum that fits; sometimes the bomb."""
        content = bytearray(gzip.decompress(whole))
        for _ in range(rng.choice((0, 1, 4))):
            content[rng.randrange(len(content))] = rng.randrange(256)
        return bomb if rng.random() < 0.01 else gzip.compress(bytes(content), mtime=0)

    return Target("refl_gz", ".refl.gz", (seed,), read_columns, (bomb[:200],), mutate)


def xds() -> Target:
    """A folder of XDS of which one file is damaged; the seed names it in its first line."""
    from xtal_steps_tables.import_xds import geometry_of
    from xtal_steps_tables.xds_files import geometry_of_header, header_of
    from xtal_steps_tables.xds_models import experiment_of
    from xtal_steps_tables.xds_tables import table_of_integrate_hkl, table_of_spot_xds

    made = load_module(ROOT / "plugins" / "steps-tables" / "tests" / "xds_run.py")
    run = made.XdsRun(made.experiment())
    rows = made.integrate_rows(run)[:5]
    texts = {"XDS.INP": run.xds_inp(), "XPARM.XDS": run.xparm(), "INTEGRATE.HKL": run.integrate_hkl(rows)}
    texts["SPOT.XDS"] = "10.5 20.5 3.2 100. 1 2 3\n30.5 40.5 4.5 50. 0 0 0\n"
    seeds = tuple(f"{name}\n{text}".encode() for name, text in texts.items())

    def read(damaged: Path) -> None:
        first, _, content = damaged.read_bytes().partition(b"\n")
        name = first.decode("latin-1")
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder)
            for known, text in texts.items():
                (place / known).write_text(text)
            if name in texts:
                (place / name).write_bytes(content)
            geometry = geometry_of(place / "XPARM.XDS")
            experiment = experiment_of(geometry, place / "XDS.INP")
            own = geometry_of_header(header_of(place / "INTEGRATE.HKL"), place / "INTEGRATE.HKL")
            table_of_integrate_hkl(place / "INTEGRATE.HKL", experiment, own)
            table_of_spot_xds(place / "SPOT.XDS", experiment, geometry, remove_invalid=True)

    words = (*NUMBERS, b"!", b"=", b"SEGMENT= 1 2 3 4", b"1e30 ", b"nan ")
    return Target("xds", ".txt", seeds, read, words, names_file=False)


# --- masks ------------------------------------------------------------------------------


def mask() -> Target:
    """Pickles of DIALS of three protocols, and arrays of numpy, alone and in an archive."""
    made = load_module(ROOT / "framework" / "tests" / "mask_files.py")
    masks = [np.arange(slow * fast).reshape(slow, fast) % 5 > 0 for slow, fast in made.SHAPES]
    archive = written(lambda p: np.savez_compressed(p, p0=masks[0], p1=masks[1]), "a.npz")
    ours = written(lambda p: write_mask(p, masks), "a.mask")
    words = (
        b"\x93NUMPY\x02\x00", b"PK\x03\x04", b"cos\nsystem\n", b"\x8d" + b"\xff" * 8, b"\x8e" + b"\xff" * 8,
        b"B\xff\xff\xff\x7f", b"(" * 3000, b"r\xff\xff\xff\x7f", b"0" * 5000, b"'|O'", b"I99999999999999\n",
    )  # fmt: skip

    def read(path: Path) -> None:
        found = read_mask(path, made.SHAPES)
        assert [m.shape for m in found] == made.SHAPES

    def mutate(seed: bytes, rng: random.Random) -> bytes:
        """Numbers of texts; in archives, members whose headers claim gigabytes and are packed well."""
        if not seed.startswith(b"PK"):
            return numbers_replaced(400)(seed, rng)
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed:
            for name in ("p0.npy", "p1.npy"):
                claim = rng.choice((0, 118, 9000, 2**20, 2**32 - 1))
                text = b"\x93NUMPY\x02\x00" + struct.pack("<I", claim) + rng.choice((b"", b"{'descr':"))
                packed.writestr(name, text + bytes(rng.choice((0, 0, 200, 200, 1 << 20, 1 << 25))))
        return file.getvalue()

    return Target("mask", ".mask", (*made.THEIRS.values(), ours, archive), read, words, mutate)


# --- site -------------------------------------------------------------------------------

POLICY = b"""[plugins]
allow = ["*"]
deny = ["threshold-slow", "acme-*"]
required = ["xtal-format-smv>=0.0", "xtal-format-nxmx>=0.0,!=99"]
prefer = { "threshold:dispersion" = "xtal-threshold-dispersion" }
lock = "xtal.lock.toml"

[options.find_spots]
"filter.d_min" = 2.0

[options."*"]
nproc = 2

[enforced.plugins]
deny = ["other-*"]

[enforced.options.find_spots]
"spotfinder.threshold.algorithm" = "dispersion"
"""


@cache
def _lock() -> bytes:
    return lock_text(default_plugins()).encode()


def policy() -> Target:
    """A site's file: plugins found and checked under it, and the options of a step that it sets."""

    def read(path: Path) -> None:
        decided = Policy()
        decided.read(path)
        plugins = Plugins(decided)
        step = plugins.find("step", "find_spots")
        site_options(plugins, step, step_classes(step, plugins.options_class("step", "find_spots")))
        plugins.check()

    words = (
        *NUMBERS, b"[[", b"]]", b"'" * 3, b"[enforced.options.scale]\n", b"a.b.c.d = 1\n", b"\\u0000", b"[" * 3000,
        b"**", b"[!", b">=1.", b"{", b"0" * 5000, b"1979-05-27T07:32:00Z", b"prefer = 3\n", b"0x",
    )  # fmt: skip
    beside = {"xtal.lock.toml": _lock()}
    return Target("policy", ".toml", (POLICY,), read, words, numbers_replaced(1000), beside, names_file=False)


def lock() -> Target:
    """The exact set of plugins, compared with the installed one."""
    words = (
        *NUMBERS,
        b"[[",
        b"'" * 3,
        b"[format]\n",
        b"[distributions]\n",
        b"a.b = 1\n",
        b"[" * 3000,
        b"\\u0000",
        b"=",
    )

    def read(path: Path) -> None:
        assert all(isinstance(text, str) for text in differences(default_plugins(), path))

    return Target("lock", ".toml", (_lock(),), read, words, numbers_replaced(4000))


TARGETS: dict[str, Callable[[], Target]] = {
    "expt": expt,
    "refl": refl,
    "refl_gz": refl_gz,
    "xds": xds,
    "mask": mask,
    "policy": policy,
    "lock": lock,
}
