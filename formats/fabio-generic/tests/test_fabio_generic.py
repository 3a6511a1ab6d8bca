"""Families that fabio reads: geometry of made headers, pixels as fabio has them, claims that cannot be, damage."""

from __future__ import annotations

import random
import struct
from pathlib import Path

import numpy as np
import pytest

from xtal.errors import DataError
from xtal_format_fabio_generic.families import FAMILIES
from xtal_format_fabio_generic.source import FabioGeneric

WIDTHS = (0, 4, 5, 6, 7, 8, 16, 32)
RNG = np.random.default_rng(4)


def pack(image: np.ndarray) -> bytes:
    """Slow twin of the packing, blocks of eight differences."""
    width = image.shape[1]
    signed = ((image.astype(np.int64) + 32768) & 65535) - 32768
    flat = signed.ravel()
    steps = []
    for k, value in enumerate(flat):
        if k > width:
            around = flat[k - 1] + flat[k - width + 1] + flat[k - width] + flat[k - width - 1] + 2
            value -= int(around / 4)
        elif k:
            value -= flat[k - 1]
        steps.append(int(value))
    stream, n_bits = 0, 0
    for k in range(0, len(steps), 8):
        block = (steps[k : k + 8] + [0] * 8)[:8]
        code = next(c for c, w in enumerate(WIDTHS) if all(-(1 << w) <= 2 * s < 1 << w for s in block))
        stream |= (3 | code << 3) << n_bits
        n_bits += 6
        for step in block:
            stream |= (step & ((1 << WIDTHS[code]) - 1)) << n_bits
            n_bits += WIDTHS[code]
    return stream.to_bytes(-(-n_bits // 8), "little")


def mar345(path: Path, image: np.ndarray, order: str = "<", table: tuple = (), centre: str = "", **ints: int) -> Path:
    n = image.shape[0]
    values = {
        "width": n, "high": len(table), "format": 1, "mode": 1, "pixels": n * n, "length": 150, "height": 150,
        "wavelength": 1000000, "distance": 120000, "phi": 10000, "phi_end": 10500, "omega": 0, "omega_end": 0,
        "chi": 0, "twotheta": 0, **ints,
    }  # fmt: skip
    head = struct.pack(order + "16i", 1234, *values.values()).ljust(128, b"\0")
    head += f"mar research\n{centre}TIME 60.0\nEND OF HEADER\n".encode()
    saturated = b"".join(struct.pack(order + "2i", *pair) for pair in table).ljust(-(-len(table) // 64) * 512, b"\0")
    packed = f"\nCCP4 packed image, X: {n:04d}, Y: {n:04d}\n".encode() + pack(image)
    path.write_bytes(head.ljust(4096, b"\0") + saturated + packed)
    return path


def raxis(path: Path, image: np.ndarray, **values: float) -> Path:
    places = {
        "wavelength": (292, "f", 1.5418), "distance": (344, "f", 100.0), "curved": (448, "i", 0),
        "start": (524, "f", 20.0), "end": (528, "f", 20.5), "minutes": (536, "f", 2.0), "x": (540, "f", 30.0),
        "y": (544, "f", 20.0), "twotheta": (556, "f", 0.0), "fast": (768, "i", image.shape[1]),
        "slow": (772, "i", image.shape[0]), "px": (776, "f", 0.1), "py": (780, "f", 0.2), "ratio": (800, "f", 8.0),
    }  # fmt: skip
    head = bytearray(2 * image.shape[1] * (1 + 2048 // (2 * image.shape[1])))
    head[:10] = b"R-AXIS4   "
    for name, (at, kind, value) in places.items():
        struct.pack_into(">" + kind, head, at, values.get(name, value))
    path.write_bytes(bytes(head) + image.astype(">u2").tobytes())
    return path


def bruker(path: Path, image: np.ndarray, **more: object) -> Path:
    values = {
        "FORMAT": 86, "VERSION": 9, "HDRBLKS": 15, "NROWS": image.shape[0], "NCOLS": image.shape[1], "NPIXELB": 2,
        "NOVERFL": 1, "START": 84.8, "INCREME": -0.2, "ANGLES": "0 -90 84.8 54.9", "DISTANC": 8.9,
        "CENTER": "26.5 24.5", "WAVELEN": "0.5166 0 0", "DETTYPE": "CCD-PXL-L6500F 32.0 1.6 0 0.254 0.038",
        "CCDPARM": "44.9 10.0 15.0 238.0 65535.0", "CUMULAT": 0.992, "LINEAR": "1.0 0.0", **more,
    }  # fmt: skip
    text = "".join(f"{key:7}:{value!s:72}" for key, value in values.items())
    overflow = f"{145942:9d}{7:7d}".encode()
    path.write_bytes(text.ljust(15 * 512).encode() + image.astype("<u2").tobytes() + overflow)
    return path


def edf(path: Path, image: np.ndarray, **more: object) -> Path:
    values = {
        "HeaderID": "EH:000001:000000:000000", "Image": 1, "ByteOrder": "LowByteFirst", "DataType": "UnsignedShort",
        "Dim_1": image.shape[1], "Dim_2": image.shape[0], "Size": 2 * image.size, "PSize_1": 1e-4, "PSize_2": 1e-4,
        "Center_1": 12, "Center_2": 13, "SampleDistance": 0.2, "WaveLength": 1e-10, **more,
    }  # fmt: skip
    text = "{\n" + "".join(f"{key} = {value} ;\n" for key, value in values.items())
    path.write_bytes(text.ljust(1022).encode() + b"}\n" + image.astype("<u2").tobytes())
    return path


def esperanto(path: Path, image: np.ndarray) -> Path:
    """At least 256 pixels each way, as its description wants."""
    image = np.pad(image, (0, 204))
    lines = ["ESPERANTO FORMAT   1 CONSISTING OF   25 LINES OF   256 BYTES EACH"]
    lines += [f'IMAGE {image.shape[1]} {image.shape[0]} 1 1 "4BYTE_LONG"', *[""] * 23]
    path.write_bytes("".join(line.ljust(254) + "\r\n" for line in lines).encode() + image.astype("<i4").tobytes())
    return path


def read(path: Path) -> np.ndarray:
    source = FabioGeneric().open(path)
    out = [np.empty(shape, source.dtype) for shape in source.shapes]
    source.read(0, out)
    return out[0]


SMALL = RNG.poisson(30, (52, 52)).astype(np.uint16)
MAKE = {"a.mar": mar345, "a.osc": raxis, "a.0026": bruker, "a.edf": edf, "a.esp": esperanto}


@pytest.mark.parametrize("name", MAKE)
def test_pixels_and_conformance(conformance, tmp_path: Path, name: str) -> None:
    path = MAKE[name](tmp_path / name, SMALL)  # type: ignore[operator]  # each takes path and image
    got = read(path)
    wanted = np.pad(SMALL.astype(np.int64), (0, 204 if name == "a.esp" else 0))
    if name == "a.0026":
        wanted.ravel()[7] = 145942
    np.testing.assert_array_equal(got, wanted)
    conformance("format", "fabio_generic", sample=path)


@pytest.mark.parametrize("order", ["<", ">"])
def test_mar345(tmp_path: Path, order: str) -> None:
    # counts up to 16 bits, all widths of differences, saturated pixels in the table
    image = RNG.integers(0, 65536, (30, 30))
    image[:10] = RNG.poisson(3, (10, 30))
    image[10:20] = RNG.poisson(2000, (10, 30))
    path = mar345(tmp_path / "a.mar2300", image, order, ((5, 100000), (900, 200000)), "CENTER X 14.0 Y 16.0\n")
    wanted = image.copy()
    wanted.ravel()[[4, 899]] = 100000, 200000
    np.testing.assert_array_equal(read(path), wanted)
    beam, detector, goniometer, scan = FabioGeneric().open(path).models()
    assert beam.wavelength == 1.0
    np.testing.assert_allclose(detector[0].origin, (-2.1, 2.4, -120.0))
    assert goniometer is not None
    assert goniometer.axis.tolist() == [1, 0, 0]
    assert scan is not None
    assert (scan.oscillation_deg, scan.exposure_times[0]) == ((10.0, 0.5), 60.0)


def test_mar345_pixels_are_those_of_fabio(tmp_path: Path) -> None:
    import io

    from fabio.mar345image import Mar345Image

    image = RNG.poisson(500, (60, 60))
    stream = io.BytesIO(mar345(tmp_path / "a.mar2300", image).read_bytes())
    np.testing.assert_array_equal(Mar345Image().read(stream).data, image)


def test_raxis(tmp_path: Path) -> None:
    image = SMALL.copy()
    image[3, 4] = 32768 + 100
    path = raxis(tmp_path / "a.osc", image)
    got = read(path)
    assert got[3, 4] == 800
    assert got[3, 5] == image[3, 5]
    beam, detector, _, scan = FabioGeneric().open(path).models()
    panel = detector[0]
    assert beam.polarization_fraction == 0.5
    np.testing.assert_array_equal([panel.fast_axis, panel.slow_axis], [(0, 1, 0), (-1, 0, 0)])
    assert scan is not None
    assert (scan.oscillation_deg, scan.exposure_times[0]) == ((20.0, 0.5), 120.0)
    with pytest.raises(DataError, match="curved"):
        FabioGeneric().open(raxis(path, image, curved=1)).models()


def test_raxis_beam_centre(tmp_path: Path) -> None:
    """The direct beam's pixel lies on the beam."""
    path = raxis(tmp_path / "a.osc", SMALL, py=0.1)
    panel = FabioGeneric().open(path).models()[1][0]
    np.testing.assert_allclose(panel.lab(np.array([30.0, 20.0]) * panel.pixel_size), (0, 0, -100), atol=1e-5)


def test_bruker(tmp_path: Path) -> None:
    path = bruker(tmp_path / "a.0026", SMALL)
    beam, detector, goniometer, scan = FabioGeneric().open(path).models()
    panel = detector[0]
    assert beam.wavelength == 0.5166
    assert panel.pixel_size == (0.3125, 0.3125)
    assert panel.gain == 1.5
    np.testing.assert_allclose(panel.origin, (-26.5 * 0.3125, 24.5 * 0.3125, -105.0))
    assert goniometer is not None
    assert goniometer.axis.tolist() == [-1, 0, 0]
    assert scan is not None
    assert scan.oscillation_deg == (-84.8, 0.2)


def test_edf_of_the_esrf_and_without_geometry(tmp_path: Path) -> None:
    beam, detector, goniometer, _ = FabioGeneric().open(edf(tmp_path / "a.edf", SMALL)).models()
    assert beam.wavelength == pytest.approx(1.0)
    np.testing.assert_allclose(detector[0].origin, (-1.2, 1.3, -200.0))
    assert goniometer is None
    beam, detector, _, _ = FabioGeneric().open(esperanto(tmp_path / "a.esp", SMALL)).models()
    assert np.isnan(beam.wavelength)
    assert np.isnan(detector[0].pixel_size).all()


@pytest.mark.parametrize(
    ("name", "claim"),
    [
        ("a.mar", {"width": 60000}),
        ("a.mar", {"pixels": 2**30}),
        ("a.mar", {"high": 10**8}),
        ("a.osc", {"fast": 2**30}),
        ("a.osc", {"slow": -5}),
        ("a.0026", {"NROWS": 10**6, "NCOLS": 10**6}),
        ("a.0026", {"NOVERFL": 10**9}),
        ("a.0026", {"NPIXELB": 3}),
        ("a.0026", {"HDRBLKS": "x"}),
        ("a.edf", {"Dim_1": 10**12}),
        ("a.edf", {"DataType": "Poem"}),
        ("a.edf", {"COMPRESSION": "Zip"}),
    ],
)
def test_claims_that_cannot_be_are_refused(tmp_path: Path, name: str, claim: dict[str, object]) -> None:
    path = MAKE[name](tmp_path / name, SMALL, **claim)  # type: ignore[operator]  # each takes path, image and values
    with pytest.raises(DataError, match=r"a\."):
        FabioGeneric().open(path).models()


@pytest.mark.parametrize("name", MAKE)
def test_damage_ends_in_data_or_an_error(tmp_path: Path, name: str) -> None:
    whole = MAKE[name](tmp_path / name, SMALL).read_bytes()  # type: ignore[operator]  # each takes path and image
    path, chance = tmp_path / name, random.Random(5)
    for _ in range(150):
        content = bytearray(whole)
        for _ in range(chance.randint(1, 6)):
            content[chance.randrange(len(content))] = chance.choice((0, 255, 48 + chance.randrange(10)))
        path.write_bytes(content[: chance.randrange(len(content))] if chance.random() < 0.2 else content)
        try:
            read(path)
            FabioGeneric().open(path).models()
        except DataError as error:
            assert path.name in str(error)


def test_families_do_not_overlap(tmp_path: Path) -> None:
    for name, make in MAKE.items():
        head = make(tmp_path / name, SMALL).read_bytes()[:4096]  # type: ignore[operator]  # each takes path and image
        assert sum(family.begins(head) for family in FAMILIES) == 1
    for head in (b"{\nHEADER_BYTES=  512;\nDIM=2;\n", b"II*\0\x08\0\0\0", b"###CBF: VERSION 1.5", b"\0\0\0\4" * 8):
        assert FabioGeneric().sniff(head, tmp_path / "x") == 0
