"""Checks of indexing methods, on the points of a perfect lattice with a little noise."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache, cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xtal.errors import AlgorithmFailed
from xtal.hooks.protocols import BasisVectors, IndexingMethod
from xtal.models import ExperimentList
from xtal.testing.check_every import alike
from xtal.testing.conformance import Case, ensure, expects
from xtal.testing.data import tiny_experiment

F = NDArray[np.float64]

MAX_CELL, D_MIN = 130.0, 3.0


@cache
def _lattice() -> F:
    experiment = tiny_experiment()
    assert experiment.crystal is not None
    rng = np.random.default_rng(5)
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    a_matrix = turn * np.sign(np.linalg.det(turn)) @ experiment.crystal.A
    rlp = rng.integers(-12, 13, size=(1500, 3)) @ a_matrix.T
    d_star = np.linalg.norm(rlp, axis=1)
    rlp = rlp[(d_star > 0.02) & (d_star < 1 / D_MIN)] + 0.0
    return np.asarray(rlp + rng.normal(scale=2e-4, size=rlp.shape))


def lattice_points() -> F:
    """(n, 3) 1/angstrom: points of a cell of 40 x 50 x 60 angstrom in some orientation."""
    return _lattice().copy()


def unindexed(n: int = 1) -> ExperimentList:
    """Experiments as import leaves them."""
    experiments = [tiny_experiment() for _ in range(n)]
    for k, experiment in enumerate(experiments):
        experiment.crystal, experiment.identifier = None, f"tiny {k}"
    return ExperimentList(experiments)


class IndexingCase(Case):
    """An indexing method; data: ``fraction`` of the points that each vector found must explain (default 0.9)."""

    kind = "indexing"
    protocol = IndexingMethod

    def given(self) -> dict[str, Any]:
        return {"points": lattice_points(), "experiments": unindexed()}

    def exercise(self, given: dict[str, Any], method: IndexingMethod | None = None) -> list[Any]:
        method = method or self.plugin
        found = method.candidates(given["points"], given["experiments"], MAX_CELL, D_MIN)
        return [found.vectors, found.scores, found.orientations]

    @cached_property
    def found(self) -> BasisVectors:
        """What it finds in the lattice."""
        found: BasisVectors = self.plugin.candidates(lattice_points(), unindexed(), MAX_CELL, D_MIN)
        return found

    def independent(self, found: BasisVectors) -> int:
        """How many independent vectors explain enough of the points."""
        bases = [np.linalg.inv(a) for a in found.orientations] or [found.vectors]
        return max(explained(lattice_points(), vectors, self.data.get("fraction", 0.9)) for vectors in bases)


def explained(rlp: F, vectors: F, fraction: float) -> int:
    """How many independent vectors explain at least a fraction of the points."""
    phase = rlp @ vectors.T
    good = np.mean(np.abs(phase - np.round(phase)) < 0.2, axis=0) >= fraction
    return int(np.linalg.matrix_rank(vectors[good], tol=1.0)) if good.any() else 0


@expects("indexing", "give vectors of shape (n, 3) and orientations of shape (m, 3, 3)")
def shapes(case: IndexingCase) -> None:
    vectors, orientations = case.found.vectors, case.found.orientations
    told = f"they are of shape {vectors.shape} and {orientations.shape}"
    ensure(vectors.ndim == 2 and vectors.shape[1] == 3 and orientations.shape[1:] == (3, 3), told)


@expects("indexing", "give arrays of floating numbers, which the step goes on to refine")
def floats(case: IndexingCase) -> None:
    for name in ("vectors", "scores", "orientations"):
        found = np.asarray(getattr(case.found, name)).dtype
        ensure(found == np.float64, f"its {name} are {found}")


@expects("indexing", "give one score for each vector")
def scores(case: IndexingCase) -> None:
    n, m = len(case.found.vectors), len(case.found.scores)
    ensure(n == m, f"it gives {m} scores for {n} vectors")


@expects("indexing", "give finite numbers")
def finite(case: IndexingCase) -> None:
    for name in ("vectors", "scores", "orientations"):
        ensure(np.all(np.isfinite(getattr(case.found, name))), f"its {name} are not")


@expects("indexing", "give the best vectors first")
def best_first(case: IndexingCase) -> None:
    value = np.asarray(case.found.scores)
    rises = np.flatnonzero(np.diff(value) > 1e-9 * np.abs(value[:-1]))
    ensure(len(rises) == 0, f"the score rises after vector {rises[:1]}")


@expects("indexing", "give no vector without length")
def lengths(case: IndexingCase) -> None:
    n = np.count_nonzero(np.linalg.norm(case.found.vectors, axis=1) < 1.0)
    ensure(n == 0, f"{n} are shorter than 1 angstrom")


@expects("indexing", "give orientations that can be inverted")
def orientations(case: IndexingCase) -> None:
    volumes = np.abs(np.linalg.det(case.found.orientations))
    ensure(np.all(volumes > 1e-12), "one has no volume")


@expects("indexing", "find the three periods of a perfect lattice")
def lattice(case: IndexingCase) -> None:
    n = case.independent(case.found)
    ensure(n == 3, f"it finds {n} that are independent")


@expects("indexing", "take d_min=0 for no limit")
def no_limit(case: IndexingCase) -> None:
    n = case.independent(case.plugin.candidates(lattice_points(), unindexed(), MAX_CELL, 0.0))
    ensure(n == 3, f"it then finds {n} periods of three")


@expects("indexing", "give vectors or raise AlgorithmFailed for any longest edge: the step tries several")
def edges(case: IndexingCase) -> None:
    for edge in (MAX_CELL / 5, MAX_CELL / 2, 2 * MAX_CELL):
        with suppress(AlgorithmFailed):
            found = case.plugin.candidates(lattice_points(), unindexed(), edge, D_MIN)
            ensure(isinstance(found, BasisVectors), f"it gives {found!r} for {edge:g} angstrom")


@expects("indexing", "give the same answer whatever points came before")
def order(case: IndexingCase) -> None:
    with suppress(AlgorithmFailed):
        case.plugin.candidates(1.3 * lattice_points()[:, ::-1], unindexed(), 2 * MAX_CELL, D_MIN)
    same = alike(case.exercise(case.given()), case.answer)
    ensure(same, "it differs after others")


@expects("indexing", "give the same answer where several of it work at once, each for a request to the server")
def at_once(case: IndexingCase) -> None:
    with ThreadPoolExecutor(3) as pool:
        for answer in pool.map(lambda _: case.exercise(case.given(), case.construct()), range(4)):
            ensure(alike(answer, case.answer), "their answers differ")


@expects("indexing", "take several experiments together, which have one crystal")
def several(case: IndexingCase) -> None:
    n = case.independent(case.plugin.candidates(lattice_points(), unindexed(2), MAX_CELL, D_MIN))
    ensure(n == 3, f"it finds {n} periods of three for two experiments")


@expects("indexing", "need no rotation")
def still(case: IndexingCase) -> None:
    experiments = unindexed()
    experiments[0].goniometer = experiments[0].scan = None
    n = case.independent(case.plugin.candidates(lattice_points(), experiments, MAX_CELL, D_MIN))
    ensure(n == 3, f"it finds {n} periods of three in a still")


@expects("indexing", "give vectors or raise AlgorithmFailed where there is no lattice")
def no_lattice(case: IndexingCase) -> None:
    rlp = np.random.default_rng(7).normal(scale=0.1, size=(10, 3))
    try:
        found = case.plugin.candidates(rlp, unindexed(), MAX_CELL, D_MIN)
    except AlgorithmFailed as error:
        ensure(error.message.endswith("."), f"its error is no sentence: {error.message!r}")
    else:
        ensure(isinstance(found, BasisVectors), f"it gives {found!r}")
