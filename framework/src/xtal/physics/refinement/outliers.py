"""Which centroids belong to something else, and how far the others may be trusted."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Bool = NDArray[np.bool_]

MAD_TO_SIGMA = 1.4826
MIN_JOB = 20
BLOCK_DEG = 18.0


def scan_blocks(experiment: NDArray[np.int64], phi_deg: Array) -> list[NDArray[np.int64]]:
    """Rows by experiment and by stretches of about 18 degrees with 50 reflections or more."""
    out: list[NDArray[np.int64]] = []
    for k in np.unique(experiment):
        rows = np.flatnonzero(experiment == k)
        angle = phi_deg[rows]
        span = float(np.ptp(angle))
        n = int(max(1, min(span // BLOCK_DEG, len(rows) // 50)))
        which = np.minimum(((angle - angle.min()) / (span or 1.0) * n).astype(int), n - 1)
        out.extend(part for i in range(n) if len(part := rows[which == i]))
    return out


def centred(residual: Array, blocks: list[NDArray[np.int64]]) -> Array:
    """Residuals less the median of their block: what is left when the model is still off."""
    out = residual.copy()
    for rows in blocks:
        if len(rows) >= MIN_JOB:
            out[rows] -= np.nanmedian(residual[rows], axis=0)
    return out


def calibrated_variance(residual: Array, stated: Array) -> Array:
    """Variance of each residual, learnt from the residuals as a rising function of the stated variance.

    Stated variances of centroids order reflections well but are far off in scale and floor
    (DIALS adds 1/12). Reflections are put in bins of equal number by the stated variance; the
    robust variance of the residuals of each bin, made to rise, is interpolated in its logarithm.

    Parameters
    ----------
    residual, stated : (n, 3)
        Residuals free of gross trends, and the variances of the table, in the same units.
    """
    out = np.empty_like(stated)
    n_bins = int(np.clip(len(stated) // 100, 1, 20))
    for j in range(3):
        v = np.maximum(stated[:, j], 1e-12)
        order = np.argsort(v, kind="stable")
        parts = np.array_split(order, n_bins)
        variance = np.array([_robust_variance(residual[p, j]) for p in parts])
        if n_bins == 1:
            typical = float(np.median(v))
            out[:, j] = variance[0] * v / typical if typical > 0 else variance[0]
            continue
        middle = np.array([np.log(np.median(v[p])) for p in parts])
        rising = np.maximum.accumulate(np.maximum(variance, 1e-8))
        out[:, j] = np.exp(np.interp(np.log(v), middle, np.log(rising)))
    return np.maximum(out, 1e-8)


def _robust_variance(values: Array) -> float:
    return float((MAD_TO_SIGMA * np.nanmedian(np.abs(values))) ** 2) if np.any(np.isfinite(values)) else 1.0


def robust_outliers(residual: Array, variance: Array, probability: float) -> Bool:
    """Rows whose chi^2 over the three coordinates is beyond what good reflections reach."""
    from scipy.special import chdtri

    d2 = np.nansum(residual**2 / variance, axis=1)
    # The median says how wide the bulk is in truth, whatever the variances claim.
    spread = max(1e-12, float(np.median(d2)) / float(chdtri(3, 0.5)))
    return np.asarray(d2 > spread * float(chdtri(3, 1 - probability)))


def tukey_outliers(residual: Array, k: float = 1.5) -> Bool:
    """Rows beyond k interquartile ranges outside the quartiles in any coordinate (Tukey 1977)."""
    q1, q3 = np.quantile(residual, [0.25, 0.75], axis=0)
    reach = k * (q3 - q1)
    return np.asarray(np.any((residual < q1 - reach) | (residual > q3 + reach), axis=1))


def mcd_outliers(residual: Array, probability: float = 0.975) -> Bool:
    """Rows far from the minimum-covariance-determinant estimate of centre and spread.

    Concentration steps (Rousseeuw & Van Driessen 1999) from the coordinate-wise medians, so
    that no random draw is needed; the covariance is made consistent for the normal law by the
    median distance.
    """
    from scipy.special import chdtri

    n, p = residual.shape
    h = (n + p + 1) // 2
    centre = np.median(residual, axis=0)
    sigma = np.maximum(MAD_TO_SIGMA * np.median(np.abs(residual - centre), axis=0), 1e-12)
    covariance = np.diag(sigma**2)
    d2 = _distances(residual, centre, covariance)
    for _ in range(50):
        nearest = np.argsort(d2, kind="stable")[:h]
        before, centre = centre, residual[nearest].mean(axis=0)
        covariance = np.cov(residual[nearest].T) + 1e-18 * np.eye(p)
        d2 = _distances(residual, centre, covariance)
        if np.allclose(before, centre, rtol=1e-12, atol=1e-15):
            break
    d2 *= float(chdtri(p, 0.5)) / max(float(np.median(d2)), 1e-12)
    return np.asarray(d2 > float(chdtri(p, 1 - probability)))


def _distances(x: Array, centre: Array, covariance: Array) -> Array:
    d = x - centre
    return np.asarray(np.einsum("ni,ni->n", d, np.linalg.solve(covariance, d.T).T))


def find_outliers(
    algorithm: str, residual: Array, variance: Array, blocks: list[NDArray[Any]], probability: float
) -> Bool:
    """(n,) outliers by the algorithm of that name ("robust", "mcd", "tukey", "null"), nan rows included."""
    out = np.any(~np.isfinite(residual), axis=1)
    if algorithm == "null":
        return out
    for rows in blocks:
        good = rows[~out[rows]]
        if len(good) < MIN_JOB:
            continue
        if algorithm == "mcd":
            out[good] = mcd_outliers(residual[good])
        elif algorithm == "tukey":
            out[good] = tukey_outliers(residual[good])
        else:
            out[good] = robust_outliers(residual[good], variance[good], probability)
    return out
