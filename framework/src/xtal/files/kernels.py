"""Kernel that puts shoeboxes into the bytes of a file."""

from __future__ import annotations

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
    at = 0
    for i in range(len(headers)):
        head, a, b = headers[i], 4 * offsets[i], 4 * offsets[i + 1]
        out[at : at + len(head)] = head
        at += len(head)
        for values in (data, mask, background):
            out[at : at + b - a] = values[a:b]
            at += b - a
