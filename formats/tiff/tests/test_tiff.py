"""TIFF: Rayonix headers, Pilatus, cameras and stacks, claims that cannot be, damage."""

from __future__ import annotations

import random
import struct
from pathlib import Path

import numpy as np
import pytest
import tifffile

from xtal.errors import DataError
from xtal.testing import load_module
from xtal_format_tiff.rayonix import STARTS
from xtal_format_tiff.source import Tiff

made = load_module(Path(__file__).with_name("tiff_files.py"))
IMAGE, PILATUS, rayonix = made.IMAGE, made.PILATUS, made.rayonix


def read(path: Path, frame: int = 0) -> np.ndarray:
    source = Tiff().open(path)
    out = [np.empty(shape, source.dtype) for shape in source.shapes]
    source.read(frame, out)
    return out[0]


@pytest.mark.parametrize("order", ["<", ">"])
def test_rayonix(tmp_path: Path, order: str) -> None:
    path = rayonix(tmp_path / "a_001.mccd", order=order)
    assert Tiff().sniff(path.read_bytes()[:4096], path) == 5
    np.testing.assert_array_equal(read(path), IMAGE.astype(int) - 10)
    beam, detector, goniometer, scan = Tiff().open(path).models()
    panel = detector[0]
    assert beam.wavelength == pytest.approx(0.9795)
    np.testing.assert_allclose(panel.origin, (-4.1, 2.9, -200.0))
    assert panel.trusted_range == (-9.0, 65524.0)
    assert goniometer is not None
    assert goniometer.axis.tolist() == [1, 0, 0]
    assert scan is not None
    assert (scan.oscillation_deg, scan.exposure_times[0]) == ((0.0, 5.0), 1.5)
    assert scan.epochs[0] == 1113687197.0


def test_rayonix_turning_backwards(tmp_path: Path) -> None:
    _, _, goniometer, scan = Tiff().open(rayonix(tmp_path / "a.mccd", angles=(3.0, 2.5))).models()
    assert goniometer is not None
    assert goniometer.axis.tolist() == [-1, 0, 0]
    assert scan is not None
    assert scan.oscillation_deg == (-3.0, 0.5)


def test_rayonix_swung_and_with_its_beam_in_mm(tmp_path: Path) -> None:
    path = rayonix(tmp_path / "a.mccd", **{"beam x": 4_100, "beam y": 2_900})
    content = bytearray(path.read_bytes())
    struct.pack_into("<i", content, STARTS, 30_000)
    path.write_bytes(content)
    panel = Tiff().open(path).models()[1][0]
    half, root = 0.5, np.sqrt(0.75)
    np.testing.assert_allclose(panel.slow_axis, (0, -root, -half), atol=1e-12)
    np.testing.assert_allclose(panel.origin, (-4.1, 2.9 * root + 200 * half, 2.9 * half - 200 * root))


def test_what_a_rayonix_header_lacks_is_nan_and_tilts_are_refused(tmp_path: Path) -> None:
    path = rayonix(tmp_path / "a.mccd", **{"distance at the start": 0}, angles=(0, 0))
    _, detector, goniometer, _ = Tiff().open(path).models()
    assert np.isnan(detector[0].origin[2])
    assert np.isfinite(detector[0].origin[:2]).all()
    assert goniometer is None
    with pytest.raises(DataError, match=r"a\.mccd is tilted"):
        Tiff().open(rayonix(path, **{"tilt x": 5})).models()


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "uint32", "int32", "float32", "float64"])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_cameras(tmp_path: Path, dtype: str, compression: str | None) -> None:
    image = (IMAGE % 200).astype(dtype)
    path = tmp_path / "a_001.tif"
    tifffile.imwrite(path, image, compression=compression)
    np.testing.assert_array_equal(read(path), image)
    beam, detector, goniometer, _ = Tiff().open(path).models()
    assert np.isnan(beam.wavelength)
    assert np.isnan([*detector[0].origin, *detector[0].pixel_size]).all()
    assert goniometer is None
    source = Tiff().open(path)
    assert (source.n_frames, source.container) == (1, False)


