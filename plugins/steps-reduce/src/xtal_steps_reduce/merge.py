"""The step ``merge``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import gemmi
import numpy as np

from xtal.errors import DataError
from xtal.files.mtz import write_merged_mtz
from xtal.physics.merging import merge, merged_columns, merging_statistics, scaled_intensities, shown
from xtal.words import counted
from xtal_steps_reduce.common import common_space_group, crystals_of, median_cell, report_statistics

if TYPE_CHECKING:
    from xtal.run import Context


def run(context: Context) -> None:
    """Merge scaled intensities and write them."""
    options, table = context.options, context.reflections
    if "intensity.scale.value" not in table or "inverse_scale_factor" not in table:
        raise DataError("The reflection table is not scaled.", advice="Run scale first; give scaled.expt, scaled.refl.")
    crystals = crystals_of(context.experiments)
    group = common_space_group(crystals)
    cell = gemmi.UnitCell(*options.best_unit_cell) if options.best_unit_cell else median_cell(crystals)
    data = scaled_intensities(
        table, min_partiality=options.partiality_threshold, d_min=options.d_min, d_max=options.d_max
    )
    merged = merge(data.hkl, data.value, data.variance, group, internal_variance=options.merging.use_internal_variance)
    shells, overall = merging_statistics(data.hkl, data.value, data.variance, cell, group, options.merging.n_bins)
    report_statistics(context, shells, overall)
    columns = merged_columns(
        merged, cell, group, anomalous=options.anomalous, truncate=options.truncate,
        free_fraction=options.r_free_flags.fraction if options.r_free_flags.generate else None,
    )  # fmt: skip
    wavelengths = [e.beam.wavelength for e in context.experiments]
    if np.ptp(wavelengths) > 1e-4:
        context.warn("The experiments differ in wavelength; they are merged into one data set all the same.")
    n_experiments = counted(len(context.experiments), "experiment")
    with context.writing("mtz") as path:
        write_merged_mtz(
            path, merged.hkl, columns, cell, group, wavelength=float(np.mean(wavelengths)),
            history=[f"From xtal: merge of {len(data)} observations of {n_experiments}"],
        )  # fmt: skip
    dropped = overall.n_unique - len(merged.hkl)
    if options.anomalous:
        context.print("Friedel mates are kept apart in I(+), I(-), F(+), F(-), DANO; IMEAN and F hold both together.")
    context.summary(
        f"{len(merged.hkl)} unique reflections to {overall.d_min:.2f} Å in {group.xhm()}, "
        f"completeness {100 * overall.completeness:.1f} %, multiplicity {overall.multiplicity:.1f}"
        + (f"; {dropped} that it extinguishes left out" if dropped else ""),
        f"I/sigma {overall.i_over_sigma:.1f}, CC1/2 {shown(overall.cc_half, 3)}, "
        f"anomalous CC {shown(overall.cc_anom, 3)}",
    )
