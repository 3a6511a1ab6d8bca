"""The step reindex."""

from __future__ import annotations

import gemmi
import numpy as np

from xtal.errors import DataError, OptionError, UsageError
from xtal.files import read_experiments
from xtal.models import Crystal, Experiment, ExperimentList
from xtal.models.space_groups import space_group_of
from xtal.physics.lattice import constrain
from xtal.physics.rays import map_to_reciprocal
from xtal.physics.symmetry import ChangeOfBasis, smallest_turn
from xtal.run import Context
from xtal.table import Flag, ReflectionTable
from xtal_steps_geometry.compare_orientations import distinct_crystals, say_turn
from xtal_steps_geometry.reindex_options import ReindexOptions
from xtal_steps_geometry.reindex_reference import best_by_correlation

TOLERANCE = 0.2
"""How far a spot may lie from a whole index, to be indexed anew."""
OWN = "a,b,c"
"""The change of basis that changes nothing, as long as no other is asked for."""
ANOTHER = 0.1, 5.0
"""Relative difference of lengths and degrees between angles, above which cells are of different crystals."""
BENT = 0.02, 2.0
"""The same, above which a space group bends a cell more than it can have meant to."""


def run(context: Context) -> None:
    """Write crystals and indices on new axes."""
    options: ReindexOptions = context.options
    if not context.has("experiments") and not context.has("reflections"):
        raise UsageError("The step reindex needs an experiment list (.expt), a reflection table (.refl) or both.")
    experiments = context.experiments if context.has("experiments") else None
    table = context.reflections if context.has("reflections") else None
    change, only_table = _choose(context, experiments, table, options)
    context.print(f"Change of basis: {change} (indices {change.on('hkl')}, coordinates {change.on('xyz')})")
    if experiments is not None and not only_table:
        reindex_experiments(context, experiments, change, options.space_group)
        context.write_experiments(experiments)
    if table is not None:
        reindex_table(context, table, change, options.hkl_offset)
        context.write_reflections(table)
    context.summary(f"Reindexed by {change}" + (f" to {options.space_group}" if options.space_group else ""))


def _choose(
    context: Context, experiments: ExperimentList | None, table: ReflectionTable | None, options: ReindexOptions
) -> tuple[ChangeOfBasis, bool]:
    """The change of basis, and whether only the reflections need it."""
    reference = options.reference
    given = [name for name in ("reflections", "file", "experiments") if getattr(reference, name) is not None]
    if given and options.change_of_basis_op not in ("auto", OWN):
        raise OptionError(
            f"change_of_basis_op= and reference.{given[0]}= both say how to reindex.", advice="Leave one of them out."
        )
    if reference.reflections is not None or reference.file is not None:
        return best_by_correlation(context, experiments, table, reference), False
    if reference.experiments is not None and experiments is not None:
        return _to_orientation(context, experiments, reference.experiments), False
    if options.change_of_basis_op != "auto" and not given:
        return ChangeOfBasis.parse(options.change_of_basis_op), False
    if experiments is not None and table is not None:
        return from_positions(table, experiments), True
    raise OptionError(
        "change_of_basis_op=Auto has nothing to go by.",
        advice="Give the experiment list, and reference.experiments= or its reflections; or give the operator.",
    )


def _to_orientation(context: Context, experiments: ExperimentList, path: str) -> ChangeOfBasis:
    """The equivalent indexing whose orientation is nearest to the reference's."""
    crystals, others = distinct_crystals(experiments), distinct_crystals(read_experiments(path))
    groups = sorted({c.space_group.xhm() for c in others})
    if len(groups) > 1:
        raise DataError(f"The reference experiments have different space groups: {', '.join(groups)}.")
    if len(crystals) > 1:
        raise DataError(
            f"{len(crystals)} crystals cannot be brought to the orientation of a reference at once.",
            advice="Reindex one at a time.",
        )
    # the operator acts on our crystal, so it is sought among its own equivalent indexings
    turn = smallest_turn(others[0], crystals[0], others[0].space_group)
    cell, wanted = crystals[0].change_basis(turn.change.basis).cell, others[0].cell
    if differ(cell, wanted, ANOTHER):
        raise DataError(
            f"The crystal, with the cell {in_words(cell)}, is another than that of {path}, with {in_words(wanted)}.",
            advice="Take a reference of the same crystal form, or bring both to the same kind of axes first.",
        )
    say_turn(context, turn, "the reference", "the crystal")
    return turn.change


