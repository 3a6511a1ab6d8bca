"""Amplitudes from intensities that may be negative (French & Wilson 1978, Acta Cryst. A34, 517-525).

The posterior of a true intensity J >= 0 under Wilson's prior is a truncated normal with
parameters taken from the observed intensity, its sigma and the local mean intensity; its
moments are integrals of one variable, made once by quadrature.
"""

from __future__ import annotations

from functools import cache

import gemmi
import numpy as np
from attrs import define
from numpy.typing import NDArray

from xtal.physics.symmetry.asu import epsilon

F = NDArray[np.float64]

_LOW, _HIGH, _STEP = -40.0, 12.0, 0.02


@define(eq=False)
class Amplitudes:
    """Posterior amplitude and intensity with standard deviations; NaN where there was no intensity."""

    f: F
    sigma_f: F
    j: F
    sigma_j: F


def wilson_mean(hkl: NDArray[np.integer], value: F, cell: gemmi.UnitCell, group: gemmi.SpaceGroup) -> F:
    """Mean intensity to expect of each reflection, epsilon included.

    Means of I / epsilon over resolution shells of equal numbers (up to 60 of at least 40),
    interpolated in ln(mean) against 1/d^2 and continued with the last slopes.
    """
    s_sq = np.asarray(cell.calculate_1_d2_array(np.ascontiguousarray(hkl, dtype=np.int32)))
    factor = epsilon(hkl, group)
    rows = np.flatnonzero(np.isfinite(value))
    rows = rows[np.argsort(s_sq[rows], kind="stable")]
    shells = np.array_split(rows, int(np.clip(len(rows) // 40, 1, 60)))
    centre = np.array([s_sq[r].mean() for r in shells])
    mean = np.array([np.mean(value[r] / factor[r]) for r in shells])
    error = np.array([np.std(value[r] / factor[r]) / np.sqrt(len(r)) for r in shells])
    level = np.log(np.maximum(mean, np.maximum(0.5 * error, 1e-6 * max(float(np.nanmax(mean)), 1e-30))))
    return np.asarray(np.exp(np.interp(s_sq, centre, level)) * factor)


def amplitudes(value: F, sigma: F, mean: F, centric: NDArray[np.bool_]) -> Amplitudes:
    """French-Wilson amplitudes.

    Parameters
    ----------
    value, sigma : (n,) merged intensities, NaN where absent
    mean : (n,) mean intensity to expect (`wilson_mean`)
    centric : (n,)
    """
    out = [np.full(len(value), np.nan) for _ in range(4)]
    for kind in (False, True):
        rows = np.flatnonzero((centric == kind) & np.isfinite(value) & (sigma > 0))
        s = sigma[rows]
        h = value[rows] / s - s / (mean[rows] * (2.0 if kind else 1.0))
        root, root_sd, j, j_sd = _moments(h, kind)
        for column, result in zip(out, (root * np.sqrt(s), root_sd * np.sqrt(s), j * s, j_sd * s), strict=True):
            column[rows] = result
    return Amplitudes(*out)


def _moments(h: F, centric: bool) -> tuple[F, F, F, F]:
    """Mean and s.d. of sqrt(j) and of j under exp(-(j - h)^2 / 2) times the prior's power of j."""
    table = _table(centric)
    grid = _LOW + _STEP * np.arange(table.shape[1])
    clipped = np.clip(h, _LOW, _HIGH)
    found = [np.interp(clipped, grid, row) for row in table]
    with np.errstate(invalid="ignore", divide="ignore"):
        variance = np.where(centric, 1.0 - 0.5 / h**2, 1.0)
        j = h - (0.5 / h if centric else 0.0)
        root = np.sqrt(j) * (1.0 - 0.125 / j**2)
        root_sd = np.sqrt(np.maximum(j - root**2, 1e-12))
    far = h > _HIGH - 1
    strong = (root, root_sd, j, np.sqrt(np.maximum(variance, 0.0)))
    return tuple(np.where(far, s, f) for s, f in zip(strong, found, strict=True))  # type: ignore[return-value]  # as many as were given


@cache
def _table(centric: bool) -> F:
    """(4, n) moments on the grid of h, integrated over y = sqrt(j)."""
    h = np.arange(_LOW, _HIGH + _STEP / 2, _STEP)
    top = np.sqrt(np.maximum(h, 0.0) + np.where(h < -2, 40.0 / np.abs(np.minimum(h, -2.0)), 9.0))
    y = (np.arange(800) + 0.5)[None, :] / 800 * top[:, None]
    exponent = -0.5 * y**4 + y**2 * h[:, None]
    weight = np.exp(exponent - exponent.max(axis=1, keepdims=True)) * (1.0 if centric else y)
    weight /= weight.sum(axis=1, keepdims=True)
    root, j, j_sq = ((weight * y**k).sum(axis=1) for k in (1, 2, 4))
    return np.array([root, np.sqrt(j - root**2), j, np.sqrt(j_sq - j**2)])
