"""The longest cell edge, from the distances between neighbouring spots in reciprocal space."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from xtal.errors import AlgorithmFailed
from xtal.units import DEG
from xtal.words import counted

F = NDArray[np.float64]

SLAB = 45.0 * DEG
"""Rotation range (radian) within which neighbours are sought: further apart they are other parts of the lattice."""


def estimate_max_cell(
    rlp: F,
    phi: F,
    groups: NDArray[np.int64],
    multiplier: float = 1.3,
    percentile: float = 0.95,
) -> float:
    """Longest cell edge to search for, angstrom.

    The inverse distance from a spot to its nearest neighbour is at most the longest
    edge, save where a spot is split or stray. The estimate is a high percentile of those
    inverse distances, bounded by a multiple of the median, so that neither a few
    split spots make it too large nor sparse data too small.

    Parameters
    ----------
    rlp : (n, 3) 1/angstrom
    phi : (n,) radian
    groups : (n,) spots of different groups (image set, side of the Ewald sphere) are never neighbours

    Raises
    ------
    AlgorithmFailed
        If fewer than 10 spots have a neighbour.
    """
    from scipy.spatial import cKDTree

    slab = np.floor((phi - phi.min(initial=0.0)) / SLAB).astype(np.int64) if len(phi) else groups
    distances = []
    for key in np.unique(np.stack([groups, slab]), axis=1).T:
        points = rlp[(groups == key[0]) & (slab == key[1])]
        if len(points) > 1:
            distances.append(cKDTree(points).query(points, k=2)[0][:, 1])
    nearest = np.concatenate(distances) if distances else np.empty(0)
    nearest = nearest[nearest > 0]
    if len(nearest) < 10:
        raise AlgorithmFailed(
            f"{counted(len(nearest), 'spot is', 'spots are')} too few to tell how large the cell is.",
            advice="Find more spots, or give indexing.max_cell=.",
        )
    lengths = 1.0 / nearest
    return float(multiplier * min(np.quantile(lengths, percentile), 3.0 * np.median(lengths)))
