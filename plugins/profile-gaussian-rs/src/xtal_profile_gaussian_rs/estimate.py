"""Size of spots from the strong ones: sigma_b (angle) and sigma_m (rocking), as DIALS defines them.

sigma_b is the square root of the mean over spots of the second moment, in both directions together, of the angle
between a pixel and the predicted direction; the foreground radius of three of it is about four standard deviations
of a round spot. sigma_m maximises the likelihood of how the counts of each spot fall on its frames
(Kabsch 2010, section 3).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from xtal.models import Experiment
from xtal.table import MaskBit, ReflectionTable, Shoeboxes

Array = NDArray[np.float64]

DARK = 1e-10
"""Least fraction of a reflection on a frame, so that logarithms are finite."""


def voxel_axes(boxes: Shoeboxes) -> tuple[NDArray[np.int64], Array, Array, NDArray[np.int64]]:
    """Box number, x and y of the pixel centre and z of the frame of every voxel."""
    b = boxes.bbox.astype(np.int64)
    sizes = np.diff(boxes.offsets)
    owner = np.repeat(np.arange(len(b)), sizes)
    k = np.arange(boxes.offsets[-1]) - boxes.offsets[:-1][owner]
    width, height = (b[:, 1] - b[:, 0])[owner], (b[:, 3] - b[:, 2])[owner]
    x = b[owner, 0] + k % width + 0.5
    y = b[owner, 2] + k // width % height + 0.5
    return owner, x, y, b[owner, 4] + k // (width * height)


def divergence(experiment: Experiment, spots: ReflectionTable) -> Array:
    """(n,) second moment (radian^2) of the angle from the predicted direction; NaN where there is one count or less.

    Parameters
    ----------
    spots
        Columns s1, panel, shoebox (voxels with a mask belong to the spot).
    """
    boxes: Shoeboxes = spots["shoebox"]
    owner, x, y, _ = voxel_axes(boxes)
    own = boxes.mask != 0
    owner, x, y, counts = owner[own], x[own], y[own], boxes.data[own].astype(float)
    s1 = np.asarray(spots["s1"])
    unit = s1 / np.linalg.norm(s1, axis=1, keepdims=True)
    angle2 = np.zeros(len(owner))
    panel = np.asarray(spots["panel"])[owner]
    for p in np.unique(panel):
        here = panel == p
        model = experiment.detector[int(p)]
        ray = model.lab(model.px_to_mm(np.column_stack([x[here], y[here]])))
        ray /= np.linalg.norm(ray, axis=1, keepdims=True)
        # |u - v| is 2 sin(angle / 2): accurate for small angles where arccos is not.
        angle2[here] = (2 * np.arcsin(np.linalg.norm(ray - unit[owner[here]], axis=1) / 2)) ** 2
    n = len(spots)
    total = np.bincount(owner, counts, n)
    moment = np.bincount(owner, counts * angle2, n)
    return np.where(total > 1, moment / np.where(total > 1, total - 1, 1.0), np.nan)


def frame_counts(experiment: Experiment, spots: ReflectionTable) -> tuple[NDArray[np.int64], Array, Array, Array]:
    """Counts of each spot on each frame.

    Returns
    -------
    spot : (m,) row
    counts : (m,)
    low, high : (m,) rotation from the predicted angle to the frame's edges times abs(zeta), radian
    """
    assert experiment.scan is not None
    boxes: Shoeboxes = spots["shoebox"]
    owner, _, _, z = voxel_axes(boxes)
    own = boxes.mask == int(MaskBit.VALID | MaskBit.FOREGROUND)
    b = boxes.bbox.astype(np.int64)
    start = np.concatenate([[0], np.cumsum(b[:, 5] - b[:, 4])])
    key = start[owner] + z - b[owner, 4]
    counts = np.bincount(key[own], boxes.data[own], int(start[-1]))
    spot = np.repeat(np.arange(len(b), dtype=np.int64), b[:, 5] - b[:, 4])
    frame = np.arange(start[-1]) - start[spot] + b[spot, 4]
    factor = np.abs(np.asarray(spots["zeta"]))[spot] * experiment.scan.width
    offset = frame - np.asarray(spots["xyzcal.px"])[spot, 2]
    keep = counts > 0
    return spot[keep], counts[keep].astype(float), (offset * factor)[keep], ((offset + 1) * factor)[keep]


def rocking_width(spot: NDArray[np.int64], counts: Array, low: Array, high: Array) -> float:
    """sigma_m (radian) of the greatest likelihood.

    For each spot the counts are a multinomial over the frames that recorded it, to which ln Z is added for the
    reflection as a whole (Kabsch 2010); Z is the part of the rocking curve on those frames.
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import erf

    n = int(spot.max()) + 1
    total = np.bincount(spot, counts, n)
    some = total > 0

    def loss(log_sigma: float) -> float:
        scale = np.sqrt(2.0) * np.exp(log_sigma)
        part = np.maximum(np.abs(erf(high / scale) - erf(low / scale)) / 2, DARK)
        whole = np.bincount(spot, part, n)
        return float(-(counts @ np.log(part)) + ((total - 1) * np.log(np.where(some, whole, 1.0)))[some].sum())

    grid = np.log(np.radians(0.01)) + np.arange(0, 7.3, 0.35)
    best = grid[int(np.argmin([loss(g) for g in grid]))]
    found = minimize_scalar(loss, bounds=(best - 0.4, best + 0.4), method="bounded", options={"xatol": 1e-4})
    return float(np.exp(found.x))
