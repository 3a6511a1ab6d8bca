"""The step index."""

from __future__ import annotations

import copy
import hashlib
import math
from pathlib import Path

import numpy as np

from xtal.errors import AlgorithmFailed, DataError, OptionError
from xtal.models import Crystal, Experiment, ExperimentList
from xtal.models.crystal import cell_of, space_group_of, unit_cell_of
from xtal.physics.indexing import shifted
from xtal.physics.lattice import describe_cell
from xtal.physics.refinement import RefinementSettings
from xtal.physics.symmetry import indexing_ways
from xtal.run import Context
from xtal.table import Flag, ReflectionTable
from xtal.words import counted
from xtal_steps_geometry.index_checks import demand_lattices, more_than_chance
from xtal_steps_geometry.index_cycles import (
    State,
    assign,
    build_experiments,
    macrocycles,
    map_spots,
    start,
    tidy_crystal,
)
from xtal_steps_geometry.index_options import IndexOptions
from xtal_steps_geometry.index_origin import correct_origin, settle_origin
from xtal_steps_geometry.index_search import Found, Search, describe, times_too_large
from xtal_steps_geometry.index_sense import first_sight
from xtal_steps_geometry.rmsds import third_rmsd

FEW_INDEXED = 0.75
"""Share of spots with index below which a further lattice is thought of."""

CLEARLY_FEWER = 0.2
"""Share of the spots that a cell that was given may cost without a word."""


def run(context: Context) -> None:
    """Find lattices, assign indices, refine; write ``indexed.expt`` and ``indexed.refl``."""
    options: IndexOptions = context.options
    known = options.indexing.known_symmetry
    if known.space_group is not None:
        try:
            space_group_of(known.space_group)
        except ValueError as error:
            raise OptionError(f"{error}.", advice="Write it as 'P 43 21 2', P43212 or 96.") from None
    if known.unit_cell is not None:
        try:
            unit_cell_of(known.unit_cell)
        except ValueError as error:
            raise OptionError(f"{error}.", advice="Write it as a,b,c,alpha,beta,gamma in Å and degrees.") from None
    experiments, spots = context.experiments, context.reflections
    if len(spots) == 0:
        raise DataError("The reflection table is empty: there is nothing to index.", advice="Run find_spots first.")
    experiments, spots = image_sets(experiments, spots)
    parts = groups(context, experiments, spots)
    states, failed = index_groups(context, parts, spots)
    if failed:
        experiments, spots = left_out(context, experiments, spots, failed)
        parts = groups(context, experiments, spots)
    write(context, states, spots, parts)


def index_groups(
    context: Context, parts: list[tuple[ExperimentList, np.ndarray]], spots: ReflectionTable
) -> tuple[list[State], dict[int, AlgorithmFailed]]:
    """Index each group; one of many that cannot be indexed must not cost the others.

    Returns
    -------
    states : of the groups that were indexed
    failed : number of each other group, and why

    Raises
    ------
    AlgorithmFailed
        If there is no lattice in any of them.
    """
    states: list[State] = []
    failed: dict[int, AlgorithmFailed] = {}
    for number, (part, rows) in enumerate(parts):
        try:
            states.append(index_group(context, part, spots.select(rows) if len(rows) < len(spots) else spots, number))
        except AlgorithmFailed as error:
            context.print(f"No lattice for {name_of(part[0], number)}: {error.message}")
            failed[number] = error
    if not states:
        first = failed[0]
        alone = len(parts) == 1
        raise (
            first
            if alone
            else AlgorithmFailed(
                f"None of {len(parts)} {kind_of(parts[0][0])} could be indexed. The first: {first.message}",
                advice=first.advice,
            )
        )
    return states, failed


def left_out(
    context: Context, experiments: ExperimentList, spots: ReflectionTable, failed: dict[int, AlgorithmFailed]
) -> tuple[ExperimentList, ReflectionTable]:
    """Experiments and spots, counted anew, without those that could not be indexed, which are told."""
    number, error = next(iter(failed.items()))
    context.warn(
        f"{len(failed)} of {len(experiments)} {kind_of(experiments)} left out, as no lattice was found. "
        f"The first, {name_of(experiments[number], number)}: {error.message}"
    )
    kept = np.array([k for k in range(len(experiments)) if k not in failed])
    ids = np.asarray(spots["id"])
    spots = spots.select(np.isin(ids, kept))
    spots["id"] = np.searchsorted(kept, np.asarray(spots["id"])).astype(np.int32)
    return ExperimentList([experiments[k] for k in kept], experiments.extra), spots


