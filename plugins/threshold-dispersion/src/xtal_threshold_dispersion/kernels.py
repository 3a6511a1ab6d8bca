"""Index of dispersion in a sliding window, in one pass over the image, only where it can matter.

In a window of counts that are 0 or more, m (sum of squares) <= m (highest count) (sum): where no
count is above a limit that follows from the options (2 with the defaults), no pixel can be dispersed.
Rows are cut into tiles; tiles without such a count in reach are passed over. In the others column sums
of the last rows are carried from row to row (vectorised by the compiler). Sums are float64: exact for
integer pixels, since only values below 2**24 enter; images of floats are summed anew for each window,
so that no rounding error of a bright pixel is dragged along.

Arrays count their users by locked instructions, which would cost more than the sums of a tile: so rows are indexed, not
sliced, and what is called for each tile calls nothing itself. Indices are unsigned: free of tests for wraparound, by
which loops would not be vectorised.
"""

from __future__ import annotations

import numpy as np

from xtal.jit import inlined, jit

VALUE_LIMIT = 1 << 24
"""Pixels from this value on count as masked in all sums, as in DIALS."""

TILE = 64
"""Columns that are looked at together; windows may not reach further than one tile."""


@jit
def flag_row(image, mask, row, zero, harmless, reach, hot, words, last):
    """Set ``last`` of the tiles in reach of a pixel that can make a window dispersed to this row."""
    for i in range(np.uint64(image.shape[1])):
        hot[i] = mask[row, i] & ((image[row, i] > harmless) | (image[row, i] < zero))
    end = len(last) - 1
    for w in range(len(words)):
        if words[w]:
            for tile in range(max(8 * w - reach, 0) // TILE, min((8 * w + 7 + reach) // TILE, end) + 1):
                last[tile] = row


@jit
def slide_columns(image, mask, entering, leaving, a, b, counts, sums, squares):
    """Move column sums a to b by one row; whether the number of good pixels changed anywhere."""
    changed = False
    for i in range(np.uint64(a), np.uint64(b)):
        new = mask[entering, i] & (image[entering, i] < VALUE_LIMIT)
        old = mask[leaving, i] & (image[leaving, i] < VALUE_LIMIT)
        v = np.float64(image[entering, i]) if new else 0.0
        w = np.float64(image[leaving, i]) if old else 0.0
        counts[i] += np.float64(new) - np.float64(old)
        changed |= new != old
        sums[i] += v - w
        squares[i] += v * v - w * w
    return changed


@jit
def sum_columns(image, mask, low, high, a, b, counts, sums, squares):
    """Sum columns a to b over the rows low to high."""
    for i in range(np.uint64(a), np.uint64(b)):
        counts[i], sums[i], squares[i] = 0.0, 0.0, 0.0
    for k in range(low, high):
        for i in range(np.uint64(a), np.uint64(b)):
            used = mask[k, i] & (image[k, i] < VALUE_LIMIT)
            v = np.float64(image[k, i]) if used else 0.0
            counts[i] += 1.0 if used else 0.0
            sums[i] += v
            squares[i] += v * v


@jit
def counts_differ(image, mask, entering, leaving, a, b):
    """Whether good pixels enter or leave the columns a to b."""
    changed = False
    for i in range(np.uint64(a), np.uint64(b)):
        new = mask[entering, i] & (image[entering, i] < VALUE_LIMIT)
        changed |= new != (mask[leaving, i] & (image[leaving, i] < VALUE_LIMIT))
    return changed


@jit
def is_near(last, tile, low):
    """Whether a tile or a neighbour of it is flagged."""
    return max(last[max(tile - 1, 0)], last[tile], last[min(tile + 1, len(last) - 1)]) >= low


@jit
def window_sums(columns, width, a, b, out):
    """Sum ``width`` neighbours of column sums; the usual width is spelled out, which the compiler vectorises best."""
    start, end = np.uint64(a), np.uint64(b)
    if width == 7:
        for i in range(start, end):
            four = columns[i] + columns[i + np.uint64(1)] + columns[i + np.uint64(2)] + columns[i + np.uint64(3)]
            out[i] = four + columns[i + np.uint64(4)] + columns[i + np.uint64(5)] + columns[i + np.uint64(6)]
        return
    for i in range(start, end):
        out[i] = columns[i]
    for k in range(np.uint64(1), np.uint64(width)):
        for i in range(start, end):
            out[i] += columns[i + k]


@jit
def window_limits(least, limits, a, b, m, allowed):
    """Limits of windows a to b, which hold m good pixels."""
    for i in range(np.uint64(a), np.uint64(b)):
        allowed[i] = limits[np.uint64(m[i])] if m[i] >= least else np.inf


@jit
def test_windows(mask, j, a, b, m, x, y, allowed, marked):
    """Mark pixels a to b of row j whose windows are dispersed; whether there are any."""
    found = np.uint8(0)
    for i in range(np.uint64(a), np.uint64(b)):
        over = (m[i] * y[i] - x[i] * x[i] > x[i] * allowed[i]) & mask[j, i] & (x[i] >= 0.0)
        marked[j, i] = over
        found |= np.uint8(over)
    return found > 0


@jit
def test_peaks(image, j, a, b, m, x, peak, marked):
    """Of marked pixels leave those that exceed the mean of their window."""
    for i in range(np.uint64(a), np.uint64(b)):
        v = np.float64(image[j, i])
        above = m[i] * v - x[i] > peak[0] * np.sqrt(np.abs(peak[1] * x[i] * m[i]))
        marked[j, i] = marked[j, i] & above & (v > peak[2])


@jit
def any_marked(marked, j, a, b):
    """Whether one of the pixels a to b of row j is marked."""
    found = np.uint8(0)
    for i in range(np.uint64(a), np.uint64(b)):
        found |= np.uint8(marked[j, i])
    return found > 0


@inlined
def mark_rows(begin, end, image, mask, test, tiles, strong):
    """Pixels of rows begin to end in whose window the index of dispersion is too large for a flat background.

    Rows are taken in their order, from - half_slow on: what is carried from row to row stands in ``test``.

    Parameters
    ----------
    image : (ny, nx) any real dtype
    mask : (ny, nx) bool, True is good
    test : what does not change from frame to frame
        half_slow, half_fast : half widths of the window, which is clipped at the edges
        resum : sum every window anew (for images of floats)
        least : fewest good pixels in the window
        limits : (window pixels + 1,) largest (m y - x x) / x of background, for m good pixels
            with the sums x of values and y of squares
        zero, harmless : scalars of the image's dtype: windows of values from zero to harmless are never dispersed
        peak : (3,) float64; if peak[0] is positive the pixel must also exceed the mean by peak[0]
            sigma, with the gain peak[1], and the threshold peak[2]
        work : (7, n_tiles TILE + 2 half_fast) float64, zeros
        hot, words : (8 k,) bool, zeros, at least nx of them, and the same memory as (k,) uint64
        seen : (4, n_tiles) int64, work space: the last row that a tile was flagged and summed for, that its numbers of
            good pixels changed for, and that those of its windows were counted for
    tiles : (ny, n_tiles) uint8, filled: 1 where a tile holds a dispersed pixel, else 0
    strong : (ny, nx) bool, filled: whether a pixel is marked
    """
    half_slow, half_fast, resum, least, limits, zero, harmless, peak, work, hot, words, seen = test
    ny, nx = image.shape
    width, n_tiles = 2 * half_fast + 1, seen.shape[1]
    last, summed, altered, counted = seen[0], seen[1], seen[2], seen[3]
    counts, sums, squares = work[0], work[1], work[2]
    own_counts, own_sums, own_squares = counts[half_fast:], sums[half_fast:], squares[half_fast:]
    m, allowed, x, y = work[3], work[4], work[5], work[6]
    if begin < 0:
        seen[:] = -half_slow - 2
    for j in range(begin, end):
        low, high = j - half_slow, j + half_slow
        if high < ny:
            flag_row(image, mask, high, zero, harmless, half_fast, hot, words, last)
        if j < 0:
            continue
        tiles[j] = 0
        strong[j] = False
        tile = np.int64(0)  # no literal, for which what is called would be compiled once more
        while tile < n_tiles:  # runs of tiles near flagged ones whose sums stand at the same row
            if not is_near(last, tile, low):
                tile += 1
                continue
            first, follow = tile, summed[tile] == j - 1
            while tile < n_tiles and (summed[tile] == j - 1) == follow and is_near(last, tile, low):
                summed[tile] = j
                tile += 1
            a, b = first * TILE, min(tile * TILE, nx)
            slides = follow and low > 0 and high < ny and not resum
            if not slides:
                sum_columns(image, mask, max(0, low), min(ny, high + 1), a, b, own_counts, own_sums, own_squares)
            elif not slide_columns(image, mask, high, low - 1, a, b, own_counts, own_sums, own_squares):
                continue
            for k in range(first, tile):
                if not slides or counts_differ(image, mask, high, low - 1, k * TILE, min((k + 1) * TILE, nx)):
                    altered[k] = j
        tile = 0
        while tile < n_tiles:  # runs of flagged tiles
            first = tile
            while tile < n_tiles and last[tile] >= low:
                if counted[tile] != j - 1 or is_near(altered, tile, j):
                    a, b = tile * TILE, min((tile + 1) * TILE, nx)
                    window_sums(counts, width, a, b, m)
                    window_limits(least, limits, a, b, m, allowed)
                counted[tile] = j
                tile += 1
            a, b = first * TILE, min(tile * TILE, nx)
            if a < b:
                window_sums(sums, width, a, b, x)
                window_sums(squares, width, a, b, y)
                if test_windows(mask, j, a, b, m, x, y, allowed, strong):
                    for k in range(first, tile):
                        a, b = k * TILE, min((k + 1) * TILE, nx)
                        if any_marked(strong, j, a, b):
                            tiles[j, k] = 1
                            if peak[0] > 0.0:
                                test_peaks(image, j, a, b, m, x, peak, strong)
            tile += 1


@jit
def mark_dispersed(image, mask, test, tiles, strong):
    """All rows of an image (`mark_rows`)."""
    mark_rows(-test[0], len(image), image, mask, test, tiles, strong)
