"""Size of spots from the strong ones: sigma_b (angle) and sigma_m (rocking), as DIALS defines them, and mosaicity.

sigma_b is the square root of the mean over spots of the second moment, in both directions together, of the angle
between a pixel and the predicted direction; the foreground radius of three of it is about four standard deviations
of a round spot. Mosaicity draws spots out along their rings, the more the farther from the beam: that part is told from
the rest. sigma_m maximises the likelihood of how the counts of each spot fall on its frames (Kabsch 2010, section 3).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from xtal.models import Experiment
from xtal.physics.kabsch import kabsch_axes, sources, unit_rows
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


def divergence(experiment: Experiment, spots: ReflectionTable) -> tuple[Array, Array]:
    """Second moments (radian^2) of the angle from the predicted direction, (n, 2) whole and along the ring, and counts.

    Moments are NaN where there is one count or less.

    Parameters
    ----------
    spots
        Columns s1, panel, xyzcal.px, shoebox (voxels with a mask belong to the spot).
    """
    boxes: Shoeboxes = spots["shoebox"]
    owner, x, y, _ = voxel_axes(boxes)
    own = boxes.mask != 0
    owner, x, y, counts = owner[own], x[own], y[own], boxes.data[own].astype(float)
    s1 = np.asarray(spots["s1"])
    unit = s1 / np.linalg.norm(s1, axis=1, keepdims=True)
    e1, _ = kabsch_axes(s1, sources(experiment, np.asarray(spots["xyzcal.px"])[:, 2]))
    angle2, along2 = np.zeros(len(owner)), np.zeros(len(owner))
    panel = np.asarray(spots["panel"])[owner]
    for p in np.unique(panel):
        here = panel == p
        model = experiment.detector[int(p)]
        ray = model.lab(model.px_to_mm(np.column_stack([x[here], y[here]])))
        ray /= np.linalg.norm(ray, axis=1, keepdims=True)
        # |u - v| is 2 sin(angle / 2): accurate for small angles where arccos is not.
        angle2[here] = (2 * np.arcsin(np.linalg.norm(ray - unit[owner[here]], axis=1) / 2)) ** 2
        along2[here] = np.einsum("ni,ni->n", ray, e1[owner[here]]) ** 2
    n = len(spots)
    total = np.asarray(np.bincount(owner, counts, n), dtype=float)
    moments = np.column_stack([np.bincount(owner, counts * c2, n) for c2 in (angle2, along2)])
    return moments / np.where(total > 1, total - 1, np.nan)[:, None], total


def ring_growth(experiment: Experiment, table: ReflectionTable) -> Array:
    """(n,) variance of the angle along the ring that a mosaicity of variance 1 makes, over the whole rocking curve.

    A block of the crystal that is turned by a small w has r + w x r in place of r = s1 - s0. The part of w along r does
    nothing. That along n = r x e1 / |r| moves r along e1, so the spot along its ring by w |r| / |s1| = 2 w sin(theta).
    That along e1 takes r off the Ewald sphere; the scan brings it back by a turn of -w / zeta about its axis m, and the
    part of that along n, -w (m . n) / zeta, also moves the spot along its ring. The three parts are independent.
    See Nave (1998), Acta Cryst. D54, 848, for mosaic blocks in general, and `xtal.physics.kabsch` for e1 and zeta.
    """
    assert experiment.goniometer is not None
    s1 = np.asarray(table["s1"])
    s0 = sources(experiment, np.asarray(table["xyzcal.px"])[:, 2])
    r, e1 = s1 - s0, kabsch_axes(s1, s0)[0]
    turned = unit_rows(np.cross(r, e1)) @ experiment.goniometer.axis / np.asarray(table["zeta"])
    return np.asarray(np.sum(r * r, axis=1) / np.sum(s1 * s1, axis=1) * (1 + turned**2))


def mosaic_and_across(moments: Array, growth: Array, counts: Array) -> tuple[float, float]:
    """Mosaicity (radian), and what sigma_b (radian) would be without it, from second moments of spots.

    Along the ring a moment is v + mosaicity^2 growth, across it v: least squares, weighted by counts (spots near the
    threshold are weak and show only their tops). No more than three quarters of the whole are taken for mosaicity, and
    never nothing, so that means of logarithms can be taken.

    Parameters
    ----------
    moments, counts : of `divergence`
    growth : of `ring_growth`
    """
    known = np.isfinite(moments).all(axis=1)
    (whole, along), g, weight = moments[known].T, growth[known], counts[known] / counts[known].sum()
    size, mean = weight @ whole, weight @ g
    # Normal equations of v and mosaicity^2, the first put into the second.
    mosaic = (weight @ (g * along) - 0.5 * mean * size) / (weight @ g**2 - 0.5 * mean**2)
    mosaic = np.clip(mosaic, 1e-6 * size / mean, 0.75 * size / mean)
    return float(np.sqrt(mosaic)), float(np.sqrt(size - mosaic * mean))


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
