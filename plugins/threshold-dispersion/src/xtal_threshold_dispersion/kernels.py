"""Index of dispersion in a sliding window, in one pass over the image.

Column sums of the last rows are carried from row to row (vectorised by the compiler),
window sums slide along the row. Sums are float64: exact for integer pixels, since
only values below 2**24 enter; images of floats are summed anew for each window, so
that no rounding error of a bright pixel is dragged along.

Slices in place of computed indices keep the inner loops free of wraparound tests.
"""

from __future__ import annotations

import numpy as np

from xtal.jit import jit

VALUE_LIMIT = 1 << 24
"""Pixels from this value on count as masked in all sums, as in DIALS."""


@jit
def add_row(values, good, sign, counts, sums, squares):
    """Add (sign 1) or take away (sign -1) one row of pixels to the column sums."""
    for i in range(len(values)):
        used = good[i] & (values[i] < VALUE_LIMIT)
        v = np.float64(values[i]) if used else 0.0
        counts[i] += sign if used else 0.0
        sums[i] += sign * v
        squares[i] += sign * v * v


@jit
def window_limits(counts, before, width, least, limits, m, allowed):
    """Good pixels of each window of a row, and its limit; skipped where the columns hold as many as before."""
    n, changed = len(m), np.uint8(0)
    for i in range(len(counts)):
        changed |= np.uint8(counts[i] != before[i])
        before[i] = counts[i]
    if not changed:
        return
    total = 0.0
    for i in range(width):
        total += counts[i]
    entering = counts[width:]
    for i in range(n):
        total += entering[i] - counts[i]
        m[i] = total
        allowed[i] = limits[int(total)] if total >= least else np.inf


@jit
def window_sums(columns, width, resum, w0, w1):
    """Sum ``width`` neighbours of both rows of column sums, which have a margin at both ends."""
    n = len(w0)
    c0, c1 = columns[0], columns[1]
    e0, e1 = c0[width:], c1[width:]
    t0, t1 = 0.0, 0.0
    for i in range(width):
        t0 += c0[i]
        t1 += c1[i]
    for i in range(n):
        if resum:
            t0, t1 = 0.0, 0.0
            for k in range(i + 1, i + width):
                t0 += c0[k]
                t1 += c1[k]
            t0, t1 = t0 + e0[i], t1 + e1[i]
        else:
            t0 += e0[i] - c0[i]
            t1 += e1[i] - c1[i]
        w0[i], w1[i] = t0, t1


@jit
def mark_dispersed(image, mask, half_slow, half_fast, resum, least, limits, peak, work, strong):
    """Pixels in whose window the index of dispersion is too large for a flat background.

    Parameters
    ----------
    image : (ny, nx) any real dtype
    mask : (ny, nx) bool, True is good
    half_slow, half_fast : half widths of the window, which is clipped at the edges
    resum : sum every window anew (for images of floats)
    least : fewest good pixels in the window
    limits : (window pixels + 1,) largest (m y - x x) / x of background, for m good pixels
        with the sums x of values and y of squares
    peak : (3,) float64; if peak[0] is positive the pixel must also exceed the mean by peak[0]
        sigma, with the gain peak[1], and the threshold peak[2]
    work : (8, nx + 2 half_fast + 1) float64, zeros
    strong : (ny, nx) bool, filled
    """
    ny, nx = image.shape
    width, first = 2 * half_fast + 1, half_fast + 1
    columns, all_counts, before = work[0:2], work[2], work[3]
    counts, sums, squares = all_counts[first:][:nx], columns[0, first:][:nx], columns[1, first:][:nx]
    m, allowed, x, y = work[4, :nx], work[5, :nx], work[6, :nx], work[7, :nx]
    before[0] = -1.0  # unlike any count: the first row has no row before it
    for j in range(-half_slow, ny):
        if resum:
            for i in range(nx):
                counts[i], sums[i], squares[i] = 0.0, 0.0, 0.0
            for k in range(max(0, j - half_slow), min(ny, j + half_slow + 1)):
                add_row(image[k], mask[k], 1.0, counts, sums, squares)
        else:
            if j + half_slow < ny:
                add_row(image[j + half_slow], mask[j + half_slow], 1.0, counts, sums, squares)
            if j > half_slow:
                add_row(image[j - half_slow - 1], mask[j - half_slow - 1], -1.0, counts, sums, squares)
        if j < 0:
            continue
        window_limits(all_counts, before, width, least, limits, m, allowed)
        window_sums(columns, width, resum, x, y)
        values, good, marked = image[j], mask[j], strong[j]
        for i in range(nx):
            over = m[i] * y[i] - x[i] * x[i] > x[i] * allowed[i]
            marked[i] = over & good[i] & (x[i] >= 0.0)
        if peak[0] > 0.0:
            for i in range(nx):
                v = np.float64(values[i])
                above = m[i] * v - x[i] > peak[0] * np.sqrt(np.abs(peak[1] * x[i] * m[i]))
                marked[i] = marked[i] & above & (v > peak[2])
