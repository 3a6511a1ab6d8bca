"""Boxes round predicted reflections, filled from a stream of frames."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
from attrs import define, field
from numpy.typing import NDArray

from xtal.physics.integration.foreground import Values, copy_counts
from xtal.physics.integration.kernels import gather, put_layers
from xtal.table import Shoeboxes
from xtal.table.shoebox import box_sizes

Ints = NDArray[np.int64]


def footprint_boxes(bbox: NDArray[np.int32]) -> Ints:
    """(n + 1,) where the footprint (one layer [y][x]) of each box starts in a packed array."""
    b = np.asarray(bbox, dtype=np.int64)
    return np.concatenate([[0], np.cumsum((b[:, 1] - b[:, 0]) * (b[:, 3] - b[:, 2]))]).astype(np.int64)


def batches_of_voxels(sizes: Ints, most: int) -> list[slice]:
    """Cut boxes of these sizes into batches of at most ``most`` voxels without their first boxes."""
    edges = np.flatnonzero(np.diff(np.cumsum(sizes) // most)) + 1
    return [slice(a, b) for a, b in itertools.pairwise(np.unique([0, *edges, len(sizes)]).tolist())]


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
class Layers:
    """Layers of boxes from one run of frames, of boxes that the same later run completes (or this one).

    Attributes
    ----------
    rows : (k,) numbers of the boxes, sorted
    bbox : (k, 6) cut to the run in z
    offsets : (k,) first voxels
    data, mask : as in `Shoeboxes`, but a mask takes a quarter of the room, and data half where they are plain counts
    overloaded : (k,) uint8
    """

    rows: Ints
    bbox: NDArray[np.int32]
    offsets: Ints
    data: Values
    mask: NDArray[np.uint8]
    overloaded: NDArray[np.uint8]

    @classmethod
    def copied(cls, rows: Ints, boxes: Shoeboxes, overloaded: NDArray[np.uint8], start: int, stop: int) -> Layers:
        """Boxes start to stop of a `Gatherer`, in arrays of their own, that do not keep the others alive."""
        part = slice(int(boxes.offsets[start]), int(boxes.offsets[stop]))
        return cls(
            rows[start:stop], boxes.bbox[start:stop], boxes.offsets[start:stop] - part.start,
            copy_counts(boxes.data[part]), boxes.mask[part].astype(np.uint8), overloaded[start:stop],
        )  # fmt: skip


@define
class OpenBoxes:
    """Boxes that reach over the end of a run of frames: their layers, kept by the end of the run that completes them.

    So each layer is copied once more, into the whole box, and is let go with the last frame of its box.
    """

    _kept: dict[int, list[Layers]] = field(init=False, factory=dict)

    def add(self, parts: dict[int, Layers]) -> None:
        """Keep what one run of frames holds of boxes, by the end of the run that completes them."""
        for end, layers in parts.items():
            self._kept.setdefault(end, []).append(layers)

    def completed(
        self, end: int, panel: Ints, bbox: NDArray[np.int32], max_voxels: int
    ) -> Iterator[tuple[Ints, Shoeboxes, NDArray[np.uint8]]]:
        """Let go the boxes that are complete with the run of frames that ends here.

        Parameters
        ----------
        panel, bbox : of all whole boxes, by their numbers
        max_voxels : of a batch without its first box; with the last run all boxes are complete that are still open

        Yields
        ------
        rows : (k,) sorted
        boxes : without background
        overloaded : (k,) uint8
        """
        parts = self._kept.pop(end, [])
        every = np.unique(np.concatenate([np.empty(0, np.int64), *(p.rows for p in parts)]))
        for rows in (every[batch] for batch in batches_of_voxels(box_sizes(bbox[every]), max_voxels)):
            boxes = Shoeboxes.allocate(panel[rows].astype(np.uint32), bbox[rows])
            overloaded = np.zeros(len(rows), np.uint8)
            for part in parts:
                mine = slice(*np.searchsorted(part.rows, [rows[0], rows[-1] + 1]))
                at = np.searchsorted(rows, part.rows[mine])
                overloaded[at] |= part.overloaded[mine]
                put_layers(
                    at, part.bbox[mine], part.offsets[mine], part.data, part.mask, boxes.bbox, boxes.offsets,
                    boxes.data, boxes.mask,
                )  # fmt: skip
            yield rows, boxes, overloaded
