"""Kernels of the profile model: foreground, moments and shapes of strong spots, the fit.

``geo`` (n, 11) holds for each box, with (x, y) counted from the box's corner: a0 + a1 x + a2 y over
the length is c1, likewise c2, and length^2 = b0 + b1 x + b2 y + b3 x^2 + b4 y^2 (see `model.geometry`).
``shape`` (n, 8): covariance (11, 12, 22) and centre (c1, c2) at a fixed angle, drift of the centre (c1, c2) per frame,
and the cell of the correction table in standard deviations.
"""

from __future__ import annotations

import math

import numpy as np

from xtal.jit import inlined, jit

VALID, FOREGROUND, OVERLAPPED = 1, 4, 32


@jit
def footprints(geo, bbox, centre, radii, starts, out):
    """Mark pixels of which a corner lies in the ellipse of ``radii`` (n, 2) along c1 and c2, and the predicted one."""
    lines = np.empty((2, 256), np.bool_)  # which corners lie in it: of this row and of the one before
    for r in range(len(bbox)):
        g = geo[r]
        w1, w2 = 1.0 / radii[r, 0] ** 2, 1.0 / radii[r, 1] ** 2
        width, height = bbox[r, 1] - bbox[r, 0], bbox[r, 3] - bbox[r, 2]
        if width >= lines.shape[1]:
            lines = np.empty((2, width + 1), np.bool_)
        for j in range(height + 1):
            low, high = lines[1 - j % 2], lines[j % 2]
            for i in range(width + 1):
                c1, c2 = g[0] + g[1] * i + g[2] * j, g[3] + g[4] * i + g[5] * j
                length2 = g[6] + g[7] * i + g[8] * j + g[9] * i * i + g[10] * j * j
                high[i] = w1 * c1 * c1 + w2 * c2 * c2 <= length2
            if j > 0:
                row = out[starts[r] + (j - 1) * width : starts[r] + j * width]
                for i in range(width):
                    row[i] = low[i] | low[i + 1] | high[i] | high[i + 1]
        i, j = int(centre[r, 0]) - bbox[r, 0], int(centre[r, 1]) - bbox[r, 2]
        if 0 <= i < width and 0 <= j < height:
            out[starts[r] + j * width + i] = 1


@jit
def on_frame(z, k):
    """Part of a reflection on the frame from z to z + 1 (from its centre), and mean and variance of z within it.

    The rocking curve is a Gaussian of which ``k`` is 1/(sqrt2 sigma) per frame.
    """
    part = 0.5 * (math.erf(k * (z + 1.0)) - math.erf(k * z))
    if part < 1e-6:
        return part, z if z > 0.0 else z + 1.0, 0.0
    low, high = math.exp(-((k * z) ** 2)), math.exp(-((k * (z + 1.0)) ** 2))
    sigma = math.sqrt(0.5) / k
    mean = sigma * (low - high) / (math.sqrt(2.0 * math.pi) * part)
    spread = sigma * sigma + sigma * (z * low - (z + 1.0) * high) / (math.sqrt(2.0 * math.pi) * part)
    return part, mean, max(spread - mean * mean, 0.0)


@jit
def moments(geo, bbox, offsets, data, mask, background, rocking, out):
    """Sums over the valid foreground of the signal times powers of c1, c2 and the frame's mean z.

    ``out`` (n, 10): 1, c1, c2, c1^2, c1 c2, c2^2, z, z^2, z c1, z c2.
    """
    for r in range(len(bbox)):
        g = geo[r]
        width, height, depth = bbox[r, 1] - bbox[r, 0], bbox[r, 3] - bbox[r, 2], bbox[r, 5] - bbox[r, 4]
        for k in range(depth):
            _, z, _ = on_frame(bbox[r, 4] + k - rocking[r, 0], rocking[r, 1])
            for j in range(height):
                for i in range(width):
                    at = offsets[r] + (k * height + j) * width + i
                    if not (mask[at] & VALID and mask[at] & FOREGROUND):
                        continue
                    w = data[at] - background[at]
                    x, y = i + 0.5, j + 0.5
                    inverse = 1.0 / math.sqrt(g[6] + g[7] * x + g[8] * y + g[9] * x * x + g[10] * y * y)
                    c1, c2 = (g[0] + g[1] * x + g[2] * y) * inverse, (g[3] + g[4] * x + g[5] * y) * inverse
                    out[r, 0] += w
                    out[r, 1] += w * c1
                    out[r, 2] += w * c2
                    out[r, 3] += w * c1 * c1
                    out[r, 4] += w * c1 * c2
                    out[r, 5] += w * c2 * c2
                    out[r, 6] += w * z
                    out[r, 7] += w * z * z
                    out[r, 8] += w * z * c1
                    out[r, 9] += w * z * c2


