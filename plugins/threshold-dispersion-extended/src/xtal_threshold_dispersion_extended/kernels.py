"""From dispersed regions to strong pixels: shrink the regions, compare with the background outside."""

from __future__ import annotations

import numpy as np

from xtal.jit import jit
from xtal_threshold_dispersion.kernels import VALUE_LIMIT


@jit
def shrink(marked, reach, horizontal, shrunk):
    """Erode by a square of half width ``reach``; outside of the image counts as marked.

    Parameters
    ----------
    marked : (ny, nx) bool
    reach : half width of the square, px
    horizontal : (ny, nx) bool, work space
    shrunk : (ny, nx) bool, filled

    Returns
    -------
    any_in_row : (ny,) bool, rows of ``shrunk`` that hold a marked pixel
    """
    ny, nx = marked.shape
    filled = np.zeros(ny, np.bool_)
    any_in_row = np.zeros(ny, np.bool_)
    for j in range(ny):
        row, out = marked[j], horizontal[j]
        total = 0
        for i in range(nx):
            out[i] = row[i]
            total += row[i]
        filled[j] = total > 0
        for k in range(1, reach + 1 if total else 0):
            ahead, behind = row[k:], out[k:]
            for i in range(nx - k):
                out[i] &= ahead[i]
            for i in range(nx - k):
                behind[i] &= row[i]
    for j in range(ny):
        out = shrunk[j]
        low, high = max(0, j - reach), min(ny, j + reach + 1)
        whole = filled[low:high].all()
        first = horizontal[low]
        for i in range(nx):
            out[i] = first[i] & whole
        for k in range(low + 1, high if whole else 0):
            other = horizontal[k]
            for i in range(nx):
                out[i] &= other[i]
        any_in_row[j] = whole and out.any()
    return any_in_row


@jit
def add_column(image, mask, signal, low, high, i, sign, totals):
    """Add (sign 1) or take away (sign -1) the background of rows low to high of column i."""
    for j in range(low, high):
        if mask[j, i] and not signal[j, i] and image[j, i] < VALUE_LIMIT:
            totals[0] += sign
            totals[1] += sign * np.float64(image[j, i])


@jit
def above_background(image, mask, signal, any_in_row, half_slow, half_fast, n_sigma, gain, threshold, strong):
    """Signal pixels that exceed the mean of the background in their window.

    Windows slide along runs of signal pixels, which are few.

    Parameters
    ----------
    image : (ny, nx) any real dtype
    mask, signal : (ny, nx) bool; background is what is good and no signal
    any_in_row : (ny,) bool, rows that hold signal
    half_slow, half_fast : half widths of the window
    n_sigma, gain : a pixel must reach mean + n_sigma sqrt(gain mean)
    threshold : and exceed this
    strong : (ny, nx) bool, filled
    """
    ny, nx = image.shape
    totals = np.zeros(2)
    for j in range(ny):
        strong[j, :] = False
        if not any_in_row[j]:
            continue
        low, high = max(0, j - half_slow), min(ny, j + half_slow + 1)
        row = signal[j]
        running = False
        for i in range(nx):
            if not row[i]:
                running = False
                continue
            if running:
                if i > half_fast:
                    add_column(image, mask, signal, low, high, i - half_fast - 1, -1.0, totals)
                if i + half_fast < nx:
                    add_column(image, mask, signal, low, high, i + half_fast, 1.0, totals)
            else:
                totals[:] = 0.0
                for k in range(max(0, i - half_fast), min(nx, i + half_fast + 1)):
                    add_column(image, mask, signal, low, high, k, 1.0, totals)
                running = True
            v = np.float64(image[j, i])
            mean = totals[1] / totals[0] if totals[0] >= 2.0 else 0.0
            reached = v >= mean + n_sigma * np.sqrt(gain * mean)
            strong[j, i] = reached and v > threshold and mask[j, i] and totals[1] >= 0.0
