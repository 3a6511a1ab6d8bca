"""Summation integration, counts of voxels and centroids."""

from __future__ import annotations

import numpy as np
from attrs import define
from numpy.typing import NDArray

from xtal.physics.integration.kernels import sum_boxes
from xtal.table import MaskBit, Shoeboxes

Array = NDArray[np.float64]


@define
class Sums:
    """What is summed over each box; arrays of n rows.

    Attributes
    ----------
    intensity, variance : counts of the valid foreground less the background (Leslie 1999), and the variance:
        the counts themselves plus what the uncertainty of the background adds
    background, background_variance : under the valid foreground
    background_mean : per voxel
    xyz, xyz_variance : (n, 3) centroid of the positive differences, pixels and array index
    n_valid, n_background, n_background_used, n_foreground : voxels (foreground: valid ones)
    n_missing, n_overlapped : foreground voxels that are bad, that belong to other reflections too
    n_background_bad, n_background_overlapped : likewise of the background
    foreground_fraction : valid part of the foreground voxels
    """

    intensity: Array
    variance: Array
    background: Array
    background_variance: Array
    background_mean: Array
    xyz: Array
    xyz_variance: Array
    n_valid: NDArray[np.int32]
    n_background: NDArray[np.int32]
    n_background_used: NDArray[np.int32]
    n_foreground: NDArray[np.int32]
    n_missing: NDArray[np.int32]
    n_overlapped: NDArray[np.int32]
    n_background_bad: NDArray[np.int32]
    n_background_overlapped: NDArray[np.int32]
    foreground_fraction: Array


def summation(boxes: Shoeboxes, background_mean_variance: Array) -> Sums:
    """Sum boxes whose background is known.

    Parameters
    ----------
    boxes
        Data, mask and background filled.
    background_mean_variance : (n,)
        Variance of the background level per voxel, common to a box.
    """
    counts = np.zeros((len(boxes), 8), np.int32)
    sums = np.zeros((len(boxes), 10))
    sum_boxes(boxes.bbox, boxes.offsets, boxes.data, boxes.mask, boxes.background, counts, sums)
    n_fg = counts[:, 3].astype(float)
    noise = np.abs(sums[:, 1]) + n_fg**2 * background_mean_variance
    intensity = sums[:, 0] - sums[:, 1]
    xyz, xyz_variance = _centroids(boxes.bbox, sums[:, 3:])
    return Sums(
        intensity,
        np.abs(intensity) + noise,
        sums[:, 1].copy(),
        noise,
        sums[:, 2].copy(),
        xyz,
        xyz_variance,
        *(counts[:, k].copy() for k in range(4)),  # type: ignore[arg-type]
        counts[:, 4] - counts[:, 3],
        counts[:, 5].copy(),
        counts[:, 6].copy(),
        counts[:, 7].copy(),
        n_fg / np.maximum(counts[:, 4], 1),
    )


def _centroids(bbox: NDArray[np.int32], moments: Array) -> tuple[Array, Array]:
    """Centroid and its squared standard error; the middle of the box and 1/12 where nothing is positive."""
    b = bbox.astype(float)
    middle = 0.5 * (b[:, 0::2] + b[:, 1::2])
    weight = moments[:, 0]
    some = weight > 1.0
    w = np.where(some, weight, 1.0)[:, None]
    mean = np.where(some[:, None], moments[:, 1:4] / w, 0.0)
    spread = np.maximum(moments[:, 4:7] / w - mean**2, 0.0) * w / np.maximum(w - 1.0, 1e-3)
    return middle + mean, np.where(some[:, None], spread / w, 0.0) + 1.0 / 12.0


def crop_to_foreground(boxes: Shoeboxes) -> Shoeboxes:
    """The same boxes cut in x and y to what their foreground spans on the first layer (all layers are alike)."""
    b = boxes.bbox.astype(np.int64)
    width, height = b[:, 1] - b[:, 0], b[:, 3] - b[:, 2]
    layer = width * height
    starts = np.concatenate([[0], np.cumsum(layer)]).astype(np.int64)
    inside = np.arange(starts[-1]) - np.repeat(starts[:-1], layer)
    voxel = inside + np.repeat(boxes.offsets[:-1], layer)
    own = (boxes.mask[voxel] & int(MaskBit.FOREGROUND)) != 0
    owner = np.repeat(np.arange(len(b)), layer)[own]
    x, y = inside[own] % width[owner], inside[own] // width[owner]
    new = boxes.bbox.copy()
    for low, high, value in ((0, 1, x), (2, 3, y)):
        least = np.full(len(b), np.iinfo(np.int32).max)
        most = np.full(len(b), -1)
        np.minimum.at(least, owner, value)
        np.maximum.at(most, owner, value)
        some = most >= 0
        new[:, low] = np.where(some, boxes.bbox[:, low] + least, boxes.bbox[:, low])
        new[:, high] = np.where(some, boxes.bbox[:, low] + most + 1, boxes.bbox[:, low] + 1)
    return cut(boxes, new)


def cut(boxes: Shoeboxes, bbox: NDArray[np.int32]) -> Shoeboxes:
    """The parts of boxes that lie in smaller ones (same z)."""
    out = Shoeboxes.allocate(boxes.panel, bbox)
    old, new = boxes.bbox.astype(np.int64), out.bbox.astype(np.int64)
    sizes = np.diff(out.offsets)
    owner = np.repeat(np.arange(len(new)), sizes)
    k = np.arange(out.offsets[-1]) - out.offsets[:-1][owner]
    width, height = (new[:, 1] - new[:, 0])[owner], (new[:, 3] - new[:, 2])[owner]
    x, y, z = k % width + (new[:, 0] - old[:, 0])[owner], k // width % height, k // (width * height)
    y += (new[:, 2] - old[:, 2])[owner]
    old_width, old_height = (old[:, 1] - old[:, 0])[owner], (old[:, 3] - old[:, 2])[owner]
    voxel = boxes.offsets[:-1][owner] + (z * old_height + y) * old_width + x
    out.data[:], out.mask[:], out.background[:] = boxes.data[voxel], boxes.mask[voxel], boxes.background[voxel]
    return out
