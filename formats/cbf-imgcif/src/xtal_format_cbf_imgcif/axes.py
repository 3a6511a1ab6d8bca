"""Axes of imgCIF: each turns or shifts what depends on it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from attrs import define
from numpy.typing import NDArray

from xtal.errors import DataError
from xtal.models.goniometer import rotation_matrix
from xtal.units import DEG
from xtal_format_cbf_imgcif.tables import Row, Tables

Array = NDArray[np.float64]

MAX_CHAIN = 64
"""More axes than this, one on the other, are a circle."""


@define(eq=False)
class Axis:
    """A row of the table of axes with its setting in the frame.

    Attributes
    ----------
    vector, offset : (3,), offset in mm
    setting : degrees or mm
    start, increment : of the scan, degrees or mm
    depends_on : "" at the end of a chain
    """

    name: str
    type: str
    equipment: str
    depends_on: str
    vector: Array
    offset: Array
    component: str
    setting: float = 0.0
    start: float = 0.0
    increment: float = 0.0
    in_scan: bool = False

    def transform(self, extra: float = 0.0) -> Array:
        """(4, 4) homogeneous matrix of this axis alone; ``extra`` is added to its setting."""
        matrix = np.eye(4)
        matrix[:3, 3] = self.offset
        length = float(np.linalg.norm(self.vector))
        if self.type == "rotation" and length > 0:
            matrix[:3, :3] = rotation_matrix(self.vector, (self.setting + extra) * DEG)
        elif self.type == "translation" and length > 0:
            matrix[:3, 3] += (self.setting + extra) * self.vector / length
        return matrix


class Axes:
    """All axes of a file, by name.

    The settings of the frame are those of the table of frames, where it has the axis, else the
    start of the scan.
    """

    def __init__(self, tables: Tables) -> None:
        self.path = tables.path
        self._axes: dict[str, Axis] = {}
        for row in tables.rows("axis"):
            if "id" in row:
                self._axes[row["id"]] = self._axis(tables, row)
        for row in tables.rows("diffrn_scan_axis"):
            axis = self._axes.get(row.get("axis_id", ""))
            if axis is not None:
                kind = "displacement" if axis.type == "translation" else "angle"
                axis.start = axis.setting = tables.number(row, f"{kind}_start")
                axis.increment = tables.number(row, f"{kind}_increment")
                axis.in_scan = True
        for row in self._first_frame(tables):
            axis = self._axes.get(row.get("axis_id", ""))
            if axis is not None:
                kind = "displacement" if axis.type == "translation" else "angle"
                axis.setting = tables.number(row, kind, axis.start)

    @staticmethod
    def _first_frame(tables: Tables) -> list[Row]:
        rows = tables.rows("diffrn_scan_frame_axis")
        frame = rows[0].get("frame_id") if rows else None
        return [row for row in rows if row.get("frame_id") == frame]

    @staticmethod
    def _axis(tables: Tables, row: Row) -> Axis:
        vector = [tables.number(row, f"vector[{k}]") for k in (1, 2, 3)]
        offset = [tables.number(row, f"offset[{k}]") for k in (1, 2, 3)]
        return Axis(
            row["id"],
            row.get("type", "general").lower(),
            row.get("equipment", "").lower(),
            row.get("depends_on", ""),
            np.array(vector),
            np.array(offset),
            row.get("equipment_component", ""),
        )

    def __iter__(self) -> Iterator[Axis]:
        return iter(self._axes.values())

    def __getitem__(self, name: str) -> Axis:
        axis = self._axes.get(name)
        if axis is None:
            raise DataError(f"The header of {self.path} names the axis {name!r}, but does not describe it.")
        return axis

    def chain(self, name: str) -> list[Axis]:
        """An axis and those that it depends on, to the end.

        Raises
        ------
        DataError
            If an axis is missing or the chain bites its tail.
        """
        found: list[Axis] = []
        while name:
            axis = self[name]
            if len(found) == MAX_CHAIN:
                raise DataError(f"The axes in the header of {self.path} depend on one another in a circle at {name!r}.")
            found.append(axis)
            name = axis.depends_on
        return found

    def source(self) -> Array:
        """(3,) direction from the sample to the source."""
        for axis in self:
            if axis.equipment == "source" and np.linalg.norm(axis.vector) > 0:
                return axis.vector
        return np.array([0.0, 0.0, 1.0])
