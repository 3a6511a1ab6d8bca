"""Agreement of equivalent observations by resolution shell.

Diederichs & Karplus (1997) Nat. Struct. Biol. 4, 269 (Rmeas); Weiss (2001) J. Appl.
Cryst. 34, 130 (Rpim); Karplus & Diederichs (2012) Science 336, 1030 (CC1/2); Assmann,
Brehm & Diederichs (2016) J. Appl. Cryst. 49, 1021 (CC1/2 without random halves).
"""

from __future__ import annotations

from itertools import pairwise

import gemmi
import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from xtal.physics.merging.merge import weighted_means
from xtal.physics.merging.segments import Segments
from xtal.physics.symmetry.asu import centric, representatives, unpack

F = NDArray[np.float64]
I64 = NDArray[np.int64]

COLUMNS = ["d_max", "d_min", "#obs", "#uniq", "mult.", "%comp", "<I>", "<I/sI>", "r_mrg", "r_meas", "r_pim",
           "r_anom", "cc1/2", "cc_ano"]  # fmt: skip


@frozen
class ShellStatistics:
    """One shell, or all data. Friedel mates are together except where a name says otherwise.

    Attributes
    ----------
    d_max, d_min : angstrom
    n_observations, n_unique, n_possible : counts
    mean_i, i_over_sigma : means over unique reflections
    r_merge, r_meas, r_pim : over reflections observed twice or more
    r_merge_anom, r_meas_anom, r_pim_anom : the same with Friedel mates apart
    r_anom : sum |I+ - I-| over the sum of their means
    cc_half, cc_anom : NaN where undefined; ``cc_half_n``, ``cc_anom_n`` reflections behind them
    anomalous_completeness, anomalous_multiplicity
    """

    d_max: float
    d_min: float
    n_observations: int
    n_unique: int
    n_possible: int
    mean_i: float
    i_over_sigma: float
    r_merge: float
    r_meas: float
    r_pim: float
    r_merge_anom: float
    r_meas_anom: float
    r_pim_anom: float
    r_anom: float
    cc_half: float
    cc_half_n: int
    cc_anom: float
    cc_anom_n: int
    anomalous_completeness: float
    anomalous_multiplicity: float

    @property
    def multiplicity(self) -> float:
        return self.n_observations / max(1, self.n_unique)

    @property
    def completeness(self) -> float:
        return min(1.0, self.n_unique / max(1, self.n_possible))


class _Group:
    """Per unique reflection: count, mean, variance, sum of deviations, sample variance of the mean."""

    def __init__(self, keys: I64, value: F, variance: F) -> None:
        self.segments = s = Segments(keys)
        self.n = s.counts
        self.mean, self.variance = weighted_means(s, value, variance)
        self.total = s.sum(value)
        self.deviation = s.sum(np.abs(value - self.mean[s.group]))
        self.plain = self.total / self.n
        with np.errstate(invalid="ignore", divide="ignore"):
            spread = s.sum((value - self.plain[s.group]) ** 2) / (self.n - 1)
        self.mean_variance = np.where(self.n > 1, spread / self.n, np.nan)

    def r_factors(self, rows: NDArray[np.bool_]) -> tuple[float, float, float]:
        """Rmerge, Rmeas, Rpim over the groups chosen."""
        use = rows & (self.n > 1)
        n, deviation, below = self.n[use], self.deviation[use], float(self.total[use].sum())
        if not len(n) or below <= 0:
            return np.nan, np.nan, np.nan
        factors = (1.0, np.sqrt(n / (n - 1.0)), np.sqrt(1.0 / (n - 1.0)))
        return tuple(float((f * deviation).sum() / below) for f in factors)  # type: ignore[return-value]  # three factors


