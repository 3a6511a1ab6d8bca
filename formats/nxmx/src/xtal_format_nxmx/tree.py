"""Reading NeXus: groups by class, scalars with units, chains of transformations."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import h5py
import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from xtal.errors import DataError
from xtal.files import notes
from xtal.models import rotation_matrix
from xtal_format_nxmx.chunks import check_chunks
from xtal_format_nxmx.links import member, telling_damage

TO_LAB = np.diag([-1.0, 1.0, -1.0])
"""From the frame of NeXus (McStas, +z with the beam) to the laboratory frame (imgCIF, +z to the source)."""

_TO_MM = {"m": 1000.0, "cm": 10.0, "mm": 1.0, "um": 1e-3, "µm": 1e-3, "nm": 1e-6, "metre": 1000.0, "meter": 1000.0}
_LONGEST_CHAIN = 64
_MOST_VALUES, _MOST_BYTES = 10_000_000, 10_000_000
"""More numbers than any axis of a scan has, and longer than any text: nothing larger is read as one."""


def content(dataset: Any) -> Any:
    """All values of a dataset, whose chunks are checked first.

    Raises
    ------
    DataError
        If it is damaged; names the file.
    """
    with telling_damage(dataset.file.filename):
        check_chunks(dataset)
        return dataset[()]


def text(value: Any) -> str:
    """Text of a dataset's or attribute's value, "" for None and for what is no small piece of text."""
    if isinstance(value, h5py.Dataset):
        if value.nbytes is None or value.nbytes > _MOST_BYTES:
            return ""
        found = text(content(value))
        notes.read(value.name.rsplit("/", 1)[-1], found, value.name)
        return found
    if isinstance(value, np.ndarray):
        value = value.flat[0] if value.size else ""
    return value.decode("utf-8", "replace").strip() if isinstance(value, bytes) else str(value or "").strip()


def children(group: Any, nx_class: str) -> Iterator[Any]:
    """Groups of a NeXus class in a group, in the order of their names."""
    for name in group:
        try:
            item = member(group, name)
        except DataError:  # of no concern unless it is needed
            continue
        if isinstance(item, h5py.Group) and text(item.attrs.get("NX_class")) == nx_class:
            yield item


def number(group: Any, name: str, *, default: float = float("nan")) -> float:
    """First value of a dataset, without regard to units; one that is not finite is none."""
    values = numbers_of(None if group is None else member(group, name))
    return float(values[0]) if values.size and math.isfinite(values[0]) else _default(name, default)


def _default(name: str, default: float) -> float:
    if math.isfinite(default):
        notes.assumed(name, default, f"the file has no {name}")
    return default


def numbers_of(item: Any) -> NDArray[np.float64]:
    """All numbers of a dataset, flat; none for a group, text, or more than a scan can have."""
    if not isinstance(item, h5py.Dataset) or item.dtype.kind not in "iufb":
        return np.empty(0)
    if item.size is None or item.size > _MOST_VALUES:
        return np.empty(0)
    values = np.asarray(content(item), dtype=float).ravel()
    notes.read(item.name.rsplit("/", 1)[-1], values, item.name)
    return values


def length_mm(group: Any, name: str, *, unit: str = "m", default: float = float("nan")) -> float:
    """First value of a dataset, in mm; ``unit`` where the dataset names none."""
    value = number(group, name, default=float("nan"))
    if not np.isfinite(value):
        return default
    dataset = member(group, name)
    return value * _factor(dataset, text(dataset.attrs.get("units")) or unit)


def _factor(dataset: Any, unit: str) -> float:
    """Millimetres in a unit."""
    if unit.lower().rstrip("s") not in _TO_MM and unit.lower() not in _TO_MM:
        raise DataError(f"The length {dataset.name} of {dataset.file.filename} has the unit {unit!r}, unknown here.")
    return _TO_MM.get(unit.lower(), _TO_MM.get(unit.lower().rstrip("s"), 1.0))


@frozen
class Axis:
    """One transformation: its name, kind, vector, offset (mm) and values (degree or mm)."""

    name: str
    rotation: bool
    vector: NDArray[np.float64]
    offset: NDArray[np.float64]
    values: NDArray[np.float64]
    path: str

    def matrix(self) -> NDArray[np.float64]:
        """(4, 4) homogeneous, at the first value."""
        total = np.eye(4)
        if self.rotation:
            total[:3, :3] = rotation_matrix(self.vector, math.radians(self.values[0]))
            total[:3, 3] = self.offset
        else:
            total[:3, 3] = self.vector * self.values[0] + self.offset
        return total


def _vector(dataset: Any, name: str, default: tuple[float, ...]) -> NDArray[np.float64]:
    """An attribute of three numbers.

    Raises
    ------
    DataError
        If it is anything else.
    """
    found = np.asarray(dataset.attrs.get(name, default))
    if found.shape != (3,) or found.dtype.kind not in "iuf" or not np.isfinite(found).all():
        raise DataError(f"The transformation {dataset.name} of {dataset.file.filename} has no usable {name}.")
    return found.astype(np.float64)


def axis_of(dataset: Any) -> Axis:
    """What a dataset of a chain says."""
    attributes = dataset.attrs
    rotation = text(attributes.get("transformation_type")) == "rotation"
    unit = text(attributes.get("units"))
    values = numbers_of(dataset)
    if not values.size:
        raise DataError(f"The transformation {dataset.name} of {dataset.file.filename} has no values.")
    if rotation:
        values = np.degrees(values) if unit.lower().startswith("rad") else values
    else:
        values = values * (_factor(dataset, unit) if unit else 1.0)
    offset = _vector(dataset, "offset", (0.0, 0.0, 0.0))
    offset_unit = text(attributes.get("offset_units")) or ("" if rotation else unit)
    offset = offset * (_factor(dataset, offset_unit) if offset_unit else 1.0)
    vector = _vector(dataset, "vector", (0.0, 0.0, 1.0))
    if not np.linalg.norm(vector) > 0:
        raise DataError(f"The transformation {dataset.name} of {dataset.file.filename} has a vector without length.")
    kind = "axis of rotation" if rotation else "direction"
    notes.read(f"{kind} {dataset.name.rsplit('/', 1)[-1]}", vector, f"{dataset.name}@vector")
    return Axis(dataset.name.rsplit("/", 1)[-1], rotation, vector, offset, values, dataset.name)


def chain(dataset: Any) -> list[Axis]:
    """Transformations that a dataset or group depends on, nearest first.

    Raises
    ------
    DataError
        If one is missing or they go in a circle.
    """
    found: list[Axis] = []
    where, name = dataset, _dependence(dataset)
    while name and name != ".":
        if len(found) > _LONGEST_CHAIN:
            raise DataError(f"The transformations of {dataset.name} in {dataset.file.filename} go in a circle.")
        target = member(where if isinstance(where, h5py.Group) else where.parent, name)
        if not isinstance(target, h5py.Dataset):
            raise DataError(f"{dataset.file.filename} names a transformation {name} that it does not hold.")
        found.append(axis_of(target))
        where, name = target, _dependence(target)
    return found


def _dependence(item: Any) -> str:
    if "depends_on" in item.attrs:
        return text(item.attrs["depends_on"])
    return text(member(item, "depends_on")) if isinstance(item, h5py.Group) else ""


def total(axes: list[Axis]) -> NDArray[np.float64]:
    """(4, 4) product of a chain: the last transformation acts last."""
    matrix = np.eye(4)
    for axis in axes:
        matrix = axis.matrix() @ matrix
    return matrix
