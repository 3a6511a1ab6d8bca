"""Kernel that puts shoeboxes into the bytes of a file."""

from __future__ import annotations

import numpy as np

from xtal.jit import jit


@jit
def pack_boxes(headers, offsets, data, mask, background, out):
    """Headers and voxels of boxes, one box after another.

    Parameters
    ----------
    headers : (n, h) uint8
    offsets : (n + 1,) int64, box i holds voxels offsets[i] to offsets[i + 1]
    data, mask, background : (4 N,) uint8, the bytes of the voxels of all boxes
    out : (h n + 12 voxels,) uint8, filled
    """
    at, size = np.uint64(0), np.uint64(headers.shape[1])
    for i in range(len(headers)):
        # assignments of slices would compile, for their error, the formatting of text: more than all the rest
        for k in range(size):
            out[at + k] = headers[i, k]
        at += size
        first, n = np.uint64(4 * offsets[i]), np.uint64(4 * (offsets[i + 1] - offsets[i]))
        for values in (data, mask, background):
            for k in range(n):
                out[at + k] = values[first + k]
            at += n
