"""A small picture of spots against images."""

from __future__ import annotations

from typing import Any

import numpy as np

ROWS, WIDTH = 12, 40


def histogram(z: Any) -> str:
    """Spots per image as lines of text.

    Parameters
    ----------
    z : (n,) array index of each spot (image number n covers [n - 1, n))
    """
    image = np.floor(np.asarray(z)).astype(np.int64) + 1
    first, last = int(image.min()), int(image.max())
    size = -(-(last - first + 1) // ROWS)
    starts = np.arange(first, last + 1, size)
    ends = np.minimum(starts + size - 1, last)
    counts = np.bincount((image - first) // size, minlength=len(starts)) / (ends - starts + 1)
    names = [f"{a}" if a == b else f"{a}-{b}" for a, b in zip(starts, ends, strict=True)]
    width = max(map(len, [*names, "images"]))
    lines = [f"{'images':>{width}}  spots per image"]
    for name, n in zip(names, counts, strict=True):
        lines.append(f"{name:>{width}}  {n:8.1f} {'#' * round(WIDTH * n / counts.max())}".rstrip())
    return "\n".join(lines)
