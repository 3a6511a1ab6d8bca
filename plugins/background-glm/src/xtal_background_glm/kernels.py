"""Kernel of the robust Poisson fit."""

from __future__ import annotations

import math

import numpy as np

from xtal.jit import inlined, jit

VALID, BACKGROUND, FOREGROUND, BACKGROUND_USED, OVERLAPPED = 1, 2, 4, 16, 32
BINS, STEPS = 1024, 12
"""Counts that are counted one by one, and steps of the expected shape, in each of which pixels are alike."""
UNEVEN = 2.2
"""Spread of the cut residuals, over that of counting, beyond which the pixels have no common level: a variance of
about thirty times the mean."""
FLAT = 0.03
"""Root mean square of the expected shape over the foreground, from the mean of the background, that is left alone."""
TRUST = 1.0
"""How far the contrast of a box may well be from the expected one, as a part of it."""


@jit
def robust_poisson(bbox, offsets, data, mask, background, c, min_pixels, per_frame, out):
    """Fill ``background``, which tells its expected shape, with the robust fit to each box (or frame of it).

    ``out`` (n, 3): 1 if done, variance of the mean under the foreground, index of dispersion.
    """
    histogram, others = np.zeros((STEPS, BINS), np.int64), np.empty((2, 4096))
    numbers, x = np.zeros(STEPS), np.zeros(STEPS)
    for r in range(len(bbox)):
        area = (bbox[r, 1] - bbox[r, 0]) * (bbox[r, 3] - bbox[r, 2])
        depth = bbox[r, 5] - bbox[r, 4]
        size, n_layers = (area, depth) if per_frame else (area * depth, 1)
        if size > others.shape[1]:
            others = np.empty((2, size))
        done, variance, dispersion = True, 0.0, 0.0
        for k in range(n_layers):
            layer = slice(offsets[r] + k * size, offsets[r] + (k + 1) * size)
            shape, bits = background[layer], mask[layer]
            low, width, middle, under = expected_steps(shape[:area], bits[:area])
            m = STEPS if width > 0.0 else 1
            n, top, extra, total, total2, negative = gather(
                data[layer], bits, shape, low, width, middle, histogram, others, numbers[:m], x[:m]
            )
            mu, contrast, error, even = 0.0, 0.0, 0.0, True
            if n >= min_pixels and not negative and total > 0:
                mu, contrast, error, even = robust_fit(
                    histogram[:m], top, others, extra, numbers[:m], x[:m], under, total / n, c
                )
            ok = n >= min_pixels and not negative and even
            if ok and width > 0.0:
                fill(shape, mu, contrast, middle)
            else:
                shape[:] = mu if ok else 0.0
            histogram[:m, :top] = 0
            done = done and ok
            floor = 1.0 / (max(n, 1) * max(n, 1))  # no count at all still leaves room for a mean of 1/n
            variance += max(error, floor) / (n_layers * n_layers)
            if n > 1 and total > 0:
                dispersion += (total2 - total * total / n) / (n - 1) / (total / n) / n_layers
        out[r, 0] = 1.0 if done else 0.0
        out[r, 1] = variance
        out[r, 2] = dispersion


@inlined
def usable(bits):
    """Whether a pixel belongs to the background and is good."""
    return bits & (VALID | BACKGROUND | OVERLAPPED) == VALID | BACKGROUND


@inlined
def expected_steps(shape, mask):
    """How the expected shape, of one frame, is cut into steps.

    Returns
    -------
    low, width, middle, under
        Lower end and width of the steps (0: there is one, the shape is flat), mean over the usable background, and
        over the foreground relative to it, less 1.
    """
    n, total, low, high = 0, 0.0, np.inf, -np.inf
    for at in range(len(mask)):
        if usable(mask[at]) and shape[at] > 0.0:
            n += 1
            total += shape[at]
            low, high = min(low, shape[at]), max(high, shape[at])
    middle = total / n if n else 1.0
    within, mean, square = 0, 0.0, 0.0
    for at in range(len(mask)):
        if mask[at] & FOREGROUND and shape[at] > 0.0:
            x = shape[at] / middle - 1.0
            within += 1
            mean += x
            square += x * x
    if n == 0 or square <= FLAT * FLAT * within:
        return 0.0, 0.0, middle, 0.0
    return low, (high - low) / STEPS, middle, mean / within


@inlined
def gather(data, mask, shape, low, width, middle, histogram, others, numbers, x):
    """Take up the background pixels: counts below `BINS` in histograms by step, larger and fractional ones in a list.

    ``numbers`` and ``x`` get the pixels of each step, and how much more than ``middle`` is expected of them, relative
    to it; ``others`` counts and steps.

    Returns
    -------
    n, top, extra, total, total2, negative
        Pixels, bins and list entries in use, sums of the counts and of their squares, whether a count is below 0.
    """
    n, top, extra, total, total2, negative, k = 0, 0, 0, 0.0, 0.0, False, 0
    numbers[:], x[:] = 0.0, 0.0
    for at in range(len(data)):
        if usable(mask[at]):
            y = data[at]
            whole = int(y)
            if width > 0.0:
                value = shape[at] if shape[at] > 0.0 else middle
                k = min(max(int((value - low) / width), 0), len(x) - 1)
                x[k] += value / middle - 1.0
                numbers[k] += 1.0
            n += 1
            total += y
            total2 += y * y
            negative = negative or y < 0
            if 0 <= whole < BINS and whole == y:
                histogram[k, whole] += 1
                top = max(top, whole + 1)
            else:
                others[0, extra], others[1, extra] = y, k
                extra += 1
            mask[at] |= BACKGROUND_USED
    if width == 0.0:
        numbers[0] = n
    for k in range(len(x)):
        x[k] /= max(numbers[k], 1.0)
    return n, top, extra, total, total2, negative


