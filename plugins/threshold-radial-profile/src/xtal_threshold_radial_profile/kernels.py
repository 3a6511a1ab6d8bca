"""Histograms of shells, smoothing, and the comparison with each shell's limit."""

from __future__ import annotations

import numpy as np

from xtal.jit import jit


@jit
def shell_histograms(image, mask, shells, lowest, histograms):
    """Count values of good pixels by shell.

    Parameters
    ----------
    image : (n,) integers
    mask : (n,) bool
    shells : (n,) uint16
    lowest : value of the second level; the first level takes what is lower, the last what is higher
    histograms : (n_shells, n_levels) int64, zeros; filled
    """
    top = histograms.shape[1] - 1
    for i in range(len(image)):
        if mask[i]:
            level = min(max(np.int64(image[i]) - lowest + 1, 0), top)
            histograms[shells[i], level] += 1


@jit
def mark_above(image, mask, shells, limits, strong):
    """Good pixels above the limit of their shell; all arrays flat."""
    for i in range(len(image)):
        strong[i] = mask[i] & (image[i] > limits[shells[i]])


@jit
def smooth(image, mask, weights, out):
    """Weighted sums of neighbours, as if masked ones held the mean of the good ones, rounded.

    Parameters
    ----------
    image : (ny, nx) any real dtype
    mask : (ny, nx) bool
    weights : (k, k) float64, whole numbers
    out : (ny, nx) float64 or integers, filled; in units of 1 / (sum of weights). Pixels beyond
        the edge repeat the nearest one
    """
    ny, nx = image.shape
    half = weights.shape[0] // 2
    whole = weights.sum()
    for j in range(ny):
        for i in range(nx):
            total, used = 0.0, 0.0
            for b in range(-half, half + 1):
                y = min(max(j + b, 0), ny - 1)
                for a in range(-half, half + 1):
                    x = min(max(i + a, 0), nx - 1)
                    if mask[y, x]:
                        w = weights[b + half, a + half]
                        total += w * image[y, x]
                        used += w
            out[j, i] = np.rint(total * whole / used) if 0.0 < used < whole else total
