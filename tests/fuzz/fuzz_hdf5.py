"""Targets in HDF5: masters of NXmx and DECTRIS, their data files, and masks.

Files are damaged through the library itself, so that they stay HDF5: members and attributes become others, links go
elsewhere, chunks hold what their filters do not expect. Blind damage hits the library's own structures.
"""

from __future__ import annotations

import random
import tempfile
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
from fuzz_images import makers, read_images
from fuzz_target import Target, written

from xtal.files.masks import read_mask, write_mask

SHAPE = (16, 24)
TILES: dict[str, Any] = {"chunks": (5, 12), "compression": "gzip", "shuffle": True}
OUTSIDE = "../outside/data.h5"
LINKED = ("linked.h5", OUTSIDE, "missing.h5", ".", "", "/", "\0", "../outside/pipe", "../outside/missing.h5", "text.h5")
PLACES = ("/", "/entry", "/entry/data/data", "data", "../data", "/nothing", "/entry/data", ".", "", "/entry/instrument")
WORDS = (b"\x89HDF\r\n\x1a\n", b"TREE", b"SNOD", b"HEAP", b"GCOL", b"OHDR", b"OCHK", b"\xff" * 8, bytes(8))


@cache
def _values() -> tuple[Any, ...]:
    """What datasets and attributes become."""
    text = h5py.string_dtype()
    return (
        0, -1, 1.5, 10**15, float("nan"), float("inf"), "", "x", "../outside", "x" * 70000, True, 1 + 2j, b"\xff\xfe",
        [], [0], [0, 0], [1e308] * 3, [0.0, 0.0, 0.0], [[1, 2], [3, 4]], [[[0]]], ["a", "b"], np.zeros((0, 3)),
        np.zeros((2, 16, 24), "uint8"), np.full((16, 24), -1, "int64"), np.zeros((3, 3), "float16"), np.void(b"opaque"),
        np.zeros(2, [("a", "i4"), ("b", "f8")]), np.array(["é" * 30], dtype=text), np.array([b"m"] * 3),
        h5py.Empty("f4"), h5py.Empty("S8"), np.arange(40000), np.array([2**63], "uint64"),
    )  # fmt: skip


def nodes(file: Any) -> list[str]:
    """Paths of all that a file holds itself, the root left out."""
    found: list[str] = []
    file.visit(found.append)
    return found


def edited(seed: bytes, rng: random.Random, edits: tuple[Callable[..., None], ...]) -> bytes:
    """A file in memory, changed by some of the edits; one that the library refuses changes nothing."""
    access = h5py.h5p.create(h5py.h5p.FILE_ACCESS)
    access.set_fapl_core(backing_store=False)
    access.set_file_image(seed)
    with h5py.File(h5py.h5f.open(b"memory", h5py.h5f.ACC_RDWR, access)) as file:
        for _ in range(rng.choice((1, 1, 1, 2, 4))):
            edit = rng.choice(edits)
            try:
                edit(file, rng)
            except (OSError, RuntimeError, ValueError, TypeError, LookupError):
                continue
        file.flush()
        return bytes(file.id.get_file_image())


def _place(file: Any, rng: random.Random) -> str:
    return rng.choice(nodes(file) or ["entry"])


def _emptied(file: Any, rng: random.Random, kind: type = object) -> str:
    """The path of a member that was taken out."""
    paths = [p for p in nodes(file) if isinstance(file.get(p), kind)]
    path = rng.choice(paths or ["entry/data/data"])
    if path in file:
        del file[path]
    return path


def other_value(file: Any, rng: random.Random) -> None:
    path = _emptied(file, rng, h5py.Dataset)
    file[path] = rng.choice(_values())


def other_value_with_attributes(file: Any, rng: random.Random) -> None:
    path = rng.choice([p for p in nodes(file) if isinstance(file[p], h5py.Dataset)])
    kept = dict(file[path].attrs)
    del file[path]
    file[path] = rng.choice(_values())
    file[path].attrs.update(kept)


def other_attribute(file: Any, rng: random.Random) -> None:
    item = file[_place(file, rng)]
    names = [*item.attrs, "NX_class", "depends_on", "vector", "units", "offset", "signal", "transformation_type"]
    value = rng.choice((*_values(), "NXdata", "NXdetector", "NXdetector_module", "rotation", "fm", *PLACES))
    item.attrs[rng.choice(names)] = value


def no_attribute(file: Any, rng: random.Random) -> None:
    item = file[_place(file, rng)]
    del item.attrs[rng.choice(list(item.attrs) or ["none"])]


def no_member(file: Any, rng: random.Random) -> None:
    _emptied(file, rng)


def member_elsewhere(file: Any, rng: random.Random) -> None:
    source, target = _place(file, rng), _emptied(file, rng)
    file[target] = file[source]  # a hard link; circles too


def soft_link(file: Any, rng: random.Random) -> None:
    path = _emptied(file, rng)
    file[path] = h5py.SoftLink(rng.choice((*PLACES, path, _place(file, rng))) or "x")


