"""Kernel of the robust Poisson mean."""

from __future__ import annotations

import math

import numpy as np

from xtal.jit import jit

VALID, BACKGROUND, BACKGROUND_USED, OVERLAPPED = 1, 2, 16, 32
BINS = 1024
UNEVEN = 2.2
"""Spread of the cut residuals, over that of counting, beyond which the pixels have no common level: a variance of
about thirty times the mean."""


@jit
def robust_poisson(bbox, offsets, data, mask, background, c, min_pixels, per_frame, out):
    """Fill ``background`` with the robust mean of each box (or frame of it) and mark what was used.

    ``out`` (n, 3): 1 if done, variance of the mean, index of dispersion.
    """
    histogram = np.zeros(BINS, np.int64)
    others = np.empty(4096)
    for r in range(len(bbox)):
        area = (bbox[r, 1] - bbox[r, 0]) * (bbox[r, 3] - bbox[r, 2])
        depth = bbox[r, 5] - bbox[r, 4]
        size, n_layers = (area, depth) if per_frame else (area * depth, 1)
        if size > len(others):
            others = np.empty(size)
        done, variance, dispersion = True, 0.0, 0.0
        for k in range(n_layers):
            layer = slice(offsets[r] + k * size, offsets[r] + (k + 1) * size)
            n, top, extra, total, total2, negative = gather(data[layer], mask[layer], histogram, others)
            mu, error, even = 0.0, 0.0, True
            if n >= min_pixels and not negative and total > 0:
                mu, error, even = robust_mean(histogram[:top], others[:extra], n, total, c)
            ok = n >= min_pixels and not negative and even
            background[layer] = mu if ok else 0.0
            histogram[:top] = 0
            done = done and ok
            floor = 1.0 / (max(n, 1) * max(n, 1))  # no count at all still leaves room for a mean of 1/n
            variance += max(error, floor) / (n_layers * n_layers)
            if n > 1 and total > 0:
                dispersion += (total2 - total * total / n) / (n - 1) / (total / n) / n_layers
        out[r, 0] = 1.0 if done else 0.0
        out[r, 1] = variance
        out[r, 2] = dispersion


@jit
def gather(data, mask, histogram, others):
    """Take up the background pixels: counts below `BINS` in a histogram, larger and fractional ones in a list.

    Returns
    -------
    n, top, extra, total, total2, negative
        Pixels, bins and list entries in use, sums of the counts and of their squares, whether a count is below 0.
    """
    n, top, extra, total, total2, negative = 0, 0, 0, 0.0, 0.0, False
    for at in range(len(data)):
        if mask[at] & (VALID | BACKGROUND | OVERLAPPED) == VALID | BACKGROUND:
            y = data[at]
            whole = int(y)
            n += 1
            total += y
            total2 += y * y
            negative = negative or y < 0
            if 0 <= whole < BINS and whole == y:
                histogram[whole] += 1
                top = max(top, whole + 1)
            else:
                others[extra] = y
                extra += 1
            mask[at] |= BACKGROUND_USED
    return n, top, extra, total, total2, negative


@jit
def robust_mean(histogram, others, n, total, c):
    """Solve sum_i psi(r_i) = n E[psi(r)] with psi(r) = r cut to -/+ c and r = (y - mu)/sqrt(mu).

    The expectation under the Poisson distribution makes the mean unbiased.

    Returns
    -------
    mu, variance, even
        ``even``: whether the pixels have a common level at all (in the halo of the direct beam they have none).
    """
    mu, error, spread, square = starting_mean(histogram, n, total / n), 0.0, 0.0, 0.0
    for _ in range(100):
        psi, spread = cut_sums(histogram, others, mu, c)
        expected, square, gain = poisson_sums(mu, c)
        step = (psi / n - expected) * math.sqrt(mu) / max(gain, 1e-6)
        step = min(max(step, -0.5 * mu), mu + 1.0)
        mu += step
        error = (square - expected * expected) / max(gain * gain, 1e-6) * mu / n
        if abs(step) < 1e-5 * math.sqrt(mu):
            break
    return mu, error, n < 30 or spread <= UNEVEN * n * square


@jit
def starting_mean(histogram, n, mean):
    """The mean of what is within three sigma of the median; ``mean`` where that is less than half of the pixels."""
    below, median = 0, 0
    while median < len(histogram) and 2 * (below + histogram[median]) < n:
        below += histogram[median]
        median += 1
    reach = median + 3 * math.sqrt(median + 1.0)
    few, near = 0, 0.0
    for y in range(min(len(histogram), int(reach) + 1)):
        few += histogram[y]
        near += histogram[y] * y
    return near / few if 2 * few >= n and near > 0 else mean


@jit
def cut_sums(histogram, others, mu, c):
    """Sums over the pixels of psi(r) and of its square."""
    s = math.sqrt(mu)
    psi, spread = 0.0, 0.0
    for y in range(len(histogram)):
        if histogram[y]:
            cut = min(max((y - mu) / s, -c), c)
            psi += histogram[y] * cut
            spread += histogram[y] * cut * cut
    for y in others:
        cut = min(max((y - mu) / s, -c), c)
        psi += cut
        spread += cut * cut
    return psi, spread


@jit
def poisson_sums(mu, c):
    """E[psi(r)], E[psi(r)^2] and E[psi(r) r], by which psi grows with mu, under the Poisson distribution."""
    s = math.sqrt(mu)
    j1, j2 = math.floor(mu - c * s), math.floor(mu + c * s)  # below j1 psi is -c, above j2 it is c
    start = max(j1 + 1, 0)
    p = probability(start, mu)
    inner, mean, square = 0.0, 0.0, 0.0
    for j in range(start, j2 + 1):
        inner += p
        mean += p * (j - mu) / s
        square += p * (j - mu) * (j - mu) / mu
        p *= mu / (j + 1)
    low, q = 0.0, 0.0
    if j1 >= 0:
        q = probability(j1, mu)
        for j in range(j1, -1, -1):
            low += q
            q *= j / mu
            if q < 1e-12 * low:
                break
    high = max(1.0 - low - inner, 0.0)
    tails = probability(j1, mu) + probability(j2, mu)  # E[r; y > j2] - E[r; y <= j1] = s (P(j2) + P(j1))
    return mean + c * (high - low), square + c * c * (high + low), square + c * s * tails


@jit
def probability(j, mu):
    """Of j counts, by the Poisson distribution."""
    return math.exp(j * math.log(mu) - mu - math.lgamma(j + 1.0)) if j >= 0 else 0.0
