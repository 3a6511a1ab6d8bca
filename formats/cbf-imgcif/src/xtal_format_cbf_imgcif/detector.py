"""Panels and their tree."""

from __future__ import annotations

import numpy as np
from attrs import define, field
from numpy.typing import NDArray

from xtal.errors import DataError
from xtal.files import notes
from xtal.files.raw import check_claim
from xtal.models import Detector, Panel
from xtal.models.detector import Group
from xtal_format_cbf_imgcif.axes import Axes, Axis
from xtal_format_cbf_imgcif.tables import Row, Tables

Array = NDArray[np.float64]

MAX_PANELS = 4096


@define
class Tile:
    """A panel's pixels: a section of an array, or the whole of it.

    Attributes
    ----------
    array : identifier of the array
    section : identifier of the section, or ""
    rows : of array_structure_list for the fast and the slow direction
    start : first pixel (fast, slow, depth) within the array, from 0
    """

    array: str
    section: str
    rows: dict[int, Row] = field(factory=dict)
    start: list[int] = field(factory=lambda: [0, 0, 0])

    @property
    def name(self) -> str:
        return self.section or self.array


def tiles_of(tables: Tables) -> list[Tile]:
    """The panels in the order of the table array_structure_list; of an array with sections these only."""
    found: dict[tuple[str, str], Tile] = {}
    for row in tables.rows("array_structure_list"):
        key = row.get("array_id", ""), row.get("array_section_id", row.get("array_section", ""))
        tile = found.setdefault(key, Tile(*key))
        precedence = tables.integer(row, "precedence", tables.integer(row, "index", 1))
        tile.rows[precedence] = row
        if len(found) > MAX_PANELS:
            raise DataError(f"The header of {tables.path} names more than {MAX_PANELS} panels.")
    divided = {tile.array for tile in found.values() if tile.section}
    tiles = [tile for tile in found.values() if tile.section or tile.array not in divided]
    by_section = {tile.section: tile for tile in tiles if tile.section}
    for row in tables.rows("array_structure_list_section"):
        place = by_section.get(row.get("id", ""))
        index = tables.integer(row, "index", 1)
        if place is not None and 1 <= index <= 3:
            place.start[index - 1] = tables.integer(row, "start", 1) - 1
    if not tiles:
        raise DataError(f"The header of {tables.path} does not describe the array of pixels (array_structure_list).")
    return tiles


def size_of(tables: Tables, tile: Tile) -> tuple[int, int]:
    """(fast, slow) pixels of a panel."""
    size = [tables.integer(tile.rows.get(k, {}), "dimension") for k in (1, 2)]
    check_claim(tables.path, size[1], size[0])
    return size[0], size[1]


