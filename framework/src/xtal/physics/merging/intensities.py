"""The intensities that later steps use, out of a reflection table: chosen, corrected, filtered."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from attrs import define
from numpy.typing import NDArray

from xtal.errors import DataError
from xtal.table import Flag, ReflectionTable

F = NDArray[np.float64]
Choice = Literal["profile", "sum", "combine"]


@define(eq=False)
class Intensities:
    """Observations with positive variance, corrected for Lorentz, polarisation and detector efficiency.

    Attributes
    ----------
    rows : (n,) row of each in the table
    hkl : (n, 3) int32
    value, variance : (n,) corrected intensity
    counts : (n,) the same intensity in photons as recorded (counts over counts_per_photon where the table has it)
    factor : (n,) value = counts * factor
    partiality : (n,)
    """

    rows: NDArray[np.int64]
    hkl: NDArray[np.int32]
    value: F
    variance: F
    counts: F
    factor: F
    partiality: F

    def __len__(self) -> int:
        return len(self.rows)

    def select(self, keep: NDArray[np.bool_] | NDArray[np.int64]) -> Intensities:
        """Some of the observations, by mask or index."""
        columns = (self.rows, self.hkl, self.value, self.variance, self.counts, self.factor, self.partiality)
        parts: tuple[Any, ...] = columns
        return Intensities(*(p[keep] for p in parts))


def correction_factor(table: ReflectionTable) -> F:
    """(n,) lp / qe of each reflection: corrected intensity per photon recorded."""
    factor = np.ones(len(table))
    if "lp" in table:
        factor = factor * table["lp"]
    for name in ("qe", "dqe"):
        if name in table:
            return np.asarray(factor / np.where(table[name] > 0, table[name], np.nan))
    return factor


def partiality_of(table: ReflectionTable) -> F:
    """(n,) fraction recorded; 1 where the table does not say."""
    return np.asarray(table["partiality"], dtype=float) if "partiality" in table else np.ones(len(table))


def integrated_intensities(
    table: ReflectionTable,
    choice: Choice = "profile",
    *,
    min_partiality: float = 0.4,
    min_i_over_sigma: float = -5.0,
    middle: float | None = None,
) -> Intensities:
    """Observations of an integrated table.

    Parameters
    ----------
    choice
        "profile": the profile-fitted intensity, else the summed one over its partiality;
        "sum": the summed one, else the profile-fitted one; "combine": a weighted mean of
        both, w = 1 / (1 + (I_sum / middle)^3) for the profile-fitted one.
    min_partiality, min_i_over_sigma
        Observations below are left out.
    middle
        Intensity (photons) at which both count alike, for "combine".

    Raises
    ------
    DataError
        If no observation is left.
    """
    if not table.has_flags(Flag.INTEGRATED, any_of=True).any():
        raise DataError("The reflections are not integrated.", advice="Run integrate first; give what it wrote.")
    partiality = partiality_of(table)
    prf = _kind(table, "prf", Flag.INTEGRATED_PRF, np.ones(len(table)))
    total = _kind(table, "sum", Flag.INTEGRATED_SUM, partiality)
    first, second = (prf, total) if choice != "sum" else (total, prf)
    value = np.where(first[2], first[0], second[0])
    variance = np.where(first[2], first[1], second[1])
    if choice == "combine" and middle:
        both = prf[2] & total[2]
        with np.errstate(over="ignore", divide="ignore"):
            weight = np.where(total[0] > 0, 1.0 / (1.0 + (np.maximum(total[0], 0.0) / middle) ** 3), 1.0)
        value = np.where(both, weight * prf[0] + (1 - weight) * total[0], value)
        variance = np.where(both, weight * prf[1] + (1 - weight) * total[1], variance)
    if "partiality.inv.variance" in table:
        # Both kinds are those of the whole reflection, I / p: the relative variance of p is that of 1 / p times p^2.
        variance = variance + np.maximum(value, 0.0) ** 2 * table["partiality.inv.variance"] * partiality**2
    factor = correction_factor(table)
    good = (prf[2] | total[2]) & (partiality >= min_partiality) & np.isfinite(factor) & (factor > 0)
    good &= np.asarray(table["id"]) >= 0
    with np.errstate(invalid="ignore", divide="ignore"):
        good &= value / np.sqrt(variance) > min_i_over_sigma
    rows = np.flatnonzero(good)
    if not len(rows):
        raise DataError(
            "No integrated intensity of positive variance is left after the filters.",
            advice="Look at the integrate step's summary, or lower partiality_cutoff.",
        )
    per_photon = np.asarray(table["counts_per_photon"])[rows] if "counts_per_photon" in table else np.ones(len(rows))
    return Intensities(
        rows, np.asarray(table["miller_index"][rows], dtype=np.int32), value[rows] * factor[rows],
        variance[rows] * factor[rows] ** 2, value[rows] / per_photon, factor[rows] * per_photon, partiality[rows],
    )  # fmt: skip


def _kind(table: ReflectionTable, kind: str, flag: Flag, partiality: F) -> tuple[F, F, NDArray[np.bool_]]:
    """Intensity and variance of one kind, and where it is there."""
    if f"intensity.{kind}.value" not in table:
        none = np.zeros(len(table))
        return none, none, none.astype(bool)
    value = np.asarray(table[f"intensity.{kind}.value"], dtype=float)
    variance = np.asarray(table[f"intensity.{kind}.variance"], dtype=float)
    there = table.has_flags(flag) & (variance > 0) & np.isfinite(value) & (partiality > 0)
    share = np.where(partiality > 0, partiality, 1.0)
    return value / share, variance / share**2, there


def scaled_intensities(
    table: ReflectionTable, *, min_partiality: float = 0.4, d_min: float | None = None, d_max: float | None = None
) -> Intensities:
    """Observations of a scaled table, divided by their inverse scale factor.

    Rows that scaling excluded or rejected are left out.

    Raises
    ------
    DataError
        If the table is not scaled or nothing is left.
    """
    value, scale = np.asarray(table["intensity.scale.value"]), np.asarray(table["inverse_scale_factor"])
    variance, partiality = np.asarray(table["intensity.scale.variance"]), partiality_of(table)
    good = ~table.has_flags(Flag.BAD_FOR_SCALING, any_of=True) & (scale > 0) & (variance > 0)
    good &= (partiality >= min_partiality) & (np.asarray(table["id"]) >= 0)
    if d_min is not None:
        good &= table["d"] >= d_min
    if d_max is not None:
        good &= table["d"] <= d_max
    rows = np.flatnonzero(good)
    if not len(rows):
        raise DataError("No scaled intensity is left after the filters.", advice="Check d_min and the scale step.")
    g = scale[rows]
    return Intensities(
        rows, np.asarray(table["miller_index"][rows], dtype=np.int32), value[rows] / g, variance[rows] / g**2,
        value[rows], 1.0 / g, partiality[rows],
    )  # fmt: skip
