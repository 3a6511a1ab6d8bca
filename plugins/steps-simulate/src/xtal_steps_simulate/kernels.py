"""Kernels: one image drawn, and its compression."""

from __future__ import annotations

import math

import numpy as np

from xtal.jit import jit

_REACH = 4.5
_SQRT_HALF = math.sqrt(0.5)
_DENSITY = 1.0 / math.sqrt(2.0 * math.pi)
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX2 = np.uint64(0x94D049BB133111EB)
_S30, _S27, _S31, _S11 = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(11)


@jit
def uniform(state):
    """A number in (0, 1) from the generator SplitMix64 (Steele et al. 2014), whose state (1,) goes on by one."""
    state[0] += _GOLDEN
    z = state[0]
    z = (z ^ (z >> _S30)) * _MIX1
    z = (z ^ (z >> _S27)) * _MIX2
    return (np.float64((z ^ (z >> _S31)) >> _S11) + 0.5) * 2.0**-53


@jit
def poisson(mean, state):
    """A Poisson count: by inversion, or for large means by transformed rejection (Hoermann 1993, PTRS)."""
    if mean < 12.0:
        u, k = uniform(state), 0
        p = math.exp(-mean)
        while u > p and k < 200:
            u -= p
            k += 1
            p *= mean / k
        return k
    log_mean = math.log(mean)
    b = 0.931 + 2.53 * math.sqrt(mean)
    a = -0.059 + 0.02483 * b
    inverse_alpha = 1.1239 + 1.1328 / (b - 3.4)
    v_r = 0.9277 - 3.6224 / (b - 2.0)
    while True:
        u, v = uniform(state) - 0.5, uniform(state)
        us = 0.5 - abs(u)
        k = int(math.floor((2.0 * a / us + b) * u + mean + 0.43))
        if us >= 0.07 and v <= v_r:
            return k
        if k < 0 or (us < 0.013 and v > us):
            continue
        if math.log(v * inverse_alpha / (a / (us * us) + b)) <= k * log_mean - mean - math.lgamma(k + 1.0):
            return k


@jit
def gaussian_slice(low, high):
    """Share, mean and variance of a standard normal between two limits."""
    share = 0.5 * (math.erf(high * _SQRT_HALF) - math.erf(low * _SQRT_HALF))
    if share < 1e-12:
        return 0.0, 0.0, 0.0
    d_low, d_high = _DENSITY * math.exp(-0.5 * low * low), _DENSITY * math.exp(-0.5 * high * high)
    mean = (d_low - d_high) / share
    variance = 1.0 + (low * d_low - high * d_high) / share - mean * mean
    return share, mean, min(max(variance, 0.0), 1.0)


@jit
def footprint(x, y, cxx, cxy, cyy, photons, x0, y0, patch):
    """Add a two-dimensional Gaussian, integrated over pixels, to a patch (slow, fast) whose corner is (x0, y0).

    Column by column: the share of x in the column, then y given that share with its mean and variance, which is
    exact but for the third moment within one column.
    """
    sx, sy = math.sqrt(cxx), math.sqrt(cyy)
    slope = cxy / sx
    left = cyy - slope * slope
    first, last = (
        max(int(math.floor(x - _REACH * sx)) - x0, 0),
        min(int(math.floor(x + _REACH * sx)) - x0 + 1, patch.shape[1]),
    )
    bottom, top = (
        max(int(math.floor(y - _REACH * sy)) - y0, 0),
        min(int(math.floor(y + _REACH * sy)) - y0 + 1, patch.shape[0]),
    )
    for i in range(first, last):
        share, mean, variance = gaussian_slice((x0 + i - x) / sx, (x0 + i + 1 - x) / sx)
        if share == 0.0:
            continue
        centre = y + slope * mean
        scale = _SQRT_HALF / math.sqrt(max(left + slope * slope * variance, 1e-6))
        before = math.erf((y0 + bottom - centre) * scale)
        for j in range(bottom, top):
            after = math.erf((y0 + j + 1 - centre) * scale)
            patch[j, i] += 0.5 * photons * share * (after - before)
            before = after


@jit
def draw_background(background, scale, state, image):
    """Fill an image (int32) with counts of the background (float64, photons at unit beam)."""
    for j in range(image.shape[0]):
        for i in range(image.shape[1]):
            image[j, i] = poisson(background[j, i] * scale, state)


