"""From strong pixels to spots with sizes, centroids and boxes."""

from __future__ import annotations

import numpy as np
from attrs import evolve, frozen
from numpy.typing import NDArray

from xtal.physics.spots.kernels import fill_boxes, label, measure, pixels_near
from xtal.physics.spots.pixels import StrongPixels
from xtal.table import Flag, MaskBit, ReflectionTable, Shoeboxes

F = NDArray[np.float64]

PIXEL_VARIANCE = 1.0 / 12.0
"""Variance of a position that is known to one pixel only, added to that of every centroid (as in DIALS)."""

REACH = 5
"""Pixels around a pair in which it must be alone: those in which `dispersion_extended` looks for background."""


@frozen
class Spots:
    """Connected strong pixels of one panel; coordinates are x, y (px), frame, pixel centres at +0.5.

    Attributes
    ----------
    pixels : what they are made of
    labels : (n_pixels,) int32, spot of each pixel
    rows : (n_found,) int64, row of each label, -1 where it was dropped
    count : (n,) int32 pixels
    bbox : (n, 6) int32, half open
    total, total_squares : (n,) sums of values and of their squares
    centroid, spread : (n, 3) means, and sums of value times squared distance to the mean
    peak_value : (n,) ; peak : (n, 3) highest pixel
    """

    pixels: StrongPixels
    labels: NDArray[np.int32]
    rows: NDArray[np.int64]
    count: NDArray[np.int32]
    bbox: NDArray[np.int32]
    total: F
    total_squares: F
    centroid: F
    spread: F
    peak_value: F
    peak: F

    def __len__(self) -> int:
        return len(self.count)

    def select(self, keep: NDArray[np.bool_]) -> Spots:
        """The spots where ``keep``, in their order."""
        number = np.where(keep, np.cumsum(keep) - 1, -1)
        rows = np.where(self.rows >= 0, number[np.maximum(self.rows, 0)] if len(keep) else -1, -1)
        return Spots(
            self.pixels, self.labels, rows, self.count[keep], self.bbox[keep], self.total[keep],
            self.total_squares[keep], self.centroid[keep], self.spread[keep], self.peak_value[keep], self.peak[keep],
        )  # fmt: skip

    def first_pixels(self) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """(n,) frame and (n,) index of the first pixel of each spot: what they are ordered by."""
        at = np.empty(len(self), np.int64)
        rows = self.rows[self.labels]
        kept = np.flatnonzero(rows >= 0)[::-1]
        at[rows[kept]] = kept
        frame = np.searchsorted(self.pixels.starts, at, side="right") - 1
        return frame + self.pixels.first, self.pixels.index[at]

    def lone_pairs(self) -> NDArray[np.bool_]:
        """(n,) whether a spot is two neighbours on one frame, and no other strong pixel lies within `REACH` of them.

        To be asked before others are dropped (`compact`): they are near, too.
        """
        lone = (self.count == 2) & (self.bbox[:, 5] - self.bbox[:, 4] == 1)
        pairs, p = np.flatnonzero(lone), self.pixels
        near = np.empty(len(pairs), np.int64)
        pixels_near(p.index, p.starts, p.width, p.first, pairs, self.bbox, REACH, near)
        lone[pairs] = near == 2
        return lone

    def peak_distance(self) -> F:
        """(n,) distance of the highest pixel from the centroid, in pixels and frames."""
        return np.asarray(np.sqrt(((self.peak - self.centroid) ** 2).sum(axis=1)))

    def centroid_variance(self) -> F:
        """(n, 3) squared standard error of the centroid, px and frames.

        The intensity-weighted sample variance, unbiased for weights v (W = sum v, Q = sum v v),
        is S W / (W W - Q); divided by W, plus 1/12 for the pixels themselves (DIALS 3.12). A
        spot without positive sum has variance 0, which keeps it out of refinement.
        """
        w, q = self.total[:, None], self.total_squares[:, None]
        with np.errstate(divide="ignore", invalid="ignore"):
            variance = np.where(w * w > q, self.spread / (w * w - q), 0.0) + PIXEL_VARIANCE
        return np.where(w > 0, variance, 0.0)

    def compact(self) -> Spots:
        """The same spots, holding no other pixels than theirs."""
        rows = self.rows[self.labels]
        mine = rows >= 0
        pixels = self.pixels.select(mine, 0)
        return evolve(self, pixels=pixels, labels=rows[mine].astype(np.int32), rows=np.arange(len(self)))

    def fill(self, boxes: Shoeboxes, at: NDArray[np.int64], first_frame: int) -> None:
        """Put values and mask of the strong pixels into boxes.

        Parameters
        ----------
        boxes
            Zeros, or what other spots have filled.
        at
            (n,) row of ``boxes`` for each spot, -1 where it has none.
        first_frame
            Array index z of frame 0.
        """
        rows = np.where(self.rows >= 0, at[self.rows] if len(at) else -1, -1)
        p, code = self.pixels, np.int32(MaskBit.VALID | MaskBit.FOREGROUND)
        fill_boxes(
            p.index, p.value, p.starts, p.width, p.first + first_frame, self.labels, rows, boxes.bbox,
            boxes.offsets, code, boxes.data, boxes.mask,
        )  # fmt: skip

    def table(self, panel: int, experiment: int, first_frame: int) -> ReflectionTable:
        """Columns of a fresh table of strong spots, as DIALS names them, without their pixels.

        Parameters
        ----------
        panel
            Number of the panel.
        experiment
            Value of the column ``id``.
        first_frame
            Array index z of frame 0.
        """
        n = len(self)
        columns = {
            "bbox": self.bbox + np.array([0, 0, 0, 0, first_frame, first_frame], dtype=np.int32),
            "flags": np.full(n, int(Flag.STRONG), np.uint64),
            "id": np.full(n, experiment, np.int32),
            "intensity.sum.value": self.total,
            "intensity.sum.variance": np.abs(self.total),
            "n_signal": self.count,
            "panel": np.full(n, panel, np.uint64),
            "xyzobs.px.value": self.centroid + np.array([0.0, 0.0, first_frame]),
            "xyzobs.px.variance": self.centroid_variance(),
        }
        return ReflectionTable(columns, n_rows=n)


def find_spots(pixels: StrongPixels, *, link_frames: bool) -> Spots:
    """Join strong pixels that are neighbours.

    Pixels are joined if they share an edge in the plane or, where ``link_frames``, are the same
    pixel of successive frames (6-connectivity). Spots come in the order of their first pixel.

    Parameters
    ----------
    pixels
        Of one panel.
    link_frames
        False for stills.
    """
    p = pixels
    labels = np.empty(len(p), np.int32)
    n = label(p.index, p.starts, p.width, link_frames, labels)
    count, bbox = np.zeros(n, np.int32), np.zeros((n, 6), np.int32)
    sums, peak = np.zeros((n, 8)), np.zeros((n, 4))
    measure(p.index, p.value, p.starts, p.width, p.first, labels, count, bbox, sums, peak)
    total = sums[:, 0].copy()
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = sums[:, 2:5] / total[:, None]
    middle = (bbox[:, 0::2] + bbox[:, 1::2]) / 2
    mean = np.where(total[:, None] > 0, mean, middle)
    rows = np.arange(n, dtype=np.int64)
    return Spots(p, labels, rows, count, bbox, total, sums[:, 1].copy(), mean, sums[:, 5:8], peak[:, 0], peak[:, 1:])