@jit
def voxel_profile(g, s, rocking, box, mask, table, cells, p):
    """Expected part of a reflection in each foreground voxel of its box (0 elsewhere) into ``p``.

    ``cells`` (voxels, 2) gets the place in the correction table; ``mask`` is that of the box.
    """
    m = table.shape[0]
    width, height, depth = box[1] - box[0], box[3] - box[2], box[5] - box[4]
    for k in range(depth):
        part, z, spread = on_frame(box[4] + k - rocking[0], rocking[1])
        v11, v12, v22 = s[0] + spread * s[5] * s[5], s[1] + spread * s[5] * s[6], s[2] + spread * s[6] * s[6]
        det = v11 * v22 - v12 * v12
        i11, i12, i22 = v22 / det, -v12 / det, v11 / det
        cell = 1.0 / (s[7] * math.sqrt(math.sqrt(det)))
        total = 0.0
        first = k * width * height
        for j in range(height):
            for i in range(width):
                at = first + j * width + i
                p[at] = 0.0
                if not mask[at] & FOREGROUND:
                    continue
                x, y = i + 0.5, j + 0.5
                inverse = 1.0 / math.sqrt(g[6] + g[7] * x + g[8] * y + g[9] * x * x + g[10] * y * y)
                c1 = (g[0] + g[1] * x + g[2] * y) * inverse - s[3] - z * s[5]
                c2 = (g[3] + g[4] * x + g[5] * y) * inverse - s[4] - z * s[6]
                value = math.exp(-0.5 * (i11 * c1 * c1 + 2 * i12 * c1 * c2 + i22 * c2 * c2))
                u = min(max(c1 * cell + 0.5 * (m - 1), 0.0), m - 1.001)
                v = min(max(c2 * cell + 0.5 * (m - 1), 0.0), m - 1.001)
                cells[at, 0], cells[at, 1] = u, v
                iu, iv = int(u), int(v)
                fu, fv = u - iu, v - iv
                value += (table[iv, iu] * (1 - fu) + table[iv, iu + 1] * fu) * (1 - fv)
                value += (table[iv + 1, iu] * (1 - fu) + table[iv + 1, iu + 1] * fu) * fv
                p[at] = max(value, 0.0)
                total += p[at]
        scale = part / total if total > 0.0 else 0.0
        for at in range(first, first + width * height):
            p[at] *= scale
        cells[first, 2] = scale


@inlined
def choose_voxels(d, b, bits, profile, use):
    """Mark the voxels to fit: the valid ones of the profile, without those that others overlap where enough are left.

    Returns
    -------
    what part of the profile is recorded on valid voxels, on those marked, and the signal on the valid ones
    """
    recorded, clean, signal = 0.0, 0.0, 0.0
    for i in range(len(d)):
        use[i] = profile[i] > 0.0 and bits[i] & VALID
        if use[i]:
            recorded += profile[i]
            signal += d[i] - b[i]
            if not bits[i] & OVERLAPPED:
                clean += profile[i]
    if clean < 0.5 * recorded:  # too little is ours alone: take what is shared as well
        return recorded, recorded, signal
    if clean < recorded:
        for i in range(len(d)):
            use[i] = use[i] and not bits[i] & OVERLAPPED
    return recorded, clean, signal


