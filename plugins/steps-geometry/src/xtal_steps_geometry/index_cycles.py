"""Macrocycles: indices, refinement, reciprocal space again, to growing resolution."""

from __future__ import annotations

import copy

import numpy as np
from attrs import define, evolve
from numpy.typing import NDArray

from xtal.errors import AlgorithmFailed
from xtal.models import Crystal, Experiment, ExperimentList
from xtal.physics.indexing import Assignment, assign_indices, fit_setting, same_lattice
from xtal.physics.lattice import constrain
from xtal.physics.rays import is_entering, map_to_reciprocal
from xtal.physics.refinement import RefinementResult, RefinementSettings, refine
from xtal.table import Flag, ReflectionTable
from xtal_steps_geometry.index_search import spot_groups

F = NDArray[np.float64]

COLUMNS = ("id", "imageset_id", "panel", "flags", "xyzobs.px.value", "xyzobs.px.variance", "shoebox.flags")
"""Columns of spots that indexing needs."""


@define
class State:
    """Models, spots and the outcome of the last refinement.

    Attributes
    ----------
    images : one experiment per image set, without crystal
    table : all spots, ``imageset_id`` counts ``images``
    crystals : lattices found so far
    experiments : lattice by lattice, one experiment per image set
    """

    images: ExperimentList
    table: ReflectionTable
    crystals: list[Crystal]
    experiments: ExperimentList
    result: RefinementResult | None = None


def start(experiments: ExperimentList, spots: ReflectionTable) -> State:
    """State before a lattice is known."""
    images = ExperimentList(extra=experiments.extra)
    for experiment in experiments:
        bare = copy.copy(experiment)
        bare.crystal = None
        images.append(bare)
    table = ReflectionTable(n_rows=len(spots))
    for name in COLUMNS:
        if name in spots:
            table[name] = np.array(spots[name])
    table["imageset_id"] = np.asarray(spots["id"], dtype=np.int32).copy()
    table["id"] = np.full(len(spots), -1, np.int32)
    table["miller_index"] = np.zeros((len(spots), 3), np.int32)
    if "flags" not in table:
        table["flags"] = np.full(len(spots), int(Flag.STRONG), np.uint64)
    if "xyzobs.px.variance" not in table:
        table["xyzobs.px.variance"] = np.full((len(spots), 3), 0.1)
    map_spots(table, images)
    return State(images, table, [], ExperimentList(extra=experiments.extra))


def map_spots(table: ReflectionTable, images: ExperimentList) -> None:
    """Reciprocal-space positions of spots by the models of their image set, whatever lattice they belong to."""
    ids = table["id"]
    table["id"] = np.asarray(table["imageset_id"])
    map_to_reciprocal(table, images)
    table["id"] = ids


def build_experiments(state: State) -> None:
    """One experiment per lattice and image set; a lattice's crystal is shared by its image sets."""
    state.experiments = ExperimentList(extra=state.images.extra)
    for crystal in state.crystals:
        for experiment in state.images:
            with_crystal = copy.copy(experiment)
            with_crystal.crystal = crystal
            state.experiments.append(with_crystal)


def assign(state: State, tolerance: float, d_min: float | None) -> None:
    """Give spots their indices, ``id``, ``entering`` and the flag *indexed*."""
    table, n_sets = state.table, len(state.images)
    phi = np.asarray(table["xyzobs.mm.value"])[:, 2]
    groups = spot_groups(table, state.images)
    rlp = np.asarray(table["rlp"])
    settings = [c.A for c in state.crystals]
    found = assign_indices(settings, rlp, phi, groups, tolerance, d_min)
    if any(c.space_group.number > 2 for c in state.crystals):
        free = assign_indices(unconstrained(settings, found, rlp), rlp, phi, groups, tolerance, d_min)
        if (free.lattice >= 0).sum() > 1.02 * (found.lattice >= 0).sum():
            found = free
    ids = np.where(found.lattice >= 0, found.lattice * n_sets + np.asarray(table["imageset_id"]), -1)
    table["id"] = ids.astype(np.int32)
    table["miller_index"] = found.hkl
    table["entering"] = entering_of(table, state.images)
    table.clear_flags(np.arange(len(table)), Flag.INDEXED)
    table.set_flags(ids >= 0, Flag.INDEXED)