def kind_of(experiments: ExperimentList) -> str:
    """Word for several of them."""
    return "stills" if all(e.is_still for e in experiments) else "scans"


def name_of(experiment: Experiment, number: int) -> str:
    """Number of an image set, with its images and their folder."""
    images = experiment.images
    files = [images.template, *images.paths] if images is not None else []
    named = ["/".join(Path(file).parts[-2:]) for file in files if file]
    return f"image set {number}" + (f" ({named[0]})" if named else "")


def image_sets(experiments: ExperimentList, spots: ReflectionTable) -> tuple[ExperimentList, ReflectionTable]:
    """One experiment for each image set, and spots whose ``id`` counts them, also where they were indexed before.

    Lattices of one scan share their images; spots without index know their image set alone.
    """
    order: dict[tuple[int, tuple[int, int] | None], int] = {}
    keys = [(id(e.images), None if e.scan is None else e.scan.image_range) for e in experiments]
    if any(e.images is None or e.scan is None for e in experiments):
        keys = [(k, None) for k in range(len(experiments))]
    of_experiment = np.array([order.setdefault(key, len(order)) for key in keys], dtype=np.int32)
    ids = np.asarray(spots["id"])
    if len(order) == len(experiments) and ids.min() >= 0:
        return experiments, spots
    sets = np.asarray(spots["imageset_id"] if "imageset_id" in spots else np.zeros(len(spots), np.int32))
    spots = spots.copy()
    spots["id"] = np.where(ids >= 0, of_experiment[ids], sets).astype(np.int32)
    firsts = np.unique(of_experiment, return_index=True)[1]
    return ExperimentList([experiments[k] for k in firsts], experiments.extra), spots


def groups(
    context: Context, experiments: ExperimentList, spots: ReflectionTable
) -> list[tuple[ExperimentList, np.ndarray]]:
    """Image sets that are indexed as one crystal, and the rows of their spots."""
    wanted = context.options.indexing.joint_indexing
    joint = not any(e.is_still for e in experiments) if wanted == "auto" else wanted
    if joint or len(experiments) == 1:
        return [(experiments, np.arange(len(spots)))]
    ids = np.asarray(spots["id"])
    return [(ExperimentList([e], experiments.extra), np.flatnonzero(ids == k)) for k, e in enumerate(experiments)]


def refinement_settings(context: Context, experiments: ExperimentList) -> RefinementSettings:
    """What is refined between assignments."""
    options = context.options.refinement
    fix = options.parameterisation
    detector_fix = fix.detector.fix
    if detector_fix == "auto":
        electrons = any(e.beam.is_electron for e in experiments)
        known = context.options.indexing.known_symmetry.space_group
        tied = known is not None and space_group_of(known).number > 15
        detector_fix = () if not electrons else ("distance",) if tied else ("distance", "tilt")
        if electrons:
            context.print(
                f"Electrons: what is held fixed of the detector is {' and '.join(detector_fix)}, as the Ewald sphere "
                "is so flat that it cannot be told from the cell (detector.fix= changes this)."
            )
    return RefinementSettings(
        beam_fix=tuple(fix.beam.fix),
        crystal_fix=tuple(fix.crystal.fix),
        detector_fix=tuple(detector_fix),
        outlier_algorithm="tukey",
        max_reflections=options.max_reflections,
    )


def index_group(context: Context, experiments: ExperimentList, spots: ReflectionTable, first: int = 0) -> State:
    """Index the image sets of one crystal (and its further lattices); ``first`` is the number of the first of them."""
    options = context.options.indexing
    if len(experiments) == 1:
        spots = with_single_id(spots)
    state = start(share_models(experiments), spots)
    settings = refinement_settings(context, experiments)
    free = not set(settings.detector_fix) & {"all", "position", "distance"}
    search = Search(context.plugin(options.method), options, free)
    tolerance = options.index_assignment.simple.hkl_tolerance
    cycles = options.refinement_protocol.n_macro_cycles
    movable = not set(settings.detector_fix) & {"all", "position"}
    sight = first_sight(context, state, search)
    given = state.images
    found = search.find(sight, state.table, state.images, search_beam=movable)
    report_search(context, found, len(state.table))
    take(state, found)
    macrocycles(state, settings, cycles, tolerance)
    if movable and options.known_symmetry.space_group is None:
        settle_origin(context, state, found.shift, settings)
    if movable:
        correct_origin(context, state, given, settings)
    demand_lattices(state, options)
    more_lattices(context, state, search, settings)
    report_lattices(context, state, first)
    warn_of_other_crystals(context, state, tolerance)
    return state


