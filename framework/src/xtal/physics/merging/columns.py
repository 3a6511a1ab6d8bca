"""The columns of a merged MTZ file."""

from __future__ import annotations

import gemmi
import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from xtal.physics.merging.free import free_flags
from xtal.physics.merging.french_wilson import amplitudes, wilson_mean
from xtal.physics.merging.merge import Merged

F = NDArray[np.float64]


@frozen
class MtzColumn:
    """Label, type letter of the MTZ format, values (NaN is absent)."""

    label: str
    type: str
    values: F


def merged_columns(
    merged: Merged,
    cell: gemmi.UnitCell,
    group: gemmi.SpaceGroup,
    *,
    anomalous: bool = True,
    truncate: bool = True,
    free_fraction: float | None = 0.05,
    suffix: str = "",
) -> list[MtzColumn]:
    """Columns in the order in which programs expect them, H K L apart.

    Amplitudes are French-Wilson's, F from the mean intensity (not from F(+) and F(-), which
    would count the prior twice).
    """
    mean = wilson_mean(merged.hkl, merged.mean, cell, group) if truncate else np.zeros(0)
    columns: list[MtzColumn] = []

    def add(label: str, kind: str, values: NDArray[np.generic]) -> None:
        sign = label[-3:] if label.endswith(("(+)", "(-)")) else ""
        name = label.removesuffix(sign) + suffix + sign
        columns.append(MtzColumn(name, kind, np.asarray(values, dtype=float)))

    if free_fraction:
        flags = free_flags(merged.hkl, cell, group, fraction=free_fraction)
        columns.append(MtzColumn("FreeR_flag", "I", flags.astype(float)))
    add("IMEAN", "J", merged.mean)
    add("SIGIMEAN", "Q", merged.sigma)
    if anomalous:
        for label, kind, values in (
            ("I(+)", "K", merged.plus), ("SIGI(+)", "M", merged.sigma_plus),
            ("I(-)", "K", merged.minus), ("SIGI(-)", "M", merged.sigma_minus),
            ("N(+)", "I", _counted(merged.n_plus)), ("N(-)", "I", _counted(merged.n_minus)),
        ):  # fmt: skip
            add(label, kind, values)
    if truncate:
        both = amplitudes(merged.mean, merged.sigma, mean, merged.centric)
        add("F", "F", both.f)
        add("SIGF", "Q", both.sigma_f)
    if truncate and anomalous:
        up = amplitudes(merged.plus, merged.sigma_plus, mean, merged.centric)
        down = amplitudes(merged.minus, merged.sigma_minus, mean, merged.centric)
        difference = np.where(merged.centric, np.nan, up.f - down.f)
        for label, kind, values in (
            ("F(+)", "G", up.f), ("SIGF(+)", "L", up.sigma_f), ("F(-)", "G", down.f), ("SIGF(-)", "L", down.sigma_f),
            ("DANO", "D", difference), ("SIGDANO", "Q", np.hypot(up.sigma_f, down.sigma_f) + 0 * difference),
        ):  # fmt: skip
            add(label, kind, values)
    return columns


def _counted(n: NDArray[np.int64]) -> F:
    """Multiplicities, NaN where there is no observation."""
    return np.where(n > 0, n.astype(float), np.nan)
