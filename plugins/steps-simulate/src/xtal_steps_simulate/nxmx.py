"""NXmx files: data files of compressed images and a master that shows them as one data set."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
from numpy.typing import NDArray

from xtal_steps_simulate.detector import GAP, MARKED_BAD
from xtal_steps_simulate.model import Model

CEILING = 65533
"""Largest count; the two above it mean "gap" and "bad"."""
IMAGES_PER_FILE = 500


class NxmxWriter:
    """Takes images in order, one at a time. Files appear under their names when they are whole."""

    def __init__(self, model: Model, status: NDArray[np.int8], directory: Path) -> None:
        self.model, self.status, self.directory = model, status, directory
        self.files: list[tuple[str, int]] = []
        self._file: h5py.File | None = None

    def write(self, image: NDArray[np.int32]) -> None:
        """Append one image (slow, fast); -1 and -2 become 65535 and 65534."""
        if self._file is None:
            self._start()
        assert self._file is not None
        data = self._file["entry/data/data"]
        filled = self.files[-1][1]
        data[filled] = image.astype(np.uint16)
        self.files[-1] = (self.files[-1][0], filled + 1)
        if filled + 1 == data.shape[0]:
            self._finish()

    def close(self) -> None:
        """Write the master; every image must be there."""
        if self._file is not None:
            self._file.close()
            self._file = None
        path = self.directory / f"{self.model.name}_master.h5"
        with h5py.File(_partial(path), "w") as master:
            self._describe(master)
        os.replace(_partial(path), path)

    def _start(self) -> None:
        done = sum(number for _, number in self.files)
        shape = (min(IMAGES_PER_FILE, self.model.n_images - done), *self.status.shape)
        name = f"{self.model.name}_data_{len(self.files) + 1:06d}.h5"
        self._file = h5py.File(_partial(self.directory / name), "w")
        self._file.create_dataset(
            "entry/data/data", shape, "u2", chunks=(1, *shape[1:]), **hdf5plugin.Bitshuffle(cname="lz4")
        )
        self.files.append((name, 0))

    def _finish(self) -> None:
        assert self._file is not None
        self._file.close()
        self._file = None
        path = self.directory / self.files[-1][0]
        os.replace(_partial(path), path)

    def _describe(self, master: h5py.File) -> None:
        model = self.model
        entry = _group(master, "entry", "NXentry")
        entry["definition"] = "NXmx"
        data = _group(entry, "data", "NXdata")
        data.attrs["signal"] = "data"
        layout = h5py.VirtualLayout((model.n_images, *self.status.shape), "u2")
        start = 0
        for name, number in self.files:
            shape = (number, *self.status.shape)
            layout[start : start + number] = h5py.VirtualSource(name, "entry/data/data", shape, "u2")
            start += number
        data.create_virtual_dataset("data", layout)
        sample = _group(entry, "sample", "NXsample")
        sample["depends_on"] = "/entry/sample/transformations/omega"
        axes = _group(sample, "transformations", "NXtransformations")
        angles = model.start + model.width * np.arange(model.n_images)
        _axis(axes, "omega", angles, "rotation", "deg", (-1.0, 0.0, 0.0), ".")
        axes["omega_end"] = angles + model.width
        axes["omega_end"].attrs["units"] = "deg"
        instrument = _group(entry, "instrument", "NXinstrument")
        instrument["name"] = "simulated"
        beam = _group(instrument, "beam", "NXbeam")
        beam["incident_wavelength"] = model.wavelength
        beam["incident_wavelength"].attrs["units"] = "angstrom"
        _describe_detector(_group(instrument, "detector", "NXdetector"), model, self.status)


def _describe_detector(detector: h5py.Group, model: Model, status: NDArray[np.int8]) -> None:
    nx, ny = model.image_size
    x, y = model.beam_px + np.array(model.beam_error)
    values: dict[str, Any] = {
        "description": "Simulated pixel-array detector",
        "sensor_material": "Si",
        "bit_depth_readout": np.int32(16),
        "saturation_value": np.int32(CEILING),
        "underload_value": np.int32(0),
        "beam_center_x": x,
        "beam_center_y": y,
        "depends_on": "/entry/instrument/detector/transformations/det_z",
    }
    for name, value in values.items():
        detector[name] = value
    for name, value, unit in (
        ("sensor_thickness", model.sensor, "mm"),
        ("frame_time", 0.1, "s"),
        ("count_time", 0.099, "s"),
    ):
        detector[name] = value
        detector[name].attrs["units"] = unit
    mask = ((status == GAP) + 2 * (status == MARKED_BAD)).astype(np.uint32)
    detector.create_dataset("pixel_mask", data=mask, compression="gzip")
    path = _group(detector, "transformations", "NXtransformations")
    _axis(path, "det_z", np.array([model.distance + model.distance_error]), "translation", "mm", (0.0, 0.0, 1.0), ".")
    module = _group(detector, "module", "NXdetector_module")
    module["data_origin"] = np.array([0, 0])
    module["data_size"] = np.array([ny, nx])
    base = "/entry/instrument/detector/"
    corner = np.array([x, y, 0.0]) * model.pixel
    _axis(module, "module_offset", 0.0, "translation", "mm", (1.0, 0.0, 0.0), base + "transformations/det_z", corner)
    for name, axis in (("fast", (-1.0, 0.0, 0.0)), ("slow", (0.0, -1.0, 0.0))):
        _axis(module, f"{name}_pixel_direction", model.pixel, "translation", "mm", axis, base + "module/module_offset")


def _partial(path: Path) -> Path:
    return path.with_name(f".{path.name}.part")


def _group(parent: h5py.Group, name: str, nx_class: str) -> h5py.Group:
    group = parent.create_group(name)
    group.attrs["NX_class"] = nx_class
    return group


def _axis(
    parent: h5py.Group, name: str, value: Any, kind: str, unit: str, vector: Any, before: str, offset: Any = None
) -> None:
    parent[name] = value
    attributes = {"transformation_type": kind, "units": unit, "vector": np.array(vector), "depends_on": before}
    if offset is not None:
        attributes.update(offset=np.array(offset), offset_units="mm")
    for key, item in attributes.items():
        parent[name].attrs[key] = item
