"""The step predict."""

from __future__ import annotations

import numpy as np

from xtal.physics.prediction import predict_all
from xtal.run import Context
from xtal.table import ReflectionTable
from xtal.words import counted


def run(context: Context) -> None:
    """Write all reflections of all experiments."""
    options, tables = context.options, []
    for number, experiment in enumerate(context.experiments):
        width = 0.0 if experiment.scan is None else experiment.scan.oscillation_deg[1]
        varying = experiment.crystal is not None and experiment.crystal.A_at_scan_points is not None
        kind = "stills" if experiment.is_still else "scan-varying" if varying and not options.force_static else "static"
        table = predict_all(
            experiment, options.d_min, padding=options.buffer_size * width, force_static=options.force_static
        )
        table["id"] = np.full(len(table), number, np.int32)
        context.print(f"Experiment {number}: {counted(len(table), 'reflection')} predicted ({kind})")
        tables.append(table)
    table = ReflectionTable.concatenate(tables)
    table.identifiers = {k: e.identifier for k, e in enumerate(context.experiments)}
    context.write_reflections(table)
    context.summary(f"{counted(len(table), 'reflection')} predicted")
