"""miniCBF: decoder against a slow twin, header, damage."""

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
from xtal_format_cbf_mini.header import Header
from xtal_format_cbf_mini.kernels import BLOCK, decode_byte_offset
from xtal_format_cbf_mini.source import CbfMini

made = load_module(Path(__file__).with_name("cbf_files.py"))
encode, write = made.encode, made.write


def decode(data: bytes, n: int) -> list[int]:
    """Slow twin of the kernel."""
    out: list[int] = []
    value = at = 0
    for _ in range(n):
        width, step = 1, -128
        for width, escape in ((1, -128), (2, -32768), (4, None)):
            if at + width > len(data):
                return out
            step = int.from_bytes(data[at : at + width], "little", signed=True)
            at += width
            if step != escape:
                break
        value += step
        out.append(value)
    return out


@pytest.fixture
def image() -> np.ndarray:
    values = np.random.default_rng(1).poisson(3.0, (407, 487)).astype(np.int32)
    values[5, 5], values[6, 6], values[7, 7] = 900000, -2, 40000
    return values


@settings(deadline=None)
@given(
    st.lists(
        st.lists(st.integers(-(2**30), 2**30) | st.integers(-300, 300), max_size=20)
        | st.lists(st.integers(-63, 63), min_size=BLOCK - 2, max_size=3 * BLOCK),  # steps of one byte throughout
        max_size=4,
    ),
    st.integers(0, 12),
)
def test_decoder_equals_its_slow_twin_also_on_cut_data(parts: list[list[int]], cut: int) -> None:
    values = [value for part in parts for value in part]
    data = encode(np.array(values, dtype=np.int64))
    data = data[: max(len(data) - cut, 0)]
    out = np.zeros(len(values), np.int32)
    done = decode_byte_offset(np.frombuffer(data, np.uint8), out)
    assert out[:done].tolist() == decode(data, len(values))


def test_models_and_pixels(tmp_path: Path, image: np.ndarray) -> None:
    source = CbfMini().open(write(tmp_path / "a_0001.cbf", image))
    beam, detector, goniometer, scan = source.models()
    panel = detector[0]
    assert (beam.wavelength, beam.probe, panel.distance) == (1.0, "x-ray", 200.0)
    assert panel.trusted_range == (0.0, 999.0)
    assert panel.mask == [(0, 195, 487, 212)]
    assert (panel.thickness, panel.material, panel.parallax) == (0.32, "Si", True)
    assert panel.mu == pytest.approx(4.20799, rel=1e-5)
    assert goniometer is not None
    assert scan is not None
    assert scan.oscillation_deg == (10.0, 0.5)
    assert scan.exposure_times is not None
    assert scan.exposure_times[0] == 0.1
    out = [np.empty(shape, source.dtype) for shape in source.shapes]
    source.read(0, out)
    np.testing.assert_array_equal(out[0], image)


@pytest.mark.parametrize(("suffix", "pack"), [(".gz", gzip.compress), (".bz2", bz2.compress)])
def test_compressed_files_are_read_alike_and_damage_is_named(tmp_path: Path, image: np.ndarray, suffix, pack) -> None:
    content = write(tmp_path / "plain.cbf", image).read_bytes()
    path = tmp_path / f"a_0001.cbf{suffix}"
    path.write_bytes(pack(content))
    source = CbfMini().open(path)
    assert CbfMini().sniff(read_head(path), path) == 5
    out = [np.empty(shape, source.dtype) for shape in source.shapes]
    source.read(0, out)
    np.testing.assert_array_equal(out[0], image)
    path.write_bytes(pack(content)[:-2000])
    with pytest.raises(DataError, match="a_0001"):
        CbfMini().open(path).read(0, out)


def test_truncated_and_foreign_sizes_are_named(tmp_path: Path, image: np.ndarray) -> None:
    path = write(tmp_path / "a_0001.cbf", image)
    content = path.read_bytes()
    out = [np.empty(image.shape, np.int32)]
    for keep in (len(content) // 2, 400, 0):
        path.write_bytes(content[:keep])
        with pytest.raises(DataError, match="a_0001"):
            CbfMini().open(path).read(0, out)
    write(path, image[:100])
    with pytest.raises(DataError, match="a_0001"):
        CbfMini().open(path).read(0, out)
    path.unlink()
    with pytest.raises(DataError, match="does not exist"):
        CbfMini().open(path).read(0, out)


def test_a_header_that_claims_more_pixels_than_bytes_allocates_nothing(tmp_path: Path, image: np.ndarray) -> None:
    path = write(tmp_path / "a_0001.cbf", image)
    content = path.read_bytes().replace(b"Fastest-Dimension: 487", b"Fastest-Dimension: 487000000")
    path.write_bytes(content)
    with pytest.raises(DataError, match="claims"):
        CbfMini().open(path).shapes  # noqa: B018


def test_a_packed_header_that_claims_more_pixels_than_any_image_has(tmp_path: Path, image: np.ndarray) -> None:
    """Within .gz the size of the file says nothing of the pixels."""
    content = write(tmp_path / "plain.cbf", image).read_bytes()
    for key in (b"Fastest-Dimension: 487", b"Second-Dimension: 407", b"X-Binary-Size: "):
        content = content.replace(key, key + b"00000000")
    path = tmp_path / "a_0001.cbf.gz"
    path.write_bytes(gzip.compress(content))
    with pytest.raises(DataError, match=r"a_0001\.cbf\.gz claims"):
        CbfMini().open(path).models()


def test_headers_without_rotation_or_numbers(tmp_path: Path, image: np.ndarray) -> None:
    """No angles: a still. A missing number is NaN, for the step import to ask for."""
    source = CbfMini().open(write(tmp_path / "a.cbf", image, rotation=""))
    assert source.models()[2:] == (None, None)
    content = (tmp_path / "a.cbf").read_bytes().replace(b"# Wavelength", b"# Wvlngth")
    (tmp_path / "a.cbf").write_bytes(content)
    assert np.isnan(CbfMini().open(tmp_path / "a.cbf").models()[0].wavelength)


def test_electrons_are_unpolarised_and_need_no_parallax(tmp_path: Path, image: np.ndarray) -> None:
    source = CbfMini().open(write(tmp_path / "a.cbf", image, detector="TIMEPIX", wavelength="0.0251"))
    beam, detector, _, _ = source.models()
    assert (beam.probe, beam.polarization_fraction) == ("electron", 0.5)
    assert (detector[0].parallax, detector[0].mu, detector[0].mask) == (False, 0.0, [])


def test_time_stamps() -> None:
    assert Header("# 2007/Oct/22 15:32:16.289\r\n").epoch() == 1193067136.289
    assert Header("# 2019-02-14T14:25:57\n").epoch() == 1550154357.0
    assert Header("# no time\n").epoch() == 0.0


def test_full_imgcif_is_left_to_others(tmp_path: Path) -> None:
    head = b'###CBF: VERSION 1.5\n_array_data.header_convention "PILATUS_1.2"\n_diffrn.id X\n'
    assert CbfMini().sniff(head, tmp_path / "x.cbf") == 0


def test_the_curved_detector_is_refused_by_name(tmp_path: Path, image: np.ndarray) -> None:
    with pytest.raises(DataError, match="12M"):
        CbfMini().open(write(tmp_path / "a.cbf", image, detector="PILATUS 12M, S/N 120-0100")).models()


def test_conformance(conformance, tmp_path: Path, image: np.ndarray) -> None:
    sample, other = (write(tmp_path / f"a_000{k}.cbf", k * image) for k in (1, 2))
    conformance("format", "cbf_mini", sample=sample, others=[other])
