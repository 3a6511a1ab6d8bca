"""Targets of the formats of images other than HDF5, read as the step import and the steps after it do."""

from __future__ import annotations

import bz2
import gzip
import json
import random
import re
import struct
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import tifffile
from fabio.bruker100image import Bruker100Image
from fabio.OXDimage import OxdImage
from fuzz_target import NUMBERS, Target, integers_replaced, numbers_replaced, written

from xtal.files.encode import encode_list
from xtal.files.notes import listening
from xtal.models import ExperimentList
from xtal.plugins import default_plugins
from xtal.run.formats import Formats, lacking
from xtal.run.images import FrameReader, open_images
from xtal.testing import load_module
from xtal_format_cbf_mini.header import MAGIC
from xtal_steps_import.checks import check
from xtal_steps_import.images import experiment_of

FORMATS = Path(__file__).parents[2] / "formats"
IMAGE = np.random.default_rng(1).poisson(30.0, (20, 24)).astype(np.int32)
SLACK = bytes(256)
"""Behind the pixels: a header that grows does not make the file too short."""

_context: Any = SimpleNamespace(warn=str, print=str)


@cache
def _formats() -> Formats:
    return Formats(default_plugins())


def read_images(path: Path) -> None:
    """Header, models, masks, the first and the last frame, and whether import takes what lacks no number."""
    with listening():
        _, experiment = experiment_of(path, _formats())
    json.dumps(encode_list(ExperimentList([experiment])))
    with open_images(experiment, _formats()) as reader:
        out = reader.allocate()
        for z in {reader.z0, reader.z1 - 1}:
            by_rows = rows_of(reader, z)
            assert reader.read(z, out) is not None
            assert by_rows is None or np.array_equal(by_rows, out[0]), "rows come out otherwise than the frame"
            reader.mask(z, out)
    if not lacking(experiment.beam, experiment.detector):
        check(_context, ExperimentList([experiment]))


def rows_of(reader: FrameReader, z: int) -> np.ndarray | None:
    """A frame whose rows are read some at a time, where that can be done."""
    stream = reader.stream(z)
    if stream is None:
        return None
    (out,) = reader.allocate()
    for first in range(0, len(out), 5):
        stream.read(out[first : first + 5])
    return out


def makers(package: str, name: str) -> ModuleType:
    """The module with the makers of files of a format's own tests."""
    return load_module(FORMATS / package / "tests" / f"{name}.py")


def cbf_mini() -> Target:
    write = makers("cbf-mini", "cbf_files").write
    seeds = [
        written(lambda p, d=detector: write(p, IMAGE, detector=d), "a_1.cbf")
        for detector in ("PILATUS 200K", "EIGER 1M", "TIMEPIX")
    ]
    head = seeds[0][: seeds[0].index(MAGIC)].replace(b"x-CBF_BYTE_OFFSET", b"x-CBF_NONE")
    head = re.sub(rb"X-Binary-Size: \d+", b"X-Binary-Size: %d" % IMAGE.nbytes, head)
    seeds.append(head + MAGIC + IMAGE.astype("<i4").tobytes() + SLACK)
    words = (b"x-CBF_NONE", b"x-CBF_PACKED", b"# Silicon", b"PILATUS 12M", b"\x0c\x1a\x04\xd5", b"_diffrn.id x\n")
    return Target("cbf_mini", ".cbf", tuple(seeds), read_images, (*NUMBERS, *words), numbers_replaced(1200))


def cbf_imgcif() -> Target:
    write = makers("cbf-imgcif", "imgcif_files").write
    kinds = ("x-CBF_PACKED", "x-CBF_PACKED_V2", "x-CBF_BYTE_OFFSET", "x-CBF_NONE")
    seeds = [written(lambda p, k=kind: write(p, [IMAGE, IMAGE[:9, ::-1]], k), "a_1.cbf") for kind in kinds]
    words = (*(k.encode() for k in kinds), b"loop_\n", b"OMEGA", b"M0", b"S0", b"F1", b"A0", b"\x0c\x1a\x04\xd5", b"'",
             b"\n;\n", b"detector", b"goniometer", b"increasing", b"decreasing", b"data_y\n")  # fmt: skip
    return Target("cbf_imgcif", ".cbf", tuple(seeds), read_images, (*NUMBERS, *words), numbers_replaced(5000))


