"""SMV: dialects, byte orders, damage."""

from __future__ import annotations

import gzip
import time
from pathlib import Path

import numpy as np
import pytest

from xtal.errors import DataError
from xtal.testing import load_module
from xtal_format_smv.header import Header
from xtal_format_smv.source import Smv

made = load_module(Path(__file__).with_name("smv_files.py"))
IMAGE, write, dtrek = made.IMAGE, made.write, made.dtrek


def read(path: Path) -> list[np.ndarray]:
    source = Smv().open(path)
    out = [np.empty(shape, source.dtype) for shape in source.shapes]
    source.read(0, out)
    return out


@pytest.mark.parametrize("order", ["little_endian", "big_endian"])
def test_adsc_of_both_byte_orders(tmp_path: Path, order: str) -> None:
    path = write(tmp_path / "a_001.img", order=order)
    np.testing.assert_array_equal(read(path)[0], IMAGE)
    beam, detector, goniometer, scan = Smv().open(path).models()
    assert beam.polarization_fraction == 0.999
    np.testing.assert_allclose(detector[0].origin, (-30.0, 20.0, -100.0))
    assert goniometer is not None
    assert goniometer.axis.tolist() == [1.0, 0.0, 0.0]
    assert scan is not None
    assert (scan.oscillation_deg, scan.epochs[0]) == ((5.0, 0.5), 1039861073.0)


def test_a_negative_rotation_turns_the_axis(tmp_path: Path) -> None:
    _, _, goniometer, scan = Smv().open(write(tmp_path / "a_001.img", OSC_RANGE=-0.5)).models()
    assert goniometer is not None
    assert goniometer.axis.tolist() == [-1.0, 0.0, 0.0]
    assert scan is not None
    assert scan.oscillation_deg == (5.0, 0.5)


def test_timepix_of_516_has_its_cross_masked(tmp_path: Path) -> None:
    path = write(tmp_path / "a_001.img", BEAMLINE="TIMEPIX_SU", WAVELENGTH=0.0251, PIXEL_SIZE=0.055)
    beam, detector, _, _ = Smv().open(path).models()
    assert beam.is_electron
    assert detector[0].mask == [(255, 0, 261, 516), (0, 255, 516, 261)]


def test_timepix_of_512_is_four_panels_without_edge_pixels(tmp_path: Path) -> None:
    image = IMAGE[:512, :512]
    path = write(tmp_path / "a_001.img", image, BEAMLINE="TimePix_SU", WAVELENGTH=0.0251, PIXEL_SIZE=0.055)
    panels = read(path)
    assert [p.shape for p in panels] == [(254, 254)] * 4
    np.testing.assert_array_equal(panels[1], image[1:255, 257:511])
    np.testing.assert_array_equal(panels[2], image[257:511, 1:255])
    detector = Smv().open(path).models()[1]
    # between the chips lie two pixels of three times the width
    assert detector[1].origin[0] - detector[0].origin[0] == pytest.approx((254 + 2 * 3) * 0.055)


