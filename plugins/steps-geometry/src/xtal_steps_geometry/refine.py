"""The step refine."""

from __future__ import annotations

import copy

import numpy as np

from xtal.errors import DataError
from xtal.models import ExperimentList
from xtal.physics.lattice import describe_cell
from xtal.physics.rays import map_to_reciprocal
from xtal.physics.refinement import RefinementResult, RefinementSettings, refine, split_crystals
from xtal.physics.refinement.bravais import rotation_deg
from xtal.run import Context
from xtal.table import ReflectionTable
from xtal.units import DEG
from xtal_steps_geometry.lattice_choice import apply_lattice
from xtal_steps_geometry.refine_options import ParameterisationOptions
from xtal_steps_geometry.rmsds import third_residual, third_rmsd
from xtal_steps_geometry.trim import trim_scans

MIN_SCAN_DEG = 3.0
MIN_REFLECTIONS = 300
CELL_VARIES_FROM_DEG = 45.0
ASTRAY = 0.2
"""Part of the spots that have the models' indices below which they are of another setting."""
ORIENTATION = 3
"""Parameters of an orientation."""


def run(context: Context) -> None:
    """Choose the lattice, refine all models, write them."""
    for k, experiment in enumerate(context.experiments):
        if experiment.crystal is None:
            raise DataError(
                f"Experiment {k} has no crystal.", advice="Run index first; give indexed.expt, indexed.refl."
            )
    experiments, table = copy.deepcopy(context.experiments), context.reflections.copy()
    demand_own_indices(experiments, table)
    lattice = apply_lattice(context, experiments, table)
    if context.options.refinement.parameterisation.trim_scan_to_observations:
        for cut in trim_scans(experiments, table):
            context.warn(cut)
    part_crystals(context, experiments, table)
    settings = settings_of(context, experiments, table)
    result = refine(experiments, table, settings)
    for warning in result.warnings:
        context.warn(warning)
    report(context, result)
    context.write_experiments(result.experiments)
    context.write_reflections(result.table)
    summarise(context, result, lattice)
    if held_for_electrons(context, experiments):
        what = " and ".join(settings.detector_fix)
        context.summary(f"{what} held fixed: of electrons it cannot be told from the cell (detector.fix=none frees it)")


def demand_own_indices(experiments: ExperimentList, table: ReflectionTable) -> None:
    """See that the spots of a table have the indices that the models give them, roughly.

    Raises
    ------
    DataError
        If most have others: the table is of another setting of the crystal.
    """
    hkl, owner = np.asarray(table["miller_index"]), np.asarray(table["id"])
    spots = ReflectionTable({n: table[n] for n in ("id", "panel", "xyzobs.px.value")}, table.identifiers)
    map_to_reciprocal(spots, experiments)
    off = np.full(len(table), np.nan)
    for k, experiment in enumerate(experiments):
        rows = (owner == k) & np.any(hkl != 0, axis=1)
        if experiment.crystal is not None:
            exact = spots["rlp"][rows] @ np.linalg.inv(experiment.crystal.A).T
            off[rows] = np.abs(exact - hkl[rows]).max(axis=1)
    indexed, own = int(np.isfinite(off).sum()), int((off < 0.5).sum())
    if own < ASTRAY * indexed:
        raise DataError(
            f"The indices of the table are those that the models give for {own} of {indexed} spots only: they are of "
            "different settings of the crystal.",
            advice="Give the .expt and the .refl that one step wrote together.",
        )


def part_crystals(context: Context, experiments: ExperimentList, table: ReflectionTable) -> None:
    """Give each scan a crystal of its own where spots allow it, as DIALS does: goniometers are not exact enough.

    Not with scan_varying=False, which asks for one static crystal.
    """
    options = context.options.refinement.parameterisation
    shared = len({id(e.crystal) for e in experiments}) < len(experiments)
    if not shared or options.scan_varying is False:
        return
    fewest = min(int((np.asarray(table["id"]) == k).sum()) for k in range(len(experiments)))
    if fewest >= ORIENTATION * options.auto_reduction.min_nref_per_parameter:
        split_crystals(experiments)
        context.print("Each scan gets an orientation and a cell of its own; scan_varying=False keeps one crystal.")


def fixed(names: tuple[str, ...] | str) -> tuple[str, ...]:
    """Names of things to fix, without the word none."""
    names = (names,) if isinstance(names, str) else names
    return tuple(n for n in names if n not in ("none", "auto"))


def held_for_electrons(context: Context, experiments: ExperimentList) -> bool:
    """Whether a part of the detector is held because the beam is of electrons."""
    chosen = context.options.refinement.parameterisation.detector.fix
    return chosen == "auto" and any(e.beam.is_electron for e in experiments)


