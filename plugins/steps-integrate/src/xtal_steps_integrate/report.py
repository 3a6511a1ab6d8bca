"""What integrate tells: counts, and intensity over its error by shell of resolution."""

from __future__ import annotations

import numpy as np

from xtal.run.context import Context
from xtal.table import Flag, ReflectionTable
from xtal.words import counted
from xtal_steps_integrate.cut import WHOLE

SHELLS = 8


def report(context: Context, table: ReflectionTable) -> None:
    """Print the table of shells and the summary."""
    summed, fitted = table.has_flags(Flag.INTEGRATED_SUM), table.has_flags(Flag.INTEGRATED_PRF)
    partial = np.asarray(table["partiality"]) < WHOLE
    d = np.asarray(table["d"])
    order = np.argsort(-d, kind="stable")
    rows = []
    for part in np.array_split(order, min(SHELLS, max(1, len(order) // 10))):
        rows.append(
            [
                f"{d[part].max():.2f} - {d[part].min():.2f}",
                str(len(part)),
                str(int(partial[part].sum())),
                str(int(summed[part].sum())),
                str(int(fitted[part].sum())),
                f"{np.mean(table['background.mean'][part]):.2f}",
                _ratio(table, "sum", part[summed[part]]),
                _ratio(table, "prf", part[fitted[part]]),
            ]
        )
    columns = ["d (Å)", "integrated", "partial", "summed", "fitted", "background", "I/σ sum", "I/σ fit"]
    context.table("Integrated reflections by resolution", columns, rows)
    everything = np.arange(len(table))
    context.summary(
        f"{counted(len(table), 'reflection')} integrated: {int(fitted.sum())} by profile fitting, "
        f"{int(summed.sum())} by summation.",
        f"{int(partial.sum())} partial, {int(table.has_flags(Flag.OVERLOADED).sum())} overloaded, "
        f"{int(table.has_flags(Flag.OVERLAPPED_FG).sum())} overlapped, "
        f"{int(table.has_flags(Flag.FAILED_DURING_PROFILE_FITTING).sum())} not fitted.",
        f"Mean I/σ: {_ratio(table, 'prf', everything[fitted])} fitted, "
        f"{_ratio(table, 'sum', everything[summed])} summed; "
        f"to {d.min():.2f} Å.",
    )


def _ratio(table: ReflectionTable, kind: str, rows: np.ndarray) -> str:
    if len(rows) == 0:
        return "-"
    variance = np.asarray(table[f"intensity.{kind}.variance"])[rows]
    value = np.asarray(table[f"intensity.{kind}.value"])[rows]
    return f"{np.mean(value / np.sqrt(np.where(variance > 0, variance, np.inf))):.1f}"
