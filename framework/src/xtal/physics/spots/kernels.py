"""Kernels over lists of strong pixels: joining, sums, boxes."""

from __future__ import annotations

import numpy as np

from xtal.jit import inlined, jit


@inlined
def gather_some(strong, begin, end, image, first, n, index, value):
    """Add those of the pixels begin to end to n others; how many there are then (`gather`)."""
    for i in range(begin, end):
        if strong[i]:
            if n < len(index):
                index[n], value[n] = first + i, image[i]
            n += 1
    return n


@jit
def gather(words, strong, image, first, n, index, value):
    """Add indices and values of strong pixels of some rows of a frame to n others.

    Strong pixels are rare: 64 pixels are passed over at a time, then 8.

    Parameters
    ----------
    words : (k,) uint64, the first 8 k bytes of ``strong``
    strong : (m,) bool
    image : (m,) any real dtype
    first : index of the first pixel
    index : int32, filled as far as it reaches
    value : float32, likewise

    Returns
    -------
    number of strong pixels, which may be more than there is room for
    """
    w, n_words = np.uint64(0), np.uint64(len(words))
    while w < n_words:
        if w + np.uint64(8) <= n_words:
            some = words[w]
            for k in range(np.uint64(1), np.uint64(8)):
                some |= words[w + k]
            if not some:
                w += np.uint64(8)
                continue
        begin = np.uint64(8) * w
        if words[w]:
            n = gather_some(strong, begin, begin + np.uint64(8), image, first, n, index, value)
        w += np.uint64(1)
    return gather_some(strong, np.uint64(8) * n_words, np.uint64(len(strong)), image, first, n, index, value)


@jit
def pixels_near(index, starts, width, first, spots, bbox, reach, out):
    """Strong pixels near spots of one frame, their own among them.

    Parameters
    ----------
    index, starts, width : as for `label`
    first : number of the first frame
    spots : (m,) int64, the spots to look at
    bbox : (n, 6) int32, of all spots (`measure`)
    reach : pixels by which their boxes are widened
    out : (m,) int64; filled with the pixels in the widened boxes
    """
    for k, spot in enumerate(spots):
        x0, x1, y0, y1 = bbox[spot, 0] - reach, bbox[spot, 1] + reach, bbox[spot, 2] - reach, bbox[spot, 3] + reach
        frame = bbox[spot, 4] - first
        here = index[starts[frame] : starts[frame + 1]]
        out[k] = 0
        for y in range(max(y0, 0), y1):
            begin = np.searchsorted(here, y * width + max(x0, 0))
            end = np.searchsorted(here, y * width + min(x1, width))
            out[k] += end - begin


@jit
def root(parent, i):
    """First pixel of the tree that holds pixel i; halves the path on the way."""
    while parent[i] != i:
        parent[i] = parent[parent[i]]
        i = parent[i]
    return i


@jit
def join(parent, i, j):
    """Unite the trees of two pixels; the earlier pixel becomes the root."""
    a, b = root(parent, i), root(parent, j)
    if a < b:
        parent[b] = a
    else:
        parent[a] = b


@jit
def label(index, starts, width, link, labels):
    """Join pixels that share an edge in the plane or, if ``link``, a face with the next frame.

    Parameters
    ----------
    index : (n,) int32, slow * width + fast, ascending within each frame
    starts : (n_frames + 1,) int64, frame f holds pixels starts[f] to starts[f + 1]
    width : pixels of a row
    link : whether spots extend over frames
    labels : (n,) int32, filled with 0, 1, ... in the order of each spot's first pixel

    Returns
    -------
    number of spots
    """
    for f in range(len(starts) - 1):
        begin, end = starts[f], starts[f + 1]
        above, before = begin, starts[max(f - 1, 0)]
        for i in range(begin, end):
            labels[i] = i
            here = index[i]
            if i > begin and index[i - 1] == here - 1 and here % width != 0:
                join(labels, i - 1, i)
            while index[above] < here - width:
                above += 1
            if index[above] == here - width:
                join(labels, above, i)
            if link and f > 0:
                while before < begin and index[before] < here:
                    before += 1
                if before < begin and index[before] == here:
                    join(labels, before, i)
    n = 0
    for i in range(len(labels)):  # parents come first, so each already holds minus (its number + 1)
        if labels[i] == i:
            labels[i] = -n - 1
            n += 1
        else:
            labels[i] = labels[labels[i]]
    for i in range(len(labels)):
        labels[i] = -labels[i] - 1
    return n


@jit
def measure(index, value, starts, width, first, labels, count, bbox, sums, peak):
    """Size, box, moments and peak of each spot.

    Parameters
    ----------
    index, starts, width, labels : as for `label`
    value : (n,) float32
    first : number of the first frame
    count : (m,) int32, zeros; filled with pixels
    bbox : (m, 6) int32; filled with x0, x1, y0, y1, f0, f1, half open
    sums : (m, 8) float64, zeros; filled with sum v, sum v v, sum v c of the three coordinates
        (pixel centres, x, y, frame), sum v (c - mean)**2 of the three
    peak : (m, 4) float64, zeros; filled with the highest value and its x, y, frame
    """
    for f in range(len(starts) - 1):
        for i in range(starts[f], starts[f + 1]):
            k, v, z = labels[i], np.float64(value[i]), first + f
            x, y = index[i] % width, index[i] // width
            box = bbox[k]
            if count[k] == 0:
                box[0], box[2], box[4] = x, y, z
                box[1], box[3] = x + 1, y + 1
            count[k] += 1
            box[0], box[1] = min(box[0], x), max(box[1], x + 1)
            box[2], box[3] = min(box[2], y), max(box[3], y + 1)
            box[5] = z + 1
            s = sums[k]
            s[0] += v
            s[1] += v * v
            s[2] += v * (x + 0.5)
            s[3] += v * (y + 0.5)
            s[4] += v * (z + 0.5)
            if count[k] == 1 or v > peak[k, 0]:
                peak[k, 0], peak[k, 1], peak[k, 2], peak[k, 3] = v, x + 0.5, y + 0.5, z + 0.5
    for f in range(len(starts) - 1):
        for i in range(starts[f], starts[f + 1]):
            s, v = sums[labels[i]], np.float64(value[i])
            s[5] += v * (index[i] % width + 0.5 - s[2] / s[0]) ** 2
            s[6] += v * (index[i] // width + 0.5 - s[3] / s[0]) ** 2
            s[7] += v * (first + f + 0.5 - s[4] / s[0]) ** 2


@jit
def fill_boxes(index, value, starts, width, first, labels, rows, bbox, offsets, code, data, mask):
    """Put strong pixels into the boxes of their spots.

    Parameters
    ----------
    index, value, starts, width, first, labels : as for `measure`
    rows : (m,) int64, row of each spot, -1 where it is dropped
    bbox : (n_rows, 6) int32
    offsets : (n_rows + 1,) int64, where each box starts
    code : mask of strong pixels
    data, mask : packed voxels [frame][y][x], filled
    """
    for f in range(len(starts) - 1):
        for i in range(starts[f], starts[f + 1]):
            row = rows[labels[i]]
            if row < 0:
                continue
            x0, x1, y0, y1, f0, _ = bbox[row]
            x, y = index[i] % width, index[i] // width
            at = offsets[row] + ((first + f - f0) * (y1 - y0) + y - y0) * (x1 - x0) + x - x0
            data[at], mask[at] = value[i], code
