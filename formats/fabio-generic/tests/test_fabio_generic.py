"""Families that fabio reads: geometry of made headers, pixels as fabio has them, claims that cannot be, damage."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from xtal.errors import DataError
from xtal.testing import load_module
from xtal_format_fabio_generic.families import FAMILIES
from xtal_format_fabio_generic.source import FabioGeneric

made = load_module(Path(__file__).with_name("fabio_files.py"))
mar345, raxis, bruker, edf, esperanto = made.mar345, made.raxis, made.bruker, made.edf, made.esperanto

RNG = np.random.default_rng(4)


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
    other = MAKE[name](tmp_path / f"b{path.suffix}", SMALL[::-1])  # type: ignore[operator]  # one of several makers
    conformance("format", "fabio_generic", sample=path, others=[other])


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
