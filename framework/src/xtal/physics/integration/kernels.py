"""Kernels that touch every voxel of a box."""

from __future__ import annotations

import math

import numpy as np

from xtal.jit import inlined, jit

VALID, BACKGROUND, FOREGROUND, BACKGROUND_USED, OVERLAPPED = 1, 2, 4, 16, 32
LONELY = 0.03
"""Part of a pixel's counts that its second brightest neighbour holds at least in a spot: 0.1 where the spot's standard
deviation is 0.4 of a pixel, 0.35 at 0.65."""
SHARP = 14
"""Pixels of a foreground below which spots may be narrower than that."""
BRIEF = 0.75
"""Mean squared distance of a spot's counts from the middle of its box's frames, over that of counts that are the same
on all of them, at most: 0.2 to 0.4 in boxes of four frames and more, which reach farther than spots do."""
ONE_FRAME = 0.8
"""Part of a spot's counts that a single frame holds at most, if it is to be told from a zinger."""
ROOM = 8.0
"""Counts that chance may give a neighbour; pixels with less than this over `LONELY` prove nothing."""
UNSEEN = -1e30
"""Stands for the counts of a pixel that is valid on no layer of a box."""
BESIDE_DEAD = 20.0
"""Geometric mean of the counts over the background of two pixels between which one without any must be dead."""


@jit
def gather(image, good, static, top, rows, bbox, core, offsets, shape, footprint, z, cover, data, mask, overloaded):
    """Copy one frame of one panel into the boxes that are active on it.

    Parameters
    ----------
    image : (slow, fast) raw counts; good, static : (slow, fast) usable pixels of this frame, of every frame
    top : highest trusted value
    rows : (k,) boxes active on this frame and panel
    bbox : (n, 6); core : (n, 2) frames, first and last + 1, on which a box's foreground covers others
    offsets : (n,) first voxel of each box
    shape : (n,) first pixel of each box in ``footprint``, which is 1 in the foreground
    z : array index of the frame
    cover : (slow, fast) uint8 scratch
    data, mask : voxels, filled
    overloaded : (n,) uint8, set to 1 where a voxel exceeds ``top``
    """
    ny, nx = image.shape
    cover[:] = 0
    for k in range(len(rows)):
        r = rows[k]
        if not core[r, 0] <= z < core[r, 1]:
            continue
        x0, y0 = bbox[r, 0], bbox[r, 2]
        width = bbox[r, 1] - x0
        for y in range(max(y0, 0), min(bbox[r, 3], ny)):
            spot = shape[r] + (y - y0) * width - x0
            for x in range(max(x0, 0), min(bbox[r, 1], nx)):
                cover[y, x] += footprint[spot + x]
    for k in range(len(rows)):
        r = rows[k]
        x0, x1, y0, y1 = bbox[r, 0], bbox[r, 1], bbox[r, 2], bbox[r, 3]
        width = x1 - x0
        xa, xb = min(max(x0, 0), x1), max(min(x1, nx), x0)
        covers = core[r, 0] <= z < core[r, 1]
        for y in range(y0, y1):
            spot = shape[r] + (y - y0) * width - x0
            at = offsets[r] + ((z - bbox[r, 4]) * (y1 - y0) + y - y0) * width - x0
            inside = 0 <= y < ny
            for x in range(x0, x1):
                if not inside or x < xa or x >= xb:
                    data[at + x] = 0.0
                    mask[at + x] = FOREGROUND if footprint[spot + x] else BACKGROUND
            if not inside:
                continue
            for x in range(xa, xb):
                own = footprint[spot + x]
                bits = FOREGROUND if own else BACKGROUND
                if cover[y, x] > (own if covers else 0):
                    bits |= OVERLAPPED
                value = 0.0
                if good[y, x]:
                    bits |= VALID
                    value = image[y, x]
                elif static[y, x] and image[y, x] > top:
                    overloaded[r] = 1
                data[at + x] = value
                mask[at + x] = bits


@jit
def copy_boxes(rows, offsets, data, mask, background, starts, data_to, mask_to, background_to):
    """Copy boxes ``rows`` to where others start."""
    for k in range(len(rows)):
        first, at = offsets[rows[k]], starts[k]
        for i in range(starts[k + 1] - at):
            data_to[at + i], mask_to[at + i] = data[first + i], mask[first + i]
            background_to[at + i] = background[first + i]