def with_single_id(spots: ReflectionTable) -> ReflectionTable:
    spots = spots.copy()
    spots["id"] = np.zeros(len(spots), np.int32)
    return spots


def share_models(experiments: ExperimentList) -> ExperimentList:
    """Experiments in which equal beams, detectors and goniometers are one object, so that they refine together."""
    out = ExperimentList(extra=experiments.extra)
    for experiment in experiments:
        new = copy.copy(experiment)
        for other in out:
            if same_beam(new, other):
                new.beam = other.beam
            if same_detector(new, other):
                new.detector = other.detector
        out.append(new)
    return out


def same_beam(a: Experiment, b: Experiment) -> bool:
    return bool(np.allclose(a.beam.s0, b.beam.s0, rtol=0, atol=1e-6 / a.beam.wavelength))


def same_detector(a: Experiment, b: Experiment) -> bool:
    if len(a.detector) != len(b.detector):
        return False
    pairs = zip(a.detector, b.detector, strict=True)
    return all(p.image_size == q.image_size and np.allclose(p.d_matrix, q.d_matrix, atol=1e-4) for p, q in pairs)


def take(state: State, found: Found) -> None:
    """Take over a lattice that was found, and the detector's shift."""
    if np.any(found.shift):
        state.images = shifted(state.images, found.shift)
        map_spots(state.table, state.images)
    free = np.asarray(state.table["id"]) < 0
    state.crystals.append(tidy_crystal(found.crystal, np.asarray(state.table["rlp"])[free]))


def more_lattices(context: Context, state: State, search: Search, settings: RefinementSettings) -> None:
    """Seek further lattices among the spots without index while there is one worth having."""
    options = context.options.indexing
    limits = options.multiple_lattice_search
    tolerance = options.index_assignment.simple.hkl_tolerance
    while len(state.crystals) < limits.max_lattices:
        left = np.flatnonzero(np.asarray(state.table["id"]) < 0)
        if len(left) < max(20, limits.recycle_unindexed_reflections_cutoff * len(state.table)):
            break
        rest = state.table.select(left)
        try:
            found = search.find(search.sight(rest, state.images), rest, state.images, search_beam=False)
        except AlgorithmFailed as error:
            context.print(f"No further lattice: {error.message}")
            break
        report_search(context, found, len(left))
        chosen = found.trials[found.chosen].score
        close = min(misorientation_deg(found.crystal, c) for c in state.crystals)
        if chosen.log_likelihood < 0.3 or chosen.fraction < 0.113 + limits.min_indexed_fraction:
            context.print("No further lattice: the spots left over do not lie on one.")
            break
        if close < limits.minimum_angular_separation:
            context.print(f"No further lattice: the next is only {close:.2f}° from one that is known.")
            break
        before = copy.copy(state)
        before.crystals = list(state.crystals)
        take(state, found)
        try:
            macrocycles(state, settings, options.refinement_protocol.n_macro_cycles, tolerance)
            demand_lattices(state, options)
        except AlgorithmFailed as error:
            context.warn(f"A further lattice was left out: {error.message}")
            state.crystals, state.images, state.table = before.crystals, before.images, before.table
            state.experiments, state.result = before.experiments, before.result
            build_experiments(state)
            assign(state, tolerance, None)
            break


def misorientation_deg(a: Crystal, b: Crystal) -> float:
    """Smallest rotation between two crystals over the symmetry of their group (or lattice in P 1)."""
    from xtal.physics.lattice import lattice_candidates

    best = 180.0
    reference = lattice_candidates(b)[0]
    other = next((c for c in lattice_candidates(a) if c.bravais == reference.bravais), None)
    if other is None:
        return best
    group = gemmi_rotations(reference.bravais)
    for w in group:
        turn = other.crystal.change_basis(w).U @ reference.crystal.U.T
        cosine = np.clip((np.trace(turn) - 1) / 2, -1, 1)
        best = min(best, math.degrees(math.acos(cosine)))
    return best


