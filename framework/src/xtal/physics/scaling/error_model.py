"""Variances of integrated intensities, corrected on the agreement of equivalents.

sigma'^2 = u V_background + a^2 (c J + (b J)^2), J the expected intensity of the
observation and c its correction factor per photon. With u = a^2 it is the usual
a^2 (V + (b I)^2); the factor u of its own mends integrators whose background variance is
off. The three coefficients enter linearly and are found by restricted maximum
likelihood, which accounts for the mean being taken from the same observations:
E (x_i - mean)^2 = v_i (1 - w_i / sum w). Evans & Murshudov (2013), Acta Cryst. D69,
1204-1214, for the use of expected intensities.
"""

from __future__ import annotations

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from xtal.physics.merging.segments import Segments
from xtal.physics.scaling.observations import ScalingData

F = NDArray[np.float64]

CAP = 4.0
"""Deviations beyond so many standard deviations count as that many."""

CAP_SECOND_MOMENT = 0.99920
"""Mean of min(z^2, CAP^2) for a standard normal z."""


@frozen
class ErrorModel:
    """Coefficients of the variance: background, photons, square of the intensity."""

    background: float = 1.0
    photons: float = 1.0
    square: float = 0.02**2
    n_used: int = 0

    @property
    def a(self) -> float:
        return float(np.sqrt(self.photons))

    @property
    def b(self) -> float:
        return float(np.sqrt(self.square / self.photons))

    @property
    def i_over_sigma_limit(self) -> float:
        """Largest I/sigma of one observation, 1 / (a b)."""
        return float(1.0 / np.sqrt(self.square)) if self.square > 0 else float("inf")

    def variance(self, data: ScalingData, expected: F) -> F:
        """(n,) of unscaled observations whose expected intensity (unscaled) is given."""
        return self.background * data.background + self.photons * data.factor * expected + self.square * expected**2


def fit_error_model(
    data: ScalingData, scale: F, expected: F, use: NDArray[np.bool_], start: ErrorModel, max_iterations: int = 20
) -> ErrorModel:
    """Restricted maximum likelihood of the three coefficients, deviations capped.

    Parameters
    ----------
    scale : (n,) inverse scale factors
    expected : (n,) expected unscaled intensities
    use : (n,) observations that are no outliers

    Returns
    -------
    ErrorModel
        ``start`` where fewer than 100 deviations are left.
    """
    rows = np.flatnonzero(use)
    groups = Segments(data.apart.group[rows])
    multiple = groups.counts[groups.group] > 1
    rows = rows[multiple]
    groups = Segments(data.apart.group[rows])
    if len(rows) < 100:
        return start
    terms = np.stack([data.background[rows], data.factor[rows] * expected[rows], expected[rows] ** 2])
    terms = terms / scale[rows] ** 2
    x = data.value[rows] / scale[rows]
    theta = np.array([start.background, start.photons, start.square])
    low, high = np.array([0.02, 0.25, 0.0]), np.array([25.0, 10.0, 1.0])
    for _ in range(max_iterations):
        normal, right = _normal_equations(terms, x, groups, theta)
        fresh = np.clip(_bounded_solve(normal, right, low, high), low, high)
        change = float(np.max(np.abs(fresh - theta) / (theta + 1e-6)))
        theta = fresh
        if change < 1e-3:
            break
    return ErrorModel(float(theta[0]), float(theta[1]), float(theta[2]), len(rows))


def _normal_equations(terms: F, x: F, groups: Segments, theta: F) -> tuple[F, F]:
    """Weighted regression of squared deviations, over 1 - leverage, on the terms."""
    v = theta @ terms
    w = 1.0 / v
    total = groups.sum(w)[groups.group]
    mean = groups.sum(w * x)[groups.group] / total
    free = np.maximum(1.0 - w / total, 1e-3)
    squared = np.minimum((x - mean) ** 2 / free, CAP**2 * v) / CAP_SECOND_MOMENT
    weight = free / v**2
    return (terms * weight) @ terms.T, (terms * weight) @ squared


def _bounded_solve(normal: F, right: F, low: F, high: F) -> F:
    """Solution of the normal equations; a coefficient that leaves its bounds is held there."""
    held = np.zeros(len(right), dtype=bool)
    theta = np.zeros(len(right))
    for _ in range(len(right)):
        free = ~held
        known = right[free] - normal[np.ix_(free, held)] @ theta[held]
        theta[free] = np.linalg.lstsq(normal[np.ix_(free, free)], known, rcond=1e-14)[0]
        outside = free & ((theta < low) | (theta > high))
        if not outside.any():
            break
        theta[outside] = np.clip(theta, low, high)[outside]
        held |= outside
        if held.all():
            break
    return theta
