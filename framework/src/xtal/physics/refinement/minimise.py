"""Levenberg-Marquardt on the normal equations."""

from __future__ import annotations

from typing import Any

import numpy as np
from attrs import define
from numpy.typing import NDArray

from xtal.errors import AlgorithmFailed
from xtal.physics.refinement.gradients import normal_equations
from xtal.physics.refinement.problem import Models, Observations, blocks_of

Array = NDArray[np.float64]

CHI2_CHANGE = 0.01
"""A step that lowers chi^2 by less than this (weights are true variances) changes nothing that can be known."""


CHI2_NOTHING = 1e-4
"""The same in absolute terms, for data that fit perfectly."""

ANCHOR = 1e-6
"""Weight of staying at the start, relative to the diagonal of the normal matrix.

Turning detector and crystal together about the laboratory changes almost nothing once the
crystal may vary; such directions (scaled eigenvalues of 1e-7 and less, where those that data
determine are 1e-3 and more) stay at the start instead of wandering. Where data are few more
directions are all but free, and detector and beam may run off by degrees and centimetres to fit noise:
they are held by what is known of instruments too (`Parameters.trust`), which is nothing beside
what a common scan says of them.
"""


@define(kw_only=True)
class Minimum:
    """Where a minimisation ended; ``normal`` is J^T W J there with the anchor, without damping."""

    chi2: float
    normal: Array
    n_iterations: int
    reason: str
    n_equations: int


def minimise(models: Models, obs: Observations, max_iterations: int) -> Minimum:
    """Move the models' parameters to the least weighted sum of squares.

    Damping is scaled by the diagonal (Marquardt 1963), so units of parameters do not matter.

    Raises
    ------
    AlgorithmFailed
        If no step makes the fit better although the gradient is large.
    """
    blocks = blocks_of(models, obs)
    x = models.x
    matrix, vector, chi2, lost = normal_equations(models, obs, blocks)
    damping, reason, n = 1e-6, "maximum number of iterations", 0
    if models.n_free == 0:
        return _minimum(chi2, matrix, 0, "nothing to refine", obs)
    start, anchor = x, ANCHOR * np.diag(matrix) + models.stiffness
    while n < max_iterations:
        away = x - start
        step = -solve(matrix + np.diag(anchor), vector + anchor * away, damping)
        models.x = x + step
        trial = _try(models, obs, blocks)
        n += 1
        gain = float("-inf")
        if trial is not None and trial[3] <= lost + 0.01 * len(obs):
            gain = chi2 - trial[2] + float(anchor @ (away**2 - (away + step) ** 2))
        if trial is not None and gain >= -1e-12 * chi2:
            x = x + step
            matrix, vector, chi2, lost = trial
            damping = max(1e-9, damping / 10)
            if gain <= max(CHI2_CHANGE * chi2 / (3 * len(obs)), CHI2_NOTHING):
                reason = "no further decrease"
                break
        else:
            models.x = x
            damping *= 20
            if damping > 1e6:
                reason = "no step decreases the residuals"
                break
    models.x = x
    return _minimum(chi2, matrix + np.diag(anchor), n, reason, obs)


def _minimum(chi2: float, matrix: Array, n: int, reason: str, obs: Observations) -> Minimum:
    equations = int((obs.weight > 0).sum())
    return Minimum(chi2=chi2, normal=matrix, n_iterations=n, reason=reason, n_equations=equations)


def _try(models: Models, obs: Observations, blocks: Any) -> tuple[Array, Array, float, int] | None:
    """Normal equations at the present parameters; None where they give no cell."""
    try:
        trial = normal_equations(models, obs, blocks)
    except AlgorithmFailed:
        return None
    return trial if np.isfinite(trial[2]) else None


def solve(matrix: Array, vector: Array, damping: float) -> Array:
    """Solution of the damped, scaled system; directions that nothing determines stay put."""
    scale, vectors, inverse = _inverted(matrix, damping)
    return np.asarray(scale * (vectors @ (inverse * (vectors.T @ (scale * vector)))))


def _inverted(matrix: Array, damping: float) -> tuple[Array, Array, Array]:
    """Scale that gives a unit diagonal, and of the scaled matrix eigenvectors and inverse eigenvalues (0 for none)."""
    diagonal = np.diag(matrix)
    scale = np.where(diagonal > 0, 1 / np.sqrt(np.where(diagonal > 0, diagonal, 1.0)), 0.0)
    values, vectors = np.linalg.eigh(matrix * scale[:, None] * scale)
    known = values > 1e-13 * max(1.0, values[-1])
    return scale, vectors, np.where(known, 1 / (np.where(known, values, 1.0) + damping), 0.0)


def covariance(minimum: Minimum, n_parameters: int) -> Array:
    """(n, n) of the parameters: reduced chi^2 times the inverse of the undamped normal matrix."""
    reduced = minimum.chi2 / max(1, minimum.n_equations - n_parameters)
    scale, vectors, inverse = _inverted(minimum.normal, 0.0)
    half = scale[:, None] * vectors * np.sqrt(inverse)
    return np.asarray(reduced * (half @ half.T))