def gemmi_rotations(bravais: str) -> np.ndarray:
    """Rotations of the holohedry of a Bravais type on conventional axes."""
    import gemmi

    highest = {"a": "P 1", "m": "P 1 2 1", "o": "P 2 2 2", "t": "P 4 2 2", "h": "P 6 2 2", "c": "P 4 3 2"}
    name = "R 3 2:H" if bravais == "hR" else highest[bravais[0]]
    operations = gemmi.SpaceGroup(name).operations().sym_ops
    return np.array([op.rot for op in operations], dtype=float) / gemmi.Op.DEN


def report_search(context: Context, found: Found, n_spots: int) -> None:
    """Print the longest cell edge and the candidates."""
    context.print(f"Longest cell edge searched for: {found.max_cell:.0f} Å; {n_spots} spots.")
    rows = []
    for k, trial in enumerate(found.trials[:8]):
        cell = "  ".join(f"{v:.2f}" for v in cell_of(trial.A).parameters)
        s = trial.score
        mark = "*" if k == found.chosen else ""
        rows.append(
            [f"{k + 1}{mark}", cell, f"{trial.volume:.0f}", f"{100 * s.fraction:.1f}", f"{1000 * s.rmsd:.3f}",
             f"{s.log_likelihood:.2f}", trial.origin]
        )  # fmt: skip
    columns = ["", "primitive cell (Å, °)", "volume (Å³)", "% indexed", "rmsd (10⁻³/Å)", "score", "from"]
    context.table("Candidate lattices", columns, rows)
    warn_of_known(context, found)
    if np.any(found.shift):
        x, y, z = found.shift
        context.warn(
            f"The spots index badly with the beam centre as given; the detector was moved by {x:.2f}, {y:.2f} mm "
            f"along fast and slow and {z:.2f} mm along its normal."
        )


def warn_of_known(context: Context, found: Found) -> None:
    """Say where the cell or space group that was given costs spots, or makes the cell larger than they ask for."""
    known = context.options.indexing.known_symmetry
    if known.space_group is None and known.unit_cell is None:
        return
    chosen, best = found.trials[found.chosen], max(found.trials, key=lambda t: t.score.log_likelihood)
    here, there = chosen.score.fraction, best.score.fraction
    cell = f"the primitive cell {describe(best.A)}"
    if here < there - CLEARLY_FEWER:
        context.warn(
            f"With what was given for cell and space group {100 * here:.0f} % of the spots have an index, with {cell} "
            f"{100 * there:.0f} %: check unit_cell= and space_group=."
        )
    elif (times := times_too_large(chosen, best)) > 1:
        context.warn(
            f"The cell that was given is {times} times as large as the spots ask for: {cell} "
            "explains as many. Check unit_cell= and space_group=."
        )


def report_lattices(context: Context, state: State, first: int) -> None:
    """Print the refined crystals and the share of spots indexed in each image set, counted from ``first``."""
    n_sets, ids = len(state.images), np.asarray(state.table["id"])
    rows = []
    sets = np.asarray(state.table["imageset_id"])
    for k in range(n_sets):
        mine = sets == k
        n_indexed = int((ids[mine] >= 0).sum())
        rmsd = [""] * 3
        if state.result is not None:
            rmsd = [f"{v:.3f}" for v in state.result.rmsd[k]]
        rows.append(
            [first + k, n_indexed, int(mine.sum()) - n_indexed, f"{100 * n_indexed / max(1, mine.sum()):.1f}", *rmsd]
        )
    columns = ["image set", "indexed", "unindexed", "% indexed", "rmsd x (px)", "y (px)", third_rmsd(state.images)]
    context.table("Indexed spots", columns, rows)
    for number, crystal in enumerate(state.crystals):
        n = int(np.isin(ids, np.arange(number * n_sets, (number + 1) * n_sets)).sum())
        context.print(
            f"Lattice {number + 1}: {counted(n, 'spot')}, {crystal.space_group.hm}, cell {describe_cell(crystal)}"
        )
    for text in state.result.warnings if state.result is not None else []:
        context.warn(text)


