"""Kernels of the profile model: foreground, moments and shapes of strong spots, the fit.

``geo`` (n, 11) holds for each box, with (x, y) counted from the box's corner: a0 + a1 x + a2 y over
the length is c1, likewise c2, and length^2 = b0 + b1 x + b2 y + b3 x^2 + b4 y^2 (see `model.geometry`).
``shape`` (n, 7): inverse covariance (11, 12, 22), centre (c1, c2), cell size and scale of the correction.
"""

from __future__ import annotations

import math

import numpy as np

from xtal.jit import jit

VALID, FOREGROUND, OVERLAPPED = 1, 4, 32


@jit
def footprints(geo, bbox, centre, radius2, starts, out):  # type: ignore[no-untyped-def]
    """Mark pixels of which a corner lies within the radius (``radius2`` its square, (n,)), and the predicted one."""
    for r in range(len(bbox)):
        g = geo[r]
        width, height = bbox[r, 1] - bbox[r, 0], bbox[r, 3] - bbox[r, 2]
        at = starts[r]
        for k in range(width * height):
            out[at + k] = 0
        for j in range(height + 1):
            for i in range(width + 1):
                c1, c2 = g[0] + g[1] * i + g[2] * j, g[3] + g[4] * i + g[5] * j
                length2 = g[6] + g[7] * i + g[8] * j + g[9] * i * i + g[10] * j * j
                if c1 * c1 + c2 * c2 <= radius2[r] * length2:
                    for y in range(max(j - 1, 0), min(j + 1, height)):
                        for x in range(max(i - 1, 0), min(i + 1, width)):
                            out[at + y * width + x] = 1
        i, j = int(centre[r, 0]) - bbox[r, 0], int(centre[r, 1]) - bbox[r, 2]
        if 0 <= i < width and 0 <= j < height:
            out[at + j * width + i] = 1


@jit
def moments(geo, bbox, offsets, data, mask, background, out):  # type: ignore[no-untyped-def]
    """Sums over the valid foreground of the signal times 1, c1, c2, c1^2, c1 c2, c2^2: ``out`` (n, 6)."""
    for r in range(len(bbox)):
        g = geo[r]
        width, height, depth = bbox[r, 1] - bbox[r, 0], bbox[r, 3] - bbox[r, 2], bbox[r, 5] - bbox[r, 4]
        for j in range(height):
            for i in range(width):
                signal = 0.0
                for k in range(depth):
                    at = offsets[r] + (k * height + j) * width + i
                    if mask[at] & VALID and mask[at] & FOREGROUND:
                        signal += data[at] - background[at]
                if signal != 0.0:
                    x, y = i + 0.5, j + 0.5
                    inverse = 1.0 / math.sqrt(g[6] + g[7] * x + g[8] * y + g[9] * x * x + g[10] * y * y)
                    c1, c2 = (g[0] + g[1] * x + g[2] * y) * inverse, (g[3] + g[4] * x + g[5] * y) * inverse
                    out[r, 0] += signal
                    out[r, 1] += signal * c1
                    out[r, 2] += signal * c2
                    out[r, 3] += signal * c1 * c1
                    out[r, 4] += signal * c1 * c2
                    out[r, 5] += signal * c2 * c2


