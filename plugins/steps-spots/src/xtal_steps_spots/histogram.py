"""A small picture of spots against images."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

ROWS, WIDTH = 12, 40


def histogram(numbers: NDArray[np.int64], spots: NDArray[np.int64], title: str = "spots per image") -> str:
    """Spots per image as lines of text.

    Parameters
    ----------
    numbers : (n,) of images, in order
    spots : (n,) on each
    title
        Of the column.
    """
    first, last = int(numbers[0]), int(numbers[-1])
    size = -(-(last - first + 1) // ROWS)
    row = (numbers - first) // size
    images, total = np.bincount(row), np.bincount(row, spots)
    rows = np.flatnonzero(images)
    mean = total[rows] / images[rows]
    starts = first + rows * size
    ends = np.minimum(starts + size - 1, last)
    names = [f"{a}" if a == b else f"{a}-{b}" for a, b in zip(starts, ends, strict=True)]
    width = max(map(len, [*names, "images"]))
    lines = [f"{'images':>{width}}  {title}"]
    for name, n in zip(names, mean, strict=True):
        lines.append(f"{name:>{width}}  {n:8.1f} {'#' * round(WIDTH * n / mean.max())}".rstrip())
    return "\n".join(lines)
