"""NXmx and DECTRIS masters, made here: frames by every way of storing them, geometry, damage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
import pytest

from xtal.errors import DataError
from xtal_format_nxmx.format import NXmx
from xtal_format_nxmx.kernels import blocks_fit

SHAPE = (514, 1030)


def frames(n: int, dtype: str = "uint16", shape: tuple[int, int] = SHAPE) -> np.ndarray:
    return np.random.default_rng(3).poisson(4.0, (n, *shape)).astype(dtype)


def store(path: Path, data: np.ndarray, name: str = "/entry/data/data", **more: Any) -> None:
    more = more or {"chunks": (1, *data.shape[1:]), "compression": hdf5plugin.Bitshuffle(cname="lz4")}
    with h5py.File(path, "a") as file:
        file.create_dataset(name, data=data, **more)


def axis(
    group: Any, name: str, values: Any, kind: str, vector: Any, units: str, depends_on: str = ".", **more: Any
) -> None:
    group[name] = values
    group[name].attrs.update(transformation_type=kind, vector=vector, units=units, depends_on=depends_on, **more)


def nx(parent: Any, name: str, kind: str) -> Any:
    group = parent.create_group(name)
    group.attrs["NX_class"] = kind
    return group


def write_nxmx(path: Path, n: int, *, width: float = 0.5, shape: tuple[int, int] = SHAPE) -> Path:
    """A master with one module, 200 mm from the sample, whose frames are added by the caller."""
    with h5py.File(path, "w") as file:
        entry = nx(file, "entry", "NXentry")
        entry["definition"] = "NXmx"
        nx(entry, "data", "NXdata").attrs["signal"] = "data"
        instrument = nx(entry, "instrument", "NXinstrument")
        beam = nx(instrument, "beam", "NXbeam")
        beam["incident_wavelength"] = 1.0
        beam["incident_wavelength"].attrs["units"] = "angstrom"
        detector = nx(instrument, "detector", "NXdetector")
        detector["saturation_value"] = 50000
        detector["sensor_material"] = "Silicon"
        detector["sensor_thickness"] = 0.45e-3
        detector["sensor_thickness"].attrs["units"] = "m"
        detector["frame_time"] = 0.02
        axis(detector, "z", 200.0, "translation", (0.0, 0.0, 1.0), "mm")
        module = nx(detector, "module", "NXdetector_module")
        module["data_origin"], module["data_size"] = [0, 0], list(shape)
        z = "/entry/instrument/detector/z"
        offset = "/entry/instrument/detector/module/offset"
        axis(module, "offset", 0.0, "translation", (1.0, 0.0, 0.0), "mm", z, offset=(40.0, 20.0, 0.0))
        axis(module, "fast_pixel_direction", 0.075, "translation", (-1.0, 0.0, 0.0), "mm", offset)
        axis(module, "slow_pixel_direction", 0.075, "translation", (0.0, -1.0, 0.0), "mm", offset)
        sample = nx(entry, "sample", "NXsample")
        sample["depends_on"] = "/entry/sample/turn/phi"
        turn = nx(sample, "turn", "NXtransformations")
        axis(turn, "omega", 10.0 + width * np.arange(n), "rotation", (-1.0, 0.0, 0.0), "deg")
        axis(turn, "phi", [0.0], "rotation", (0.0, -1.0, 0.0), "deg", "omega")
    return path


def read(path: Path, frame: int) -> np.ndarray:
    source = NXmx().open(path)
    out = [np.empty(shape, source.dtype) for shape in source.shapes]
    source.read(frame, out)
    source.close()
    return out[0]


@pytest.mark.parametrize("dtype", ["uint16", "uint32", "int32"])
@pytest.mark.parametrize(
    "more",
    [
        {},
        {"chunks": (1, *SHAPE), "compression": hdf5plugin.LZ4()},
        {"chunks": (1, *SHAPE), "compression": "gzip"},
        {"chunks": (2, 257, 515), "compression": hdf5plugin.Bitshuffle(cname="lz4")},
        {"chunks": None},
    ],
    ids=["bslz4", "lz4", "gzip", "several chunks", "plain"],
)
def test_frames_however_they_are_stored(tmp_path: Path, dtype: str, more: dict[str, Any]) -> None:
    data = frames(3, dtype)
    path = write_nxmx(tmp_path / "a_master.h5", 3)
    store(path, data, **more)
    for frame in range(3):
        got = read(path, frame)
        assert got.dtype == dtype
        np.testing.assert_array_equal(got, data[frame])


def test_virtual_and_linked_data_in_other_files(tmp_path: Path) -> None:
    data = frames(5)
    path = write_nxmx(tmp_path / "a_master.h5", 5)
    store(tmp_path / "a_000001.h5", data[:3], "/entry/data/data")
    store(tmp_path / "a_000002.h5", data[3:], "/entry/data/data")
    layout = h5py.VirtualLayout((5, *SHAPE), "uint16")
    layout[:3] = h5py.VirtualSource("a_000001.h5", "/entry/data/data", (3, *SHAPE))
    layout[3:] = h5py.VirtualSource("a_000002.h5", "/entry/data/data", (2, *SHAPE))
    with h5py.File(path, "a") as file:
        file["entry/data"].create_virtual_dataset("data", layout)
    np.testing.assert_array_equal(read(path, 4), data[4])
    (tmp_path / "a_000002.h5").unlink()
    with pytest.raises(DataError, match="a_000002"):
        NXmx().open(path)


def test_models(tmp_path: Path) -> None:
    path = write_nxmx(tmp_path / "a.nxs", 4)
    store(path, frames(4))
    beam, detector, goniometer, scan = NXmx().open(path).models()
    panel = detector[0]
    assert beam.wavelength == 1.0
    np.testing.assert_allclose(panel.origin, (-40.0, 20.0, -200.0))
    np.testing.assert_allclose([panel.fast_axis, panel.slow_axis], [(1, 0, 0), (0, -1, 0)])
    assert (panel.trusted_range, panel.thickness, panel.parallax) == ((0.0, 49999.0), 0.45, True)
    assert panel.image_size == (1030, 514)
    assert goniometer is not None
    assert (goniometer.names, goniometer.scan_axis) == (["phi", "omega"], 1)
    np.testing.assert_allclose(goniometer.axis, (1.0, 0.0, 0.0))
    assert scan is not None
    assert (scan.image_range, scan.oscillation_deg) == ((1, 4), (10.0, 0.5))


def test_a_negative_rotation_turns_the_axis(tmp_path: Path) -> None:
    path = write_nxmx(tmp_path / "a.nxs", 4, width=-0.5)
    store(path, frames(4))
    _, _, goniometer, scan = NXmx().open(path).models()
    assert goniometer is not None
    np.testing.assert_allclose(goniometer.axis, (-1.0, 0.0, 0.0))
    assert scan is not None
    assert scan.oscillation_deg == (-10.0, 0.5)


def test_marks_of_bad_pixels_are_no_counts_and_the_pixel_mask_is_used(tmp_path: Path) -> None:
    path = write_nxmx(tmp_path / "a.nxs", 1)
    store(path, frames(1))
    with h5py.File(path, "a") as file:
        mask = np.zeros(SHAPE, np.uint32)
        mask[3, 5] = 1
        file["entry/instrument/detector/pixel_mask"] = mask
    source = NXmx().open(path)
    assert source.value_limit == 65533
    good = source.masks()
    assert good is not None
    assert good[0].sum() == good[0].size - 1
    assert not good[0][3, 5]


def write_dectris(path: Path, n_files: int = 2) -> np.ndarray:
    """A master of the old kind with two frames in each data file."""
    data = frames(2 * n_files, "uint32")
    with h5py.File(path, "w") as file:
        entry = nx(file, "entry", "NXentry")
        group = nx(entry, "data", "NXdata")
        for k in range(n_files):
            group[f"data_{k + 1:06}"] = h5py.ExternalLink(f"b_data_{k + 1:06}.h5", "entry/data/data")
            store(path.parent / f"b_data_{k + 1:06}.h5", data[2 * k : 2 * k + 2])
        instrument = nx(entry, "instrument", "NXinstrument")
        nx(instrument, "beam", "NXbeam")["incident_wavelength"] = np.float32(1.0)
        detector = nx(instrument, "detector", "NXdetector")
        detector["description"] = "Dectris Eiger 500K"
        detector["x_pixel_size"] = detector["y_pixel_size"] = np.float32(75e-6)
        detector["sensor_material"], detector["sensor_thickness"] = "Si", np.float32(450e-6)
        detector["bit_depth_image"] = 32
        detector["detectorSpecific/countrate_correction_count_cutoff"] = 12440
        detector["geometry/orientation/value"] = np.float32([-1, 0, 0, 0, -1, 0])
        detector["geometry/translation/distances"] = np.float32([0.04, 0.02, -0.2])
        turn = nx(nx(entry, "sample", "NXsample"), "goniometer", "NXtransformations")
        turn["omega"] = np.float32(10.0 + 0.1 * np.arange(2 * n_files))
        turn["omega_range_average"] = np.float32(0.1)
    return data


def test_dectris_master(tmp_path: Path) -> None:
    path = tmp_path / "b_master.h5"
    data = write_dectris(path)
    assert NXmx().sniff(path.read_bytes()[:4096], path) == 5
    source = NXmx().open(path)
    _, detector, goniometer, scan = source.models()
    assert source.n_frames == 4
    np.testing.assert_allclose(detector[0].origin, (-40.0, 20.0, -200.0), rtol=1e-6)
    assert detector[0].trusted_range == (0.0, 12439.0)
    assert goniometer is not None
    assert goniometer.axis.tolist() == [1.0, 0.0, 0.0]
    assert scan is not None
    assert scan.oscillation_deg == (10.0, 0.1)
    np.testing.assert_array_equal(read(path, 3), data[3])
    (tmp_path / "b_data_000002.h5").unlink()
    with pytest.raises(DataError, match="b_data_000002"):
        NXmx().open(path)


def test_damaged_chunks_and_files_are_errors(tmp_path: Path) -> None:
    path = write_nxmx(tmp_path / "a.nxs", 1)
    store(path, frames(1))
    with h5py.File(path, "a") as file:
        dataset = file["entry/data/data"]
        _, chunk = dataset.id.read_direct_chunk((0, 0, 0))
        damaged = bytearray(chunk)
        damaged[12:16] = b"\xff\xff\xff\xff"
        dataset.id.write_direct_chunk((0, 0, 0), bytes(damaged))
    with pytest.raises(DataError, match=r"a\.nxs"):
        read(path, 0)
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(DataError, match=r"a\.nxs"):
        NXmx().open(path)


def test_blocks_fit_counts_every_block() -> None:
    chunk = np.zeros(12 + 3 * (4 + 2) + 2, np.uint8)
    for k in range(3):
        chunk[12 + 6 * k + 3] = 2
    assert blocks_fit(chunk, 8 + 8 + 8 + 1, 2, 8)
    assert not blocks_fit(chunk[:-1], 8 + 8 + 8 + 1, 2, 8)
    assert not blocks_fit(chunk, 32, 2, 8)
    assert not blocks_fit(chunk, 32, 2, 0)


def test_conformance(conformance, tmp_path: Path) -> None:
    path = write_nxmx(tmp_path / "a.nxs", 2)
    store(path, frames(2))
    conformance("format", "nxmx", sample=path)
