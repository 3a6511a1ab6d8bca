"""NXmx files and masters of DECTRIS for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np

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


def virtual(path: Path, layout: h5py.VirtualLayout, fill: int = 0) -> None:
    with h5py.File(path, "a") as file:
        file["entry/data"].create_virtual_dataset("data", layout, fillvalue=fill)


def link(path: Path, target: str, name: str = "entry/data/data") -> None:
    with h5py.File(path, "a") as file:
        file[name] = h5py.ExternalLink(target, "/entry/data/data")


def write_dectris(path: Path, n_files: int = 2, shape: tuple[int, int] = SHAPE) -> np.ndarray:
    """A master of the old kind with two frames in each data file."""
    data = frames(2 * n_files, "uint32", shape)
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
