"""From dispersed regions to strong pixels: shrink the regions, compare with the background outside.

Both look only at tiles (`xtal_threshold_dispersion.kernels.TILE` columns of a row) that hold a dispersed pixel.
All is done for some rows at a time, while their pixels are in the cache of the processor: threads would slow each other
if each read its whole image from the memory that they share several times.
"""

from __future__ import annotations

import numpy as np

from xtal.jit import inlined, jit
from xtal_threshold_dispersion.kernels import TILE, VALUE_LIMIT, mark_rows

DISPERSED, SIGNAL = 1, 2
"""What a tile holds."""

ROWS = 32
"""Rows that are looked at together."""


@inlined
def shrink_rows(begin, end, dispersed, mask, masked_counts, reach, column, tiles, signal):
    """Pixels of rows begin to end whose square of half width ``reach`` is dispersed throughout.

    Outside of the image counts as dispersed.

    Parameters
    ----------
    dispersed : (ny, nx) bool
    mask : (ny, nx) bool
    masked_counts : whether a masked pixel counts as dispersed
    reach : half width of the square, px
    column : (TILE + 2 reach,) uint8, work space
    tiles : (ny, n_tiles) uint8, DISPERSED where a tile holds a dispersed pixel; SIGNAL added where one is left
    signal : (ny, nx) uint8, zeros; 1 where a pixel is left (of masked pixels nothing is said)
    """
    ny, nx = dispersed.shape
    for j in range(begin, end):
        low, high = max(0, j - reach), min(ny, j + reach + 1)
        for tile in range(tiles.shape[1]):
            if not tiles[j, tile]:
                continue
            start, stop = tile * TILE, min((tile + 1) * TILE, nx)
            first, last = max(0, start - reach), min(nx, stop + reach)
            for i in range(len(column)):
                column[i] = 1
            whole = column[first - start + reach :]
            for k in range(low, high):
                marked, good = dispersed[k][first:last], mask[k][first:last]
                for i in range(last - first):
                    whole[i] &= np.uint8(marked[i] | (masked_counts & (not good[i])))
            out, marked, found = signal[j][start:stop], dispersed[j][start:stop], np.uint8(0)
            for i in range(len(out)):
                out[i] = marked[i]
            for k in range(2 * reach + 1):
                shifted = column[k:]
                for i in range(len(out)):
                    out[i] &= shifted[i]
            for i in range(len(out)):
                found |= out[i]
            tiles[j, tile] |= SIGNAL * found


@jit
def column_sums(image, mask, signal, low, high, i):
    """Background pixels of rows low to high of column i: their number and the sum of their values."""
    n, total = 0.0, 0.0
    for j in range(low, high):
        used = mask[j, i] & (signal[j, i] == 0) & (image[j, i] < VALUE_LIMIT)
        n += 1.0 if used else 0.0
        total += np.float64(image[j, i]) if used else 0.0
    return n, total


@inlined
def compare_rows(begin, end, image, mask, tiles, half_slow, half_fast, n_sigma, gain, threshold, signal, strong):
    """Signal pixels of rows begin to end that exceed the mean of the background in their window.

    Windows slide along runs of signal pixels, which are few.

    Parameters
    ----------
    image : (ny, nx) any real dtype
    mask : (ny, nx) bool
    tiles : what each tile holds (`shrink`)
    half_slow, half_fast : half widths of the window
    n_sigma, gain : a pixel must reach mean + n_sigma sqrt(gain mean)
    threshold : and exceed this
    signal : (ny, nx) uint8; background is what is good and no signal
    strong : (ny, nx) bool, dispersed pixels; filled with those that are strong
    """
    ny, nx = image.shape
    n, total = 0.0, 0.0
    for j in range(begin, end):
        low, high = max(0, j - half_slow), min(ny, j + half_slow + 1)
        previous = -2  # the last signal pixel of this row
        for tile in range(tiles.shape[1]):
            if not tiles[j, tile]:
                continue
            start, stop = tile * TILE, min((tile + 1) * TILE, nx)
            strong[j, start:stop] = False
            if not tiles[j, tile] & SIGNAL:
                continue
            for i in range(start, stop):
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


@inlined
def clear_rows(begin, end, tiles, signal):
    """Make ``signal`` zero again."""
    for j in range(begin, end):
        for tile in range(tiles.shape[1]):
            if tiles[j, tile] & SIGNAL:
                signal[j, tile * TILE : min((tile + 1) * TILE, signal.shape[1])] = 0


@jit
def mark_strong(image, mask, test, masked_counts, reach, column, above, tiles, signal, strong):
    """Strong pixels of an image.

    Each step stays behind the one before by the rows that it looks ahead.

    Parameters
    ----------
    image, mask, tiles, strong, test : as for `mark_rows`
    masked_counts, reach, column : as for `shrink_rows`
    above : half_slow, half_fast, n_sigma, gain, threshold as for `compare_rows`; half_slow is more than ``reach``
    signal : (ny, nx) uint8, zeros, and zeros again at the end
    """
    half_slow, half_fast, n_sigma, gain, threshold = above
    ny = len(image)
    marked, shrunk, compared, cleared = -test[0], 0, 0, 0
    while cleared < ny:
        end = min(max(marked, 0) + ROWS, ny)
        mark_rows(marked, end, image, mask, test, tiles, strong)
        marked, end = end, end if end == ny else end - reach
        shrink_rows(shrunk, end, strong, mask, masked_counts, reach, column, tiles, signal)
        shrunk, end = max(shrunk, end), end if end == ny else end - half_slow
        compare_rows(compared, end, image, mask, tiles, half_slow, half_fast, n_sigma, gain, threshold, signal, strong)
        compared, end = max(compared, end), end if end == ny else end - half_slow
        clear_rows(cleared, end, tiles, signal)
        cleared = max(cleared, end)
