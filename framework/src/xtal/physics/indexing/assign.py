"""Assignment of Miller indices to spots."""

from __future__ import annotations

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

F = NDArray[np.float64]

SAME_PHI = np.pi / 4
"""Spots of one index closer in rotation than this are one reflection (as in DIALS)."""


@frozen(eq=False)
class Assignment:
    """Indices of spots.

    Attributes
    ----------
    lattice : (n,) int64, number of the lattice or -1
    hkl : (n, 3) int32, zero where there is none
    distance : (n,) |h - integer| to the nearest point of the best lattice
    """

    lattice: NDArray[np.int64]
    hkl: NDArray[np.int32]
    distance: F


def assign_indices(
    settings: list[F],
    rlp: F,
    phi: F,
    groups: NDArray[np.int64],
    tolerance: float = 0.3,
    d_min: float | None = None,
) -> Assignment:
    """Nearest lattice point of each spot.

    Each spot goes to the lattice that has a point nearest in units of its index. Of spots with one index, group
    and (nearly) one angle the nearest keeps it.

    Parameters
    ----------
    settings : setting matrices A
    rlp : (n, 3) 1/angstrom
    phi : (n,) radian
    groups : (n,) image set and side of the Ewald sphere; duplicates are sought within a group
    tolerance : largest distance in units of indices
    d_min : angstrom; finer spots get no index
    """
    n = len(rlp)
    lattice, best = np.full(n, -1), np.full(n, np.inf)
    hkl = np.zeros((n, 3))
    for k, a_matrix in enumerate(settings):
        fractional = rlp @ np.linalg.inv(a_matrix).T
        nearest = np.rint(fractional)
        delta = fractional - nearest
        d2 = np.einsum("ni,ni->n", delta, delta)
        better = d2 < best
        best[better], hkl[better], lattice[better] = d2[better], nearest[better], k
    bad = (best > tolerance**2) | ~np.any(hkl != 0, axis=1)
    if d_min is not None:
        bad |= np.einsum("ni,ni->n", rlp, rlp) > 1 / d_min**2
    lattice[bad] = -1
    _drop_duplicates(lattice, hkl, phi, groups, best)
    hkl[lattice < 0] = 0
    return Assignment(lattice, hkl.astype(np.int32), np.sqrt(best))


def _drop_duplicates(lattice: NDArray[np.int64], hkl: F, phi: F, groups: NDArray[np.int64], d2: F) -> None:
    """Set ``lattice`` to -1 for all but the nearest of spots that claim one reflection."""
    rows = np.flatnonzero(lattice >= 0)
    if len(rows) == 0:
        return
    h = hkl[rows].astype(np.int64) + (1 << 15)
    key = (h[:, 0] << 48) ^ (h[:, 1] << 32) ^ (h[:, 2] << 16) ^ (groups[rows] << 8) ^ lattice[rows]
    order = np.lexsort((phi[rows], key))
    rows, key = rows[order], key[order]
    while len(rows) > 1:
        pair = (key[1:] == key[:-1]) & (np.abs(phi[rows[1:]] - phi[rows[:-1]]) <= SAME_PHI)
        if not pair.any():
            return
        first = np.flatnonzero(pair)
        worse = np.where(d2[rows[first + 1]] < d2[rows[first]], first, first + 1)
        drop = np.zeros(len(rows), bool)
        drop[worse] = True
        lattice[rows[drop]] = -1
        rows, key = rows[~drop], key[~drop]
