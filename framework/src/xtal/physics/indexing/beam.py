"""Where the beam meets the detector, from spots alone: lattices that do not know it, then the shift that fits them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from xtal.physics.indexing.search import evenly
from xtal.units import DEG

F = NDArray[np.float64]

NEIGHBOURS = 60
"""Nearest spots to which differences are taken."""

TOGETHER = 10.0 * DEG
"""Rotation range (radian) within which an error of the beam centre moves two spots nearly alike."""

MOST = 12000
"""Differences that are enough."""

ALIKE = 0.03
"""Differences are alike that are this near to each other, in units of the longest one."""

LOW = 600
"""Spots of lowest resolution that tell the shift: further out errors of the lattice grow past a spacing."""

STEP = 0.1
"""Step of the map of shifts, in spacings of spots."""


def neighbour_differences(rlp: F, phi: F, groups: NDArray[np.int64]) -> F:
    """Vectors (m, 3) between neighbouring spots, each in the half space of positive x.

    They are vectors of the reciprocal lattice wherever its origin is taken to be: an error of the beam centre moves
    both ends alike.

    Parameters
    ----------
    rlp : (n, 3) 1/angstrom
    phi : (n,) radian
    groups : (n,) spots of different groups (image set, side of the Ewald sphere) are not compared
    """
    from scipy.spatial import cKDTree

    found = [np.empty((0, 3))]
    for group in np.unique(groups):
        rows = np.flatnonzero(groups == group)
        k = min(NEIGHBOURS, len(rows) - 1)
        if k < 1:
            continue
        some = rows[evenly(len(rows), 4 * MOST // k)]
        near = cKDTree(rlp[rows]).query(rlp[some], k=k + 1)[1][:, 1:].ravel()
        first, second = np.repeat(some, k), rows[near]
        together = np.abs(phi[first] - phi[second]) < TOGETHER
        step = (rlp[second] - rlp[first])[together]
        found.append(step * np.where(step[:, :1] < 0, -1.0, 1.0))
    steps = np.concatenate(found)
    return dense(steps[evenly(len(steps), MOST)])


def dense(steps: F) -> F:
    """Vectors that come more often than at random; half of them at least.

    Differences between spots of two lattices are spread evenly, those within one lattice come again and again.
    """
    from scipy.spatial import cKDTree

    if len(steps) < 2:
        return steps
    tree, longest = cKDTree(steps), float(np.linalg.norm(steps, axis=1).max())
    alike = tree.query_ball_point(steps, ALIKE * longest, return_length=True)
    at_random = 2.0 * len(steps) * ALIKE**3
    return steps[alike >= min(3.0 * at_random + 3.0, float(np.median(alike)))]


def coherent_shifts(a_matrix: F, rlp: F, derivatives: F, spacing: float, reach: float, keep: int) -> list[F]:
    """Shifts (3,) of the detector in its plane, mm, that bring spots to points of a lattice, the best first.

    Peaks of the mean over spots and axes of cos 2 pi h, on a grid of shifts.

    Parameters
    ----------
    derivatives : (n, 3, 3) of `shift_derivatives`
    spacing, reach : mm between spots; half the edge of the grid
    keep : most shifts told
    """
    from scipy.ndimage import maximum_filter

    low = np.argsort(np.linalg.norm(rlp, axis=1), kind="stable")[:LOW]
    inverse = np.linalg.inv(a_matrix)
    h = rlp[low] @ inverse.T
    fast, slow = (np.einsum("jk,nk->nj", inverse, derivatives[low, :, axis]) for axis in (0, 1))
    n = int(np.ceil(reach / (STEP * spacing)))
    steps = STEP * spacing * np.arange(-n, n + 1)
    along = np.exp(2j * np.pi * (h[:, :, None] + fast[:, :, None] * steps)).reshape(-1, len(steps))
    across = np.exp(2j * np.pi * slow[:, :, None] * steps).reshape(-1, len(steps))
    likeness = (along.T @ across).real
    peaks = np.argwhere(likeness == maximum_filter(likeness, size=5))
    order = np.argsort(-likeness[tuple(peaks.T)], kind="stable")[:keep]
    return [np.array([steps[i], steps[j], 0.0]) for i, j in peaks[order]]
