"""Finished boxes that wait for their fit: of each only the foreground, in as little room as holds it exactly."""

from __future__ import annotations

import numpy as np
from attrs import define, field
from numpy.typing import NDArray

from xtal.physics.integration.kernels import (
    foreground_pixels,
    pack_foreground,
    unpack_foreground,
)
from xtal.table import Shoeboxes

Ints = NDArray[np.int64]
Values = NDArray[np.float32] | NDArray[np.uint16]


def copy_counts(values: NDArray[np.float32]) -> Values:
    """A copy, in half the room where all are whole numbers below 65536, as counts of photons are."""
    with np.errstate(invalid="ignore"):  # what does not fit becomes another number
        whole = values.astype(np.uint16)
    return whole if np.array_equal(whole, values) else values.copy()


@define
class Foreground:
    """The foreground of some boxes, whose pixels are the same on all layers of a box.

    Attributes
    ----------
    rows : (k,) numbers of the boxes
    panel : (k,); bbox : (k, 6) cut in x and y to the foreground (one pixel where there is none)
    pixels : places of the foreground's pixels in one layer of each box, packed
    starts : (k + 1,) where those of each box start
    data, mask : of all voxels, by box, layer and pixel
    layers : (k,) layers of the background that are kept: one of boxes whose layers are alike
    background : these layers
    voxels, levels : (k,) where each box starts in ``data`` and in ``background``
    """

    rows: Ints
    panel: NDArray[np.uint32]
    bbox: NDArray[np.int32]
    pixels: NDArray[np.int32]
    starts: Ints
    data: Values
    mask: NDArray[np.uint8]
    layers: NDArray[np.int32]
    background: NDArray[np.float32]
    voxels: Ints = field(init=False)
    levels: Ints = field(init=False)

    def __attrs_post_init__(self) -> None:
        numbers = np.diff(self.starts)
        voxels, levels = numbers * (self.bbox[:, 5] - self.bbox[:, 4]), numbers * self.layers
        self.voxels, self.levels = np.cumsum(voxels) - voxels, np.cumsum(levels) - levels

    @classmethod
    def of(cls, rows: Ints, boxes: Shoeboxes, some: Ints) -> Foreground:
        """That of boxes number ``some``, which are ``rows`` elsewhere."""
        b, bbox, numbers = boxes.bbox[some], np.empty((len(some), 6), np.int32), np.empty(len(some), np.int64)
        pixels = np.empty(int(((b[:, 1] - b[:, 0]) * (b[:, 3] - b[:, 2])).sum()), np.int32)
        alike = foreground_pixels(
            some, boxes.bbox, boxes.offsets, boxes.mask, boxes.background, bbox, pixels, numbers
        )  # fmt: skip
        depth = bbox[:, 5] - bbox[:, 4]
        starts = np.concatenate([[0], np.cumsum(numbers)]).astype(np.int64)
        layers = np.minimum(depth, 1) if alike else depth
        n = int(numbers @ depth)
        data, mask = np.empty(n, np.float32), np.empty(n, np.uint8)
        background = np.empty(int(numbers @ layers), np.float32)
        pack_foreground(
            some, boxes.bbox, boxes.offsets, boxes.data, boxes.mask, boxes.background, bbox, pixels, starts, layers,
            data, mask, background,
        )  # fmt: skip
        return cls(
            rows, boxes.panel[some], bbox, pixels[: starts[-1]].copy(), starts, copy_counts(data), mask, layers,
            background,
        )  # fmt: skip


@define
class Foregrounds:
    """Several of them as one (`xtal.hooks.protocols.HeldBoxes`), in the order of the numbers of the boxes.

    Attributes
    ----------
    rows : (n,) these numbers
    panel : (n,); bbox : (n, 6)
    """

    parts: list[Foreground]
    rows: Ints = field(init=False)
    panel: NDArray[np.uint32] = field(init=False)
    bbox: NDArray[np.int32] = field(init=False)
    _part: Ints = field(init=False)
    _place: Ints = field(init=False)

    def __attrs_post_init__(self) -> None:
        rows = np.concatenate([np.empty(0, np.int64), *(p.rows for p in self.parts)])
        order, sizes = np.argsort(rows), [len(p.rows) for p in self.parts]
        self.rows = rows[order]
        self.panel = np.concatenate([np.empty(0, np.uint32), *(p.panel for p in self.parts)])[order]
        self.bbox = np.concatenate([np.empty((0, 6), np.int32), *(p.bbox for p in self.parts)])[order]
        self._part = np.repeat(np.arange(len(sizes)), sizes)[order]
        self._place = np.concatenate([np.empty(0, np.int64), *map(np.arange, sizes)])[order]

    def select(self, rows: Ints) -> Shoeboxes:
        """Boxes, in the order of ``rows``, that are 0 in all that is not foreground."""
        out, part, place = Shoeboxes.allocate(self.panel[rows], self.bbox[rows]), self._part[rows], self._place[rows]
        for k in np.unique(part).tolist():
            here, p = np.flatnonzero(part == k), self.parts[k]
            unpack_foreground(
                place[here], p.bbox, p.pixels, p.starts, p.voxels, p.levels, p.layers,
                p.data.astype(np.float32, copy=False), p.mask, p.background,
                out.offsets[here], out.data, out.mask, out.background,
            )  # fmt: skip
        return out
