"""Full imgCIF: axes, panels, packed pixels against a slow twin, damage."""

from __future__ import annotations

import bz2
import gzip
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xtal.errors import DataError
from xtal.files.raw import read_head
from xtal.testing import load_module
from xtal_format_cbf_imgcif.kernels import decode_packed
from xtal_format_cbf_imgcif.source import CbfImgcif

made = load_module(Path(__file__).with_name("imgcif_files.py"))
SCAN, pack, write = made.SCAN, made.pack, made.write


@pytest.fixture
def image() -> np.ndarray:
    values = np.random.default_rng(1).poisson(30.0, (23, 31)).astype(np.int32)
    values[5, 5], values[6, 6], values[7, 7], values[8, 8] = 900000, -2, 40000, -(2**30)
    return values


def read(path: Path) -> list[np.ndarray]:
    source = CbfImgcif().open(path)
    out = [np.empty(shape, source.dtype) for shape in source.shapes]
    source.read(0, out)
    return out


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.integers(-(2**31), 2**31 - 1) | st.integers(-9, 9), min_size=1, max_size=72),
    st.sampled_from([1, 2]),
    st.integers(1, 6),
    st.integers(1, 4),
)
def test_packed_pixels_come_back(values: list[int], version: int, fast: int, slow: int) -> None:
    depth = -(-len(values) // (fast * slow))
    image = np.resize(np.array(values, np.int64), (depth, slow, fast)).astype(np.int32)
    data = np.frombuffer(pack(image, version)[32:], np.uint8)
    out = np.zeros(image.size, np.int32)
    assert decode_packed(data, version, fast, slow, out) == image.size
    np.testing.assert_array_equal(out.reshape(image.shape), image)


def test_packed_pixels_that_are_cut_off_are_counted() -> None:
    image = np.arange(60, dtype=np.int32).reshape(1, 6, 10) ** 3
    data = np.frombuffer(pack(image, 1)[32:], np.uint8)
    for keep in range(len(data) - 1):
        out = np.zeros(image.size, np.int32)
        done = decode_packed(data[:keep], 1, 10, 6, out)
        assert done < image.size or keep > len(data) - 20  # the last block has more places than pixels
        np.testing.assert_array_equal(out[:done], image.ravel()[:done])


@pytest.mark.parametrize("conversion", ["x-CBF_PACKED", "x-CBF_PACKED_V2", "x-CBF_BYTE_OFFSET", "x-CBF_NONE"])
def test_pixels_of_each_compression(tmp_path: Path, image: np.ndarray, conversion: str) -> None:
    path = write(tmp_path / "a_1.cbf", [image, image[:7, ::-1]], conversion)
    one, two = read(path)
    np.testing.assert_array_equal(one, image)
    np.testing.assert_array_equal(two, image[:7, ::-1])


@pytest.mark.parametrize(("suffix", "squeeze"), [(".gz", gzip.compress), (".bz2", bz2.compress)])
def test_compressed_files(tmp_path: Path, image: np.ndarray, suffix: str, squeeze) -> None:
    content = write(tmp_path / "a_1.cbf", [image]).read_bytes()
    path = tmp_path / f"b_1.cbf{suffix}"
    path.write_bytes(squeeze(content))
    assert CbfImgcif().sniff(read_head(path), path) == 5
    np.testing.assert_array_equal(read(path)[0], image)


def test_models_of_one_panel(tmp_path: Path, image: np.ndarray) -> None:
    beam, detector, goniometer, scan = CbfImgcif().open(write(tmp_path / "a_1.cbf", [image])).models()
    assert beam.wavelength == 1.2
    assert beam.polarization_fraction == pytest.approx(0.9)
    panel = detector[0]
    assert panel.trusted_range == (-4.0, 999.0)
    assert (panel.gain, panel.image_size, panel.pixel_size) == (2.5, (31, 23), (0.1, 0.1))
    # two theta turns the detector about y: the beam's point moves towards -x
    swing = np.radians(20)
    turn = np.array([[np.cos(swing), 0, np.sin(swing)], [0, 1, 0], [-np.sin(swing), 0, np.cos(swing)]])
    np.testing.assert_allclose(panel.origin, turn @ [-1, 2, -100], atol=1e-12)
    np.testing.assert_allclose(panel.fast_axis, turn @ [1, 0, 0], atol=1e-12)
    assert goniometer is not None and scan is not None
    assert goniometer.names == ["PHI", "KAPPA", "OMEGA"]
    assert goniometer.scan_axis == 2
    np.testing.assert_allclose(goniometer.angles_deg, [20, 30, 10])
    assert scan.oscillation_deg == (10.0, 0.5)


def test_a_negative_scan_is_a_positive_one_about_the_opposite_axis(tmp_path: Path, image: np.ndarray) -> None:
    """Both turn the sample alike: exp(-a x) is exp(a (-x)). DIALS 3.12 keeps the axis and so turns the wrong way."""
    path = write(tmp_path / "a_1.cbf", [image], settings=SCAN.replace("10 0.5", "10 -0.5"))
    _, _, goniometer, scan = CbfImgcif().open(path).models()
    assert goniometer is not None and scan is not None
    np.testing.assert_allclose(goniometer.axis, [-1, 0, 0], atol=1e-12)
    assert scan.oscillation_deg == (-10.0, 0.5)


def test_panels_stand_in_a_tree(tmp_path: Path, image: np.ndarray) -> None:
    _, detector, _, _ = CbfImgcif().open(write(tmp_path / "a_1.cbf", [image, image])).models()
    root = detector.root
    assert root is not None
    assert (root.name, [child.name for child in root.children]) == ("Z", ["M0", "M1"])
    assert [child.children for child in root.children] == [[0], [1]]
    np.testing.assert_allclose(detector[1].origin - detector[0].origin, 10 * detector[0].fast_axis, atol=1e-12)


def test_without_goniometer_it_is_a_still(tmp_path: Path, image: np.ndarray) -> None:
    path = write(tmp_path / "a_1.cbf", [image])
    path.write_bytes(path.read_bytes().replace(b"goniometer", b"general"))
    assert CbfImgcif().open(path).models()[2:] == (None, None)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (b"KAPPA rotation goniometer OMEGA", b"KAPPA rotation goniometer PHI", "circle"),
        (b"S0 translation detector M0", b"S0 translation detector M7", "M7"),
        (b"PHI 20 0 0", b"PHI 20 1 0", "turn together"),
        (b"wavelength 1.2", b"wavelength one", "no number"),
        (b"A0 1 31 1", b"A0 1 31000000000000 1", "claims 31000000000000 x 23"),
        (b"A0 1 31 1", b"A0 1 2147483647 1", "claims 2147483647 x 23"),
        (b"_diffrn_scan_axis.angle_start", b"_other.angle_start", "tables"),
        (b"loop_\n_axis.id", b"loop_\n_axis.id _axis.id", "tables"),
    ],
)
def test_headers_that_make_no_sense_are_refused(
    tmp_path: Path, image: np.ndarray, old: bytes, new: bytes, says: str
) -> None:
    path = write(tmp_path / "a_1.cbf", [image])
    assert old in path.read_bytes()
    path.write_bytes(path.read_bytes().replace(old, new))
    with pytest.raises(DataError, match=says) as caught:
        CbfImgcif().open(path).models()
    assert "a_1.cbf" in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"Fastest-Dimension: 31", b"Fastest-Dimension: 31000000000"),
        (b"Number-of-Elements: 713", b"Number-of-Elements: 7130000000000"),
        (b"X-Binary-Size: ", b"X-Binary-Size: 99"),
        (b"x-CBF_PACKED", b"x-CBF_CANONICAL"),
        (b"ENCODING", b"ENCODING"),
    ],
)
def test_sections_that_lie_are_refused(tmp_path: Path, image: np.ndarray, old: bytes, new: bytes) -> None:
    path = write(tmp_path / "a_1.cbf", [image])
    content = path.read_bytes().replace(old, new)
    path.write_bytes(content if old != new else content[: len(content) // 2])
    source = CbfImgcif().open(path)
    with pytest.raises(DataError, match=r"a_1\.cbf"):
        source.read(0, [np.empty((23, 31), np.int32)])


def test_conformance(conformance, tmp_path: Path, image: np.ndarray) -> None:
    sample, other = (write(tmp_path / f"a_{k}.cbf", [k * image, image]) for k in (1, 2))
    conformance("format", "cbf_imgcif", sample=sample, others=[other])