def smv() -> Target:
    made = makers("smv", "smv_files")
    image = IMAGE.astype(np.uint16)
    wide = np.repeat(image, 2, axis=1)
    size = image.shape[1]
    cases: list[Callable[[Path], object]] = [
        lambda p: made.write(p, image),
        lambda p: made.write(p, image, "big_endian", BEAMLINE="fake"),
        lambda p: made.write(p, wide, TYPE="long_integer", SIZE1=size),
        lambda p: made.write(p, wide, TYPE="float_ieee", SIZE1=size),
        lambda p: made.dtrek(p, image),
        lambda p: made.dtrek(p, image, RAXIS_COMPRESSION_RATIO=32),
    ]
    seeds = tuple(written(case, "a_1.img") + SLACK for case in cases)
    words = (b"SIZE1=", b"TYPE=unsigned_char;", b"TYPE=float_ieee;", b"HEADER_BYTES=", b"DETECTOR_NAMES=X_;", b"}")
    timepix = (b"BEAMLINE=TIMEPIX_SU;", b"SIZE1=512;\nSIZE2=512;\n", b"SIZE1=516;\n")
    return Target("smv", ".img", seeds, read_images, (*NUMBERS, *words, *timepix), numbers_replaced(2048))


def _tiff(image: np.ndarray, **more: Any) -> bytes:
    return written(lambda p: tifffile.imwrite(p, image, photometric="minisblack", **more), "a_1.tif")


def tiff() -> Target:
    made = makers("tiff", "tiff_files")
    image = IMAGE.astype(np.uint16)
    seeds = [
        *(written(lambda p, o=order: made.rayonix(p, image, o), "a_1.mccd") + SLACK for order in "<>"),
        _tiff(IMAGE, description=made.PILATUS),
        _tiff(image),
        _tiff(image, compression="zlib", tile=(16, 16)),
        _tiff(image, byteorder=">", compression="zlib", predictor=True),
        _tiff(image.astype(np.float32)),
        _tiff(np.stack([image] * 3)),
        _tiff(image, bigtiff=False, rowsperstrip=4),
    ]
    return Target("tiff", ".tif", tuple(seeds), read_images, (*NUMBERS, b"II*\0", b"MMX\0"), _tiff_damage)


def _tiff_damage(seed: bytes, rng: random.Random) -> bytes:
    return rng.choice((integers_replaced(400), integers_replaced(2000), numbers_replaced(600)))(seed, rng)


def dm3(image: np.ndarray) -> bytes:
    """An image of Gatan, with what is needed of its tree: two pairs of numbers and the pixels."""

    def tag(name: bytes, content: bytes) -> bytes:
        return struct.pack(">BH", 21, len(name)) + name + b"%%%%" + content

    def pair(first: int, second: int) -> bytes:
        return struct.pack(">2I", 7, 15) + struct.pack(">6i", 0, 2, 0, 5, 0, 5) + struct.pack("<2I", first, second)

    slow, fast = image.shape
    pixels = struct.pack(">4I", 3, 20, 4, image.size) + image.astype("<u2").tobytes()
    tags = tag(b"Active Size (pixels)", pair(fast, slow)) + tag(b"Binning", pair(1, 1)) + tag(b"Data", pixels)
    body = struct.pack(">BBI", 0, 0, 4) + tags + struct.pack(">BH", 20, 0)
    return struct.pack(">3I", 3, len(body) + 8, 1) + body


def oxford(kind: str) -> bytes:
    """An image of Oxford Diffraction, made by fabio; plain pixels and a second packing put in by hand."""
    image = OxdImage(data=IMAGE.copy())
    image.header.update({"Time": "Mon Jan 01 00:00:00 2020", "Detector type": "Sapphire/KM4CCD (2x2: 0.06mm, 2MB)"})
    content = written(lambda p: image.write(str(p)), "a_1.img")
    if kind == "TY1":
        return content
    start = int(content[content.index(b"NHEADER=") + 8 :][:7])
    head = content[:start].replace(b"COMPRESSION=TY1", b"COMPRESSION=" + kind.encode().ljust(3))
    steps = np.diff(IMAGE, axis=1, prepend=0) + 127
    return head + (IMAGE.astype("<i4").tobytes() if kind == "NO" else steps.astype(np.uint8).tobytes()) + SLACK


def bruker100() -> bytes:
    header = {"NOVERFL": "0 0 0", "NEXP": "1 0 32 0 0", "WAVELEN": "1.0", "CENTER": "10 10", "DISTANC": "5 5"}
    return written(lambda p: Bruker100Image(IMAGE.copy(), header).write(str(p)), "a.sfrm")


def fabio_generic() -> Target:
    made = makers("fabio-generic", "fabio_files")
    image = IMAGE[:20, :20].astype(np.uint16)
    table = ((5, 100000), (300, 200000))
    seeds = {
        b"mar": written(lambda p: made.mar345(p, image, "<", table), "a.mar2300"),
        b"raxis": written(lambda p: made.raxis(p, image), "a.osc") + SLACK,
        b"bruker": written(lambda p: made.bruker(p, image), "a.0026") + SLACK,
        b"edf": written(lambda p: made.edf(p, image), "a.edf") + SLACK,
        b"esperanto": written(lambda p: made.esperanto(p, image), "a.esp"),
        b"bruker100": bruker100(),
        b"dm3": dm3(image),
        **{kind.encode(): oxford(kind) for kind in ("TY1", "TY5", "NO")},
    }
    words = (b"COMPRESSION=TY5", b"COMPRESSION=NO ", b"DataType = FloatValue ;", b"1BYTE", b"AGI_BITFIELD", b"X: 0020")
    return Target("fabio_generic", ".img", tuple(seeds.values()), read_images, (*NUMBERS, *words), _fabio_damage)


