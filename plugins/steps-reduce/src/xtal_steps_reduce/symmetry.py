"""The step ``symmetry``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import gemmi
import numpy as np
from numpy.typing import NDArray

from xtal.errors import AlgorithmFailed, DataError, OptionError
from xtal.models import Crystal
from xtal.models.crystal import space_group_of
from xtal.physics.lattice import constrain
from xtal.physics.merging import Intensities, integrated_intensities, merge, scaled_intensities
from xtal.physics.merging.intensities import partiality_of
from xtal.physics.symmetry import (
    LaueResult,
    SpaceGroupScore,
    basis_for_space_group,
    basis_of,
    find_laue_group,
    indexing_ways,
    on_axes,
    reduced_basis,
    score_space_groups,
    systematically_absent,
    to_reference,
)
from xtal.table import ReflectionTable
from xtal_steps_reduce.common import cell_text, crystals_of, excluded, median_cell, unlike_cells

if TYPE_CHECKING:
    from xtal.run import Context

F = NDArray[np.float64]
I = NDArray[np.int32]

FEWEST = 20
"""Intensities below which nothing is said about symmetry."""
WHOLE = 0.95
"""Recorded fraction from which a reflection was seen whole."""
DECIDED = 0.9
"""Probability from which a space group counts as decided."""
RIVAL = 0.2
"""Share of the best one's probability from which another space group is named too."""


def run(context: Context) -> None:
    """Find and apply the symmetry."""
    options, table = context.options, context.reflections
    _demand_whole_reflections(context, table)
    crystals = crystals_of(context.experiments)
    _check_common_lattice(crystals)
    data = _intensities(context, table)
    centring, cell = crystals[0].space_group.centring_type(), median_cell(crystals)
    reduced = reduced_basis(cell, centring)
    laue = _score_laue(data, table, reduced, _cell_on(cell, reduced), options.lattice_symmetry_max_delta)
    if len(data) < FEWEST and not options.space_group:
        _keep(context, table, len(data), crystals[0])
        return
    if options.space_group:
        basis, group = _given(options.space_group, cell, centring, reduced, laue)
        _report_laue(context, laue, reduced)
        doubt = _warn_of_contradiction(context, laue, group)
        context.print(f"Space group {group.xhm()}, as given; Laue group {_laue_name(group)}.")
        headline = f"{group.xhm()}, as given"
    else:
        _report_laue(context, laue, reduced)
        doubt = _warn_of_doubt(context, laue)
        basis = basis_of(laue.best, reduced, centring)
        basis, group, headline = _find_space_group(context, data, laue, basis, cell, crystals[0].space_group)
    _apply(context, table, basis, group)
    new = median_cell(crystals_of(context.experiments))
    ways = _say_ambiguity(context, new, group, laue.best.setting.symmorphic if doubt else group)
    context.print(f"Cell {cell_text(new)}; reindexed by {_basis_text(basis)}.")
    context.summary(
        f"Space group {headline}",
        f"Laue group {_laue_name(group)}"
        + (" by the option space_group" if options.space_group else _laue_figures(laue, group))
        + doubt,
        f"Cell {cell_text(new)}" + ways,
    )


def _demand_whole_reflections(context: Context, table: ReflectionTable) -> None:
    """Stop where the scans are too narrow to show one reflection whole."""
    if len(table) == 0 or np.any(partiality_of(table) >= WHOLE):
        return
    scans = [e.scan for e in context.experiments if e.scan is not None]
    widest = max((abs(scan.n_images * scan.oscillation_deg[1]) for scan in scans), default=0.0)
    raise AlgorithmFailed(
        f"Not one of {len(table)} reflections was seen whole on {widest:g}° of rotation: what is missing of each is a "
        "guess from the model of their width, so that intensities cannot be compared and merged.",
        advice="Lattice, cell and orientation are in the .expt; for intensities collect a scan several times wider "
        "than reflections are.",
    )


def _check_common_lattice(crystals: list[Crystal]) -> None:
    """All crystals must be in one setting, with cells that are alike."""
    told = unlike_cells(crystals)
    if told:
        raise DataError(told, advice="Index all of them with the same space_group= and unit_cell=.")


