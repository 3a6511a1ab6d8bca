"""Kernel of means and planes."""

from __future__ import annotations

import math

import numpy as np

from xtal.jit import jit

VALID, BACKGROUND, BACKGROUND_USED, OVERLAPPED = 1, 2, 16, 32


@jit
def fit_planes(bbox, offsets, data, mask, background, lower, upper, n_terms, per_frame, min_pixels, out):
    """Least squares of 1 (a mean), 3 (x, y) or 4 (x, y, z) terms about the middle of the box, or of each frame of it.

    Pixels outside mean - lower sd to mean + upper sd of the usable ones of the box are left out (limits <= 0: none).
    ``out`` (n, 3): 1 if done, variance of the mean level, index of dispersion of the pixels used.
    """
    for r in range(len(bbox)):
        shape = (bbox[r, 5] - bbox[r, 4], bbox[r, 3] - bbox[r, 2], bbox[r, 1] - bbox[r, 0])
        box = slice(offsets[r], offsets[r] + shape[0] * shape[1] * shape[2])
        y, m, b = data[box], mask[box], background[box]
        low, high = limits(y, m, lower, upper)
        done, used, total, total2, residual2 = True, 0, 0.0, 0.0, 0.0
        n_parts = shape[0] if per_frame else 1
        for part in range(n_parts):
            frames = (part, part + 1) if per_frame else (0, shape[0])
            normal, right = np.zeros((4, 4)), np.zeros(4)
            count, one, two = gather(y, m, shape, frames, low, high, n_terms, normal, right)
            used, total, total2 = used + count, total + one, total2 + two
            if count <= n_terms or count * n_parts < min_pixels:
                done = False
                right[:] = 0.0
            solve(normal, right, n_terms)
            residual2 += fill(y, m, b, shape, frames, low, high, right[:n_terms])
        out[r, 0] = 1.0 if done else 0.0
        if used > 1:
            free = max(used - n_terms * n_parts, 1)
            out[r, 1] = max(residual2 / free, 1.0 / used) / used
            if total > 0:
                out[r, 2] = (total2 - total * total / used) / (used - 1) / (total / used)
        if not done:
            b[:] = 0.0


@jit
def usable(mask):
    """Whether a pixel belongs to the background and is good."""
    return mask & (VALID | BACKGROUND | OVERLAPPED) == VALID | BACKGROUND


@jit
def limits(data, mask, lower, upper):
    """Counts of a box beyond which pixels are left out."""
    n, total, total2 = 0, 0.0, 0.0
    for at in range(len(data)):
        if usable(mask[at]):
            n += 1
            total += data[at]
            total2 += data[at] * data[at]
    mean = total / max(n, 1)
    sd = math.sqrt(max(total2 / max(n, 1) - mean * mean, 0.0) * n / max(n - 1, 1))
    return mean - lower * sd if lower > 0 else -np.inf, mean + upper * sd if upper > 0 else np.inf


@jit
def set_terms(term, k, j, i, shape):
    """1, x, y, z of a pixel from the middle of its box."""
    term[0], term[1] = 1.0, i + 0.5 - 0.5 * shape[2]
    term[2], term[3] = j + 0.5 - 0.5 * shape[1], k + 0.5 - 0.5 * shape[0]


@jit
def gather(data, mask, shape, frames, low, high, n_terms, normal, right):
    """Add the pixels of some frames to the normal equations and mark them; their number, sum and sum of squares."""
    count, total, total2, term = 0, 0.0, 0.0, np.empty(4)
    for k in range(frames[0], frames[1]):
        for j in range(shape[1]):
            for i in range(shape[2]):
                at = (k * shape[1] + j) * shape[2] + i
                if not (usable(mask[at]) and low <= data[at] <= high):
                    continue
                mask[at] |= BACKGROUND_USED
                count += 1
                total += data[at]
                total2 += data[at] * data[at]
                set_terms(term, k, j, i, shape)
                for a in range(n_terms):
                    right[a] += term[a] * data[at]
                    for b in range(n_terms):
                        normal[a, b] += term[a] * term[b]
    return count, total, total2


@jit
def solve(normal, right, n_terms):
    """Gaussian elimination into ``right``; the matrix is positive definite, and terms that no pixel tells are 0."""
    for a in range(n_terms):
        if normal[a, a] <= 1e-9:
            normal[a, a] = 1.0
            right[a] = 0.0
        for b in range(a + 1, n_terms):
            f = normal[b, a] / normal[a, a]
            right[b] -= f * right[a]
            for e in range(a, n_terms):
                normal[b, e] -= f * normal[a, e]
    for a in range(n_terms - 1, -1, -1):
        for b in range(a + 1, n_terms):
            right[a] -= normal[a, b] * right[b]
        right[a] /= normal[a, a]


@jit
def fill(data, mask, background, shape, frames, low, high, fitted):
    """The fitted level of each pixel of some frames; the sum of squares that it leaves of the pixels used."""
    residual2, term = 0.0, np.empty(4)
    for k in range(frames[0], frames[1]):
        for j in range(shape[1]):
            for i in range(shape[2]):
                at = (k * shape[1] + j) * shape[2] + i
                set_terms(term, k, j, i, shape)
                value = 0.0
                for a in range(len(fitted)):
                    value += fitted[a] * term[a]
                background[at] = value
                if usable(mask[at]) and low <= data[at] <= high:
                    residual2 += (data[at] - value) ** 2
    return residual2