def _fabio_damage(seed: bytes, rng: random.Random) -> bytes:
    text = seed[:1] in (b"{", b"F", b"E", b"O") and rng.random() < 0.8
    return (numbers_replaced(1500) if text else integers_replaced(1000))(seed, rng)


def diamond() -> Target:
    made = makers("site-diamond", "diamond_files")
    names = ("PILATUS3 6M, S/N 60-0119", "PILATUS3 6M, S/N 60-0126", "PILATUS 6M, S/N 60-0100 Diamond",
             "EIGER 16M XR4i S/N 160-0001 Diamond")  # fmt: skip
    seeds = tuple(written(lambda p, n=name: made.write(p, n, IMAGE.shape), "a_1.cbf") + SLACK for name in names)
    words = (b"S/N 120-0100", b"# Phi", b"# Kappa nan", b"S/N 60-0114", b"+FAST", b"2014-")
    return Target("diamond_mini", ".cbf", seeds, read_images, (*NUMBERS, *words), numbers_replaced(1000))


def diamond_p12m() -> Target:
    """Images of the half barrel have one size; they are large, and few."""
    made = makers("site-diamond", "diamond_files")
    seed = written(lambda p: made.write(p, "PILATUS 12M, S/N 120-0100", made.BARREL), "a_1.cbf")
    packed = gzip.compress(seed, 1, mtime=0)

    def mutate(whole: bytes, rng: random.Random) -> bytes:
        """Numbers of the header, under a checksum that fits, or not."""
        return gzip.compress(numbers_replaced(1000)(seed, rng), 1, mtime=0)

    return Target("diamond_p12m", ".cbf.gz", (packed,), read_images, NUMBERS, mutate)


def bomb(content: bytes) -> bytes:
    """An image and more than a gigabyte of zeros in one stream of .gz, which has no end."""
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -15)
    head = squeeze.compress(content) + squeeze.flush(zlib.Z_FULL_FLUSH)
    zeros = squeeze.compress(bytes(1 << 20)) + squeeze.flush(zlib.Z_FULL_FLUSH)
    return b"\x1f\x8b\x08" + bytes(7) + head + zeros * 1200


def packed() -> Target:
    """Images of each format within .gz and .bz2; bombs; headers of packed files that claim what cannot be."""
    plain = [
        (makers("cbf-mini", "cbf_files").write, "a_1.cbf"),
        (lambda p, i: makers("cbf-imgcif", "imgcif_files").write(p, [i]), "a_1.cbf"),
        (lambda p, i: makers("smv", "smv_files").write(p, i.astype(np.uint16)), "a_1.img"),
        (lambda p, i: makers("tiff", "tiff_files").rayonix(p, i.astype(np.uint16)), "a_1.mccd"),
        (lambda p, i: makers("fabio-generic", "fabio_files").edf(p, i.astype(np.uint16)), "a_1.edf"),
    ]
    contents = [written(lambda p, w=write: w(p, IMAGE), name) for write, name in plain]
    squeezers = (lambda c: gzip.compress(c, 1, mtime=0), lambda c: bz2.compress(c, 1))
    seeds = [squeeze(c) for c in contents for squeeze in squeezers]
    trap, zeros = bomb(contents[0]), {squeeze: squeeze(bytes(1 << 24)) for squeeze in squeezers}

    def mutate(whole: bytes, rng: random.Random) -> bytes:
        what = rng.random()
        if what < 0.01:
            return trap
        squeeze, content = rng.choice(squeezers), rng.choice(contents)
        if what < 0.03:  # a whole image, and then far more than its header says, in streams of their own
            return squeeze(content) + zeros[squeeze] * rng.choice((1, 40))
        if what < 0.9:
            content = rng.choice((numbers_replaced(4000), integers_replaced(2000)))(content, rng)
        parts = [content[k : k + 1000] for k in range(0, len(content), 1000)] if what > 0.95 else [content]
        return b"".join(map(squeeze, parts))

    return Target("packed", ".img.gz", tuple(seeds), read_images, (trap[:300], b"\x1f\x8b\x08", b"BZh9"), mutate)


TARGETS: dict[str, Callable[[], Target]] = {
    "cbf_mini": cbf_mini,
    "cbf_imgcif": cbf_imgcif,
    "smv": smv,
    "tiff": tiff,
    "fabio_generic": fabio_generic,
    "diamond_mini": diamond,
    "diamond_p12m": diamond_p12m,
    "packed": packed,
}