def _intensities(context: Context, table: ReflectionTable) -> Intensities:
    """Scaled intensities where the table has them, else integrated ones; cut as the options say."""
    options = context.options
    if "intensity.scale.value" in table and "inverse_scale_factor" in table:
        data = scaled_intensities(table, min_partiality=options.partiality_threshold)
    else:
        data = integrated_intensities(table, min_partiality=options.partiality_threshold)
    keep = ~excluded(table, options.exclude_images, len(context.experiments))[data.rows]
    if options.d_min:
        keep &= np.asarray(table["d"])[data.rows] >= options.d_min
    if not keep.any():
        raise DataError("No intensity is left to find the symmetry from.", advice="Loosen d_min or exclude_images.")
    return data.select(keep)


def _keep(context: Context, table: ReflectionTable, n: int, crystal: Crystal) -> None:
    """Leave the space group as it is, where intensities say nothing."""
    group = crystal.space_group
    context.warn(
        f"{n} intensities are too few to find the symmetry from: the space group stays {group.xhm()}. "
        "Give another with space_group=."
    )
    _apply(context, table, np.eye(3), group)
    context.summary(
        f"Space group {group.xhm()}, as it was: {n} intensities are too few to find it from",
        f"Cell {cell_text(crystal.cell)}",
    )


def _score_laue(
    data: Intensities, table: ReflectionTable, reduced: F, cell: gemmi.UnitCell, max_delta: float
) -> LaueResult:
    """Merge in P1 and score. Experiments are brought to one mean intensity first."""
    owner = np.asarray(table["id"])[data.rows]
    value, sigma = data.value.copy(), np.sqrt(data.variance)
    for k in np.unique(owner):
        level = max(float(np.mean(value[owner == k])), 1e-9)
        value[owner == k] /= level
        sigma[owner == k] /= level
    hkl = np.rint(data.hkl @ reduced).astype(np.int32)
    merged = merge(hkl, value, sigma**2 + (0.03 * value) ** 2, gemmi.SpaceGroup("P 1"))
    both = np.concatenate([merged.hkl, -merged.hkl]).astype(np.int64)
    mean = np.concatenate([merged.plus, merged.minus])
    error = np.concatenate([merged.sigma_plus, merged.sigma_minus])
    there = np.isfinite(mean)
    return find_laue_group(both[there], mean[there], error[there], cell, max_delta)


def _given(name: str, cell: gemmi.UnitCell, centring: str, reduced: F, laue: LaueResult) -> tuple[F, gemmi.SpaceGroup]:
    """Change of basis to the space group that the user gave."""
    try:
        group = space_group_of(name)
    except (ValueError, RuntimeError) as error:
        raise OptionError(f"space_group={name} is not a space group.", advice="Write it as P43212 or 96.") from error
    basis = basis_for_space_group(group, cell, centring, reduced, laue)
    if basis is None:
        raise AlgorithmFailed(
            f"The lattice {cell_text(cell)} does not have the symmetry of {group.xhm()}.",
            advice="Leave space_group out to see what fits, or raise lattice_symmetry_max_delta.",
        )
    return basis, group


def _find_space_group(
    context: Context, data: Intensities, laue: LaueResult, basis: F, cell: gemmi.UnitCell, before: gemmi.SpaceGroup
) -> tuple[F, gemmi.SpaceGroup, str]:
    """Space group of the best Laue group; the final basis, the group, and a headline."""
    symmorphic = laue.best.setting.symmorphic
    if not context.options.systematic_absences.check:
        return basis, symmorphic, f"{symmorphic.xhm()} (screw axes not sought)"
    hkl = np.rint(data.hkl @ basis).astype(np.int32)
    merged = merge(hkl, data.value, data.variance + (0.03 * data.value) ** 2, symmorphic, keep_absent=True)
    scores = score_space_groups(merged.hkl, merged.mean, merged.sigma, _cell_on(cell, basis), symmorphic)
    _report_absences(context, scores)
    here = np.allclose(basis, np.eye(3))
    best = next((s for s in scores if here and before in _groups(s) and s.probability > 0.5 * scores[0].probability),
                scores[0])  # fmt: skip
    group = next((g for g in _groups(best) if here and g == before), best.group)
    order, final = to_reference(group)
    text = " or ".join([final.xhm(), *(g.xhm() for g in _groups(best) if g != group)])
    if len(_groups(best)) > 1:
        text += " (the intensities cannot tell them apart)"
    others = [s.group for s in scores if s is not best and s.probability > RIVAL * best.probability]
    if others and best.probability < DECIDED:
        text += _undecided(context, merged.hkl, best.group, others, order, group == before)
    context.print(f"Space group {text}.")
    return basis @ order, final, text