@jit
def fit_profiles(geo, bbox, offsets, data, mask, background, shape, rocking, table, node, level, floor, sums, out):  # type: ignore[no-untyped-def]
    """Fit the profile to each box; with ``sums`` gather what is left over instead of writing ``out``'s flags.

    Parameters
    ----------
    rocking : (n, 2) predicted z, and abs(zeta) width / (sqrt2 sigma_m): the argument of erf per frame
    table : (nodes, m, m) correction of the Gaussian, in units of its peak, on a grid over the cells
    node : (n,) which table
    level : (n,) variance of the background level
    floor : least part of the profile that must be recorded
    sums : (nodes, 3, m, m) residual, profile scale and variance; empty to learn nothing
    out : (n, 6) intensity, variance, correlation, part of the profile used, 1 if done, part recorded on valid voxels
    """
    m = table.shape[1]
    learn = sums.shape[0] > 0
    layer = np.empty(4096)
    peak = np.empty(4096)
    rows, columns = np.empty(4096), np.empty(4096)
    for r in range(len(bbox)):
        g, s = geo[r], shape[r]
        width, height, depth = bbox[r, 1] - bbox[r, 0], bbox[r, 3] - bbox[r, 2], bbox[r, 5] - bbox[r, 4]
        area = width * height
        if area > len(layer):
            layer, peak, rows, columns = np.empty(area), np.empty(area), np.empty(area), np.empty(area)
        # The profile of a layer: Gaussian times (1 + 0) plus the correction, normalised over the foreground.
        total = 0.0
        for j in range(height):
            for i in range(width):
                at = j * width + i
                layer[at] = 0.0
                if not mask[offsets[r] + at] & FOREGROUND:
                    continue
                x, y = i + 0.5, j + 0.5
                inverse = 1.0 / math.sqrt(g[6] + g[7] * x + g[8] * y + g[9] * x * x + g[10] * y * y)
                c1 = (g[0] + g[1] * x + g[2] * y) * inverse - s[3]
                c2 = (g[3] + g[4] * x + g[5] * y) * inverse - s[4]
                value = math.exp(-0.5 * (s[0] * c1 * c1 + 2 * s[1] * c1 * c2 + s[2] * c2 * c2))
                u = min(max(c1 / s[5] + 0.5 * (m - 1), 0.0), m - 1.001)
                v = min(max(c2 / s[5] + 0.5 * (m - 1), 0.0), m - 1.001)
                columns[at], rows[at], peak[at] = u, v, value
                iu, iv = int(u), int(v)
                fu, fv = u - iu, v - iv
                t = table[node[r]]
                value += (t[iv, iu] * (1 - fu) + t[iv, iu + 1] * fu) * (1 - fv)
                value += (t[iv + 1, iu] * (1 - fu) + t[iv + 1, iu + 1] * fu) * fv
                layer[at] = max(value, 0.0)
                total += layer[at]
        if total <= 0.0:
            continue
        # What part of the profile is recorded, on good voxels and on those that are ours alone.
        recorded, clean, signal = 0.0, 0.0, 0.0
        for k in range(depth):
            z = bbox[r, 4] + k - rocking[r, 0]
            part = 0.5 * (math.erf(rocking[r, 1] * (z + 1)) - math.erf(rocking[r, 1] * z)) / total
            for at in range(area):
                p = layer[at] * part
                voxel = offsets[r] + k * area + at
                if p > 0.0 and mask[voxel] & VALID:
                    recorded += p
                    signal += data[voxel] - background[voxel]
                    if not mask[voxel] & OVERLAPPED:
                        clean += p
        out[r, 5] = recorded
        shared = clean < 0.5 * recorded  # too little is ours alone: take what is shared as well
        out[r, 3] = recorded if shared else clean
        if out[r, 3] < floor or recorded <= 0.0:
            continue
        intensity = max(signal / recorded, 0.0)
        least = math.sqrt(level[r]) + 1e-9
        information, slope = 0.0, 0.0
        for _ in range(100):
            known = max(intensity, 0.0)
            top, information, slope = 0.0, 0.0, 0.0
            for k in range(depth):
                z = bbox[r, 4] + k - rocking[r, 0]
                part = 0.5 * (math.erf(rocking[r, 1] * (z + 1)) - math.erf(rocking[r, 1] * z)) / total
                for at in range(area):
                    p = layer[at] * part
                    voxel = offsets[r] + k * area + at
                    if p > 0.0 and mask[voxel] & VALID and (shared or not mask[voxel] & OVERLAPPED):
                        weight = p / (max(background[voxel], least) + known * p)
                        top += weight * (data[voxel] - background[voxel])
                        information += weight * p
                        slope += weight
            if information <= 0.0:
                break
            before = intensity
            intensity = top / information
            if abs(intensity - before) <= 1e-4 * max(abs(intensity), math.sqrt(1.0 / information)):
                break
            if intensity < 0.0 and before < 0.0:
                break
        if information <= 0.0:
            continue
        out[r, 0] = intensity
        out[r, 1] = 1.0 / information + (slope / information) ** 2 * level[r]
        out[r, 4] = 1.0
        n, md, mm, dd, dm, tt = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
        for k in range(depth):
            z = bbox[r, 4] + k - rocking[r, 0]
            part = 0.5 * (math.erf(rocking[r, 1] * (z + 1)) - math.erf(rocking[r, 1] * z)) / total
            for at in range(area):
                p = layer[at] * part
                voxel = offsets[r] + k * area + at
                if p > 0.0 and mask[voxel] & VALID and (shared or not mask[voxel] & OVERLAPPED):
                    model, d = background[voxel] + intensity * p, float(data[voxel])
                    n += 1.0
                    md += d
                    mm += model
                    dd += d * d
                    dm += d * model
                    tt += model * model
                    if learn:
                        scale = intensity * part
                        iu, iv = int(columns[at]), int(rows[at])
                        fu, fv = columns[at] - iu, rows[at] - iv
                        damp = 1.0 / (1.0 + intensity / 3000.0)
                        for du in range(2):
                            for dv in range(2):
                                w = damp * (fu if du else 1 - fu) * (fv if dv else 1 - fv)
                                sums[node[r], 0, iv + dv, iu + du] += w * (d - model)
                                sums[node[r], 1, iv + dv, iu + du] += w * scale
                                sums[node[r], 2, iv + dv, iu + du] += w * w * max(d, 0.1)
        spread = (dd - md * md / n) * (tt - mm * mm / n)
        if spread > 0.0:
            out[r, 2] = (dm - md * mm / n) / math.sqrt(spread)
