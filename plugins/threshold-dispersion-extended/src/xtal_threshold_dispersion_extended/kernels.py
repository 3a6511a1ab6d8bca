"""From dispersed regions to strong pixels: shrink the regions, compare with the background outside.

Both look only at tiles (`xtal_threshold_dispersion.kernels.TILE` columns of a row) that hold a dispersed pixel.
All is done for some rows at a time, while their pixels are in the cache of the processor: threads would slow each other
if each read its whole image from the memory that they share several times. For the same reason there is one signal for
all rows that are the same number of rows apart: it is touched here and there only, for which memory is slowest.
"""

from __future__ import annotations

import numpy as np

from xtal.jit import inlined, jit
from xtal_threshold_dispersion.kernels import TILE, VALUE_LIMIT, mark_rows

DISPERSED, SIGNAL = 1, 2
"""What a tile holds."""

ROWS = 32
"""Rows that are looked at together."""


def signal_rows(reach: int, half_slow: int) -> int:
    """Rows for which signals are kept at a time; row j of the image is row j modulo that.

    Those of `ROWS` rows are kept until the windows of the rows after them are passed, and at the end of an image the
    rows that were waited for are added (`mark_strong`).
    """
    return ROWS + reach + 2 * half_slow


@jit
def shrink_tile(dispersed, mask, j, start, stop, masked_counts, reach, column, signal):
    """Fill ``signal`` for the pixels start to stop of row j (`shrink_rows`); whether there are any."""
    ny, nx = mask.shape
    first, last = max(0, start - reach), min(nx, stop + reach)
    offset, n = np.uint64(first + reach - start), np.uint64(last - first)
    for i in range(np.uint64(len(column))):
        column[i] = 1
    for k in range(max(0, j - reach), min(ny, j + reach + 1)):
        for i in range(n):
            at = i + np.uint64(first)
            column[i + offset] &= np.uint8(dispersed[k, at] | (masked_counts & (not mask[k, at])))
    found, n, row = np.uint8(0), np.uint64(stop - start), np.uint64(j % len(signal))
    for i in range(n):
        at = i + np.uint64(start)
        signal[row, at] = dispersed[j, at]
    for k in range(np.uint64(2 * reach + 1)):
        for i in range(n):
            signal[row, i + np.uint64(start)] &= column[i + k]
    for i in range(n):
        found |= signal[row, i + np.uint64(start)]
    return found > 0


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
    signal : (`signal_rows`, nx) uint8, zeros; 1 where a pixel is left (of masked pixels nothing is said)
    """
    nx = dispersed.shape[1]
    for j in range(begin, end):
        for tile in range(tiles.shape[1]):
            if tiles[j, tile]:
                start, stop = tile * TILE, min((tile + 1) * TILE, nx)
                if shrink_tile(dispersed, mask, j, start, stop, masked_counts, reach, column, signal):
                    tiles[j, tile] |= SIGNAL


@jit
def compare_run(image, mask, signal, j, start, stop, above, sums, strong):
    """Signal pixels start to stop of row j, which hang together, against the background in their windows.

    Parameters are those of `compare_rows`.
    """
    half_slow, half_fast, n_sigma, gain, threshold = above
    ny, nx = image.shape
    first, last = max(0, start - half_fast), min(nx, stop + half_fast)
    for i in range(np.uint64(first), np.uint64(last)):
        sums[0, i], sums[1, i] = 0.0, 0.0
    for k in range(max(0, j - half_slow), min(ny, j + half_slow + 1)):
        row = np.uint64(k % len(signal))
        for i in range(np.uint64(first), np.uint64(last)):
            used = mask[k, i] & (signal[row, i] == 0) & (image[k, i] < VALUE_LIMIT)
            sums[0, i] += 1.0 if used else 0.0
            sums[1, i] += np.float64(image[k, i]) if used else 0.0
    n, total, entering = 0.0, 0.0, first
    for i in range(start, stop):
        if i > start and i > half_fast:
            n, total = n - sums[0, i - half_fast - 1], total - sums[1, i - half_fast - 1]
        while entering < min(nx, i + half_fast + 1):
            n, total = n + sums[0, entering], total + sums[1, entering]
            entering += 1
        v = np.float64(image[j, i])
        mean = total / n if n >= 2.0 else 0.0
        reached = v >= mean + n_sigma * np.sqrt(gain * mean)  # by none where the mean is negative
        strong[j, i] = reached and v > threshold


@inlined
def compare_rows(begin, end, image, mask, tiles, above, sums, signal, strong):
    """Signal pixels of rows begin to end that exceed the mean of the background in their window.

    Windows slide along runs of signal pixels, which are few.

    Parameters
    ----------
    image : (ny, nx) any real dtype
    mask : (ny, nx) bool
    tiles : what each tile holds (`shrink_rows`)
    above : half_slow, half_fast : half widths of the window
        n_sigma, gain : a pixel must reach mean + n_sigma sqrt(gain mean)
        threshold : and exceed this
    sums : (2, nx) float64, work space
    signal : (`signal_rows`, nx) uint8; background is what is good and no signal
    strong : (ny, nx) bool, dispersed pixels; filled with those that are strong
    """
    nx = image.shape[1]
    for j in range(begin, end):
        for tile in range(tiles.shape[1]):
            if tiles[j, tile]:
                for i in range(np.uint64(tile * TILE), np.uint64(min((tile + 1) * TILE, nx))):
                    strong[j, i] = False
        done, row = 0, np.uint64(j % len(signal))  # signal pixels before this one are compared
        for tile in range(tiles.shape[1]):
            if not tiles[j, tile] & SIGNAL:
                continue
            for i in range(tile * TILE, min((tile + 1) * TILE, nx)):
                if i >= done and signal[row, i]:
                    done = i + 1
                    while done < nx and signal[row, done]:
                        done += 1
                    compare_run(image, mask, signal, j, i, done, above, sums, strong)


@inlined
def clear_rows(begin, end, tiles, signal):
    """Make ``signal`` zero again."""
    for j in range(begin, end):
        row = np.uint64(j % len(signal))
        for tile in range(tiles.shape[1]):
            if tiles[j, tile] & SIGNAL:
                for i in range(np.uint64(tile * TILE), np.uint64(min((tile + 1) * TILE, signal.shape[1]))):
                    signal[row, i] = 0


@jit
def mark_strong(image, mask, test, masked_counts, reach, column, above, sums, tiles, signal, strong):
    """Strong pixels of an image.

    Each step stays behind the one before by the rows that it looks ahead.

    Parameters
    ----------
    image, mask, tiles, strong, test : as for `mark_rows`
    masked_counts, reach, column : as for `shrink_rows`
    above, sums : as for `compare_rows`; its half_slow is more than ``reach``
    signal : (`signal_rows`, nx) uint8, zeros, and zeros again at the end
    """
    ny, half_slow = len(image), above[0]
    marked, shrunk, compared, cleared = -test[0], 0, 0, 0
    while cleared < ny:
        end = min(max(marked, 0) + ROWS, ny)
        mark_rows(marked, end, image, mask, test, tiles, strong)
        marked, end = end, end if end == ny else end - reach
        shrink_rows(shrunk, end, strong, mask, masked_counts, reach, column, tiles, signal)
        shrunk, end = max(shrunk, end), end if end == ny else end - half_slow
        compare_rows(compared, end, image, mask, tiles, above, sums, signal, strong)
        compared, end = max(compared, end), end if end == ny else end - half_slow
        clear_rows(cleared, end, tiles, signal)
        cleared = max(cleared, end)
