"""From dispersed regions to strong pixels: shrink the regions, compare with the background outside."""

from __future__ import annotations

import numpy as np

from xtal.jit import jit
from xtal_threshold_dispersion.kernels import VALUE_LIMIT

STRETCH = 64
"""Pixels of a row that are looked at together, to pass over what is empty."""


@jit
def shrink(marked, reach, horizontal, filled, shrunk, occupied):
    """Erode by a square of half width ``reach``; outside of the image counts as marked.

    Parameters
    ----------
    marked : (ny, nx) uint8, 0 or 1
    reach : half width of the square, px
    horizontal : (ny, nx) uint8, work space
    filled : (ny,) uint8, work space
    shrunk : (ny, nx) uint8, filled
    occupied : (ny, ceil(nx / STRETCH)) bool, filled: stretches of ``shrunk`` that hold a marked pixel
    """
    ny, nx = marked.shape
    for j in range(ny):
        row, out = marked[j], horizontal[j]
        found = np.uint8(0)
        for i in range(nx):
            out[i] = row[i]
            found |= row[i]
        filled[j] = found
        for k in range(1, reach + 1 if found else 0):
            ahead, behind = row[k:], out[k:]
            for i in range(nx - k):
                out[i] &= ahead[i]
            for i in range(nx - k):
                behind[i] &= row[i]
    for j in range(ny):
        out = shrunk[j]
        low, high = max(0, j - reach), min(ny, j + reach + 1)
        whole = np.uint8(1)
        for k in range(low, high):
            whole = min(whole, filled[k])
        first = horizontal[low]
        for i in range(nx):
            out[i] = first[i] & whole
        for k in range(low + 1, high if whole else 0):
            other = horizontal[k]
            for i in range(nx):
                out[i] &= other[i]
        flags = occupied[j]
        for s in range(len(flags)):
            found, stretch = np.uint8(0), out[s * STRETCH : (s + 1) * STRETCH]
            for i in range(len(stretch) if whole else 0):
                found |= stretch[i]
            flags[s] = found > 0


@jit
def column_sums(image, mask, signal, low, high, i):
    """Background pixels of rows low to high of column i: their number and the sum of their values."""
    n, total = 0.0, 0.0
    for j in range(low, high):
        used = mask[j, i] & (signal[j, i] == 0) & (image[j, i] < VALUE_LIMIT)
        n += 1.0 if used else 0.0
        total += np.float64(image[j, i]) if used else 0.0
    return n, total


@jit
def above_background(image, mask, signal, occupied, half_slow, half_fast, n_sigma, gain, threshold, strong):
    """Signal pixels that exceed the mean of the background in their window.

    Windows slide along runs of signal pixels, which are few.

    Parameters
    ----------
    image : (ny, nx) any real dtype
    mask : (ny, nx) bool
    signal : (ny, nx) uint8; background is what is good and no signal
    occupied : stretches that hold signal (`shrink`)
    half_slow, half_fast : half widths of the window
    n_sigma, gain : a pixel must reach mean + n_sigma sqrt(gain mean)
    threshold : and exceed this
    strong : (ny, nx) bool, all False; set where a pixel is strong
    """
    ny, nx = image.shape
    n, total = 0.0, 0.0
    for j in range(ny):
        low, high = max(0, j - half_slow), min(ny, j + half_slow + 1)
        previous = -2  # the last signal pixel of this row
        for s in range(occupied.shape[1]):
            if not occupied[j, s]:
                continue
            for i in range(s * STRETCH, min((s + 1) * STRETCH, nx)):
                if not signal[j, i]:
                    continue
                first = max(0, i - half_fast)
                if i == previous + 1:
                    if i > half_fast:
                        a, b = column_sums(image, mask, signal, low, high, first - 1)
                        n, total = n - a, total - b
                    first = i + half_fast
                else:
                    n, total = 0.0, 0.0
                for k in range(first, min(nx, i + half_fast + 1)):
                    a, b = column_sums(image, mask, signal, low, high, k)
                    n, total = n + a, total + b
                previous = i
                v = np.float64(image[j, i])
                mean = total / n if n >= 2.0 else 0.0
                reached = v >= mean + n_sigma * np.sqrt(gain * mean)
                strong[j, i] = reached and v > threshold and mask[j, i] and total >= 0.0
