"""Shoeboxes: the pixels round each reflection, packed one after another."""

from __future__ import annotations

from enum import IntFlag

import numpy as np
from attrs import define
from numpy.typing import NDArray


class MaskBit(IntFlag):
    """Bits of a shoebox voxel, as DIALS numbers them."""

    VALID = 1
    BACKGROUND = 2
    FOREGROUND = 4
    STRONG = 8
    BACKGROUND_USED = 16
    OVERLAPPED = 32


def box_sizes(bbox: NDArray[np.int32]) -> NDArray[np.int64]:
    """(n,) voxels of each box (n, 6) x0, x1, y0, y1, z0, z1."""
    b = np.asarray(bbox, dtype=np.int64)
    return (b[:, 1] - b[:, 0]) * (b[:, 3] - b[:, 2]) * (b[:, 5] - b[:, 4])


def box_offsets(bbox: NDArray[np.int32]) -> NDArray[np.int64]:
    """(n + 1,) where each box starts in arrays that hold all boxes one after another."""
    return np.concatenate([[0], np.cumsum(box_sizes(bbox))]).astype(np.int64)


@define(eq=False)
class Shoeboxes:
    """Boxes of voxels, each in the order [z][y][x], packed in the order of the rows.

    Attributes
    ----------
    panel : (n,) uint32
    bbox : (n, 6) int32, half open x0, x1, y0, y1, z0, z1
    offsets : (n + 1,) int64, box i holds voxels offsets[i] to offsets[i + 1]
    data, background : (N,) float32
    mask : (N,) int32 of `MaskBit`
    """

    panel: NDArray[np.uint32]
    bbox: NDArray[np.int32]
    offsets: NDArray[np.int64]
    data: NDArray[np.float32]
    mask: NDArray[np.int32]
    background: NDArray[np.float32]

    @classmethod
    def allocate(cls, panel: NDArray[np.uint32], bbox: NDArray[np.int32]) -> Shoeboxes:
        """Boxes full of zeros."""
        offsets = box_offsets(bbox)
        total = int(offsets[-1])
        return cls(
            np.asarray(panel, dtype=np.uint32),
            np.asarray(bbox, dtype=np.int32),
            offsets,
            np.zeros(total, np.float32),
            np.zeros(total, np.int32),
            np.zeros(total, np.float32),
        )

    def __len__(self) -> int:
        return len(self.panel)

    def box(self, i: int) -> tuple[NDArray[np.float32], NDArray[np.int32], NDArray[np.float32]]:
        """Data, mask and background of box i as views of shape (nz, ny, nx)."""
        x0, x1, y0, y1, z0, z1 = self.bbox[i]
        part = slice(self.offsets[i], self.offsets[i + 1])
        shape = (z1 - z0, y1 - y0, x1 - x0)
        if self.offsets[i] == self.offsets[i + 1]:
            shape = (0, 0, 0)
        return self.data[part].reshape(shape), self.mask[part].reshape(shape), self.background[part].reshape(shape)

    def select(self, rows: NDArray[np.int64]) -> Shoeboxes:
        """The boxes of these rows, in their order."""
        rows = np.asarray(rows)
        sizes = np.diff(self.offsets)[rows]
        offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        voxels = np.repeat(self.offsets[:-1][rows] - offsets[:-1], sizes) + np.arange(offsets[-1])
        return Shoeboxes(
            self.panel[rows], self.bbox[rows], offsets, self.data[voxels], self.mask[voxels], self.background[voxels]
        )

    @classmethod
    def concatenate(cls, parts: list[Shoeboxes]) -> Shoeboxes:
        join = np.concatenate
        sizes = join([np.diff(p.offsets) for p in parts])
        return cls(
            join([p.panel for p in parts]),
            join([p.bbox for p in parts]),
            np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
            join([p.data for p in parts]),
            join([p.mask for p in parts]),
            join([p.background for p in parts]),
        )