def differ(a: gemmi.UnitCell, b: gemmi.UnitCell, limits: tuple[float, float]) -> bool:
    """Whether two cells differ by more than a part of their lengths, or by more degrees."""
    x, y = np.array(a.parameters), np.array(b.parameters)
    return bool(np.any(np.abs(x / y - 1)[:3] > limits[0]) or np.any(np.abs(x - y)[3:] > limits[1]))


def in_words(cell: gemmi.UnitCell) -> str:
    """Cell parameters as text (angstrom, degree)."""
    return " ".join(f"{x:.3f}" for x in cell.parameters)


def from_positions(table: ReflectionTable, experiments: ExperimentList) -> ChangeOfBasis:
    """The change of basis that takes the table's indices to those that its spots have in the experiments.

    Raises
    ------
    DataError
        If the indices are not related by one change of basis.
    """
    old = np.array(table["miller_index"])
    trial = ReflectionTable({n: table[n] for n in ("id", "panel", "xyzobs.px.value")}, table.identifiers)
    map_to_reciprocal(trial, experiments)
    before, after = [], []
    for k, experiment in enumerate(experiments):
        rows = (np.asarray(table["id"]) == k) & np.any(old != 0, axis=1)
        if experiment.crystal is None or not rows.any():
            continue
        exact = trial["rlp"][rows] @ np.linalg.inv(experiment.crystal.A).T
        near = np.all(np.abs(exact - np.rint(exact)) < TOLERANCE, axis=1)
        before.append(old[rows][near])
        after.append(np.rint(exact[near]))
    h_old, h_new = (np.concatenate(x or [np.zeros((0, 3))]) for x in (before, after))
    if len(h_old) < 3 or np.linalg.matrix_rank(h_old) < 3:
        raise DataError(
            "Too few indexed reflections fit the experiments to tell the change of basis.",
            advice="Check that the .expt and the .refl are of the same data.",
        )
    change = ChangeOfBasis.from_matrix(np.linalg.lstsq(h_old, h_new, rcond=None)[0], max_denominator=12)
    fits = np.mean(np.all(change.hkl(h_old)[0] == h_new, axis=1))
    if fits < 0.95:
        raise DataError(
            f"No single change of basis relates the indices to the experiments: {change} fits {fits:.0%} of them.",
            advice="Check that the .expt and the .refl are of the same data.",
        )
    return change


def reindex_experiments(
    context: Context, experiments: ExperimentList, change: ChangeOfBasis, space_group: str | None
) -> None:
    """Put every crystal on the new axes, shared ones once; a given space group constrains its cell.

    Raises
    ------
    OptionError
        If the space group is unknown, does not hold on the new axes or is of another lattice.
    """
    new: dict[int, Crystal] = {}
    for number, experiment in enumerate(experiments):
        old = experiment.crystal
        if old is None:
            raise DataError(f"Experiment {number} has no crystal to reindex.", advice="Run index first.")
        if id(old) not in new:
            new[id(old)] = _reindexed(context, old, change, space_group)
            _say_cell(context, experiment, new[id(old)])
            free = old.change_basis(change.basis).cell
            if differ(free, new[id(old)].cell, BENT):
                context.warn(f"The cell was {in_words(free)}: {space_group} does not fit it.")
        experiment.crystal = new[id(old)]


