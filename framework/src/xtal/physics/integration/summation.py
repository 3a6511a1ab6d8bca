"""Summation integration, counts of voxels and centroids."""

from __future__ import annotations

import numpy as np
from attrs import define
from numpy.typing import NDArray

from xtal.physics.integration.kernels import copy_boxes, drop_bad, frame_noise, split_boxes, sum_boxes
from xtal.table import Shoeboxes
from xtal.table.shoebox import box_offsets

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
        counts[:, 0],
        counts[:, 1],
        counts[:, 2],
        counts[:, 3],
        counts[:, 4] - counts[:, 3],
        counts[:, 5],
        counts[:, 6],
        counts[:, 7],
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


def split_sums(boxes: Shoeboxes, edges: NDArray[np.int32]) -> Array:
    """Sums over the foreground of each box whose background is known, before and after a frame edge.

    Parameters
    ----------
    edges : (n,)
        First frame after the edge, as array index.

    Returns
    -------
    (n, 4) counts less background, before and after, then counts alone, before and after
    """
    out = np.zeros((len(boxes), 4))
    split_boxes(boxes.bbox, boxes.offsets, boxes.data, boxes.mask, boxes.background, edges, out)
    return out


def drop_bad_pixels(boxes: Shoeboxes) -> NDArray[np.int32]:
    """Mark as bad, on all frames of a box, the pixels of its foreground that no diffraction could make as they are.

    Those are pixels that stand alone and do not come and go with the frames, hot ones that no mask names and strong
    zingers; and dead ones that no mask names, which a bright spot shows (`kernels.drop_bad`).

    Parameters
    ----------
    boxes
        Background filled; the mask is changed in place.

    Returns
    -------
    (n,) pixels marked in each box
    """
    bad = np.zeros(len(boxes), np.int32)
    drop_bad(boxes.bbox, boxes.offsets, boxes.data, boxes.mask, boxes.background, bad)
    return bad


def count_noise(boxes: Shoeboxes, rows: NDArray[np.int64]) -> Array:
    """(k,) variance of sums of counts over their mean in the background of boxes ``rows``; NaN where unknown.

    It is 1 where every photon makes one count. Where one makes several, in one pixel or in neighbours, it is more,
    while the variance of single pixels may hide it.
    """
    out = np.empty(len(rows))
    frame_noise(
        np.asarray(rows, dtype=np.int64), boxes.bbox, boxes.offsets, boxes.data, boxes.mask, boxes.background, out
    )
    return out


def take_boxes(boxes: Shoeboxes, rows: NDArray[np.int64]) -> Shoeboxes:
    """Copies of some boxes."""
    bbox = boxes.bbox[rows]
    offsets = box_offsets(bbox)
    n = int(offsets[-1])
    out = Shoeboxes(
        boxes.panel[rows], bbox, offsets, np.empty(n, np.float32), np.empty(n, np.int32), np.empty(n, np.float32)
    )
    copy_boxes(
        np.asarray(rows, dtype=np.int64), boxes.offsets, boxes.data, boxes.mask, boxes.background,
        offsets, out.data, out.mask, out.background,
    )  # fmt: skip
    return out
