"""Whether the rotation axis turns the way the header says: turned the wrong way, spots lie on no lattice."""

from __future__ import annotations

import numpy as np
from attrs import evolve
from numpy.typing import NDArray

from xtal.errors import AlgorithmFailed
from xtal.models import Experiment, ExperimentList, Goniometer
from xtal.physics.indexing import LatticeTrial, fit_setting, log_evidence, reduce_setting, score_lattice
from xtal.run import Context
from xtal.table import ReflectionTable
from xtal_steps_geometry.index_checks import LEAST_EVIDENCE
from xtal_steps_geometry.index_cycles import State, map_spots
from xtal_steps_geometry.index_search import GOOD, SURE, Search, Sight

F = NDArray[np.float64]

CLEARLY = 1.0
"""What the other sense must bring in mean log likelihood: the wrong one costs about 2 over 1°, 3 to 7 over more."""


def first_sight(context: Context, state: State, search: Search) -> Sight:
    """Lattices of the spots; rotation axes are inverted, and it is told, where only then the spots lie on one.

    Raises
    ------
    AlgorithmFailed
        If no lattice is found either way.
    """
    given = look(search, state.table, state.images)
    sure = isinstance(given, Sight) and given.trials[0].score.log_likelihood >= SURE
    turning = [e for e in state.images if e.goniometer is not None and not e.is_still]
    if turning and not sure and context.options.indexing.try_inverted_axis:
        images, table = inverted(state.images), state.table.copy()
        map_spots(table, images)
        other = look(search, table, images, quick=isinstance(given, Sight))
        if isinstance(other, Sight):
            given = with_carried_over(given, other, np.asarray(state.table["rlp"]), np.asarray(table["rlp"]))
            if clearly_better(other, given, np.asarray(table["rlp"])):
                warn(context, turning[0], other, given)
                state.images, state.table = images, table
                return other if other.trials[0].score.log_likelihood > GOOD else search.sight(table, images)
    if isinstance(given, AlgorithmFailed):
        raise given
    return given


def look(
    search: Search, table: ReflectionTable, images: ExperimentList, quick: bool = False
) -> Sight | AlgorithmFailed:
    """Lattices at first sight, or why there are none."""
    try:
        return search.sight(table, images, quick)
    except AlgorithmFailed as error:
        return error


def inverted(images: ExperimentList) -> ExperimentList:
    """Experiments whose scans turn the other way round (shared goniometers stay shared)."""
    turned: dict[int, Goniometer] = {}
    out = ExperimentList(extra=images.extra)
    for experiment in images:
        goniometer = experiment.goniometer
        if goniometer is not None and not experiment.is_still:
            experiment = evolve(experiment, goniometer=turned.setdefault(id(goniometer), goniometer.inverted()))
        out.append(experiment)
    return out


def with_carried_over(given: Sight | AlgorithmFailed, other: Sight, rlp: F, turned: F) -> Sight | AlgorithmFailed:
    """What was seen with the axes as given, with the best lattice of the other sense if it does better here.

    On a narrow scan the two senses differ by hardly more than a turn of the crystal, and a search that fails in one
    may succeed in the other, which then proves nothing about the axis.

    Parameters
    ----------
    rlp, turned : (n, 3) spots with the axes as given and inverted
    """
    if isinstance(given, AlgorithmFailed):
        return given
    left, _, right = np.linalg.svd(rlp.T @ turned)
    turn = left @ np.diag([1.0, 1.0, np.linalg.det(left @ right)]) @ right
    a_matrix = reduce_setting(fit_setting(turn @ other.trials[0].A, rlp))
    carried = LatticeTrial(a_matrix, score_lattice(a_matrix, rlp), "axis inverted")
    if carried.score.log_likelihood <= given.trials[0].score.log_likelihood:
        return given
    return evolve(given, trials=[carried, *given.trials])


def clearly_better(other: Sight, given: Sight | AlgorithmFailed, turned: F) -> bool:
    """Whether the other sense has a lattice that is beyond chance and far better."""
    best = other.trials[0]
    known = 0.0 if isinstance(given, AlgorithmFailed) else max(0.0, given.trials[0].score.log_likelihood)
    return best.score.log_likelihood > known + CLEARLY and log_evidence(best.A, turned) >= LEAST_EVIDENCE


def warn(context: Context, experiment: Experiment, other: Sight, given: Sight | AlgorithmFailed) -> None:
    """Say that the axis was inverted, on what evidence, and how to have it so from the start."""
    assert experiment.goniometer is not None
    after, before = other.trials[0].score, None if isinstance(given, AlgorithmFailed) else given.trials[0].score
    told = f"with that {100 * after.fraction:.0f} % of the spots lie on a lattice to {1000 * after.rmsd:.2f} x 10⁻³/Å"
    if before is not None:
        told += f", without {100 * before.fraction:.0f} % to {1000 * before.rmsd:.2f}"
    how = "without" if experiment.goniometer.is_inverted else "with"
    context.warn(
        f"The rotation axis turned the wrong way, so it was inverted: {told}. To have it so from the start, import "
        f"{how} invert_rotation_axis=True (mirrored images look the same, but give the other hand)."
    )