@jit
def put_layers(rows, part, starts, data, mask, bbox, offsets, data_to, mask_to):
    """Copy boxes that are cut in z to ``part`` into the whole ones ``rows``."""
    for k in range(len(rows)):
        r, start = rows[k], starts[k]
        area = (bbox[r, 1] - bbox[r, 0]) * (bbox[r, 3] - bbox[r, 2])
        to = offsets[r] + (part[k, 4] - bbox[r, 4]) * area
        for i in range((part[k, 5] - part[k, 4]) * area):
            data_to[to + i], mask_to[to + i] = data[start + i], mask[start + i]


@jit
def foreground_pixels(rows, bbox, offsets, mask, background, to, pixels, numbers):
    """Cut boxes ``rows`` in x and y to the foreground of their first layer (one pixel where there is none): ``to``.

    ``pixels`` (packed) gets the places of its pixels in the layers of ``to``, ``numbers`` how many each box has.
    Returns whether the background under it is the same on all layers of every box.
    """
    n, alike = 0, True
    for k in range(len(rows)):
        r = rows[k]
        width, height = bbox[r, 1] - bbox[r, 0], bbox[r, 3] - bbox[r, 2]
        first, xa, xb, ya, yb = n, width, 1, height, 1
        for i in range(width * height):
            at = offsets[r] + i
            if mask[at] & FOREGROUND:
                y, x = i // width, i % width
                xa, xb, ya, yb = min(xa, x), max(xb, x + 1), min(ya, y), max(yb, y + 1)
                pixels[n] = i
                n += 1
                for j in range(at, offsets[r + 1], width * height):
                    alike = alike and background[j] == background[at]
        if n == first:
            xa, ya = 0, 0
        for i in range(first, n):
            pixels[i] = (pixels[i] // width - ya) * (xb - xa) + pixels[i] % width - xa
        numbers[k] = n - first
        to[k, 0], to[k, 1], to[k, 2], to[k, 3] = bbox[r, 0] + xa, bbox[r, 0] + xb, bbox[r, 2] + ya, bbox[r, 2] + yb
        to[k, 4], to[k, 5] = bbox[r, 4], bbox[r, 5]
    return alike


@jit
def pack_foreground(
    rows, bbox, offsets, data, mask, background, to, pixels, starts, layers, data_to, mask_to, level_to
):
    """Copy the foreground of boxes ``rows``, ``layers`` (k,) layers of it of the background.

    ``pixels[starts[k] : starts[k + 1]]`` are its places in a layer of ``to``.
    """
    at, level = 0, 0
    for k in range(len(rows)):
        r = rows[k]
        width, height, nx = bbox[r, 1] - bbox[r, 0], bbox[r, 3] - bbox[r, 2], to[k, 1] - to[k, 0]
        corner = offsets[r] + (to[k, 2] - bbox[r, 2]) * width + to[k, 0] - bbox[r, 0]
        for z in range(to[k, 5] - to[k, 4]):
            for i in range(starts[k], starts[k + 1]):
                voxel = corner + (z * height + pixels[i] // nx) * width + pixels[i] % nx
                data_to[at], mask_to[at] = data[voxel], mask[voxel]
                at += 1
                if z < layers[k]:
                    level_to[level] = background[voxel]
                    level += 1


@jit
def unpack_foreground(
    rows, bbox, pixels, starts, voxels, levels, layers, data, mask, level, offsets, data_to, mask_to, background_to
):
    """Put what `pack_foreground` took of boxes ``rows`` into boxes of zeros."""
    for k in range(len(rows)):
        r = rows[k]
        area, n = (bbox[r, 1] - bbox[r, 0]) * (bbox[r, 3] - bbox[r, 2]), starts[r + 1] - starts[r]
        for z in range(bbox[r, 5] - bbox[r, 4]):
            at, under = voxels[r] + z * n, levels[r] + min(z, layers[r] - 1) * n
            for i in range(n):
                voxel = offsets[k] + z * area + pixels[starts[r] + i]
                data_to[voxel], mask_to[voxel] = data[at + i], mask[at + i]
                background_to[voxel] = level[under + i]


@jit
def sum_boxes(bbox, offsets, data, mask, background, counts, sums):
    """Counts of voxels and sums over the foreground of each box.

    ``counts`` (n, 8) int32: valid, background, background used, foreground valid, foreground, foreground
    overlapped, background bad, background overlapped. ``sums`` (n, 10): signal and background over the
    valid foreground, mean background of all voxels, then weight, weighted x, y, z (voxel centres) and x2, y2, z2
    about the box's middle of the positive differences.
    """
    for r in range(len(bbox)):
        width, height, depth = bbox[r, 1] - bbox[r, 0], bbox[r, 3] - bbox[r, 2], bbox[r, 5] - bbox[r, 4]
        at = offsets[r]
        total = 0.0
        for k in range(depth):
            for j in range(height):
                for i in range(width):
                    bits = mask[at]
                    b = background[at]
                    total += b
                    if bits & VALID:
                        counts[r, 0] += 1
                    if bits & FOREGROUND:
                        counts[r, 4] += 1
                        if bits & OVERLAPPED:
                            counts[r, 5] += 1
                        if bits & VALID:
                            counts[r, 3] += 1
                            sums[r, 0] += data[at]
                            sums[r, 1] += b
                            w = data[at] - b
                            if w > 0:
                                x, y, z = i + 0.5 - 0.5 * width, j + 0.5 - 0.5 * height, k + 0.5 - 0.5 * depth
                                sums[r, 3] += w
                                sums[r, 4] += w * x
                                sums[r, 5] += w * y
                                sums[r, 6] += w * z
                                sums[r, 7] += w * x * x
                                sums[r, 8] += w * y * y
                                sums[r, 9] += w * z * z
                    elif bits & BACKGROUND:
                        if bits & OVERLAPPED:
                            counts[r, 7] += 1
                        if bits & VALID:
                            counts[r, 1] += 1
                            if bits & BACKGROUND_USED:
                                counts[r, 2] += 1
                        else:
                            counts[r, 6] += 1
                    at += 1
        sums[r, 2] = total / max(1, width * height * depth)


@jit
def split_boxes(bbox, offsets, data, mask, background, edges, sums):
    """Sums over the valid foreground of each box before and after a frame edge.

    ``edges`` (n,): first frame after the edge, as array index. ``sums`` (n, 4): counts less background, then counts
    alone, before and after.
    """
    for r in range(len(bbox)):
        area = (bbox[r, 1] - bbox[r, 0]) * (bbox[r, 3] - bbox[r, 2])
        cut = offsets[r] + area * (edges[r] - bbox[r, 4])
        for at in range(offsets[r], offsets[r] + area * (bbox[r, 5] - bbox[r, 4])):
            if mask[at] & FOREGROUND and mask[at] & VALID:
                after = 1 if at >= cut else 0
                sums[r, after] += data[at] - background[at]
                sums[r, 2 + after] += data[at]


@inlined
def over_frames(data, mask, background, first, last, area):
    """Excess of a pixel over the background (`UNSEEN` if it is never valid) and its counts, over all frames."""
    excess, total, seen = 0.0, 0.0, False
    for at in range(first, last, area):
        if mask[at] & VALID:
            seen = True
            excess += data[at] - background[at]
            total += abs(data[at])
    return excess if seen else UNSEEN, total


@inlined
def stands_alone(excess, total, width, height, x, y):
    """Whether the second brightest neighbour of a pixel is, with all its noise, below `LONELY` of it."""
    i = y * width + x
    if LONELY * excess[i] < ROOM:
        return False
    first, second, noise1, noise2, known = UNSEEN, UNSEEN, 0.0, 0.0, 0
    for v in range(max(y - 1, 0), min(y + 2, height)):
        for u in range(max(x - 1, 0), min(x + 2, width)):
            k = v * width + u
            if k == i or excess[k] <= UNSEEN:
                continue
            known += 1
            if excess[k] > first:
                second, noise2 = first, noise1
                first, noise1 = excess[k], total[k]
            elif excess[k] > second:
                second, noise2 = excess[k], total[k]
    return known >= 4 and max(second, 0.0) + 4.0 * math.sqrt(noise2 + 1.0) < LONELY * excess[i]


@inlined
def comes_and_goes(data, mask, background, first, last, area):
    """Whether a pixel is bright about the middle of a box's frames (`BRIEF`) and on more than one (`ONE_FRAME`).

    So is a spot, be it as sharp as a pixel; hot pixels are the same on every frame, zingers are on one.
    """
    middle = 0.5 * ((last - 1 - first) // area)
    total, peak, spread, seen, even = 0.0, 0.0, 0.0, 0, 0.0
    for z, at in enumerate(range(first, last, area)):
        if mask[at] & VALID:
            value, square = data[at] - background[at], (z - middle) ** 2
            total, peak, spread = total + value, max(peak, value), spread + value * square
            seen, even = seen + 1, even + square
    return peak < ONE_FRAME * total and spread * seen < BRIEF * total * even


@inlined
def is_dead(excess, total, width, height, x, y):
    """Whether a pixel counted nothing where the spot says that it should have counted more than `BESIDE_DEAD`.

    A Gaussian falls off ever faster: between two pixels it is at least their geometric mean.
    """
    if total[y * width + x] > 0.0:
        return False
    for u, v in ((1, 0), (0, 1), (1, 1), (1, -1)):
        if u <= x < width - u and abs(v) <= y < height - abs(v):
            i, k = y * width + x, v * width + u
            low, high = min(excess[i + k], excess[i - k]), max(excess[i + k], excess[i - k])
            if low > ROOM and low * high > BESIDE_DEAD**2:
                return True
    return False


@jit
def drop_bad(bbox, offsets, data, mask, background, bad):
    """Make pixels invalid that no diffraction could make so bright, or so dark; ``bad`` (n,) counts them per box.

    A pixel's excess is summed over the frames of the box. A real spot raises neighbours too: of the eight round its
    brightest pixel at least two hold a few hundredths of its counts, unless it is far narrower than a pixel. So hot is
    a pixel that stands alone (`stands_alone`), but for those that come and go with the frames as spots do
    (`comes_and_goes`); when these are gone, dead ones are looked for (`is_dead`). Boxes with a foreground of less than
    `SHARP` pixels a layer are left alone.
    """
    excess, total, odd = np.empty(1024), np.empty(1024), np.empty(1024, np.bool_)
    for r in range(len(bbox)):
        width, height = bbox[r, 1] - bbox[r, 0], bbox[r, 3] - bbox[r, 2]
        area, first, end = width * height, offsets[r], offsets[r + 1]
        if area > len(excess):
            excess, total, odd = np.empty(area), np.empty(area), np.empty(area, np.bool_)
        own, top = 0, 0.0
        for i in range(area):
            if mask[first + i] & FOREGROUND:
                excess[i], total[i] = over_frames(data, mask, background, first + i, end, area)
                own += 1
                top = max(top, excess[i])
        if own < SHARP or top < BESIDE_DEAD:
            continue
        for i in range(area):  # only strong boxes need the others
            if not mask[first + i] & FOREGROUND:
                excess[i], total[i] = over_frames(data, mask, background, first + i, end, area)
        for turn in range(2):
            for y in range(height):
                for x in range(width):
                    i = y * width + x
                    odd[i] = False
                    if mask[first + i] & FOREGROUND and excess[i] > UNSEEN:
                        if turn == 0:
                            odd[i] = stands_alone(excess, total, width, height, x, y) and not comes_and_goes(
                                data, mask, background, first + i, end, area
                            )
                        else:
                            odd[i] = is_dead(excess, total, width, height, x, y)
            for i in range(area):
                if odd[i]:
                    excess[i] = UNSEEN
                    bad[r] += 1
                    for at in range(first + i, end, area):
                        mask[at] &= ~VALID


@jit
def frame_noise(rows, bbox, offsets, data, mask, background, out):
    """Variance of sums of background counts over their mean, of boxes ``rows``, into ``out`` (NaN where unknown).

    From differences between consecutive frames, in which all that stands still cancels: the variance of a pixel plus
    the covariances with its 12 neighbours up to two pixels away along the axes, over twice the background.
    """
    steps = ((1, 0), (0, 1), (1, 1), (1, -1), (2, 0), (0, 2))
    change, use = np.empty(4096), np.empty(4096, np.bool_)
    for k in range(len(rows)):
        r = rows[k]
        out[k] = np.nan
        width, height, depth = bbox[r, 1] - bbox[r, 0], bbox[r, 3] - bbox[r, 2], bbox[r, 5] - bbox[r, 4]
        area = width * height
        if area > len(change):
            change, use = np.empty(area), np.empty(area, np.bool_)
        layers, total = 0, 0.0
        for z in range(depth - 1):
            first = offsets[r] + z * area
            n, mean, level = 0, 0.0, 0.0
            for i in range(area):
                a, b = first + i, first + i + area
                use[i] = (
                    mask[a] & (VALID | BACKGROUND | OVERLAPPED) == VALID | BACKGROUND
                    and mask[b] & (VALID | BACKGROUND | OVERLAPPED) == VALID | BACKGROUND
                )
                if use[i]:
                    change[i] = data[b] - data[a]
                    n += 1
                    mean += change[i]
                    level += background[a] + background[b]
            if n < 40 or level <= 0.0:
                continue
            mean /= n
            own = 0.0
            for i in range(area):
                if use[i]:
                    change[i] -= mean
                    own += change[i] * change[i]
            value = own / n
            for dx, dy in steps:
                pairs, product = 0, 0.0
                for y in range(max(-dy, 0), height - max(dy, 0)):
                    for x in range(width - dx):
                        i, j = y * width + x, (y + dy) * width + x + dx
                        if use[i] and use[j]:
                            pairs += 1
                            product += change[i] * change[j]
                if pairs > 0:
                    value += 2.0 * product / pairs
            # The mean was taken from the same pixels, which lowers each of the 13 terms by an n-th.
            total += value / (level / n) / (1.0 - 13.0 / n)
            layers += 1
        if layers:
            out[k] = total / layers


@jit
def places_between(grid, step, out):
    """Interpolate between values at every ``step``-th pixel."""
    for y in range(out.shape[0]):
        j, v = y // step, y % step / step
        for x in range(out.shape[1]):
            i, u = x // step, x % step / step
            upper = grid[j, i] * (1.0 - u) + grid[j, i + 1] * u
            lower = grid[j + 1, i] * (1.0 - u) + grid[j + 1, i + 1] * u
            out[y, x] = upper * (1.0 - v) + lower * v


@jit
def shell_sums(image, good, place, pedestal, gain, cut, step, sums):
    """Add good pixels of at most ``cut`` photons to ``sums`` (n, 3) of shells: number, photons and their roots.

    Of every ``step``-th row."""
    for y in range(0, image.shape[0], step):
        for x in range(image.shape[1]):
            if good[y, x]:
                value = (image[y, x] - pedestal) / gain
                k = int(place[y, x])
                if value <= cut[k]:
                    sums[k, 0] += 1.0
                    sums[k, 1] += value
                    sums[k, 2] += math.sqrt(max(value, 0.0))


@jit
def levels_at(levels, place):
    """Put levels, interpolated between the middles of shells, in place of the places."""
    for y in range(place.shape[0]):
        for x in range(place.shape[1]):
            at = max(place[y, x] - 0.5, 0.0)
            k = min(int(at), len(levels) - 2)
            place[y, x] = levels[k] + (levels[k + 1] - levels[k]) * (at - k)


@jit
def spread_levels(rows, bbox, offsets, levels, background):
    """Copy the expected levels of a panel into boxes ``rows`` on it; 0 beyond its edges."""
    ny, nx = levels.shape
    for r in rows:
        x0, x1, y0, y1 = bbox[r, 0], bbox[r, 1], bbox[r, 2], bbox[r, 3]
        area = (x1 - x0) * (y1 - y0)
        first = offsets[r]
        for y in range(y0, y1):
            for x in range(x0, x1):
                inside = 0 <= y < ny and 0 <= x < nx
                background[first + (y - y0) * (x1 - x0) + x - x0] = levels[y, x] if inside else 0.0
        for at in range(first + area, offsets[r + 1]):
            background[at] = background[at - area]