def test_a_stack_numbers_its_images(tmp_path: Path) -> None:
    path = tmp_path / "stack.tif"
    stack = np.stack([IMAGE, IMAGE // 2, IMAGE // 3])
    tifffile.imwrite(path, stack, photometric="minisblack")
    source = Tiff().open(path)
    assert (source.n_frames, source.container) == (3, True)
    np.testing.assert_array_equal(read(path, 2), stack[2])
    with pytest.raises(DataError, match="no image 4"):
        read(path, 3)


def test_an_image_of_a_wider_type_within_a_scan(tmp_path: Path) -> None:
    path = tmp_path / "a_002.tif"
    tifffile.imwrite(path, np.array([[5, 70000]], np.uint32))
    out = [np.zeros((1, 2), np.uint16)]
    Tiff().open(path).read(0, out)
    assert out[0].tolist() == [[5, 65535]]
    tifffile.imwrite(path, np.array([[5, 0.5]], np.float32))
    with pytest.raises(DataError, match="float32, the others of its scan uint16"):
        Tiff().open(path).read(0, out)


def test_pilatus(tmp_path: Path) -> None:
    path = tmp_path / "a_001.tif"
    image = np.zeros((195, 487), np.int32)
    tifffile.imwrite(path, image, description=PILATUS)
    beam, detector, goniometer, scan = Tiff().open(path).models()
    assert beam.wavelength == 1.0
    np.testing.assert_allclose(detector[0].origin, (-6.88, 5.16, -200.0))
    assert (detector[0].thickness, detector[0].parallax, detector[0].trusted_range) == (0.32, True, (0.0, 1048573.0))
    assert goniometer is not None
    assert scan is not None
    assert scan.oscillation_deg == (10.0, 0.1)


def test_a_rayonix_header_that_claims_more_pixels_than_any_image_has(tmp_path: Path) -> None:
    path = rayonix(tmp_path / "a_001.mccd", fast=65535, slow=65535)
    with pytest.raises(DataError, match=r"a_001\.mccd claims 65535 x 65535"):
        Tiff().open(path).models()


def test_colours_and_claims_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((8, 8, 3), np.uint8), photometric="rgb")
    with pytest.raises(DataError, match=r"a\.tif holds no grey image"):
        Tiff().open(path).models()
    for compression in (None, "zlib"):
        tifffile.imwrite(path, IMAGE, compression=compression)
        content = bytearray(path.read_bytes())
        for tag in (256, 257):
            at = content.index(struct.pack("<HHI", tag, 4, 1)) if struct.pack("<HHI", tag, 4, 1) in content else -1
            at = at if at >= 0 else content.index(struct.pack("<HHI", tag, 3, 1))
            content[at + 2 : at + 12] = struct.pack("<HII", 4, 1, 1_000_000)
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"a\.tif claims 1000000 x 1000000"):
            Tiff().open(path).models()


def test_a_tag_of_several_values_where_one_is_meant(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, IMAGE, tile=(16, 16))
    content = bytearray(path.read_bytes())
    at = content.index(struct.pack("<HHI", 322, 4, 1))  # TileWidth
    content[at + 2 : at + 12] = struct.pack("<HIHH", 3, 2, 16, 16)
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"a\.tif is truncated or damaged"):
        Tiff().open(path).models()


@pytest.mark.parametrize("kind", ["rayonix", "plain", "zlib", "stack"])
def test_damage_ends_in_data_or_an_error(tmp_path: Path, kind: str) -> None:
    path, chance = tmp_path / "a_001.tif", random.Random(3)
    if kind == "rayonix":
        rayonix(path)
    else:
        image = np.stack([IMAGE] * 3) if kind == "stack" else IMAGE
        tifffile.imwrite(path, image, compression="zlib" if kind == "zlib" else None, photometric="minisblack")
    whole = path.read_bytes()
    for _ in range(200):
        content = bytearray(whole)
        for _ in range(chance.randint(1, 6)):
            content[chance.randrange(2, 400 if chance.random() < 0.7 else len(content))] = chance.choice((0, 1, 255))
        path.write_bytes(content[: chance.randrange(8, len(content))] if chance.random() < 0.2 else content)
        try:
            read(path)
            Tiff().open(path).models()
        except DataError as error:
            assert path.name in str(error)


def test_conformance(conformance, tmp_path: Path) -> None:
    sample, other = (rayonix(tmp_path / f"a_00{k}.mccd", IMAGE // k) for k in (1, 2))
    conformance("format", "tiff", sample=sample, others=[other])
    path, other = tmp_path / "a_001.tif", tmp_path / "a_002.tif"
    tifffile.imwrite(path, IMAGE)
    tifffile.imwrite(other, IMAGE // 2)
    conformance("format", "tiff", sample=path, others=[other])
    tifffile.imwrite(path, IMAGE.astype(np.int32), description=PILATUS)
    conformance("format", "tiff", sample=path)