def _reindexed(context: Context, crystal: Crystal, change: ChangeOfBasis, space_group: str | None) -> Crystal:
    if space_group is None:
        new = change.crystal(crystal)
    else:
        try:
            group = space_group_of(space_group)
        except ValueError as error:
            raise OptionError(f"space_group={space_group}: {error}.") from None
        demand_lattice(context, crystal, change, group)
        new = crystal.change_basis(change.basis)
        new.space_group = group
        points = new.A_at_scan_points
        new = constrain(new)
        # what was refined image by image stays as it was
        new.A_at_scan_points = points
    if np.linalg.det(change.basis) < 0:
        raise OptionError(
            f"The change of basis {change} makes a left-handed cell.", advice="Invert it: write - before each axis."
        )
    new.extra = dict(crystal.extra)
    return new


def demand_lattice(context: Context, crystal: Crystal, change: ChangeOfBasis, group: gemmi.SpaceGroup) -> None:
    """See that a space group on the new axes is of the crystal's lattice; a denser one is told.

    Raises
    ------
    OptionError
        If it is centred where the lattice has no points: reflections that the crystal has would be absent.
    """
    points = np.array(gemmi.symops_from_hall(crystal.hall).cen_ops) / gemmi.Op.DEN
    wanted = np.array(group.operations().cen_ops) / gemmi.Op.DEN

    def in_lattice(place: np.ndarray) -> bool:
        off = place - points
        return bool(np.any(np.all(np.abs(off - np.rint(off)) < 1e-6, axis=1)))

    if not all(map(in_lattice, change.basis.T)):
        return  # another lattice is asked for
    if not all(in_lattice(change.basis @ centring) for centring in wanted):
        raise OptionError(
            f"space_group={group.xhm()} is centred where the lattice of the crystal on the axes {change} is not: "
            "reflections that it has would be absent.",
            advice="Give the axes of the centred cell too, with change_of_basis_op=, or a primitive space group.",
        )
    times = round(abs(np.linalg.det(change.basis)) * len(points) / len(wanted))
    if times > 1:
        context.warn(
            f"The lattice of the crystal is centred on the axes {change}, {group.xhm()} is not: {times - 1} of {times} "
            "reflections predicted will be absent."
        )


def _say_cell(context: Context, experiment: Experiment, crystal: Crystal) -> None:
    try:
        name = crystal.space_group.xhm()
    except DataError:
        name = crystal.hall
        context.warn(
            f"{name} has no name in the tables: later steps need space_group=, for example of a subgroup that has one."
        )
    context.print(f"{experiment.identifier or 'crystal'}: {in_words(crystal.cell)}, {name}")


def reindex_table(
    context: Context, table: ReflectionTable, change: ChangeOfBasis, offset: tuple[int, ...] | None
) -> None:
    """Put the indices of a table on the new axes; unindexed rows (0 0 0) stay so.

    Rows whose new indices are not whole become unindexed.
    """
    old = np.asarray(table["miller_index"])
    indexed = np.any(old != 0, axis=1)
    moved = old + np.where(indexed[:, None], offset, 0) if offset is not None else old
    hkl, whole = change.hkl(moved)
    if not whole.all():
        context.warn(f"{int((~whole).sum())} of {len(whole)} indices are not whole on the new axes: removed.")
        if "flags" in table:
            table.clear_flags(~whole, Flag.INDEXED)
    table["miller_index"] = hkl
    inverse = np.linalg.inv(change.basis)
    if "ub_matrix" in table:
        # A' = A P^-T, row by row as everywhere
        matrices = np.asarray(table["ub_matrix"]).reshape(-1, 3, 3)
        table["ub_matrix"] = (matrices @ inverse.T).reshape(-1, 9)
        if "u_matrix" in table:
            table["u_matrix"] = (
                table["ub_matrix"].reshape(-1, 3, 3) @ np.linalg.inv(_b_of(matrices @ inverse.T))
            ).reshape(-1, 9)


def _b_of(a_matrices: np.ndarray) -> np.ndarray:
    """(n, 3, 3) the lower triangular B with A = U B."""
    metric = np.swapaxes(a_matrices, 1, 2) @ a_matrices
    empty = np.abs(np.linalg.det(a_matrices)) == 0.0
    metric[empty] = np.eye(3)
    turned = np.linalg.cholesky(metric[:, ::-1, ::-1])
    return np.swapaxes(turned[:, ::-1, ::-1], 1, 2)