def _undecided(
    context: Context, hkl: I, best: gemmi.SpaceGroup, others: list[gemmi.SpaceGroup], order: F, kept: bool
) -> str:
    """Say which groups fit as well and what was seen of the reflections that could decide; what the headline is to say.

    Parameters
    ----------
    order : (3, 3) change of basis to the axes on which groups are named
    kept : whether the group stands as the input had it
    """
    rivals = ", ".join(on_axes(group, order).xhm() for group in others)
    absent = np.array([systematically_absent(hkl, group) for group in (best, *others)])
    seen = int(np.any(absent != absent[0], axis=0).sum())
    if kept and seen:
        return f", kept from the input: the axial reflections seen ({seen}) do not decide against {rivals}"
    if kept:
        return f", kept from the input: axial reflections that could tell it from {rivals} are missing"
    if seen:
        context.warn(f"The axial reflections seen ({seen}) do not decide on the screw axes; try also {rivals}.")
    else:
        context.warn(
            "No axial reflection was seen that could decide on the screw axes, so they were taken to be there; try "
            f"also {rivals}."
        )
    fit = "fits" if len(others) == 1 else "fit"
    return f", not decided (axial reflections seen: {seen}): {rivals} {fit} as well"


def _groups(score: SpaceGroupScore) -> list[gemmi.SpaceGroup]:
    """All groups of one set of absences."""
    return [score.group, *([score.enantiomorph] if score.enantiomorph else []), *score.twins]


def _report_laue(context: Context, laue: LaueResult, reduced: F) -> None:
    """Tables of elements and subgroups."""
    rows = [
        [f"{e.likelihood:.3f}", f"{e.z:.2f}", f"{e.cc:.2f}", e.n, _stars(e.likelihood, 0.9, 0.7, 0.5), e.order,
         _axis_text(reduced @ np.array(e.axis, dtype=float))]
        for e in laue.elements
    ]  # fmt: skip
    if rows:
        columns = ["Likelihood", "Z-CC", "CC", "N", "", "Order", "Axis"]
        context.table("Symmetry elements of the lattice, on the intensities", columns, rows)
    rows = [
        [s.setting.symmorphic.laue_str(), s.setting.symmorphic.xhm(), _stars(s.probability, 0.8, 0.6, 0.4),
         f"{s.probability:.3f}", f"{s.net_z:.2f}", f"{s.cc_for:.2f}", f"{s.cc_against:.2f}", f"{s.delta_deg:.2f}",
         _basis_text(reduced @ s.setting.basis)]
        for s in laue.subgroups
    ]  # fmt: skip
    columns = ["Laue class", "Group", "", "Probability", "NetZcc", "CC", "CC-", "Delta", "Reindex"]
    context.table(f"Subgroups (CC of Friedel mates {laue.cc_identity:.3f})", columns, rows)


def _laue_figures(laue: LaueResult, group: gemmi.SpaceGroup) -> str:
    """How sure the Laue group is, for the summary."""
    own = f"its elements {laue.best.cc_for:.3f}, of " if group.number > 1 else ""
    return f": probability {laue.best.probability:.3f}, CC of {own}Friedel mates {laue.cc_identity:.3f}"


def _warn_of_doubt(context: Context, laue: LaueResult) -> str:
    """Say where the Laue group is not sure; what the summary is to say of it."""
    if len(laue.subgroups) < 2 or laue.best.probability >= DECIDED:
        return ""
    rival = laue.subgroups[1]
    other = f"{rival.setting.symmorphic.xhm()} {rival.probability:.2f}"
    context.warn(f"The Laue group is not sure: probability {laue.best.probability:.2f}, next {other}.")
    return f"; not sure, next {other}"


def _warn_of_contradiction(context: Context, laue: LaueResult, group: gemmi.SpaceGroup) -> str:
    """Say where the intensities clearly deny the Laue group that was given; what the summary is to say of it."""
    best = _laue_name(laue.best.setting.symmorphic)
    given = next((s for s in laue.subgroups if _laue_name(s.setting.symmorphic) == _laue_name(group)), None)
    denied = given is None or given.probability < 1 - DECIDED
    if best == _laue_name(group) or laue.best.probability < DECIDED or not denied:
        return ""
    context.warn(
        f"The intensities are of Laue group {best} (probability {laue.best.probability:.2f}), "
        f"not {_laue_name(group)} as given."
    )
    return f", but the intensities are of {best}"