def test_damage_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "a_001.img")
    content = path.read_bytes()
    out = [np.empty(IMAGE.shape, np.uint16)]
    for keep in (len(content) // 2, 20):
        path.write_bytes(content[:keep])
        with pytest.raises(DataError, match="a_001"):
            Smv().open(path).read(0, out)


def test_a_packed_header_that_claims_more_pixels_than_any_image_has(tmp_path: Path) -> None:
    content = write(tmp_path / "plain.img", SIZE1=999999, SIZE2=999999).read_bytes()
    path = tmp_path / "a_001.img.gz"
    path.write_bytes(gzip.compress(content))
    with pytest.raises(DataError, match=r"a_001\.img\.gz claims 999999 x 999999"):
        Smv().open(path).models()


def test_long_runs_of_blanks_in_a_header_take_no_time(tmp_path: Path) -> None:
    path = write(tmp_path / "a_001.img", HEADER_BYTES=" 8192", NOTE=" " * 7000 + "x")
    begin = time.process_time()
    assert Header.parse(path.read_bytes()[:8192], path).values["NOTE"] == "x"
    assert time.process_time() - begin < 0.2  # a pattern that goes back over them takes more than 10 s


def test_missing_numbers_are_nan_and_missing_angles_make_a_still(tmp_path: Path) -> None:
    path = write(tmp_path / "a_001.img", WAVELENGTH=None, OSC_RANGE=None)
    beam, _, goniometer, scan = Smv().open(path).models()
    assert np.isnan(beam.wavelength)
    assert (goniometer, scan) == (None, None)


def test_foreign_headers_are_not_claimed(tmp_path: Path) -> None:
    for head in (b"OD SAPPHIRE  3.0\r\nCOMPRESSION=TY1", b"{\nHeaderID = EH:000001;\n"):
        assert Smv().sniff(head, tmp_path / "x.img") == 0


@pytest.mark.parametrize("order", ["little_endian", "big_endian"])
def test_dtrek_of_both_byte_orders(tmp_path: Path, order: str) -> None:
    path = dtrek(tmp_path / "a_001.img", order=order)
    assert Smv().sniff(path.read_bytes()[:4096], path) == 6
    np.testing.assert_array_equal(read(path)[0], IMAGE)
    beam, detector, goniometer, scan = Smv().open(path).models()
    assert (beam.wavelength, beam.polarization_fraction) == (0.7107, 0.5)
    panel = detector[0]
    # a swing about -x carries the detector, below the source, upwards: the beam meets it 30 degrees off its normal
    half, root = 0.5, np.sqrt(0.75)
    np.testing.assert_allclose(panel.fast_axis, (1, 0, 0), atol=1e-12)
    np.testing.assert_allclose(panel.slow_axis, (0, -root, half), atol=1e-12)
    np.testing.assert_allclose(panel.origin, (-25, 26 * root - 45 * half, -26 * half - 45 * root), atol=1e-9)
    assert panel.distance == pytest.approx(45.0)
    assert panel.trusted_range == (0.0, 65534.0)
    assert goniometer is not None
    assert goniometer.names == ["Phi", "Chi", "Omega"]
    assert goniometer.scan_axis == 2
    np.testing.assert_allclose(goniometer.axis, (1, 0, 0))
    turned = goniometer.fixed_rotation @ (1, 0, 0)
    np.testing.assert_allclose(turned, (np.cos(np.radians(54)), 0, -np.sin(np.radians(54))), atol=1e-12)
    assert scan is not None
    assert (scan.oscillation_deg, scan.epochs[0]) == ((-20.0, 0.5), 1039861073.0)


def test_dtrek_turning_backwards_turns_about_the_opposite_axis(tmp_path: Path) -> None:
    path = dtrek(tmp_path / "a_001.img", ROTATION="-20 -20.5 -0.5 4")
    _, _, goniometer, scan = Smv().open(path).models()
    assert goniometer is not None
    np.testing.assert_allclose(goniometer.axis, (-1, 0, 0))
    assert scan is not None
    assert scan.oscillation_deg == (20.0, 0.5)


def test_compressed_counts_of_image_plates(tmp_path: Path) -> None:
    path = dtrek(tmp_path / "a_001.img", RAXIS_COMPRESSION_RATIO=32)
    wanted = IMAGE.astype(np.int32)
    wanted[IMAGE >= 32768] = (wanted[IMAGE >= 32768] - 32768) * 32
    (got,) = read(path)
    assert got.dtype == np.int32
    np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("CCD_DETECTOR_VECTORS", "1 0 0"),
        ("CCD_DETECTOR_VECTORS", "0 0 0 0 1 0"),
        ("CCD_SPATIAL_DISTORTION_INFO", "250 260 0 0"),
        ("CCD_GONIO_VECTORS", "0 0 1"),
        ("CRYSTAL_GONIO_VECTORS", "x"),
    ],
)
def test_unusable_dtrek_headers_name_file_and_key(tmp_path: Path, key: str, value: str) -> None:
    with pytest.raises(DataError, match=rf"a_001\.img.*{key}"):
        Smv().open(dtrek(tmp_path / "a_001.img", **{key: value})).models()


def test_what_dtrek_headers_lack_is_nan(tmp_path: Path) -> None:
    path = dtrek(tmp_path / "a_001.img", SCAN_WAVELENGTH=None, CCD_GONIO_VALUES=None, ROTATION=None)
    beam, detector, goniometer, _ = Smv().open(path).models()
    assert np.isnan(beam.wavelength)
    assert np.isnan(detector[0].origin).all()
    assert goniometer is None


def test_dtrek_conformance(conformance, tmp_path: Path) -> None:
    sample, other = (dtrek(tmp_path / f"a_00{k}.img", IMAGE // k) for k in (1, 2))
    conformance("format", "smv", sample=sample, others=[other])


def test_conformance(conformance, tmp_path: Path) -> None:
    sample, other = (write(tmp_path / f"a_00{k}.img", IMAGE // k) for k in (1, 2))
    conformance("format", "smv", sample=sample, others=[other])
