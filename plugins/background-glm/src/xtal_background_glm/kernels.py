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

    Solves sum_i psi(r_i) = n E[psi(r)] with psi(r) = r cut to -/+ c and r = (y - mu)/sqrt(mu), whose expectation
    under the Poisson distribution makes the mean unbiased. ``out`` (n, 3): 1 if done, variance of the mean,
    index of dispersion.
    Counts below `BINS` are kept as a histogram; larger and fractional ones in a list.
    """
    histogram = np.zeros(BINS, np.int64)
    others = np.empty(4096)
    for r in range(len(bbox)):
        area = (bbox[r, 1] - bbox[r, 0]) * (bbox[r, 3] - bbox[r, 2])
        depth = bbox[r, 5] - bbox[r, 4]
        layers, n_layers = (area, depth) if per_frame else (area * depth, 1)
        if layers > len(others):
            others = np.empty(layers)
        done, variance, dispersion = True, 0.0, 0.0
        for k in range(n_layers):
            first = offsets[r] + k * layers
            n, extra, top, total, total2 = 0, 0, 0, 0.0, 0.0
            negative = False
            for at in range(first, first + layers):
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
            mu, error, spread, expected2 = 0.0, 0.0, 0.0, 0.0
            ok = n >= min_pixels and not negative
            if ok and total > 0:
                mu = total / n
                # The start: the mean of what is within three sigma of the median.
                below, median = 0, 0
                while median < top and 2 * (below + histogram[median]) < n:
                    below += histogram[median]
                    median += 1
                reach = median + 3 * math.sqrt(median + 1.0)
                few, near = 0, 0.0
                for y in range(min(top, int(reach) + 1)):
                    few += histogram[y]
                    near += histogram[y] * y
                if 2 * few >= n and near > 0:
                    mu = near / few
                for _ in range(100):
                    s = math.sqrt(mu)
                    j1, j2 = math.floor(mu - c * s), math.floor(mu + c * s)
                    psi, spread = 0.0, 0.0
                    for y in range(top):
                        if histogram[y]:
                            cut = min(max((y - mu) / s, -c), c)
                            psi += histogram[y] * cut
                            spread += histogram[y] * cut * cut
                    for i in range(extra):
                        cut = min(max((others[i] - mu) / s, -c), c)
                        psi += cut
                        spread += cut * cut
                    # Poisson sums between the two cuts; below j1 psi is -c, above j2 it is c.
                    start = max(j1 + 1, 0)
                    p = math.exp(start * math.log(mu) - mu - math.lgamma(start + 1.0))
                    inner, mean, square = 0.0, 0.0, 0.0
                    for j in range(start, j2 + 1):
                        inner += p
                        mean += p * (j - mu) / s
                        square += p * (j - mu) * (j - mu) / mu
                        p *= mu / (j + 1)
                    # The part below the lower cut, from the mean of (y - mu), which is 0 in all.
                    low, q = 0.0, 0.0
                    if j1 >= 0:
                        q = math.exp(j1 * math.log(mu) - mu - math.lgamma(j1 + 1.0))
                        for j in range(j1, -1, -1):
                            low += q
                            q *= j / mu
                            if q < 1e-12 * low:
                                break
                    high = max(1.0 - low - inner, 0.0)
                    expected = mean + c * (high - low)
                    expected2 = square + c * c * (high + low)
                    gain = square + c * _edge(mu, s, c, j1, j2)
                    step = (psi / n - expected) * s / max(gain, 1e-6)
                    step = min(max(step, -0.5 * mu), mu + 1.0)
                    mu += step
                    error = (expected2 - expected * expected) / max(gain * gain, 1e-6) * mu / n
                    if abs(step) < 1e-5 * math.sqrt(mu):
                        break
            # Pixels far beyond the noise of counting (the halo of the direct beam) have no level in common.
            if ok and n >= 30 and spread > UNEVEN * n * expected2:
                ok = False
            for at in range(first, first + layers):
                background[at] = mu if ok else 0.0
            for y in range(top):
                histogram[y] = 0
            done = done and ok
            floor = 1.0 / (max(n, 1) * max(n, 1))  # no count at all still leaves room for a mean of 1/n
            variance += max(error, floor) / (n_layers * n_layers)
            if n > 1 and total > 0:
                dispersion += (total2 - total * total / n) / (n - 1) / (total / n) / n_layers
        out[r, 0] = 1.0 if done else 0.0
        out[r, 1] = variance
        out[r, 2] = dispersion


@jit
def _edge(mu, s, c, j1, j2):
    """Sum of r over the tails: E[r; y > j2] - E[r; y <= j1] = s (P(j2) + P(j1))."""
    total = 0.0
    for j in (j1, j2):
        if j >= 0:
            total += math.exp(j * math.log(mu) - mu - math.lgamma(j + 1.0))
    return s * total
