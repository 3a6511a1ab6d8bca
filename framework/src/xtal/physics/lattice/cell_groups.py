"""How alike unit cells are, and groups of like ones.

A lattice stands for a point in the space G6 of Andrews and Bernstein: (a.a, b.b, c.c, 2 b.c, 2 a.c, 2 a.b) of a
reduced primitive cell. Nearly equal lattices can have reduced cells that look different, so the distance is the
smallest between one reduced cell and all primitive cells of the other with small indices (compare Andrews &
Bernstein (2014), J. Appl. Cryst. 47, 346, who reach the same by reflections at the boundaries of the reduced cells).
"""

from __future__ import annotations

import itertools
from functools import cache

import gemmi
import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform

F = NDArray[np.float64]


@cache
def _bases() -> F:
    """(m, 3, 3) integer bases of a lattice with elements -1, 0, 1 and determinant 1, one of each pair +-."""
    tries = np.array(list(itertools.product((-1, 0, 1), repeat=9)), dtype=float).reshape(-1, 3, 3)
    return tries[np.rint(np.abs(np.linalg.det(tries))) == 1]


def _metric(vector: F) -> F:
    aa, bb, cc, bc, ac, ab = vector
    return np.array([[aa, ab / 2, ac / 2], [ab / 2, bb, bc / 2], [ac / 2, bc / 2, cc]])


def reduced_vector(cell: gemmi.UnitCell, centring: str) -> F:
    """(6,) G6 vector of the Niggli-reduced primitive cell, square angstrom."""
    gruber = gemmi.GruberVector(cell, centring)
    gruber.niggli_reduce()
    return np.array(gruber.parameters, dtype=float)


def equivalent_vectors(vector: F) -> F:
    """(m, 6) G6 vectors of all primitive cells of a lattice with small indices."""
    bases = _bases()
    metric = bases.transpose(0, 2, 1) @ _metric(vector) @ bases
    rows, columns = [0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]
    return np.unique(np.round(metric[:, rows, columns] * (1, 1, 1, 2, 2, 2), 6), axis=0)


def cell_distances(cells: list[tuple[gemmi.UnitCell, str]]) -> F:
    """(n, n) distances of lattices in G6, square angstrom.

    Parameters
    ----------
    cells
        Cell and centring of each.
    """
    vectors = np.array([reduced_vector(cell, centring) for cell, centring in cells])
    distances = np.zeros((len(cells), len(cells)))
    for k, vector in enumerate(vectors):
        ways = equivalent_vectors(vector)
        for n in range(k + 1, len(vectors)):
            distances[k, n] = distances[n, k] = np.sqrt(((ways - vectors[n]) ** 2).sum(axis=1).min())
    return distances


def group_cells(distances: F, threshold: float) -> list[list[int]]:
    """Numbers of the members of each group, the largest first: single linkage up to ``threshold``."""
    if len(distances) < 2:
        return [[0]] * len(distances)
    labels = fcluster(_tree(distances), threshold, criterion="distance")
    groups = [np.flatnonzero(labels == k).tolist() for k in np.unique(labels)]
    return sorted(groups, key=lambda g: (-len(g), g[0]))


def join_distances(distances: F) -> list[float]:
    """At which distance groups join, ascending; one less than there are cells."""
    return [] if len(distances) < 2 else [float(d) for d in _tree(distances)[:, 2]]


def _tree(distances: F) -> F:
    return np.asarray(linkage(squareform(distances, checks=False), method="single"))