def warn_of_other_crystals(context: Context, state: State, tolerance: float) -> None:
    """Say which image sets the lattice they share with others explains no better than chance."""
    sets, indexed = np.asarray(state.table["imageset_id"]), np.asarray(state.table["id"]) >= 0
    for k, experiment in enumerate(state.images):
        n, found = int((sets == k).sum()), int(indexed[sets == k].sum())
        if n and not more_than_chance(n, found, tolerance):
            context.warn(
                f"Of {name_of(experiment, k)} {found} of {n} spots have an index, as many as by chance: if it is of "
                "another crystal, process it apart, or give joint_indexing=False."
            )


def write(
    context: Context, states: list[State], spots: ReflectionTable, parts: list[tuple[ExperimentList, np.ndarray]]
) -> None:
    """Write all lattices of all groups: spots keep their order."""
    table, experiments = merged_table(states, spots, parts)
    experiments.extra.update(context.experiments.extra)
    context.write_experiments(experiments)
    context.write_reflections(table)
    indexed = int((np.asarray(table["id"]) >= 0).sum())
    share = indexed / len(table)
    crystals = [c for state in states for c in state.crystals]
    options = context.options.indexing
    most, scope = options.multiple_lattice_search.max_lattices, options.beam_search.scope
    if share < FEW_INDEXED and len(crystals) == most * len(states):
        context.warn(
            f"{counted(len(table) - indexed, 'spot has', 'spots have')} no index: if the crystal is not single, look "
            f"for a further lattice with max_lattices={most + 1}; else check the rotation axis, and seek the beam "
            f"centre with beam_search.enable=True, farther off with beam_search.scope={2 * scope:g}."
        )
    context.summary(
        f"{indexed} of {len(table)} spots indexed ({100 * share:.1f} %), " + counted(len(crystals), "lattice"),
        f"{crystals[0].space_group.hm}, cell {describe_cell(crystals[0])}",
        *ambiguity(crystals[0]),
    )


def ambiguity(crystal: Crystal) -> list[str]:
    """What is to be said where the lattice has more symmetry than the space group that was given for it."""
    group = crystal.space_group
    ways = 1 if group.number == 1 else indexing_ways(crystal.cell, group)
    if ways == 1:
        return []
    return [f"the lattice has more symmetry than {group.hm}: crystals of this kind can be indexed in {ways} ways"]


def merged_table(
    states: list[State], spots: ReflectionTable, parts: list[tuple[ExperimentList, np.ndarray]]
) -> tuple[ReflectionTable, ExperimentList]:
    """One table and one list of experiments of all groups."""
    experiments = ExperimentList()
    table = spots.copy()
    n = len(spots)
    table["imageset_id"] = np.asarray(spots["id"], dtype=np.int32).copy()
    table["id"] = np.full(n, -1, np.int32)
    table["miller_index"] = np.zeros((n, 3), np.int32)
    table["entering"] = np.zeros(n, bool)
    table["flags"] = np.asarray(spots["flags"]).copy() if "flags" in spots else np.zeros(n, np.uint64)
    vectors = ("rlp", "s1", "xyzobs.mm.value", "xyzobs.mm.variance", "xyzcal.px", "xyzcal.mm")
    for name in vectors:
        table[name] = np.zeros((n, 3))
    for state, (_, rows) in zip(states, parts, strict=True):
        ids = np.asarray(state.table["id"])
        table["id"][rows] = np.where(ids >= 0, ids + len(experiments), -1)
        for name in ("miller_index", "entering", "flags", *vectors):
            table[name][rows] = state.table[name]
        if "delpsical.rad" in state.table:
            if "delpsical.rad" not in table:
                table["delpsical.rad"] = np.zeros(n)
            table["delpsical.rad"][rows] = state.table["delpsical.rad"]
        experiments.extend(named(state))
    table.identifiers = {k: e.identifier for k, e in enumerate(experiments)}
    indexed = np.asarray(table["id"]) >= 0
    table.set_flags(indexed, Flag.INDEXED | Flag.STRONG)
    return table, experiments


def named(state: State) -> list[Experiment]:
    """Experiments with identifiers: the image set's own for its first lattice, derived from it for the others."""
    n_sets = len(state.images)
    for k, experiment in enumerate(state.experiments):
        if k >= n_sets:
            name = f"{experiment.identifier}/lattice {k // n_sets + 1}"
            experiment.identifier = hashlib.sha256(name.encode()).hexdigest()[:32]
    return list(state.experiments)