@jit
def draw_spots(frame, rows, spots, weights, background, scale, status, state, image, out):
    """Add the photons of this image's reflections and note what was expected of each.

    Parameters
    ----------
    frame : number of the image from the start of the scan
    rows : (m,) rows of ``spots`` that may reach the image
    spots : (n, 15) x, y (px), z (images), sigma of z, cov(x, z) and cov(y, z) over sigma of z, var x, cov xy and
        var y at fixed z, shift of x and y (px per mm of path), three depths (mm of path, ascending), photons
    weights : (3,) of the depths
    out : (m, 4) share of the crossing in this image; expected and drawn photons on good pixels; and the sum over
        them of mu^2 / (mu + background), with mu the expected photons
    """
    ny, nx = image.shape
    patch = np.zeros((96, 96))
    for m in range(rows.size):
        s = spots[rows[m]]
        share, mean, variance = gaussian_slice((frame - s[2]) / s[3], (frame + 1 - s[2]) / s[3])
        out[m, 0] = share
        if share < 1e-9 or s[14] <= 0.0:
            continue
        x, y = s[0] + s[4] * mean, s[1] + s[5] * mean
        cxx, cxy, cyy = s[6] + s[4] * s[4] * variance, s[7] + s[4] * s[5] * variance, s[8] + s[5] * s[5] * variance
        wide_x, wide_y = _REACH * math.sqrt(cxx) + 1.0, _REACH * math.sqrt(cyy) + 1.0
        deep_x, deep_y = s[9] * s[13], s[10] * s[13]
        x0 = max(int(math.floor(x + min(deep_x, 0.0) - wide_x)), 0)
        y0 = max(int(math.floor(y + min(deep_y, 0.0) - wide_y)), 0)
        x1 = min(int(math.ceil(x + max(deep_x, 0.0) + wide_x)), nx, x0 + patch.shape[1])
        y1 = min(int(math.ceil(y + max(deep_y, 0.0) + wide_y)), ny, y0 + patch.shape[0])
        if x1 <= x0 or y1 <= y0:
            continue
        area = patch[: y1 - y0, : x1 - x0]
        area[:] = 0.0
        for layer in range(3):
            depth, part = s[11 + layer], s[14] * share * weights[layer]
            footprint(x + s[9] * depth, y + s[10] * depth, cxx, cxy, cyy, part, x0, y0, area)
        for j in range(y1 - y0):
            for i in range(x1 - x0):
                mu = area[j, i]
                state_here = status[y0 + j, x0 + i]
                if mu <= 0.0 or state_here == 5:
                    continue
                count = poisson(mu, state)
                image[y0 + j, x0 + i] += count
                if state_here == 0:
                    out[m, 1] += mu
                    out[m, 2] += count
                    out[m, 3] += mu * mu / (mu + background[y0 + j, x0 + i] * scale)


@jit
def spoil(status, hot, ceiling, state, image):
    """Overwrite pixels that do not count: -1 in gaps, -2 marked bad, 0 dead, about ``hot`` where hot."""
    for j in range(image.shape[0]):
        for i in range(image.shape[1]):
            what = status[j, i]
            if what == 1 or what == 2:
                image[j, i] = -what
            elif what == 3:
                image[j, i] = 0
            elif what == 4:
                image[j, i] = poisson(hot, state)
            elif image[j, i] > ceiling:
                image[j, i] = ceiling


@jit
def byte_offset(image, out):
    """Compress int32 pixels (n,) into bytes (uint8, at least 7 n long) by CBF's byte offset; returns their number."""
    n, last = 0, 0
    for k in range(image.size):
        value = np.int64(image[k])
        step = value - last
        last = value
        if -127 <= step <= 127:
            out[n] = np.uint8(step & 0xFF)
            n += 1
            continue
        out[n] = np.uint8(0x80)
        if -32767 <= step <= 32767:
            width, n = 2, n + 1
        else:
            out[n + 1], out[n + 2] = np.uint8(0x00), np.uint8(0x80)
            width, n = 4, n + 3
        for b in range(width):
            out[n + b] = np.uint8((step >> (8 * b)) & 0xFF)
        n += width
    return n
