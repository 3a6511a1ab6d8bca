"""The step ``template``."""

from __future__ import annotations

import numpy as np

from xtal.errors import DataError
from xtal.run import Context


def run(context: Context) -> None:
    """Read reflections, keep those well measured, write them."""
    table = context.reflections
    kind = next((k for k in ("prf", "sum") if f"intensity.{k}.value" in table), None)
    if kind is None:
        raise DataError("The reflections have no intensities.", advice="Give those of find_spots or integrate.")
    value, variance = (np.asarray(table[f"intensity.{kind}.{part}"]) for part in ("value", "variance"))
    good = (variance > 0) & (value >= context.options.min_ratio * np.sqrt(np.maximum(variance, 0.0)))
    context.write_reflections(table.select(np.flatnonzero(good)))
    context.summary(f"{int(good.sum())} of {len(table)} reflections kept")
