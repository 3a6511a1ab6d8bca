"""Bravais lattice of triclinic crystals, before they are refined."""

from __future__ import annotations

import numpy as np

from xtal.errors import AlgorithmFailed
from xtal.models import Crystal, Experiment, ExperimentList
from xtal.physics.lattice import apply_known_symmetry, best_lattice
from xtal.physics.refinement.bravais import (
    NARROW_DEG,
    LatticeTrial,
    choose_lattice,
    compare_lattices,
    reindexed,
    rotation_deg,
)
from xtal.run import Context
from xtal.table import ReflectionTable
from xtal_steps_geometry.rmsds import third_rmsd


def apply_lattice(context: Context, experiments: ExperimentList, table: ReflectionTable) -> str:
    """Take triclinic crystals to their Bravais lattice, with the indices of their reflections.

    Returns
    -------
    str
        Symbol of the lattice that was chosen, "" where crystals stay as they are.

    Raises
    ------
    AlgorithmFailed
        If the lattice or space group asked for does not fit.
    """
    options = context.options
    triclinic = [k for k, e in enumerate(experiments) if e.crystal is not None and e.crystal.space_group.number == 1]
    if not triclinic:
        return ""
    if options.space_group is not None:
        return _known(context, experiments, table, triclinic)
    if options.lattice == "none":
        return ""
    if options.lattice != "auto":
        advice = "Use lattice=auto to see the lattices that fit, or raise max_delta."
        _same_lattice(experiments, table, triclinic, options.lattice, options.max_delta, advice)
        return str(options.lattice)
    most = max(triclinic, key=lambda k: int((np.asarray(table["id"]) == k).sum()))
    trials = compare_lattices(experiments, table, most, options.max_delta)
    chosen = choose_lattice(trials)
    show(context, experiments[most], trials, chosen)
    warn_of_narrow_scan(context, experiments[most])
    symbol = chosen.candidate.bravais
    shared = [k for k in triclinic if experiments[k].crystal is experiments[most].crystal]
    change(experiments, table, shared, chosen.candidate.crystal, chosen.candidate.basis)
    rest = [k for k in triclinic if k not in shared]
    if rest and symbol != "aP":
        advice = (
            f"It is the lattice of experiment {most}: process crystals of different kinds apart, each in a folder of "
            "its own, or give a lattice= that all have."
        )
        _same_lattice(experiments, table, rest, symbol, options.max_delta, advice)
    return symbol


def warn_of_narrow_scan(context: Context, experiment: Experiment) -> None:
    """Say what the images leave open, where they hardly turn."""
    width = rotation_deg(experiment)
    if width < NARROW_DEG:
        turn = f"turn by {width:g}° only" if width else "do not turn"
        context.warn(
            f"The images {turn}: lattice and cell are known no better than the detector's distance and tilts. "
            "If the space group is known, give space_group=."
        )


def change(
    experiments: ExperimentList, table: ReflectionTable, which: list[int], crystal: Crystal, basis: np.ndarray
) -> None:
    """Give experiments a crystal on new axes and turn their indices with it."""
    rows = np.isin(np.asarray(table["id"]), which)
    hkl = np.array(table["miller_index"])
    hkl[rows] = reindexed(hkl[rows], basis)
    table["miller_index"] = hkl
    for k in which:
        experiments[k].crystal = crystal


def _crystals(experiments: ExperimentList, which: list[int]) -> list[list[int]]:
    """Experiments grouped by the crystal that they share."""
    groups: dict[int, list[int]] = {}
    for k in which:
        groups.setdefault(id(experiments[k].crystal), []).append(k)
    return list(groups.values())


def _same_lattice(
    experiments: ExperimentList, table: ReflectionTable, which: list[int], symbol: str, max_delta: float, advice: str
) -> None:
    for group in _crystals(experiments, which):
        crystal = experiments[group[0]].crystal
        assert crystal is not None
        candidate = best_lattice(crystal, symbol, max_delta)
        if candidate is None:
            raise AlgorithmFailed(
                f"The crystal of experiment {group[0]} has no lattice {symbol} within {max_delta:g}°.",
                advice=advice,
            )
        change(experiments, table, group, candidate.crystal, candidate.basis)


def _known(context: Context, experiments: ExperimentList, table: ReflectionTable, which: list[int]) -> str:
    options = context.options
    for group in _crystals(experiments, which):
        crystal = experiments[group[0]].crystal
        assert crystal is not None
        found = apply_known_symmetry(crystal, options.space_group, options.unit_cell, options.max_delta)
        if found is None:
            raise AlgorithmFailed(
                f"The lattice of experiment {group[0]} does not have the symmetry of {options.space_group}.",
                advice="Leave out space_group to see the lattices that fit.",
            )
        change(experiments, table, group, *found)
    return str(options.space_group)


def show(context: Context, experiment: Experiment, trials: list[LatticeTrial], chosen: LatticeTrial) -> None:
    """Print the table of candidates."""
    rows = []
    for trial in trials:
        c = trial.candidate
        cell = " ".join(f"{v:.2f}" for v in c.cell.parameters)
        fit = "chosen" if trial is chosen else "fits" if trial.recommended else "no"
        x, y, z = (f"{v:.3f}" for v in trial.rmsd)
        cc = "-" if np.isnan(trial.min_cc) else f"{trial.min_cc:.2f}"
        rows.append((c.bravais, c.space_group.hm, f"{c.delta_deg:.3f}", x, y, z, cc, cell, fit))
    columns = [
        "lattice",
        "group",
        "off (°)",
        "rmsd x (px)",
        "y (px)",
        third_rmsd([experiment]),
        "lowest CC",
        "cell",
        "",
    ]
    context.table("Bravais lattices that the cell allows", columns, rows)
