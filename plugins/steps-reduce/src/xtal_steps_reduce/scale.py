"""The step ``scale``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gemmi
import numpy as np
from numpy.typing import NDArray

from xtal.errors import DataError
from xtal.physics.merging import Intensities, Segments, integrated_intensities, merging_statistics, shown
from xtal.physics.scaling import (
    ScalingData,
    ScalingResult,
    ScalingSettings,
    leave_one_out,
    scale_intensities,
    scaling_data,
)
from xtal.table import Flag, ReflectionTable
from xtal.words import counted
from xtal_steps_reduce.common import (
    common_space_group,
    crystals_of,
    excluded,
    median_cell,
    report_statistics,
    unlike_cells,
)

if TYPE_CHECKING:
    from xtal.hooks.protocols import ScalingModel
    from xtal.run import Context

F = NDArray[np.float64]

POOR = 0.1
"""Relative error of scale factors from which they count as poorly determined."""


def run(context: Context) -> None:
    """Scale all experiments together."""
    options, table = context.options, context.reflections
    crystals = crystals_of(context.experiments)
    group, cell = common_space_group(crystals), median_cell(crystals)
    told = unlike_cells(crystals)
    if told:
        context.warn(f"{told} Crystals of different kinds have no common scale: scale each kind apart.")
    table["original_index"] = np.arange(len(table), dtype=np.uint64)
    user = _user_excluded(context, table)
    choice, middle = options.reflection_selection.intensity_choice, None
    context.print(
        f"Scaling in {group.xhm()}, Friedel mates {'kept apart' if options.anomalous else 'together'} "
        f"({'anomalous=False takes them together' if options.anomalous else 'anomalous=True keeps them apart'})."
    )
    parts = _observations(context, table, user, choice, middle)
    models, data, result = _scale(context, table, parts, cell, group)
    if choice == "combine":
        middle = _best_middle(context, table, parts, result, group)
        parts = _observations(context, table, user, "combine" if middle else "profile", middle)
        models, data, result = _scale(context, table, parts, cell, group)
    _report_scaling(context, models, data, result)
    _store(context, table, user, parts, models, result, middle)
    keep = ~result.outlier
    hkl = np.concatenate([p.hkl for p in parts])[keep]
    value, variance = (data.value / result.scale)[keep], (result.variance / result.scale**2)[keep]
    shells, overall = merging_statistics(hkl, value, variance, cell, group, options.merging.nbins)
    limit, n_outliers = report_statistics(context, shells, overall), int(result.outlier.sum())
    context.write_experiments(context.experiments)
    context.write_reflections(table)
    context.summary(
        f"{overall.n_observations} observations of {overall.n_unique} reflections to {overall.d_min:.2f} Å, "
        f"{counted(n_outliers, 'outlier')}; "
        f"Friedel mates {'apart' if options.anomalous else 'together'}",
        f"Rmeas {shown(overall.r_meas, 3)} (Friedel mates apart {shown(overall.r_meas_anom, 3)}), "
        f"CC1/2 {shown(overall.cc_half, 3)}, anomalous CC {shown(overall.cc_anom, 3)}, "
        f"I/sigma {overall.i_over_sigma:.1f}",
        f"Completeness {100 * overall.completeness:.1f} %, multiplicity {overall.multiplicity:.1f}"
        + (f"; CC1/2 is 0.3 at {limit:.2f} Å" if limit else ""),
    )


def _user_excluded(context: Context, table: ReflectionTable) -> NDArray[np.bool_]:
    """Rows that the options leave out."""
    options = context.options
    out = excluded(table, options.exclude_images, len(context.experiments))
    if options.cut_data.d_min:
        out |= np.asarray(table["d"]) < options.cut_data.d_min
    if options.cut_data.d_max:
        out |= np.asarray(table["d"]) > options.cut_data.d_max
    return out


def _observations(
    context: Context, table: ReflectionTable, user: NDArray[np.bool_], choice: Any, middle: float | None
) -> list[Intensities]:
    """The observations of each experiment.

    Raises
    ------
    DataError
        If none has any.
    """
    cut = context.options.cut_data
    chosen = integrated_intensities(
        table, choice, min_partiality=cut.partiality_cutoff, min_i_over_sigma=cut.min_isigi, middle=middle
    )
    chosen = chosen.select(~user[chosen.rows])
    owner, parts = np.asarray(table["id"])[chosen.rows], []
    for k in range(len(context.experiments)):
        parts.append(chosen.select(owner == k))
        if not len(parts[-1]):
            context.warn(f"No reflection of experiment {k} is left to scale: it adds nothing.")
    if not len(chosen):
        raise DataError("No reflection is left to scale.", advice="Loosen cut_data or exclude_images.")
    return parts


def _scale(
    context: Context, table: ReflectionTable, parts: list[Intensities], cell: gemmi.UnitCell, group: gemmi.SpaceGroup
) -> tuple[list[ScalingModel], ScalingData, ScalingResult]:
    """Set the models up and refine them."""
    options = context.options
    models: list[ScalingModel] = []
    needed = [c for c in ("s1", "d", "xyzobs.px.value", "xyzcal.px") if c in table]
    for experiment, part in zip(context.experiments, parts, strict=True):
        model = context.plugin(options.model)
        model.prepare(experiment, ReflectionTable({c: table[c][part.rows] for c in needed}, n_rows=len(part)))
        models.append(model)
    data = scaling_data(parts, cell, group, anomalous=options.anomalous)
    if not np.any(data.laue.counts > 1):
        context.warn("No reflection was observed twice: nothing can be scaled, and intensities stay as they are.")
    rejection = options.scaling_options
    settings = ScalingSettings(
        max_observations=0 if options.reflection_selection.method == "use_all"
        else options.reflection_selection.min_reflections,
        z_max=rejection.outlier_zmax if rejection.outlier_rejection else 0.0,
        one_pass=rejection.outlier_rejection == "simple",
        error_model=options.weighting.error_model.error_model is not None,
    )  # fmt: skip
    return models, data, scale_intensities(models, data, settings)


def _best_middle(
    context: Context, table: ReflectionTable, parts: list[Intensities], result: ScalingResult, group: gemmi.SpaceGroup
) -> float | None:
    """The intensity at which summed and profile-fitted values count alike, by least Rmeas; None: profile alone."""
    rows = np.concatenate([p.rows for p in parts])
    total = np.asarray(table["intensity.sum.value"])[rows]
    mean, top = max(10.0, float(total.mean())), float(total.max())
    candidates = [None, mean, *[top / 10**k for k in range(1, 8) if top / 10**k > mean]]
    scores, scale_of = [], np.zeros(len(table))
    scale_of[rows] = result.scale
    for middle in candidates:
        data = integrated_intensities(table, "combine" if middle else "profile", middle=middle)
        data = data.select((scale_of[data.rows] > 0) & (data.value > np.sqrt(data.variance)))
        g = scale_of[data.rows]
        cell = median_cell(crystals_of(context.experiments))
        _, overall = merging_statistics(data.hkl, data.value / g, data.variance / g**2, cell, group, 1)
        scores.append(overall.r_meas)
    texts = ["profile alone" if m is None else f"{m:.1f}" for m in candidates]
    context.table("Summation and profile fitting", ["Middle", "Rmeas"],
                  [[t, f"{s:.5f}"] for t, s in zip(texts, scores, strict=True)])  # fmt: skip
    return candidates[int(np.nanargmin(scores))]


def _store(
    context: Context, table: ReflectionTable, user: NDArray[np.bool_], parts: list[Intensities],
    models: list[ScalingModel], result: ScalingResult, middle: float | None,
) -> None:  # fmt: skip
    """Columns and flags of the table, and the models into the experiments."""
    rows = np.concatenate([p.rows for p in parts])
    columns = {
        "intensity.scale.value": (0.0, np.concatenate([p.value for p in parts])),
        "intensity.scale.variance": (0.0, result.variance),
        "inverse_scale_factor": (1.0, result.scale),
        "inverse_scale_factor_variance": (0.0, result.scale_variance),
    }
    for name, (empty, values) in columns.items():
        column = np.full(len(table), empty)
        column[rows] = values
        table[name] = column
    outside = np.ones(len(table), dtype=bool)
    outside[rows] = False
    table["flags"] = np.array(table["flags"])
    table.clear_flags(np.ones(len(table), dtype=bool), Flag.BAD_FOR_SCALING | Flag.SCALED)
    table.set_flags(user, Flag.USER_EXCLUDED_IN_SCALING)
    table.set_flags(outside, Flag.EXCLUDED_FOR_SCALING)
    table.set_flags(rows[result.outlier], Flag.OUTLIER_IN_SCALING)
    table.set_flags(rows[~result.outlier], Flag.SCALED)
    error = result.error_model
    for experiment, model, p, esds in zip(context.experiments, models, result.parameters, result.esds, strict=True):
        record = model.to_json(p, esds)
        if context.options.weighting.error_model.error_model is not None:
            record["configuration_parameters"] |= {
                "error_model_type": "BasicErrorModel",
                "error_model_parameters": [error.a, error.b],
            }
        record["configuration_parameters"]["Imid"] = middle or 0.0
        experiment.scaling_model = record


def _report_scaling(context: Context, models: list[ScalingModel], data: ScalingData, result: ScalingResult) -> None:
    """Parameters, rounds, error model."""
    names = [sorted({n.split()[0] for n in m.names}, key=[x.split()[0] for x in m.names].index) for m in models]
    counts = [
        [k, name, sum(n.split()[0] == name for n in model.names)]
        for k, (model, parts) in enumerate(zip(models, names, strict=True))
        for name in parts
    ]
    context.table("Corrections", ["Experiment", "Correction", "Parameters"], counts)
    rounds = [[k, n, f"{r:.4f}"] for k, n, r in result.history]
    context.table("Refinement", ["Round", "Observations", "Weighted RMSD"], rounds)
    if result.anomalous:
        context.print(f"Friedel mates differ by {100 * result.anomalous:.1f} % of their mean (rms).")
    error = result.error_model
    if error.n_used:
        context.print(
            f"Error model: variance = {error.background:.3f} background + a² (photons + (b I)²), a = {error.a:.3f}, "
            f"b = {error.b:.4f}; largest I/sigma of one observation {error.i_over_sigma_limit:.0f}."
        )
        _report_deviations(context, data, result)
    elif context.options.weighting.error_model.error_model is not None:
        context.warn(
            "Too few reflections were observed more than once for an error model: sigmas stay those of integration, "
            f"with b = {error.b:.2f}."
        )
    relative = float(np.median(np.sqrt(result.scale_variance) / result.scale))
    context.print(f"Median error of a scale factor against those of its equivalents: {100 * relative:.2f} %.")
    if relative > POOR:
        context.warn(
            "The scale factors are poorly determined: fix a correction (decay_correction=False, "
            "absorption_correction=False) or lengthen its interval."
        )


def _report_deviations(context: Context, data: ScalingData, result: ScalingResult) -> None:
    """Variance of the normalised deviations from the other equivalents, by intensity; 1 is right."""
    keep = ~result.outlier
    value, groups = data.value / result.scale, Segments(data.apart.group)
    raw = data.background + data.factor * np.maximum(data.value, 0)
    before = leave_one_out(value, raw / result.scale**2, groups, keep)
    after = leave_one_out(value, result.variance / result.scale**2, groups, keep)
    tested = np.flatnonzero(after > 0)
    if len(tested) < 50:
        return
    order = tested[np.argsort(-value[tested], kind="stable")]
    rows = [
        [f"{value[part[0]]:.1f} - {value[part[-1]]:.1f}", len(part), f"{np.mean(before[part] ** 2):.3f}",
         f"{np.mean(after[part] ** 2):.3f}"]
        for part in np.array_split(order, min(10, len(order) // 25))
    ]  # fmt: skip
    columns = ["Intensity", "Observations", "Variance before", "Variance after"]
    context.table("Deviations from equivalents, in sigmas (1 is right)", columns, rows)
