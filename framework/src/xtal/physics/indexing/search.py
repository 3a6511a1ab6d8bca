"""Lattices from candidate vectors: combination, comparison, sub- and supercells."""

from __future__ import annotations

from itertools import combinations, product

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from xtal.models.crystal import cell_of
from xtal.physics.indexing.score import Score, fit_setting, log_likelihoods, score_lattice
from xtal.physics.lattice import niggli_basis

F = NDArray[np.float64]

MAX_TRIPLE_SPOTS = 1200
MAX_FIT_SPOTS = 6000
N_VECTORS = 30


@frozen(eq=False)
class LatticeTrial:
    """A lattice in its reduced basis and how it did.

    Attributes
    ----------
    A : (3, 3) setting matrix, 1/angstrom
    volume : cubic angstrom
    origin : "" or how it came from another one: "x 2", "/ 2"
    """

    A: F
    score: Score
    origin: str = ""

    @property
    def volume(self) -> float:
        return float(1 / abs(np.linalg.det(self.A)))


def evenly(n: int, most: int) -> NDArray[np.int64]:
    """At most ``most`` of n row numbers, evenly spaced."""
    return np.unique(np.linspace(0, n - 1, min(n, most)).astype(np.int64))


def polish(vectors: F, rlp: F) -> F:
    """Least-squares lattice vectors: v . r made integer, first for spots of low resolution."""
    length = np.linalg.norm(rlp, axis=1)
    out = vectors.copy()
    for k in range(len(out)):
        for share in (0.4, 0.7, 1.0):
            use = rlp[length <= np.quantile(length, share)]
            w = use @ out[k]
            good = np.abs(w - np.rint(w)) < 0.2
            if good.sum() >= 10:
                step = np.linalg.lstsq(use[good], (np.rint(w) - w)[good], rcond=None)[0]
                if np.linalg.norm(step) < 0.1 * np.linalg.norm(out[k]):
                    out[k] += step
    return out


def reduce_setting(a_matrix: F) -> F:
    """The Niggli basis of a setting matrix, right handed."""
    if np.linalg.det(a_matrix) < 0:
        a_matrix = -a_matrix
    return np.asarray(a_matrix @ np.linalg.inv(niggli_basis(cell_of(a_matrix))).T)


def same_lattice(a: F, b: F, tolerance: float = 0.05) -> bool:
    """Whether two setting matrices span one lattice in one orientation."""
    transform = np.linalg.inv(a) @ b
    whole = np.rint(transform)
    return bool(np.abs(transform - whole).max() < tolerance and abs(round(float(np.linalg.det(whole)))) == 1)


def score_triples(vectors: F, rlp: F, min_volume: float) -> tuple[NDArray[np.int64], F]:
    """All sensible triples of vectors (m, 3) and their log likelihoods (m,), best first."""
    triples = np.array(list(combinations(range(len(vectors)), 3)), dtype=np.int64).reshape(-1, 3)
    bases = vectors[triples]
    volume = np.abs(np.linalg.det(bases))
    edges = np.linalg.norm(bases, axis=2).prod(axis=1)
    fit = (volume > min_volume) & (volume > 0.1 * edges)
    triples, bases, volume = triples[fit], bases[fit], volume[fit]
    w = rlp @ vectors.T
    delta = (w - np.rint(w)).T
    inverse = np.linalg.inv(bases)
    scores = np.empty(len(triples))
    for start in range(0, len(triples), 256):
        part = slice(start, start + 256)
        e = inverse[part] @ delta[triples[part]]
        scores[part] = log_likelihoods(np.einsum("mij,mij->mj", e, e), volume[part])[0]
    order = np.argsort(-np.round(scores, 9), kind="stable")
    return triples[order], scores[order]


