"""Masks of shapes that are drawn on a panel, in pixels (fast, slow)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]


def circle_mask(shape: tuple[int, int], x: float, y: float, radius: float) -> Mask:
    """Pixels of a panel whose indices (column, row) lie within a circle; so does DIALS count, half a pixel off centres.

    Parameters
    ----------
    shape
        (slow, fast) of the panel.
    x, y, radius
        Centre and radius, px.

    Returns
    -------
    (slow, fast) bool, True inside
    """
    rows, columns = np.arange(shape[0]), np.arange(shape[1])
    return np.asarray((columns[None, :] - x) ** 2 + (rows[:, None] - y) ** 2 < radius**2)


def polygon_mask(shape: tuple[int, int], corners: Sequence[tuple[float, float]]) -> Mask:
    """Pixels of a panel whose centres lie within a polygon (even-odd rule).

    Parameters
    ----------
    shape
        (slow, fast) of the panel.
    corners
        (fast, slow) of at least three corners, px; the polygon is closed by itself.

    Returns
    -------
    (slow, fast) bool, True inside
    """
    inside = np.zeros(shape, bool)
    columns = np.arange(shape[1]) + 0.5
    edges = list(zip(corners, [*corners[1:], corners[0]], strict=True))
    for row in range(shape[0]):
        y = row + 0.5
        crossings = [x0 + (y - y0) * (x1 - x0) / (y1 - y0) for (x0, y0), (x1, y1) in edges if (y0 > y) != (y1 > y)]
        for x in crossings:
            inside[row] ^= columns < x
    return inside