@inlined
def fill(background, mu, contrast, middle):
    """Put the fitted level in place of the expected shape."""
    for at in range(len(background)):
        x = background[at] / middle - 1.0 if background[at] > 0.0 else 0.0
        background[at] = mu * max(1.0 + contrast * x, 0.0)


@inlined
def robust_fit(histogram, top, others, extra, numbers, x, under, mean, c):
    """Fit mu (1 + contrast x) to the counts of pixels, of which ``numbers`` have each x.

    Solves sum (psi(r) - E[psi(r)]) / sqrt(m) dm = 0, where dm are the derivatives of the mean m of a pixel, with psi(r)
    = r cut to -/+ c and r = (y - m) / sqrt(m). The expectation under the Poisson distribution makes the fit unbiased.
    The contrast is held at 1 as softly as `TRUST` says, and stays there where all x are 0.

    Parameters
    ----------
    histogram : (x, >= top) pixels of each count below ``top``
    others : (2, >= extra) counts that are not in it and their numbers of x
    under : x for which the variance is told
    mean : of all counts

    Returns
    -------
    mu, contrast, variance, even
        ``even``: whether the pixels follow that at all (in the halo of the direct beam they do not).
    """
    n, lowest = 0.0, -0.1
    for k in range(len(x)):
        n, lowest = n + numbers[k], min(lowest, x[k])
    hold, largest = 1.0 / (TRUST * TRUST), 0.95 / -lowest
    mu, contrast = starting_mean(histogram, top, n, mean), min(1.0, largest)
    error, spread, allowed = 0.0, 0.0, 0.0
    for _ in range(100):
        spread, allowed = 0.0, 0.0
        slope1, slope2 = 0.0, hold * (1.0 - contrast)
        gain11, gain12, gain22 = 0.0, 0.0, hold
        noise11, noise12, noise22 = 0.0, 0.0, hold
        for k in range(len(x)):
            if numbers[k] == 0.0:
                continue
            a, b = 1.0 + contrast * x[k], mu * x[k]
            psi, psi2 = cut_sums(histogram[k], top, others, extra, k, mu * a, c)
            expected, expected2, grows = poisson_sums(mu * a, c)
            spread += psi2
            allowed += numbers[k] * expected2
            slope = (psi - numbers[k] * expected) / math.sqrt(mu * a)
            gain = numbers[k] * max(grows, 1e-6) / (mu * a)
            noise = numbers[k] * (expected2 - expected * expected) / (mu * a)
            slope1, slope2 = slope1 + slope * a, slope2 + slope * b
            gain11, gain12, gain22 = gain11 + gain * a * a, gain12 + gain * a * b, gain22 + gain * b * b
            noise11, noise12, noise22 = noise11 + noise * a * a, noise12 + noise * a * b, noise22 + noise * b * b
        det = gain11 * gain22 - gain12 * gain12
        step = (gain22 * slope1 - gain12 * slope2) / det
        turn = (gain11 * slope2 - gain12 * slope1) / det
        # how the level at ``under`` follows the slopes, and with that its variance
        a, b = 1.0 + contrast * under, mu * under
        u, v = (gain22 * a - gain12 * b) / det, (gain11 * b - gain12 * a) / det
        error = u * u * noise11 + 2.0 * u * v * noise12 + v * v * noise22
        step = min(max(step, -0.5 * mu), mu + 1.0)
        turn = min(max(contrast + turn, 0.0), largest) - contrast
        mu += step
        contrast += turn
        if abs(step) < 1e-5 * math.sqrt(mu) and abs(turn) < 1e-3:
            break
    return mu, contrast, error, n < 30 or spread <= UNEVEN * allowed


@inlined
def pixels_of(histogram, count):
    """How many pixels have a count, whatever their x."""
    n = 0
    for k in range(len(histogram)):
        n += histogram[k, count]
    return n


@inlined
def starting_mean(histogram, top, n, mean):
    """The mean of what is within three sigma of the median; ``mean`` where that is less than half of the pixels."""
    below, median = 0, 0
    while median < top:
        here = pixels_of(histogram, median)
        if 2 * (below + here) >= n:
            break
        below += here
        median += 1
    reach = median + 3 * math.sqrt(median + 1.0)
    few, near = 0, 0.0
    for y in range(min(top, int(reach) + 1)):
        here = pixels_of(histogram, y)
        few += here
        near += here * y
    return near / few if 2 * few >= n and near > 0 else mean


@inlined
def cut_sums(histogram, top, others, extra, k, mu, c):
    """Sums over the pixels of step k of psi(r) and of its square."""
    s = math.sqrt(mu)
    psi, spread = 0.0, 0.0
    for y in range(top):
        if histogram[y]:
            cut = min(max((y - mu) / s, -c), c)
            psi += histogram[y] * cut
            spread += histogram[y] * cut * cut
    for i in range(extra):
        if others[1, i] == k:
            cut = min(max((others[0, i] - mu) / s, -c), c)
            psi += cut
            spread += cut * cut
    return psi, spread


@inlined
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
