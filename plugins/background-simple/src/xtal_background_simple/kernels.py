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
        width, height, depth = bbox[r, 1] - bbox[r, 0], bbox[r, 3] - bbox[r, 2], bbox[r, 5] - bbox[r, 4]
        size = width * height * depth
        n, total, total2 = 0, 0.0, 0.0
        for at in range(offsets[r], offsets[r] + size):
            if mask[at] & (VALID | BACKGROUND | OVERLAPPED) == VALID | BACKGROUND:
                n += 1
                total += data[at]
                total2 += data[at] * data[at]
        mean = total / max(n, 1)
        sd = math.sqrt(max(total2 / max(n, 1) - mean * mean, 0.0) * n / max(n - 1, 1))
        low = mean - lower * sd if lower > 0 else -np.inf
        high = mean + upper * sd if upper > 0 else np.inf
        done, used, total, total2, residual2 = True, 0, 0.0, 0.0, 0.0
        n_parts = depth if per_frame else 1
        for part in range(n_parts):
            k0, k1 = (part, part + 1) if per_frame else (0, depth)
            normal, right = np.zeros((4, 4)), np.zeros(4)
            term = np.ones(4)
            count = 0
            for step in range(2):
                for k in range(k0, k1):
                    for j in range(height):
                        for i in range(width):
                            at = offsets[r] + (k * height + j) * width + i
                            term[1], term[2] = i + 0.5 - 0.5 * width, j + 0.5 - 0.5 * height
                            term[3] = k + 0.5 - 0.5 * depth
                            ours = mask[at] & (VALID | BACKGROUND | OVERLAPPED) == VALID | BACKGROUND
                            ours = ours and low <= data[at] <= high
                            if step == 0:
                                if ours:
                                    count += 1
                                    mask[at] |= BACKGROUND_USED
                                    total += data[at]
                                    total2 += data[at] * data[at]
                                    for a in range(n_terms):
                                        right[a] += term[a] * data[at]
                                        for b in range(n_terms):
                                            normal[a, b] += term[a] * term[b]
                            else:
                                value = 0.0
                                for a in range(n_terms):
                                    value += right[a] * term[a]
                                background[at] = value
                                if ours:
                                    residual2 += (data[at] - value) ** 2
                if step == 0:
                    used += count
                    if count <= n_terms or count * n_parts < min_pixels:
                        done = False
                        right[:] = 0.0
                    for a in range(n_terms):  # Gaussian elimination; the matrix is positive definite
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
        out[r, 0] = 1.0 if done else 0.0
        if used > 1:
            free = max(used - n_terms * n_parts, 1)
            out[r, 1] = max(residual2 / free, 1.0 / used) / used
            if total > 0:
                out[r, 2] = (total2 - total * total / used) / (used - 1) / (total / used)
        if not done:
            background[offsets[r] : offsets[r] + size] = 0.0
