"""Several panels in one picture."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from xtal.models import Beam, Detector

Array = NDArray[np.float64]


class Mosaic:
    """Places panels, turned by whole right angles, on a canvas.

    Parameters
    ----------
    detector, beam
        The geometry.
    projection
        "image": as the raw image has them, where it is known; else, and for "lab", as seen along the beam,
        with the fast axis of the first panel to the right.
    """

    def __init__(self, detector: Detector, beam: Beam, projection: str) -> None:
        offsets = [panel.raw_image_offset for panel in detector]
        if projection == "image" and len(detector) > 1 and any(o != offsets[0] for o in offsets):
            self.turns = [np.eye(2, dtype=int)] * len(detector)
            corners = np.array(offsets)
        else:
            self.turns, corners = _projected(detector, beam)
        sizes = [np.abs(t @ np.array(p.image_size)) for t, p in zip(self.turns, detector, strict=True)]
        self.corners = corners - corners.min(axis=0)
        fast, slow = (self.corners + sizes).max(axis=0)
        self.shape = (int(slow), int(fast))

    def place(self, panels: Sequence[NDArray[np.generic]], empty: float) -> Array:
        """(slow, fast) of the canvas with the arrays of the panels on it."""
        if len(panels) == 1 and (self.turns[0] == np.eye(2, dtype=int)).all():
            return np.asarray(panels[0], dtype=np.float64)
        canvas = np.full(self.shape, empty)
        for values, (x, y), turn in zip(panels, self.corners, self.turns, strict=True):
            turned = _turned(values, turn)
            canvas[y : y + turned.shape[0], x : x + turned.shape[1]] = turned
        return canvas


def _projected(detector: Detector, beam: Beam) -> tuple[list[NDArray[np.int_]], NDArray[np.int_]]:
    """Per panel: how its axes lie on the canvas, nearest to a right angle, and its upper left corner, px."""
    first = detector[0]
    right = first.fast_axis - (first.fast_axis @ beam.direction) * beam.direction
    right /= np.linalg.norm(right)
    down = first.slow_axis - (first.slow_axis @ beam.direction) * beam.direction
    down -= (down @ right) * right
    down /= np.linalg.norm(down)
    frame = np.stack([right, down])
    turns, corners = [], []
    for panel in detector:
        axes = frame @ np.stack([panel.fast_axis, panel.slow_axis], axis=1)
        turn = np.zeros((2, 2), int)
        row = int(abs(axes[1, 0]) > abs(axes[0, 0]))
        turn[row, 0], turn[1 - row, 1] = np.sign(axes[row, 0]), np.sign(axes[1 - row, 1]) or 1
        extent = turn @ np.array(panel.image_size)
        corners.append(np.round(frame @ panel.origin / first.pixel_size[0]).astype(int) + np.minimum(extent, 0))
        turns.append(turn)
    return turns, np.array(corners)


def _turned(values: NDArray[np.generic], turn: NDArray[np.int_]) -> NDArray[np.generic]:
    """A panel's array with its fast and slow axes where the canvas wants them."""
    fast_sign, slow_sign = turn[:, 0].sum(), turn[:, 1].sum()
    values = values[:: int(slow_sign), :: int(fast_sign)]
    return values.T if turn[1, 0] else values