class _Table:
    """Everything that is needed per unique reflection, from which shells are cut."""

    def __init__(self, hkl: NDArray[np.integer], value: F, variance: F, cell: gemmi.UnitCell, group: gemmi.SpaceGroup):
        keys, plus = representatives(hkl, group)
        self.both = _Group(keys, value, variance)
        self.apart = _Group(2 * keys + plus, value, variance)
        unique = unpack(self.both.segments.keys)
        self.s_sq = np.asarray(cell.calculate_1_d2_array(unique))
        self.s_sq_observed = self.s_sq[self.both.segments.group]
        owner = np.searchsorted(self.both.segments.keys, self.apart.segments.keys >> 1)
        self.s_sq_apart, self.is_plus = self.s_sq[owner], (self.apart.segments.keys & 1).astype(bool)
        pair = np.flatnonzero(owner[1:] == owner[:-1])
        self.low, self.high, self.s_sq_pair = pair, pair + 1, self.s_sq[owner[pair]]
        possible = gemmi.make_miller_array(cell, group, float(self.s_sq.max() ** -0.5) * (1 - 1e-9))
        self.s_sq_possible = np.asarray(cell.calculate_1_d2_array(possible))
        self.acentric_possible = ~centric(possible, group)

    def statistics(self, low: float, high: float) -> ShellStatistics:
        """Of reflections with low <= 1/d^2 < high."""
        inside = lambda s_sq: (s_sq >= low) & (s_sq < high)
        columns = (self.s_sq, self.s_sq_apart, self.s_sq_pair, self.s_sq_possible)
        mine, apart, pairs, there = (inside(s_sq) for s_sq in columns)
        mean, sigma = self.both.mean[mine], np.sqrt(self.both.variance[mine])
        up, down = self.apart.mean[self.high[pairs]], self.apart.mean[self.low[pairs]]
        cc, n_cc = cc_half(self.both.plain[mine], self.both.mean_variance[mine])
        difference = self.apart.plain[self.high[pairs]] - self.apart.plain[self.low[pairs]]
        noise = self.apart.mean_variance[self.high[pairs]] + self.apart.mean_variance[self.low[pairs]]
        cc_anom, n_anom = cc_half(difference, noise)
        below = float(np.abs(up + down).sum() / 2)
        empty = not mine.any()
        return ShellStatistics(
            d_max=_d(low), d_min=_d(high),
            n_observations=int(self.both.n[mine].sum()), n_unique=int(mine.sum()), n_possible=int(there.sum()),
            mean_i=np.nan if empty else float(mean.mean()),
            i_over_sigma=np.nan if empty else float((mean / sigma).mean()),
            **dict(zip(("r_merge", "r_meas", "r_pim"), self.both.r_factors(mine), strict=True)),
            **dict(zip(("r_merge_anom", "r_meas_anom", "r_pim_anom"), self.apart.r_factors(apart), strict=True)),
            r_anom=float(np.abs(up - down).sum() / below) if below > 0 else np.nan,
            cc_half=cc, cc_half_n=n_cc, cc_anom=cc_anom, cc_anom_n=n_anom,
            anomalous_completeness=min(1.0, int(pairs.sum()) / max(1, int((there & self.acentric_possible).sum()))),
            anomalous_multiplicity=float(self.apart.n[apart].mean()) if apart.any() else np.nan,
        )  # fmt: skip


def cc_half(mean: F, mean_variance: F) -> tuple[float, int]:
    """CC1/2 from the variance of means and the mean variance of a mean, and the reflections used.

    Two halves of a data set each carry twice the error variance of the whole:
    CC = (var(mean) - e) / (var(mean) + e), e the mean variance of a mean.
    """
    known = np.isfinite(mean_variance)
    if known.sum() < 2:
        return np.nan, int(known.sum())
    signal, error = float(np.var(mean[known], ddof=1)), float(np.mean(mean_variance[known]))
    return ((signal - error) / (signal + error) if signal + error > 0 else np.nan), int(known.sum())


def merging_statistics(
    hkl: NDArray[np.integer], value: F, variance: F, cell: gemmi.UnitCell, group: gemmi.SpaceGroup, n_shells: int = 20
) -> tuple[list[ShellStatistics], ShellStatistics]:
    """Statistics of shells of equal volume, and of all data.

    Parameters
    ----------
    hkl : (n, 3) indices as observed
    value, variance : (n,) scaled intensities

    Returns
    -------
    shells, overall
    """
    table = _Table(hkl, value, variance, cell, group)
    edges = np.linspace(table.s_sq.min() ** 1.5, table.s_sq.max() ** 1.5, n_shells + 1) ** (2 / 3)
    edges[0], edges[-1] = table.s_sq.min(), table.s_sq.max() * (1 + 1e-9)
    shells = [table.statistics(low, high) for low, high in pairwise(edges)]
    return shells, table.statistics(float(edges[0]), float(edges[-1]))