def best_lattices(
    vectors: F, rlp: F, min_volume: float = 25.0, min_edge: float = 3.0, keep: int = 10
) -> list[LatticeTrial]:
    """Distinct lattices spanned by candidate vectors, best first.

    Vectors are polished on the spots, triples ranked by `Score.log_likelihood`, the best fitted to the spots, and
    sub- and supercells of the winner (factors 2 and 3, in all directions) tried until none is better.

    Parameters
    ----------
    vectors : (m, 3) angstrom, best first
    rlp : (n, 3) 1/angstrom
    min_volume, min_edge : cubic angstrom, angstrom, of the primitive cell
    """
    fit_rlp = rlp[evenly(len(rlp), MAX_FIT_SPOTS)]
    vectors = vectors[np.linalg.norm(vectors, axis=1) >= min_edge]
    vectors = distinct(polish(vectors, fit_rlp))[:N_VECTORS]
    triples, _ = score_triples(vectors, rlp[evenly(len(rlp), MAX_TRIPLE_SPOTS)], min_volume)
    found: list[LatticeTrial] = []
    for triple in triples[:300]:
        a_matrix = reduce_setting(np.linalg.inv(vectors[triple]))
        if not any(same_lattice(t.A, a_matrix, 0.15) for t in found):
            a_matrix = reduce_setting(fit_setting(a_matrix, fit_rlp))
            if large_enough(a_matrix, min_volume, min_edge) and not any(same_lattice(t.A, a_matrix) for t in found):
                found.append(LatticeTrial(a_matrix, score_lattice(a_matrix, fit_rlp)))
        if len(found) >= keep:
            break
    found.sort(key=lambda t: -t.score.log_likelihood)
    if found:
        found = compare_cells(found, fit_rlp, min_volume, min_edge)
    return found


def distinct(vectors: F) -> F:
    """Vectors without repetitions (up to sign), order kept."""
    kept: list[F] = []
    for v in vectors:
        if all(min(np.linalg.norm(v - u), np.linalg.norm(v + u)) > 0.03 * np.linalg.norm(v) for u in kept):
            kept.append(v)
    return np.array(kept).reshape(-1, 3)


def sublattices(n: int) -> list[F]:
    """Integer matrices M (Hermite normal form) of determinant n: (a, b, c) M spans the sublattices of index n."""
    out = []
    for i in (k for k in range(1, n + 1) if n % k == 0):
        for j in (k for k in range(1, n // i + 1) if (n // i) % k == 0):
            k = n // (i * j)
            for x, y, z in product(range(i), range(i), range(j)):
                out.append(np.array([[i, x, y], [0, j, z], [0, 0, k]], dtype=float))
    return out


def large_enough(a_matrix: F, min_volume: float, min_edge: float) -> bool:
    """Whether the cell of a lattice is one that atoms fit in: without spots off one plane any layer spacing does."""
    shortest = min(cell_of(reduce_setting(a_matrix)).parameters[:3])
    return bool(1 / abs(np.linalg.det(a_matrix)) >= min_volume and shortest >= min_edge)


def compare_cells(
    found: list[LatticeTrial], rlp: F, min_volume: float = 25.0, min_edge: float = 3.0
) -> list[LatticeTrial]:
    """Test sub- and supercells of the winner explicitly; those better than it go to the front."""
    best = found[0]
    for _ in range(4):
        trials = []
        for n in (2, 3):
            for m in sublattices(n):
                trials += [(best.A @ np.linalg.inv(m).T, f"x {n}"), (best.A @ m, f"/ {n}")]
        fit = [(a, origin) for a, origin in trials if large_enough(a, min_volume, min_edge)]
        scored = [(score_lattice(a, rlp), a, origin) for a, origin in fit]
        _, a_matrix, origin = max(scored, key=lambda s: s[0].log_likelihood)
        fitted = reduce_setting(fit_setting(reduce_setting(a_matrix), rlp))
        trial = LatticeTrial(fitted, score_lattice(fitted, rlp), origin)
        known = any(same_lattice(t.A, fitted) for t in found)
        if trial.score.log_likelihood <= best.score.log_likelihood + 1e-6:
            return found if known else sorted([*found, trial], key=lambda t: -t.score.log_likelihood)
        best = trial
        found = [best, *(t for t in found if not same_lattice(t.A, fitted))]
    return found