@inlined
def likeliest_intensity(d, b, profile, use, start, level):
    """Intensity of the highest likelihood, and its variance; ``level`` is the variance of the background."""
    intensity, least = start, math.sqrt(level) + 1e-9
    information, slope = 0.0, 0.0
    for _ in range(100):
        known = max(intensity, 0.0)
        top, information, slope = 0.0, 0.0, 0.0
        for i in range(len(d)):
            if use[i]:
                weight = profile[i] / (max(b[i], least) + known * profile[i])
                top += weight * (d[i] - b[i])
                information += weight * profile[i]
                slope += weight
        before = intensity
        intensity = top / information
        small = 1e-4 * max(abs(intensity), math.sqrt(1.0 / information))
        if abs(intensity - before) <= small or (intensity < 0.0 and before < 0.0):
            break
    return intensity, 1.0 / information + (slope / information) ** 2 * level


@inlined
def correlation(d, b, profile, use, intensity):
    """Of counts and model; 0 where one of them is the same everywhere."""
    count, md, mm, dd, dm, tt = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    for i in range(len(d)):
        if use[i]:
            model = b[i] + intensity * profile[i]
            count += 1.0
            md += d[i]
            mm += model
            dd += d[i] * d[i]
            dm += d[i] * model
            tt += model * model
    spread = (dd - md * md / count) * (tt - mm * mm / count)
    return (dm - md * mm / count) / math.sqrt(spread) if spread > 0.0 else 0.0


@jit
def fit_profiles(geo, bbox, offsets, data, mask, background, shape, rocking, table, level, floor, sums, out):
    """Fit the profile to each box; with ``sums`` also gather what is left over.

    The fit is the maximum of the Poisson likelihood by reweighted least squares: voxel variances are background plus
    fitted intensity times profile. Its variance is the inverse of the information, plus what the
    uncertainty of the background adds.

    Parameters
    ----------
    rocking : (n, 2) predicted z, and abs(zeta) width / (sqrt2 sigma_m): the argument of erf per frame
    table : (m, m) correction of the Gaussian, in units of its peak
    level : (n,) variance of the background level
    floor : least part of the profile that must be recorded
    sums : (3, m, m) residual, profile scale and variance; empty to learn nothing
    out : (n, 6) intensity, variance, correlation, part of the profile used, 1 if done, part recorded on valid voxels
    """
    profile, cells, use = np.empty(4096), np.empty((4096, 3)), np.empty(4096, np.bool_)
    for r in range(len(bbox)):
        first, n = offsets[r], offsets[r + 1] - offsets[r]
        if n > len(profile):
            profile, cells, use = np.empty(n), np.empty((n, 3)), np.empty(n, np.bool_)
        d, b, bits = data[first : first + n], background[first : first + n], mask[first : first + n]
        voxel_profile(geo[r], shape[r], rocking[r], bbox[r], bits, table, cells, profile)
        recorded, used, signal = choose_voxels(d, b, bits, profile, use)
        out[r, 3], out[r, 5] = used, recorded
        if used < floor or recorded <= 0.0:
            continue
        start = max(signal / recorded, 0.0)
        out[r, 0], out[r, 1] = likeliest_intensity(d, b, profile, use, start, level[r])
        out[r, 2] = correlation(d, b, profile, use, out[r, 0])
        out[r, 4] = 1.0
        if len(sums):
            gather_residuals(d, b, use, profile, cells, bbox[r], out[r, 0], sums)


@jit
def gather_residuals(d, b, use, profile, cells, box, intensity, sums):
    """Add what the fit of one reflection leaves over to the cells of the correction table."""
    area = (box[1] - box[0]) * (box[3] - box[2])
    damp = 1.0 / (1.0 + intensity / 3000.0)
    for i in range(len(d)):
        if use[i]:
            model, scale = b[i] + intensity * profile[i], intensity * cells[i // area * area, 2]
            iu, iv = int(cells[i, 0]), int(cells[i, 1])
            fu, fv = cells[i, 0] - iu, cells[i, 1] - iv
            for du in range(2):
                for dv in range(2):
                    w = damp * (fu if du else 1 - fu) * (fv if dv else 1 - fv)
                    sums[0, iv + dv, iu + du] += w * (d[i] - model)
                    sums[1, iv + dv, iu + du] += w * scale
                    sums[2, iv + dv, iu + du] += w * w * max(model, 0.1)