def electron_fix(experiments: ExperimentList) -> tuple[str, ...]:
    """What is held of the detector for electrons: tilts too, where the cell's angles are free to take their part."""
    free = any(e.crystal is not None and e.crystal.space_group.number <= 15 for e in experiments)
    return ("distance", "tilt") if free else ("distance",)


def settings_of(context: Context, experiments: ExperimentList, table: ReflectionTable) -> RefinementSettings:
    """Settings of the refinement from the step's options and the data."""
    options = context.options.refinement
    par: ParameterisationOptions = options.parameterisation
    detector_fix = fixed(par.detector.fix)
    if held_for_electrons(context, experiments):
        detector_fix = electron_fix(experiments)
        context.print(
            f"The beam is of electrons: what is held fixed of the detector is {' and '.join(detector_fix)}, because at "
            "such a short wavelength it cannot be told from the cell. detector.fix=none frees it."
        )
    varying = par.scan_varying if par.scan_varying != "auto" else may_vary(experiments, table)
    if par.scan_varying == "auto" and not varying:
        context.print("Crystals are kept static: the scans are short or reflections few.")
    widths = [rotation_deg(e) for e in experiments]
    static_cell = par.crystal.unit_cell.force_static
    if static_cell == "auto":
        static_cell = max(widths) < CELL_VARIES_FROM_DEG
    algorithm = options.reflections.outlier.algorithm
    return RefinementSettings(
        beam_fix=fixed(par.beam.fix),
        crystal_fix=fixed(par.crystal.fix),
        detector_fix=detector_fix,
        goniometer_fix=fixed(par.goniometer.fix),
        hierarchy_level=par.detector.hierarchy_level,
        scan_varying=bool(varying),
        varying_cell=not static_cell,
        varying_orientation=par.crystal.orientation.force_static is not True,
        interval_deg=par.interval_width_degrees,
        outlier_algorithm="robust" if algorithm == "auto" else algorithm,
        outlier_probability=options.reflections.outlier.probability,
        weights=options.reflections.weights,
        max_iterations=options.refinery.max_iterations,
        macrocycles=context.options.n_static_macrocycles,
        max_reflections=options.reflections.maximum_sample_size,
        close_to_spindle_cutoff=options.reflections.close_to_spindle_cutoff,
        scan_margin_deg=options.reflections.scan_margin,
        min_per_parameter=par.auto_reduction.min_nref_per_parameter,
    )


def may_vary(experiments: ExperimentList, table: ReflectionTable) -> bool:
    """Whether every scan is wide enough and rich enough for a crystal that varies."""
    counts = np.bincount(np.maximum(np.asarray(table["id"]), -1) + 1, minlength=len(experiments) + 1)[1:]
    return all(
        not e.is_still and rotation_deg(e) >= MIN_SCAN_DEG and n >= MIN_REFLECTIONS
        for e, n in zip(experiments, counts, strict=False)
    )


def report(context: Context, result: RefinementResult) -> None:
    """Tables of the macrocycles and of the experiments."""
    rows = []
    for cycle in result.history:
        x, y, phi = cycle.rmsd_after
        rows.append((
            cycle.name, cycle.n_reflections, cycle.n_outliers, cycle.n_parameters, cycle.n_iterations,
            f"{x:.5f}", f"{y:.5f}", f"{phi / DEG:.5f}", f"{cycle.chi2:.3f}", cycle.reason,
        ))  # fmt: skip
    columns = ["macrocycle", "spots", "outliers", "parameters", "steps"]
    columns += ["rmsd x (mm)", "y (mm)", third_residual(result.experiments), "chi²", "ended by"]
    context.table("Refinement", columns, rows)
    each = [
        (k, n, *(f"{v:.4f}" for v in rmsd)) for k, (n, rmsd) in enumerate(zip(result.n_used, result.rmsd, strict=True))
    ]
    context.table(
        "RMSDs by experiment", ["experiment", "spots", "x (px)", "y (px)", third_rmsd(result.experiments)], each[:50]
    )
    for k, experiment in enumerate(result.experiments[:20]):
        if experiment.crystal is not None:
            group = experiment.crystal.space_group.hm
            context.print(f"Crystal of experiment {k}: {group}, cell {describe_cell(experiment.crystal)}")


def summarise(context: Context, result: RefinementResult, lattice: str) -> None:
    """At most three lines that tell the outcome."""
    last = result.history[-1]
    x, y, z = result.rmsd[0]
    unit = "° of Δψ" if result.experiments[0].is_still else "images"
    context.summary(f"{last.n_reflections} reflections, rmsd {x:.3f}, {y:.3f} px, {z:.3f} {unit} ({last.name})")
    crystal = result.experiments[0].crystal
    if crystal is not None:
        found = f"lattice {lattice}, " if lattice else ""
        if context.options.space_group is not None:
            found = f"space group {crystal.space_group.hm}, "
        context.summary(f"{found}cell {describe_cell(crystal)}")
