"""Mean and variance of the good pixels in a window round each pixel."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def local_statistics(image: Array, mask: NDArray[np.bool_], half: Sequence[int]) -> tuple[Array, Array, Array]:
    """Count, mean and sample variance of the good pixels of each window, cut at the edges of the image.

    Parameters
    ----------
    image : (slow, fast)
    mask : (slow, fast), True is good
    half
        Pixels that a window reaches to either side along slow and fast.

    Returns
    -------
    count, mean, variance : (slow, fast)
        0 where too few pixels are good: one for a mean, two for a variance.
    """
    centre = float(np.median(image[mask])) if mask.any() else 0.0
    values = np.where(mask, image - centre, 0.0)  # near 0, so that little is lost in the difference of large sums
    count = _window_sums(mask.astype(np.float64), half)
    total, squares = _window_sums(values, half), _window_sums(values * values, half)
    mean = np.divide(total, count, out=np.zeros_like(total), where=count > 0)
    variance = np.divide(squares - total * mean, count - 1, out=np.zeros_like(total), where=count > 1)
    return count, np.where(count > 0, mean + centre, 0.0), np.maximum(variance, 0.0)


def _window_sums(values: Array, half: Sequence[int]) -> Array:
    """Sums over windows, cut at the edges."""
    for axis, reach in enumerate(half):
        n = values.shape[axis]
        sums = np.cumsum(values, axis=axis)
        sums = np.concatenate([np.zeros_like(sums.take([0], axis=axis)), sums], axis=axis)
        at = np.arange(n)
        upper, lower = np.minimum(at + reach + 1, n), np.maximum(at - reach, 0)
        values = sums.take(upper, axis=axis) - sums.take(lower, axis=axis)
    return values
