"""How well a lattice explains spots."""

from __future__ import annotations

from itertools import product

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

F = NDArray[np.float64]

MIN_STRAY = 0.02
MIN_SIGMA = 1e-6


@frozen
class Score:
    """A lattice's worth.

    Attributes
    ----------
    log_likelihood : mean over spots of log((1 - q) N(e; sigma) / V + q): e is the distance to the
        nearest lattice point, q the share of stray spots, V the cell's volume. More spots, closer
        to the points of a sparser lattice, score higher; a supercell pays log 2 per spot.
    fraction : of spots with |delta h| < tolerance
    rmsd : 1/angstrom, of these
    sigma : 1/angstrom, fitted per component
    """

    log_likelihood: float
    fraction: float
    rmsd: float
    sigma: float


def log_likelihoods(e2: F, volume: F) -> tuple[F, F]:
    """Mean log likelihood and sigma of lattices, by expectation maximisation.

    Parameters
    ----------
    e2 : (m, n) squared distances of n spots to the points of m lattices
    volume : (m,)
    """
    sigma2 = np.maximum(np.median(e2, axis=1) / 3, MIN_SIGMA**2)
    stray = np.full(len(e2), 0.3)
    value = np.zeros(len(e2))
    for _ in range(8):
        peak = (1 - stray) / (volume * (2 * np.pi * sigma2) ** 1.5)
        good = peak[:, None] * np.exp(-0.5 * e2 / sigma2[:, None])
        total = good + stray[:, None]
        value = np.log(total).mean(axis=1)
        share = good / total
        weight = share.sum(axis=1)
        sigma2 = np.maximum((share * e2).sum(axis=1) / np.maximum(3 * weight, 1e-9), MIN_SIGMA**2)
        stray = np.clip(1 - weight / e2.shape[1], MIN_STRAY, 1 - MIN_STRAY)
    return value, np.sqrt(sigma2)


def deviations(a_matrix: F, rlp: F) -> tuple[F, F]:
    """Nearest indices (n, 3) as floats and fractional deviations (n, 3)."""
    fractional = rlp @ np.linalg.inv(a_matrix).T
    hkl = np.rint(fractional)
    return hkl, fractional - hkl


def score_lattice(a_matrix: F, rlp: F, tolerance: float = 0.3) -> Score:
    """Score of one setting matrix (columns a*, b*, c*) on spots (n, 3)."""
    _, delta = deviations(a_matrix, rlp)
    e = delta @ a_matrix.T
    e2 = np.einsum("ni,ni->n", e, e)
    value, sigma = log_likelihoods(e2[None], np.array([1 / abs(np.linalg.det(a_matrix))]))
    inside = np.einsum("ni,ni->n", delta, delta) < tolerance**2
    rmsd = float(np.sqrt(e2[inside].mean())) if inside.any() else float("nan")
    return Score(float(value[0]), float(inside.mean()), rmsd, float(sigma[0]))


def log_evidence(a_matrix: F, rlp: F, known: float = 0.0) -> float:
    """Log odds (natural) that spots lie on this lattice rather than anywhere.

    The log likelihood of the spots less what the freedom of nine matrix elements gives to any lattice fitted to spots
    at random: the log ratio of the volume they may be in, reciprocal vectors within the resolution of the spots, to
    the volume that the spots leave them (Occam factor; MacKay 1992, Neural Computation 4, 415).

    Parameters
    ----------
    a_matrix : (3, 3) setting matrix
    rlp : (n, 3) 1/angstrom
    known : share of the nine elements that was known before
    """
    score = score_lattice(a_matrix, rlp)
    hkl, delta = deviations(a_matrix, rlp)
    e = delta @ a_matrix.T
    hkl = hkl[np.einsum("ni,ni->n", e, e) < 9 * score.sigma**2]
    radius = float(np.linalg.norm(rlp, axis=1).max())
    information = hkl.T @ hkl / score.sigma**2 + np.eye(3) / radius**2
    left = 3 * (1.5 * np.log(2 * np.pi) - 0.5 * np.linalg.slogdet(information)[1])
    before = 3 * np.log(4 / 3 * np.pi * radius**3)
    return float(len(rlp) * score.log_likelihood - (1 - known) * (before - left))


def share_on_plane(hkl: NDArray[np.int32]) -> float:
    """Largest share of indices (n, 3) that lie on one of the widest planes of the reciprocal lattice."""
    layers = [hkl @ np.array(v) for v in product((-1, 0, 1), repeat=3) if any(v)]
    return float(max(np.unique(layer, return_counts=True)[1].max() for layer in layers) / len(hkl))


def fit_setting(a_matrix: F, rlp: F, cycles: int = 4, tolerance: float = 0.25) -> F:
    """Least-squares setting matrix on spots, the resolution growing cycle by cycle.

    Spots at low resolution are indexed right by a poor matrix; they better it for the next ones.
    """
    length = np.linalg.norm(rlp, axis=1)
    order = np.sort(length)
    for cycle in range(cycles):
        limit = order[int((len(order) - 1) * (0.25 + 0.75 * cycle / max(cycles - 1, 1)))]
        use = length <= limit
        hkl, delta = deviations(a_matrix, rlp[use])
        good = (np.einsum("ni,ni->n", delta, delta) < tolerance**2) & np.any(hkl != 0, axis=1)
        if good.sum() < 6 or np.linalg.matrix_rank(hkl[good]) < 3:
            continue
        e = delta[good] @ a_matrix.T
        e2 = np.einsum("ni,ni->n", e, e)
        weight = 1.0 / (1.0 + e2 / max(3 * np.median(e2), MIN_SIGMA**2))
        h, w = hkl[good], weight[:, None]
        fitted = np.linalg.solve(h.T @ (w * h), h.T @ (w * rlp[use][good])).T
        if np.linalg.det(fitted) * np.linalg.det(a_matrix) <= 0:
            break
        a_matrix = fitted
    return a_matrix
