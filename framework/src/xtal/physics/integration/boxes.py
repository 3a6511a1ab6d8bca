"""Boxes round predicted reflections, filled from a stream of frames."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from attrs import define, field
from numpy.typing import NDArray

from xtal.physics.integration.kernels import gather
from xtal.physics.integration.summation import take_boxes
from xtal.table import Shoeboxes
from xtal.table.shoebox import box_sizes

Ints = NDArray[np.int64]


def footprint_boxes(bbox: NDArray[np.int32]) -> Ints:
    """(n + 1,) where the footprint (one layer [y][x]) of each box starts in a packed array."""
    b = np.asarray(bbox, dtype=np.int64)
    return np.concatenate([[0], np.cumsum((b[:, 1] - b[:, 0]) * (b[:, 3] - b[:, 2]))]).astype(np.int64)


def chunks_of_frames(
    bbox: NDArray[np.int32], array_range: tuple[int, int], max_voxels: int, max_frames: int = 16
) -> list[tuple[int, int]]:
    """Cut a scan into runs of frames whose boxes hold at most ``max_voxels`` voxels (or one frame).

    Returns
    -------
    list of (first, last + 1) array indices of frames
    """
    first, last = array_range
    layer = box_sizes(bbox) // np.maximum(bbox[:, 5] - bbox[:, 4], 1)
    change = np.zeros(last - first + 1)
    np.add.at(change, np.clip(bbox[:, 4] - first, 0, last - first), layer)
    np.add.at(change, np.clip(bbox[:, 5] - first, 0, last - first), -layer)
    per_frame = np.cumsum(change)[:-1]
    chunks, start, held = [], first, 0.0
    for frame in range(first, last):
        if frame > start and (held + per_frame[frame - first] > max_voxels or frame - start >= max_frames):
            chunks.append((start, frame))
            start, held = frame, 0.0
        held += per_frame[frame - first]
    return [*chunks, (start, last)]


@define
class Gatherer:
    """Fills the parts of boxes that fall into a run of frames.

    Parameters
    ----------
    panel : (n,) of the boxes; bbox : (n, 6) cut to the run in z
    footprint : packed layers of the boxes, uint8, 1 in the foreground
    top : highest trusted value of each panel
    core : (n, 2) frames, first and last + 1, on which the foreground covers that of others; all of the box's without it
    """

    panel: Ints
    bbox: NDArray[np.int32]
    footprint: NDArray[np.uint8]
    top: Sequence[float]
    core: NDArray[np.int32] | None = None
    boxes: Shoeboxes = field(init=False)
    overloaded: NDArray[np.uint8] = field(init=False)
    _layers: Ints = field(init=False)
    _cover: dict[tuple[int, int], NDArray[np.uint8]] = field(init=False, factory=dict)

    def __attrs_post_init__(self) -> None:
        offsets = np.concatenate([[0], np.cumsum(box_sizes(self.bbox))]).astype(np.int64)
        n = int(offsets[-1])
        # Every voxel of a box within the scan is written by a frame, so nothing is cleared first.
        data, mask = np.empty(n, np.float32), np.empty(n, np.int32)
        panel = np.asarray(self.panel, dtype=np.uint32)
        self.boxes = Shoeboxes(panel, self.bbox, offsets, data, mask, np.empty(n, np.float32))
        self.overloaded = np.zeros(len(self.bbox), np.uint8)
        self._layers = footprint_boxes(self.bbox)

    def add(
        self,
        z: int,
        images: Sequence[NDArray[np.generic]],
        good: Sequence[NDArray[np.bool_]],
        static: Sequence[NDArray[np.bool_]],
    ) -> None:
        """Take one frame: raw images, usable pixels of this frame and of every frame, per panel."""
        active = (self.bbox[:, 4] <= z) & (self.bbox[:, 5] > z)
        for p, image in enumerate(images):
            rows = np.flatnonzero(active & (self.panel == p))
            if len(rows) == 0:
                continue
            if image.shape not in self._cover:
                self._cover[image.shape] = np.zeros(image.shape, np.uint8)
            cover = self._cover[image.shape]
            b, core = self.boxes, self.bbox[:, 4:] if self.core is None else self.core
            gather(
                image, good[p], static[p], float(self.top[p]), rows, self.bbox,
                np.ascontiguousarray(core, dtype=np.int32), b.offsets, self._layers, self.footprint, z, cover,
                b.data, b.mask, self.overloaded,
            )  # fmt: skip


@define
class OpenBoxes:
    """Boxes that reach over the end of a run of frames, completed by the next ones."""

    rows: Ints
    boxes: Shoeboxes
    overloaded: NDArray[np.uint8]
    filled: int

    @classmethod
    def empty(cls) -> OpenBoxes:
        """No boxes."""
        none = Shoeboxes.allocate(np.empty(0, np.uint32), np.empty((0, 6), np.int32))
        return cls(np.empty(0, np.int64), none, np.empty(0, np.uint8), 0)

    def update(
        self, rows: Ints, panel: Ints, bbox: NDArray[np.int32], part: Shoeboxes, overloaded: NDArray[np.uint8], end: int
    ) -> tuple[OpenBoxes, OpenBoxes]:
        """Add parts of boxes from the next run of frames.

        Parameters
        ----------
        rows : (k,) sorted; panel, bbox : of the whole boxes of these rows
        part : the parts; overloaded : (k,)
        end : array index after the run

        Returns
        -------
        done, still_open : `OpenBoxes`; those that end by ``end`` and the others
        """
        new = ~np.isin(rows, self.rows)
        fresh = Shoeboxes.allocate(panel[new].astype(np.uint32), bbox[new])
        everything = Shoeboxes.concatenate([self.boxes, fresh])
        all_rows = np.concatenate([self.rows, rows[new]])
        order = np.argsort(all_rows, kind="stable")
        boxes, all_rows = take_boxes(everything, order), all_rows[order]
        over = np.concatenate([self.overloaded, np.zeros(int(new.sum()), np.uint8)])[order]
        at = np.searchsorted(all_rows, rows)
        over[at] |= overloaded
        b = bbox.astype(np.int64)
        layer = (b[:, 1] - b[:, 0]) * (b[:, 3] - b[:, 2])
        start = boxes.offsets[at] + layer * (part.bbox[:, 4] - b[:, 4])
        sizes = np.diff(part.offsets)
        target = np.repeat(start - part.offsets[:-1], sizes) + np.arange(part.offsets[-1])
        boxes.data[target], boxes.mask[target] = part.data, part.mask
        done = boxes.bbox[:, 5] <= end
        return tuple(  # type: ignore[return-value]  # as many as were given
            OpenBoxes(all_rows[k], take_boxes(boxes, k), over[k], end)
            for k in (np.flatnonzero(done), np.flatnonzero(~done))
        )
