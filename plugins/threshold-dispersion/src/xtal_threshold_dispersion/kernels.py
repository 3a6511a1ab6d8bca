"""Index of dispersion in a sliding window, in one pass over the image, only where it can matter.

In a window of counts that are 0 or more, m (sum of squares) <= m (highest count) (sum): where no
count is above a limit that follows from the options (2 with the defaults), no pixel can be dispersed.
Rows are cut into tiles; tiles without such a count in reach are passed over. In the others column sums
of the last rows are carried from row to row (vectorised by the compiler). Sums are float64: exact for
integer pixels, since only values below 2**24 enter; images of floats are summed anew for each window,
so that no rounding error of a bright pixel is dragged along.

Slices in place of computed indices keep the inner loops free of wraparound tests.
"""

from __future__ import annotations

import numpy as np

from xtal.jit import inlined, jit

VALUE_LIMIT = 1 << 24
"""Pixels from this value on count as masked in all sums, as in DIALS."""

TILE = 64
"""Columns that are looked at together; windows may not reach further than one tile."""


@jit
def flag_row(values, good, zero, harmless, row, reach, hot, words, last):
    """Set ``last`` of the tiles in reach of a pixel that can make a window dispersed to this row."""
    for i in range(len(values)):
        hot[i] = good[i] & ((values[i] > harmless) | (values[i] < zero))
    end = len(last) - 1
    for w in range(len(words)):
        if words[w]:
            for tile in range(max(8 * w - reach, 0) // TILE, min((8 * w + 7 + reach) // TILE, end) + 1):
                last[tile] = row


@jit
def slide_row(entering, good_entering, leaving, good_leaving, counts, sums, squares):
    """Move column sums by one row; whether the number of good pixels changed anywhere."""
    changed = False
    for i in range(len(entering)):
        new = good_entering[i] & (entering[i] < VALUE_LIMIT)
        old = good_leaving[i] & (leaving[i] < VALUE_LIMIT)
        v = np.float64(entering[i]) if new else 0.0
        w = np.float64(leaving[i]) if old else 0.0
        counts[i] += np.float64(new) - np.float64(old)
        changed |= new != old
        sums[i] += v - w
        squares[i] += v * v - w * w
    return changed


@jit
def update_columns(image, mask, j, half, a, b, follow, counts, sums, squares):
    """Column sums a to b for the windows of row j, from those of the row before if ``follow``, else anew."""
    ny, low, high = image.shape[0], j - half, j + half
    if follow and low > 0 and high < ny:
        before = low - 1
        return slide_row(
            image[high][a:b], mask[high][a:b], image[before][a:b], mask[before][a:b], counts, sums, squares
        )
    for i in range(len(counts)):
        counts[i], sums[i], squares[i] = 0.0, 0.0, 0.0
    for k in range(max(0, low), min(ny, high + 1)):
        values, good = image[k][a:b], mask[k][a:b]
        for i in range(len(counts)):
            used = good[i] & (values[i] < VALUE_LIMIT)
            v = np.float64(values[i]) if used else 0.0
            counts[i] += 1.0 if used else 0.0
            sums[i] += v
            squares[i] += v * v
    return True


@jit
def window_limits(counts, width, least, limits, m, allowed):
    """Good pixels of each window of a row, and its limit."""
    total = 0.0
    for i in range(width - 1):
        total += counts[i]
    entering = counts[width - 1 :]
    for i in range(len(m)):
        total += entering[i]
        m[i] = total
        total -= counts[i]
        allowed[i] = limits[int(m[i])] if m[i] >= least else np.inf


@jit
def window_sums(columns, width, out):
    """Sum ``width`` neighbours of column sums; the usual width is spelled out, which the compiler vectorises best."""
    n = len(out)
    if width == 7:
        for i in range(n):
            four = columns[i] + columns[i + 1] + columns[i + 2] + columns[i + 3]
            out[i] = four + columns[i + 4] + columns[i + 5] + columns[i + 6]
        return
    for i in range(n):
        out[i] = columns[i]
    for k in range(1, width):
        shifted = columns[k:]
        for i in range(n):
            out[i] += shifted[i]


@jit
def test_row(values, good, m, x, y, allowed, peak, marked):
    """Mark dispersed pixels of a stretch of a row; whether there are any."""
    found = np.uint8(0)
    for i in range(len(m)):
        over = (m[i] * y[i] - x[i] * x[i] > x[i] * allowed[i]) & good[i] & (x[i] >= 0.0)
        marked[i] = over
        found |= np.uint8(over)
    if found and peak[0] > 0.0:
        for i in range(len(m)):
            v = np.float64(values[i])
            above = m[i] * v - x[i] > peak[0] * np.sqrt(np.abs(peak[1] * x[i] * m[i]))
            marked[i] = marked[i] & above & (v > peak[2])
    return found > 0


@jit
def update_run(image, mask, j, half_slow, half_fast, first, end, resum, summed, counted, work):
    """Column sums of tiles first to end and their neighbours for the windows of row j.

    Returns whether the numbers of good pixels differ from those of the row before.
    """
    changed = False
    tile, stop = max(first - 1, 0), min(end + 1, len(summed))
    while tile < stop:
        begin, follow = tile, summed[tile] == j - 1
        while tile < stop and (summed[tile] == j - 1) == follow:
            summed[tile] = j
            tile += 1
        a, b = begin * TILE, min(tile * TILE, image.shape[1])
        c, d = half_fast + a, half_fast + b
        counts, sums, squares = work[0][c:d], work[1][c:d], work[2][c:d]
        changed |= update_columns(image, mask, j, half_slow, a, b, follow and not resum, counts, sums, squares)
    for tile in range(first, end):
        changed |= counted[tile] != j - 1
        counted[tile] = j
    return changed


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
        seen : (3, n_tiles) int64, work space: the last row that a tile was flagged, summed and counted for
    tiles : (ny, n_tiles) uint8, filled: 1 where a tile is in a run that holds a marked pixel, else 0
    strong : (ny, nx) bool, filled: whether a pixel is marked
    """
    half_slow, half_fast, resum, least, limits, zero, harmless, peak, work, hot, words, seen = test
    ny, nx = image.shape
    width, n_tiles = 2 * half_fast + 1, seen.shape[1]
    last = seen[0]
    if begin < 0:
        seen[:] = -half_slow - 2
    for j in range(begin, end):
        if j >= 0:
            tiles[j] = 0
            strong[j] = False
        ahead = j + half_slow
        if ahead < ny:
            flag_row(image[ahead], mask[ahead], zero, harmless, ahead, half_fast, hot, words, last)
        stop = 0 if j >= 0 else n_tiles
        while stop < n_tiles:  # runs of flagged tiles, first to stop
            first = stop
            while first < n_tiles and last[first] < j - half_slow:
                first += 1
            stop = first
            while stop < n_tiles and last[stop] >= j - half_slow:
                stop += 1
            if first == stop:
                break
            changed = update_run(image, mask, j, half_slow, half_fast, first, stop, resum, seen[1], seen[2], work)
            a, b = first * TILE, min(stop * TILE, nx)
            m, allowed, x, y = work[3][a:b], work[4][a:b], work[5][a:b], work[6][a:b]
            c = b + width - 1
            if changed:
                window_limits(work[0][a:c], width, least, limits, m, allowed)
            window_sums(work[1][a:c], width, x)
            window_sums(work[2][a:c], width, y)
            if test_row(image[j][a:b], mask[j][a:b], m, x, y, allowed, peak, strong[j][a:b]):
                for tile in range(first, stop):
                    tiles[j, tile] = 1


@jit
def mark_dispersed(image, mask, test, tiles, strong):
    """All rows of an image (`mark_rows`)."""
    mark_rows(-test[0], len(image), image, mask, test, tiles, strong)
