"""Pixels that are strong on almost every image: they are hot, not lit."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from xtal.physics.spots import StrongPixels

FEWEST = 10
"""Images without which a pixel cannot be told hot: a reflection may last as long."""


class HotPixels:
    """Counts on how many images each pixel is strong.

    Parameters
    ----------
    shapes
        (slow, fast) of each panel.

    Attributes
    ----------
    images : how many were searched; known when all are
    """

    def __init__(self, shapes: Sequence[tuple[int, int]]) -> None:
        self.shapes = list(shapes)
        self.images = 0
        self._counts = [np.zeros(slow * fast, np.uint16) for slow, fast in shapes]

    def add(self, pixels: Sequence[StrongPixels]) -> None:
        """Take the strong pixels of a block of images, per panel."""
        for counts, p in zip(self._counts, pixels, strict=True):
            for a, b in zip(p.starts[:-1], p.starts[1:], strict=True):
                at = p.index[a:b]  # no pixel twice
                counts[at] += counts[at] < np.iinfo(np.uint16).max

    def found(self, fraction: float) -> list[NDArray[np.int64]]:
        """Per panel: flat indices of pixels that are strong on this part of the images; none of few images."""
        if self.images < FEWEST:
            return [np.empty(0, np.int64) for _ in self._counts]
        return [hot_at(counts, fraction, self.images) for counts in self._counts]

    def masks(self, fraction: float) -> list[NDArray[np.bool_]]:
        """Per panel (slow, fast): True where a pixel is not hot."""
        out = []
        for shape, at in zip(self.shapes, self.found(fraction), strict=True):
            mask = np.ones(shape, bool)
            mask.reshape(-1)[at] = False
            out.append(mask)
        return out


def hot_at(counts: NDArray[np.integer], fraction: float, n_images: int) -> NDArray[np.int64]:
    """Flat indices of pixels that are strong on this part of the images (as many as uint16 counts at most)."""
    return np.flatnonzero(counts >= max(min(math.ceil(fraction * n_images), np.iinfo(np.uint16).max), 1))