def external_link(file: Any, rng: random.Random) -> None:
    path = rng.choice(("entry/data/data", "entry/data/data_000001", _place(file, rng)))
    if path in file:
        del file[path]
    file[path] = h5py.ExternalLink(rng.choice(LINKED) or "x", rng.choice((*PLACES, path)))


def virtual_dataset(file: Any, rng: random.Random) -> None:
    path = rng.choice(("entry/data/data", _emptied(file, rng)))
    if path in file:
        del file[path]
    shape = rng.choice(((2, *SHAPE), (4, *SHAPE), (10**12, *SHAPE), (2, 10**6, 10**6), SHAPE, (3,)))
    layout = h5py.VirtualLayout(shape, rng.choice(("uint16", "uint32", "float64", "S4")))
    source = (rng.choice((1, 2, 10**12)), *SHAPE)
    for k in range(rng.choice((1, 1, 2, 5))):
        name = rng.choice((*LINKED, ".", "linked.h5"))
        layout[k : k + source[0]] = h5py.VirtualSource(name, rng.choice((*PLACES, path, "/entry/data/data")), source)
    file.create_virtual_dataset(path, layout)


def raw_file(file: Any, rng: random.Random) -> None:
    path = _emptied(file, rng, h5py.Dataset)
    file.create_dataset(path, (2, *SHAPE), "uint16", external=[(OUTSIDE, 0, h5py.h5f.UNLIMITED)])


def claim(file: Any, rng: random.Random) -> None:
    """A dataset that claims far more than it holds."""
    path = rng.choice(("entry/data/data", "entry/data/data", _emptied(file, rng, h5py.Dataset)))
    if path in file:
        del file[path]
    shape = rng.choice(((10**12, *SHAPE), (2, 10**6, 10**6), (10**12,), (2**31,), (2, 20000, 20000), (1, 1, 2**40), ()))
    dtype = rng.choice(("uint8", "uint16", "uint32", "float64", "S65535", "S1000000000"))
    chunks = rng.choice(((1, *SHAPE), (1, 4000, 4000), None))[-len(shape) or None :] if shape else None
    file.create_dataset(path, shape, dtype, chunks=chunks)


def foreign_chunk(file: Any, rng: random.Random) -> None:
    """A chunk of whatever filter, which holds something else: another filter's bytes, a bomb, noise."""
    small = lambda item: isinstance(item, h5py.Dataset) and item.ndim >= 2 and item.nbytes < 1 << 16
    path = rng.choice([p for p in nodes(file) if small(file[p])])
    shape, dtype = file[path].shape, file[path].dtype
    del file[path]
    chunks = (1,) * (len(shape) - 2) + shape[-2:]
    data = file.create_dataset(path, shape, dtype, chunks=chunks, **rng.choice(filters()))
    data[...] = rng.randrange(100)
    at = (0,) * len(shape)
    _, chunk = data.id.read_direct_chunk(at)
    data.id.write_direct_chunk(at, rng.choice((_noise, _lying, _bomb))(chunk, rng), rng.choice((0, 0, 0, 1, 2**31)))


@cache
def filters() -> tuple[dict[str, Any], ...]:
    return (
        {"compression": hdf5plugin.Bitshuffle(cname="lz4")},
        {"compression": hdf5plugin.Bitshuffle(cname="zstd")},
        {"compression": hdf5plugin.LZ4()},
        {"compression": hdf5plugin.Zstd()},
        {"compression": hdf5plugin.Blosc()},
        {"compression": hdf5plugin.Blosc2()},
        {"compression": hdf5plugin.BZip2()},
        {"compression": "gzip", "shuffle": True},
        {"compression": "lzf"},
        {"compression": "gzip", "fletcher32": True},
        {"scaleoffset": 3},
        {},
    )