def significant(cc: float, n: int) -> bool:
    """Whether a correlation of n pairs is above zero at p = 0.01 (one-sided, Fisher's z)."""
    return bool(n > 3 and np.arctanh(min(cc, 1 - 1e-12)) * np.sqrt(n - 3) > 2.326)


def resolution_limit(shells: list[ShellStatistics], limit: float = 0.3) -> float | None:
    """d (angstrom) at which the fitted fall of CC1/2 meets ``limit``; None where the data end before.

    The curve is (1 - tanh((x - x0) / r)) / 2 in x = 1/d^2, fitted with weights n - 3.
    """
    good = [s for s in shells if np.isfinite(s.cc_half) and s.cc_half_n > 4]
    if len(good) < 3:
        return None
    x = np.array([0.5 * (s.d_max**-2 + s.d_min**-2) for s in good])
    y, weight = np.array([s.cc_half for s in good]), np.array([s.cc_half_n - 3.0 for s in good])
    x0 = np.linspace(0.05 * x[-1], 2.0 * x[-1], 200)[:, None, None]
    r = np.geomspace(0.02 * x[-1], 2.0 * x[-1], 80)[None, :, None]
    misfit = (weight * (y - 0.5 * (1 - np.tanh((x - x0) / r))) ** 2).sum(axis=2)
    i, j = np.unravel_index(int(np.argmin(misfit)), misfit.shape)
    crossing = float(x0[i, 0, 0] + r[0, j, 0] * np.arctanh(1 - 2 * limit))
    return crossing**-0.5 if 0 < crossing < good[-1].d_min ** -2 else None


def shown(value: float, digits: int) -> str:
    """A statistic as text; "-" where the data do not give it."""
    return f"{value:.{digits}f}" if np.isfinite(value) else "-"


def shell_row(s: ShellStatistics) -> list[str]:
    """The cells of a shell under `COLUMNS`; a star marks correlations that are significant."""
    star = lambda cc, n: shown(cc, 3) + ("*" if significant(cc, n) else " ")
    return [
        f"{s.d_max:.2f}", f"{s.d_min:.2f}", str(s.n_observations), str(s.n_unique), f"{s.multiplicity:.2f}",
        f"{100 * s.completeness:.2f}", shown(s.mean_i, 1), shown(s.i_over_sigma, 1), shown(s.r_merge, 3),
        shown(s.r_meas, 3), shown(s.r_pim, 3), shown(s.r_anom, 3), star(s.cc_half, s.cc_half_n),
        star(s.cc_anom, s.cc_anom_n),
    ]  # fmt: skip


def summary_rows(overall: ShellStatistics, low: ShellStatistics, high: ShellStatistics) -> list[list[str]]:
    """Rows of the table Overall, Low, High."""
    formats = [
        ("High resolution limit", lambda s: f"{s.d_min:.2f}"), ("Low resolution limit", lambda s: f"{s.d_max:.2f}"),
        ("Completeness %", lambda s: f"{100 * s.completeness:.1f}"),
        ("Multiplicity", lambda s: f"{s.multiplicity:.1f}"),
        ("I/sigma", lambda s: shown(s.i_over_sigma, 1)),
        ("Rmerge(I)", lambda s: shown(s.r_merge, 3)), ("Rmerge(I+/-)", lambda s: shown(s.r_merge_anom, 3)),
        ("Rmeas(I)", lambda s: shown(s.r_meas, 3)), ("Rmeas(I+/-)", lambda s: shown(s.r_meas_anom, 3)),
        ("Rpim(I)", lambda s: shown(s.r_pim, 3)), ("Rpim(I+/-)", lambda s: shown(s.r_pim_anom, 3)),
        ("CC half", lambda s: shown(s.cc_half, 3)),
        ("Anomalous completeness %", lambda s: shown(100 * s.anomalous_completeness, 1)),
        ("Anomalous multiplicity", lambda s: shown(s.anomalous_multiplicity, 1)),
        ("Anomalous correlation", lambda s: shown(s.cc_anom, 3)),
        ("Total observations", lambda s: str(s.n_observations)), ("Total unique", lambda s: str(s.n_unique)),
    ]  # fmt: skip
    return [[name, *(text(s) for s in (overall, low, high))] for name, text in formats]


def _d(s_sq: float) -> float:
    return float(s_sq**-0.5)
