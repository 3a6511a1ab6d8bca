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
from xtal_format_cbf_imgcif.kernels import decode_packed
from xtal_format_cbf_imgcif.source import CbfImgcif

MAGIC = b"\x0c\x1a\x04\xd5"
HEADER = """###CBF: VERSION 1.5
data_x
_diffrn.id D
_diffrn_source.diffrn_id D
_diffrn_radiation.polarizn_source_ratio {ratio}
_diffrn_radiation.polarizn_source_norm 0.0
_diffrn_radiation_wavelength.wavelength 1.2
loop_
_diffrn_data_frame.array_id
_diffrn_data_frame.binary_id
{frames}
loop_
_diffrn_scan_axis.axis_id
_diffrn_scan_axis.angle_start
_diffrn_scan_axis.angle_increment
_diffrn_scan_axis.displacement_start
{settings}
loop_
_axis.id
_axis.type
_axis.equipment
_axis.depends_on
_axis.vector[1] _axis.vector[2] _axis.vector[3]
_axis.offset[1] _axis.offset[2] _axis.offset[3]
_axis.equipment_component
OMEGA rotation goniometer . 1 0 0 . . . .
KAPPA rotation goniometer OMEGA 0.6 -0.8 0 . . . .
PHI rotation goniometer KAPPA 1 0 0 . . . .
SOURCE general source . 0 0 1 . . . .
TTH rotation detector . 0 1 0 . . . arm
Z translation detector TTH 0 0 -1 . . . arm
{axes}
loop_
_array_structure_list.array_id
_array_structure_list.index
_array_structure_list.dimension
_array_structure_list.precedence
_array_structure_list.direction
_array_structure_list.axis_set_id
{arrays}
loop_
_array_structure_list_axis.axis_set_id
_array_structure_list_axis.axis_id
_array_structure_list_axis.displacement
_array_structure_list_axis.displacement_increment
{steps}
_array_intensities.overload 1000
_array_intensities.undefined_value -5
_array_intensities.gain 2.5
loop_
_array_data.array_id
_array_data.binary_id
_array_data.data
"""
SECTION = """{array} {number}
;
--CIF-BINARY-FORMAT-SECTION--
Content-Type: application/octet-stream;
     conversions="{conversion}"
Content-Transfer-Encoding: BINARY
X-Binary-Size: {size}
X-Binary-ID: {number}
X-Binary-Element-Type: "signed 32-bit integer"
X-Binary-Number-of-Elements: {elements}
X-Binary-Size-Fastest-Dimension: {fast}
X-Binary-Size-Second-Dimension: {slow}
X-Binary-Size-Padding: 16

"""
SCAN = "OMEGA 10 0.5 0\nKAPPA 30 0 0\nPHI 20 0 0\nTTH 20 0 0\nZ 0 0 100"


def predicted(image: np.ndarray, k: int, i: int, j: int) -> int:
    """What pixel (section k, row i, column j) is expected to be."""
    now, before = image[k].astype(int), image[k - 1].astype(int) if k else None
    last = image.shape[2] - 1
    if i == 0:
        return int(now[0, j - 1]) if j else int(before[0, 0]) if before is not None else 0
    near = [(i - 1, j)]
    if j > 0:
        near.append((i, j - 1))
    if 0 < j < last:
        near += [(i - 1, j - 1), (i - 1, j + 1)]
    elif j == 0 and last > 0:
        near.append((i - 1, 1))
    total = [int(now[place]) for place in near]
    if before is not None:
        # the left neighbour's place is taken by the pixel itself
        total += [int(before[(i, j) if place == (i, j - 1) else place]) for place in near]
    return (sum(total) + len(total) // 2) // len(total)


def pack(image: np.ndarray, version: int) -> bytes:
    """Packed compression of (depth, slow, fast), slowly: blocks of one, two, four ... differences in turn."""
    widths = [0, 4, 5, 6, 7, 8, 16, 32] if version == 1 else [0, *range(3, 16), 16, 32]
    steps = []
    for k, i, j in np.ndindex(*image.shape):
        step = (int(image[k, i, j]) - predicted(image, k, i, j)) % 2**32
        steps.append(step - 2**32 if step >= 2**31 else step)
    bits, n, at, block = 0, 0, 0, 0
    while at < len(steps):
        part = steps[at : at + 2**block]
        part += [0] * (2**block - len(part))
        width = next(
            w for w in widths if all((-(2**w) // 2 if w else 0) <= s <= (2**w // 2 - 1 if w else 0) for s in part)
        )
        bits |= (block | widths.index(width) << 3) << n
        n += 5 + version
        for step in part:
            bits |= (step % 2**width) << n
            n += width
        at += 2**block
        block = (block + 1) % 8
    return bytes(32) + bits.to_bytes(n // 8 + 1, "little")


def encode(image: np.ndarray, conversion: str) -> bytes:
    if conversion.startswith("x-CBF_PACKED"):
        return pack(image[None], 2 if conversion.endswith("V2") else 1)
    if conversion == "x-CBF_BYTE_OFFSET":
        steps = np.diff(image.ravel().astype(np.int64), prepend=0)
        assert abs(steps).max() < 2**31
        return b"".join(b"\x80\x00\x80" + int(step).to_bytes(4, "little", signed=True) for step in steps)
    return image.astype("<i4").tobytes()


def write(path: Path, images: list[np.ndarray], conversion: str = "x-CBF_PACKED", **more: str) -> Path:
    """A file of one or several panels, each an array of its own."""
    axes, arrays, steps, frames = [], [], [], []
    for k, image in enumerate(images):
        slow, fast = image.shape
        axes += [
            f"M{k} rotation detector Z 0 0 1 {10 * k} 0 0 module",
            f"S{k} translation detector M{k} 0 -1 0 -1 2 0 panel",
        ]
        axes += [f"F{k} translation detector S{k} 1 0 0 0 0 0 panel"]
        arrays += [f"A{k} 1 {fast} 1 increasing F{k}", f"A{k} 2 {slow} 2 increasing S{k}"]
        steps += [f"F{k} F{k} 0 0.1", f"S{k} S{k} 0 0.1"]
        frames += [f"A{k} {k + 1}"]
    values = {"ratio": "0.8", "settings": SCAN, **more}
    text = HEADER.format(
        axes="\n".join(axes), arrays="\n".join(arrays), steps="\n".join(steps), frames="\n".join(frames), **values
    )
    content = text.encode()
    for k, image in enumerate(images):
        data = encode(image, conversion)
        slow, fast = image.shape
        section = SECTION.format(
            array=f"A{k}",
            number=k + 1,
            conversion=conversion,
            size=len(data),
            elements=image.size,
            fast=fast,
            slow=slow,
        )
        content += section.encode() + MAGIC + data + bytes(16) + b"\n--CIF-BINARY-FORMAT-SECTION----\n;\n"
    path.write_bytes(content)
    return path


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
        (b"A0 1 31 1", b"A0 1 31000000000000 1", "size"),
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
    conformance("format", "cbf_imgcif", sample=write(tmp_path / "a_1.cbf", [image, image]))