def _noise(chunk: bytes, rng: random.Random) -> bytes:
    data = bytearray(chunk)
    for _ in range(rng.choice((1, 4, 40))):
        data[rng.randrange(len(data))] = rng.randrange(256)
    return bytes(data[: rng.choice((len(data), len(data), len(data) // 2, 3))])


def _lying(chunk: bytes, rng: random.Random) -> bytes:
    """The sizes in the first bytes are others."""
    at, size = rng.choice((0, 0, 4, 8)), rng.choice((4, 8))
    number = rng.choice((0, 1, 2**28, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**63))
    return chunk[:at] + (number % 2 ** (8 * size)).to_bytes(size, rng.choice(("big", "little"))) + chunk[at + size :]


@cache
def _bombs() -> tuple[bytes, ...]:
    zeros = bytes(1 << 20)
    squeeze = zlib.compressobj(9)
    # a filter of HDF5 unpacks without limit: more than a gigabyte would be taken
    flat = squeeze.compress(zeros) + squeeze.flush(zlib.Z_FULL_FLUSH)
    more = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = more.compress(zeros) + more.flush(zlib.Z_FULL_FLUSH)
    return flat + block * 1300, zlib.compress(bytes(1 << 20))


def _bomb(chunk: bytes, rng: random.Random) -> bytes:
    return rng.choice(_bombs())


EDITS = (
    other_value, other_value_with_attributes, other_value_with_attributes, other_attribute, other_attribute,
    no_attribute, no_member, member_elsewhere, soft_link, external_link, external_link, virtual_dataset, raw_file,
    claim, foreign_chunk, foreign_chunk,
)  # fmt: skip


def mutate(seed: bytes, rng: random.Random) -> bytes:
    """Through the library; now and then that is damaged blindly after all."""
    found = edited(seed, rng, EDITS)
    if rng.random() < 0.1:
        at = rng.randrange(len(found))
        found = found[:at] + rng.choice(WORDS) + found[at + 8 :]
    return found


def _folder(make: Callable[[Path], object]) -> dict[str, bytes]:
    """All files that are made in a folder."""
    with tempfile.TemporaryDirectory() as name:
        make(Path(name))
        return {path.name: path.read_bytes() for path in sorted(Path(name).iterdir())}


def _data_file(made: Any, dtype: str = "uint16") -> bytes:
    return written(lambda p: made.store(p, made.frames(2, dtype, SHAPE)), "a.h5")


def _masters(made: Any) -> dict[str, bytes]:
    """Masters with frames of their own, by two filters and plain; linked, virtual, and of the old kind."""

    def make(folder: Path) -> None:
        data = made.frames(2, "uint16", SHAPE)
        for name, more in (
            ("fast", {}),
            ("gzip", {"chunks": (1, *SHAPE), "compression": "gzip"}),
            ("plain", {"chunks": None}),
        ):
            made.store(made.write_nxmx(folder / f"{name}.h5", 2, shape=SHAPE), data, **more)
        with h5py.File(folder / "plain.h5", "a") as file:
            file["entry/instrument/detector/pixel_mask"] = np.zeros(SHAPE, np.uint32)
        with h5py.File(folder / "gzip.h5", "a") as file:
            file["entry/instrument/detector"].create_dataset("pixel_mask", data=np.zeros(SHAPE, np.uint32), **TILES)
        made.link(made.write_nxmx(folder / "link.h5", 2, shape=SHAPE), "linked.h5")
        layout = h5py.VirtualLayout((2, *SHAPE), "uint16")
        layout[:] = h5py.VirtualSource("linked.h5", "/entry/data/data", (2, *SHAPE))
        made.virtual(made.write_nxmx(folder / "virtual.h5", 2, shape=SHAPE), layout)
        made.write_dectris(folder / "dectris.h5", 1, SHAPE)

    return _folder(make)


def nxmx() -> Target:
    made = makers("nxmx", "nxmx_files")
    masters = _masters(made)
    old = masters.pop("b_data_000001.h5")
    beside = {
        "linked.h5": _data_file(made),
        "b_data_000001.h5": old,
        OUTSIDE: _data_file(made),
        "text.h5": b"no HDF5\n",
    }
    return Target("nxmx", ".h5", tuple(masters.values()), read_images, WORDS, mutate, beside)


def nxmx_data() -> Target:
    """A damaged data file behind a whole master."""
    made = makers("nxmx", "nxmx_files")
    masters = _masters(made)
    seeds = [_data_file(made, dtype) for dtype in ("uint16", "uint32", "int32", "float32")]
    for more in ({"compression": "gzip"}, {**TILES, "chunks": (1, *TILES["chunks"])}):
        seeds.append(written(lambda p, more=more: made.store(p, made.frames(2, "uint16", SHAPE), **more), "a.h5"))

    def read(path: Path) -> None:
        # the masters look for the file under its usual name
        path.replace(path.with_name("linked.h5"))
        path.touch()
        trouble = None
        for name in ("link.h5", "virtual.h5"):
            try:
                read_images(path.with_name(name))
            except Exception as error:
                trouble = error
        if trouble is not None:
            raise trouble

    beside = {
        "linked.h5": seeds[0], "link.h5": masters["link.h5"], "virtual.h5": masters["virtual.h5"],
        OUTSIDE: seeds[0], "text.h5": b"no HDF5\n",
    }  # fmt: skip
    return Target("nxmx_data", ".h5", tuple(seeds), read, WORDS, mutate, beside)


def mask_hdf5() -> Target:
    shapes = [SHAPE, (9, 31)]
    masks = [np.arange(slow * fast).reshape(slow, fast) % 5 > 0 for slow, fast in shapes]

    def read(path: Path) -> None:
        assert [m.shape for m in read_mask(path, shapes)] == shapes

    seed = written(lambda p: write_mask(p, masks), "a.h5")
    plain = written(lambda p: _plain_mask(p, masks), "a.h5")
    return Target("mask_hdf5", ".h5", (seed, plain), read, WORDS, mutate, {OUTSIDE: seed})


def _plain_mask(path: Path, masks: list[np.ndarray]) -> None:
    with h5py.File(path, "w") as file:
        file.attrs.update({"format": "xtal mask", "version": 1})
        for k, values in enumerate(masks):
            file[f"panel_{k}"] = values.astype(np.uint8)


TARGETS: dict[str, Callable[[], Target]] = {"nxmx": nxmx, "nxmx_data": nxmx_data, "mask_hdf5": mask_hdf5}