def unconstrained(settings: list[F], found: Assignment, rlp: F) -> list[F]:
    """Setting matrices that fit the spots best, the cell's symmetry left aside.

    Where geometry is distorted (lenses of electron microscopes) the constrained cell cannot reach all spots,
    though there is no doubt about their indices.
    """
    out = []
    for k, a_matrix in enumerate(settings):
        mine = found.lattice == k
        others = (found.lattice >= 0) & ~mine
        fitted = fit_setting(a_matrix, rlp[~others]) if mine.any() else a_matrix
        out.append(fitted if same_lattice(a_matrix, fitted, 0.2) else a_matrix)
    return out


def entering_of(table: ReflectionTable, images: ExperimentList) -> NDArray[np.bool_]:
    out = np.zeros(len(table), bool)
    for k, experiment in enumerate(images):
        if experiment.goniometer is not None and not experiment.is_still:
            rows = np.asarray(table["imageset_id"]) == k
            out[rows] = is_entering(table["s1"][rows], experiment.beam, experiment.goniometer)
    return out


def macrocycles(state: State, settings: RefinementSettings, n_cycles: int, tolerance: float) -> None:
    """Index and refine all lattices together, the resolution growing cycle by cycle.

    Raises
    ------
    AlgorithmFailed
        If the last refinement fails or the cell's volume runs away.
    """
    length = np.linalg.norm(np.asarray(state.table["rlp"]), axis=1)
    volumes = [c.cell.volume for c in state.crystals]
    build_experiments(state)
    for cycle in range(n_cycles):
        last = cycle == n_cycles - 1
        share = 1.0 if last else 0.35 + 0.65 * cycle / max(n_cycles - 1, 1)
        limit = None if last else float(1.0 / np.quantile(length, share))
        assign(state, tolerance, limit)
        refine_once(state, settings if last else quick(settings), last)
    assign(state, tolerance, None)
    finish(state)
    for before, crystal in zip(volumes, state.crystals, strict=True):
        change = crystal.cell.volume / before - 1.0
        if abs(change) > 0.5:
            raise AlgorithmFailed(
                f"The cell's volume changed by {100 * change:.0f} % in refinement.",
                advice="Hold the cell (crystal.fix=cell), or give space_group= and unit_cell=.",
            )


def quick(settings: RefinementSettings) -> RefinementSettings:
    """Settings of the cycles before the last: fewer reflections, robust against outliers."""
    most = 2000 if settings.max_reflections is None else min(2000, settings.max_reflections)
    return evolve(settings, max_reflections=most, macrocycles=1, most_macrocycles=1, max_iterations=10)


def refine_once(state: State, settings: RefinementSettings, last: bool) -> None:
    """Refine, take over the models and map spots again; a failure before the last cycle is passed over."""
    try:
        result = refine(state.experiments, state.table, settings)
    except AlgorithmFailed:
        if last:
            raise
        return
    state.result = result
    state.experiments, state.table = result.experiments, result.table
    n_sets = len(state.images)
    state.crystals = [state.experiments[k * n_sets].crystal or c for k, c in enumerate(state.crystals)]
    state.images = ExperimentList([bare(e) for e in state.experiments[:n_sets]], state.images.extra)
    map_spots(state.table, state.images)


def bare(experiment: Experiment) -> Experiment:
    out = copy.copy(experiment)
    out.crystal = None
    return out


def finish(state: State) -> None:
    """Predictions of the final indices; rows without index are emptied."""
    from xtal.physics.prediction import predict_reflections

    table = state.table
    predict_reflections(table, state.experiments)
    unindexed = np.asarray(table["id"]) < 0
    for name in ("xyzcal.px", "xyzcal.mm"):
        table[name][unindexed] = 0.0
    gone = Flag.PREDICTED | Flag.USED_IN_REFINEMENT | Flag.CENTROID_OUTLIER | Flag.EXCLUDED_FOR_REFINEMENT
    table.clear_flags(unindexed, gone)


def tidy_crystal(crystal: Crystal, rlp: F) -> Crystal:
    """The crystal fitted to spots, its cell constrained by its space group."""
    fitted = Crystal(fit_setting(crystal.A, rlp), crystal.hall)
    return constrain(fitted)