class DetectorMaker:
    """Makes the detector of the tables."""

    def __init__(self, tables: Tables, axes: Axes) -> None:
        self.tables, self.axes = tables, axes
        self._steps = {}
        for row in tables.rows("array_structure_list_axis"):
            self._steps[row.get("axis_set_id", row.get("axis_id", ""))] = row
        self._groups: dict[str, Group] = {}
        self._root = Group()

    def detector(self) -> Detector:
        """All panels; those of a detector of several stand in a tree after the components of their axes."""
        tiles = tiles_of(self.tables)
        panels = [self._panel(tile) for tile in tiles]
        first = panels[0]
        notes.read("panels", len(panels), "_array_structure_list")
        notes.read("pixel size", first.pixel_size, "_array_structure_list_axis.displacement_increment")
        notes.read("origin", first.origin, "_axis, the chain of the panel's axes")
        notes.read("trusted range", first.trusted_range, "_array_intensities: undefined_value + 1 to overload - 1")
        if len(tiles) == 1:
            return Detector(panels)
        for k, tile in enumerate(tiles):
            self._parent(tile).children.append(k)
        return Detector(panels, self._root)

    def _surface(self, tile: Tile, precedence: int) -> tuple[Axis, Row, float]:
        """The axis along one direction of a panel, its row of steps, and the size of a pixel in mm."""
        row = tile.rows.get(precedence, {})
        name = row.get("axis_set_id", "")
        steps = self._steps.get(name, {})
        axis = self.axes[steps.get("axis_id", name)]
        pixel = self.tables.number(steps, "displacement_increment")
        if pixel == 0:
            pixel = 1000 * self._element_size(tile.array, precedence)
        if pixel == 0 or not axis.vector.any():
            raise DataError(f"The header of {self.tables.path} does not say the size of pixels of {tile.name}.")
        return axis, steps, pixel

    def _element_size(self, array: str, index: int) -> float:
        for row in self.tables.rows("array_element_size"):
            if row.get("array_id") == array and self.tables.integer(row, "index") == index:
                return self.tables.number(row, "size")
        return 0.0

    def _panel(self, tile: Tile) -> Panel:
        size = size_of(self.tables, tile)
        matrix, directions, pixels = np.eye(4), [], []
        settings = {}
        surfaces = [self._surface(tile, precedence) for precedence in (1, 2)]
        for k, (axis, steps, pixel) in enumerate(surfaces):
            start, sign = self.tables.number(steps, "displacement"), 1.0
            if tile.rows[k + 1].get("direction", "").lower() == "decreasing":
                # the first pixel stored has the highest index
                start, sign = start + size[k] * pixel, -1.0
            settings[axis.name] = start
            directions.append(sign * axis.vector / np.linalg.norm(axis.vector))
            pixels.append(pixel)
        chain = max((self.axes.chain(axis.name) for axis, _, _ in surfaces), key=len)
        if any(axis not in chain for axis, _, _ in surfaces):
            raise DataError(f"Of the two axes of {tile.name} in {self.tables.path} neither depends on the other.")
        for axis in reversed(chain):
            matrix = matrix @ axis.transform(settings.get(axis.name, 0.0))
        # rotations do not stand between the two axes of a surface
        fast, slow = (matrix[:3, :3] @ direction for direction in directions)
        if abs(fast @ slow) > 1e-3:
            raise DataError(f"The axes of the panel {tile.name} in {self.tables.path} are not at right angles.")
        low, high, gain = self._intensities(tile.array)
        return Panel(
            fast, slow, matrix[:3, 3], size, (pixels[0], pixels[1]),
            trusted_range=(low, high), gain=gain, name=tile.name,
        )  # fmt: skip

    def _intensities(self, array: str) -> tuple[float, float, float]:
        """Lowest and highest good value, and gain; the undefined value and the overload are themselves bad."""
        rows = self.tables.rows("array_intensities")
        row = next((r for r in rows if r.get("array_id", array) == array), {})
        undefined = self.tables.number(row, "undefined_value", -1.0)
        low = self.tables.number(row, "underload", undefined + 1)
        high = self.tables.number(row, "overload", 1e6 + 1) - 1
        if low >= high:
            low, high = 0.0, 1e6
        return low, high, self.tables.number(row, "gain", 1.0) or 1.0

    # --- the tree ---------------------------------------------------------------

    def _parent(self, tile: Tile) -> Group:
        """The group that a panel stands in: that of the first axis of another component, else the root."""
        return self._group(self._outside(self._surface(tile, 1)[0]))

    def _outside(self, axis: Axis) -> Axis | None:
        """The first axis of the chain that is of another component."""
        return next((a for a in self.axes.chain(axis.name) if a.component != axis.component), None)

    def _group(self, axis: Axis | None) -> Group:
        if axis is None:
            return self._root
        if axis.name in self._groups:
            return self._groups[axis.name]
        outside = self._outside(axis)
        parent = self._group(outside)
        matrix = np.eye(4)
        for one in reversed(self.axes.chain(axis.name)):
            matrix = matrix @ one.transform()
        # the outermost component is the root; a second one without anything outside stands in it
        group = self._root if outside is None and not self._root.name else Group()
        group.fast_axis, group.slow_axis, group.origin = matrix[:3, 0], matrix[:3, 1], matrix[:3, 3]
        group.name = axis.name
        self._groups[axis.name] = group
        if group is not self._root:
            parent.children.append(group)
        return group