def _report_absences(context: Context, scores: list[SpaceGroupScore]) -> None:
    rows = []
    for s in scores:
        absent = (f"{s.mean_absent:.2f}", f"{s.z_absent:.1f}") if s.n_absent else ("", "")
        rows.append([" / ".join(g.xhm() for g in _groups(s)), f"{s.probability:.3f}", s.n_absent, *absent])
    columns = ["Space group", "Probability", "Absent", "<I/sigma> absent", "Z of that mean"]
    context.table("Systematic absences", columns, rows)


def _say_ambiguity(context: Context, cell: gemmi.UnitCell, group: gemmi.SpaceGroup, measured: gemmi.SpaceGroup) -> str:
    """Say where the lattice allows more than one indexing; what the summary is to say of it.

    Where the intensities have more symmetry than the group that was given, the ways may be all the same to them.
    """
    ways = indexing_ways(cell, group, context.options.lattice_symmetry_max_delta)
    if ways == 1:
        return ""
    if len(measured.operations().sym_ops) >= ways * len(group.operations().sym_ops):
        context.print(
            f"The {ways} ways in which a crystal of Laue group {_laue_name(group)} can be indexed on this lattice do "
            "not differ in these intensities: the crystal has the higher symmetry, or is twinned."
        )
        return ""
    context.print(
        f"The lattice has more symmetry than the Laue group: other crystals of this kind can be indexed in {ways} "
        "ways that differ in their intensities (reindex with reference.reflections= brings them together)."
    )
    return f"; other crystals of this kind can be indexed in {ways} ways"


def _apply(context: Context, table: ReflectionTable, basis: F, group: gemmi.SpaceGroup) -> None:
    """Reindex experiments and table, make cells obey the group where they do not; write both."""
    done: dict[int, Crystal] = {}
    unchanged = np.allclose(basis, np.eye(3))
    for experiment in context.experiments:
        old = experiment.crystal
        assert old is not None
        if id(old) not in done:
            new = old if unchanged else old.change_basis(basis)
            new.space_group = group
            ideal = constrain(new)
            obeys = np.allclose(ideal.cell.parameters, new.cell.parameters, rtol=1e-6)
            done[id(old)] = new if obeys else ideal
        experiment.crystal = done[id(old)]
    if not unchanged:
        table["miller_index"] = np.rint(table["miller_index"] @ basis).astype(np.int32)
    if "d" in table:
        d, owner = np.array(table["d"], dtype=float), np.asarray(table["id"])
        for k, experiment in enumerate(context.experiments):
            assert experiment.crystal is not None
            hkl = np.ascontiguousarray(table["miller_index"][owner == k], dtype=np.int32)
            d[owner == k] = experiment.crystal.cell.calculate_d_array(hkl)
        table["d"] = d
    context.write_experiments(context.experiments)
    context.write_reflections(table)


def _cell_on(cell: gemmi.UnitCell, basis: F) -> gemmi.UnitCell:
    """The cell on new axes."""
    a, b, c = (np.array(cell.orth.mat.tolist()) @ basis).T
    la, lb, lc = (float(np.linalg.norm(v)) for v in (a, b, c))
    cosines = np.clip([b @ c / (lb * lc), a @ c / (la * lc), a @ b / (la * lb)], -1, 1)
    return gemmi.UnitCell(la, lb, lc, *np.degrees(np.arccos(cosines)))


def _laue_name(group: gemmi.SpaceGroup) -> str:
    return str(group.laue_str())


def _stars(value: float, *limits: float) -> str:
    return "*" * sum(value > limit for limit in limits)


def _axis_text(axis: F) -> str:
    """Direction on the input axes, without common divisor where it is whole."""
    smallest = np.min(np.abs(axis[np.abs(axis) > 1e-6]))
    scaled = axis / smallest
    if np.allclose(scaled, np.rint(scaled), atol=1e-3):
        axis = scaled
    return "(" + ", ".join(f"{x:g}" for x in np.round(axis, 2) + 0.0) + ")"


def _basis_text(basis: F) -> str:
    """New axes as sums of the old ones: b,c,a."""
    parts = []
    for column in basis.T:
        text = ""
        for value, letter in zip(column, "abc", strict=True):
            if abs(value) > 1e-6:
                size = "" if abs(abs(value) - 1) < 1e-6 else f"{abs(value):.4g}*"
                text += ("-" if value < 0 else "+" if text else "") + size + letter
        parts.append(text)
    return ",".join(parts)
