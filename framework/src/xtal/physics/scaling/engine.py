"""Gauss-Newton refinement of scaling models, with outliers and the error model in turn.

Beilsten-Edmands et al. (2020), Acta Cryst. D76, 385-399, for the target: the sum of
w (I - g M)^2, M the mean of the group that the parameters imply (`xtal.physics.scaling.target`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from attrs import define, field, frozen
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from xtal.physics.scaling.error_model import ErrorModel, fit_error_model
from xtal.physics.scaling.observations import ScalingData, expected_intensity
from xtal.physics.scaling.outliers import ANOMALOUS, improbable, reject_outliers
from xtal.physics.scaling.target import Target, make_target

if TYPE_CHECKING:
    from xtal.hooks.protocols import ScalingModel

F = NDArray[np.float64]
I64 = NDArray[np.int64]
Mask = NDArray[np.bool_]


@frozen
class ScalingSettings:
    """How to scale.

    Attributes
    ----------
    max_observations : refine on whole groups of about so many observations; 0 takes all
    z_max : limit of outlier rejection; 0 rejects none. one_pass : all at once
    error_model : whether variances are corrected
    cycles : rounds of refinement, outlier rejection and error model
    """

    max_observations: int = 100_000
    z_max: float = 6.0
    one_pass: bool = False
    error_model: bool = True
    cycles: int = 3


@define(eq=False)
class ScalingResult:
    """What scaling found, by observation of the `ScalingData`.

    Attributes
    ----------
    scale, scale_variance : (n,) inverse scale factors; their variances relative to those of all equivalents
    variance : (n,) of the unscaled intensities after the error model (which, fitted to scaled
        intensities, contains what errors of the scales add)
    outlier : (n,)
    parameters, esds : per model
    error_model
    history : (round, observations refined on, rms weighted residual)
    anomalous : rms of (I+ - I-) / I as found; 0 where Friedel mates are together
    """

    scale: F
    scale_variance: F
    variance: F
    outlier: Mask
    parameters: list[F]
    esds: list[F]
    error_model: ErrorModel
    history: list[tuple[int, int, float]] = field(factory=list)
    anomalous: float = 0.0


class _Models:
    """The models of all experiments as one, their parameters one after another."""

    def __init__(self, models: Sequence[ScalingModel], data: ScalingData) -> None:
        self.models, self.data = models, data
        self.starts = np.concatenate([[0], np.cumsum([m.n_parameters for m in models])]).astype(np.int64)
        self.offset = self.starts[data.experiment]

    def initial(self) -> F:
        return np.concatenate([m.initial() for m in self.models])

    def split(self, parameters: F) -> list[F]:
        return [parameters[a:b] for a, b in zip(self.starts[:-1], self.starts[1:], strict=True)]

    def evaluate(self, parameters: F, rows: I64) -> tuple[F, tuple[I64, NDArray[np.int32], F]]:
        """Scales of the rows (ordered by experiment) and the parts of their stacked CSR Jacobian."""
        scales, pointers, indices, values, at = [], [np.zeros(1, dtype=np.int64)], [], [], 0
        for k, (model, part) in enumerate(zip(self.models, self.split(parameters), strict=True)):
            mine = self.data.row[rows[self.data.experiment[rows] == k]]
            g, jacobian = model.scales_and_jacobian(part, mine)
            scales.append(g)
            pointers.append(jacobian.indptr[1:].astype(np.int64) + at)
            indices.append(np.asarray(jacobian.indices, dtype=np.int32))
            values.append(np.asarray(jacobian.data, dtype=float))
            at += len(values[-1])
        if len(scales) == 1:
            return scales[0], (np.concatenate(pointers), indices[0], values[0])
        return np.concatenate(scales), (np.concatenate(pointers), np.concatenate(indices), np.concatenate(values))

    def restrain(self, parameters: F, normal: F, gradient: F) -> float:
        """Add the models' own restraints; returns their part of the objective."""
        total = 0.0
        for model, part, a in zip(self.models, self.split(parameters), self.starts, strict=False):
            residual, derivative = model.restraints(part)
            total += float(residual @ residual)
            end = a + model.n_parameters
            normal[a:end, a:end] += (derivative.T @ derivative).toarray()
            gradient[a:end] -= derivative.T @ residual
        return total


def scale_intensities(
    models: Sequence[ScalingModel], data: ScalingData, settings: ScalingSettings = ScalingSettings()
) -> ScalingResult:
    """Refine the models so that equivalents agree.

    Parameters
    ----------
    models : prepared, one per experiment in order
        Where no reflection is observed twice all scales are those that the models begin with.
    """
    joint = _Models(models, data)
    everything = np.arange(len(data))
    chosen = _selection(data, settings.max_observations)
    parameters, error = joint.initial(), ErrorModel()
    kept = np.ones(len(data), dtype=bool)
    history: list[tuple[int, int, float]] = []
    scale, _ = joint.evaluate(parameters, everything)
    variance = _first_variance(data, scale, error)
    for cycle in range(settings.cycles if len(chosen) else 0):
        target = make_target(data, chosen[kept[chosen]], scale, variance)
        parameters, rms = _refine(joint, parameters, target, variance)
        scale, _ = joint.evaluate(parameters, everything)
        history.append((cycle + 1, int(kept[chosen].sum()), rms))
        for _ in range(3):
            expected = scale * expected_intensity(data, scale, variance, kept)
            variance = error.variance(data, expected)
            if settings.z_max > 0:
                kept = _without_outliers(data, scale, variance, settings)
            if settings.error_model:
                error = fit_error_model(data, scale, expected, kept, error)
        variance = error.variance(data, expected)
    target = make_target(data, chosen[kept[chosen]], scale, variance)
    covariance = _covariance(joint, parameters, target, variance)
    scale_variance = _propagate(joint, parameters, covariance, everything)
    esds = np.sqrt(np.maximum(np.diag(covariance), 0.0))
    return ScalingResult(
        scale, scale_variance, variance, ~kept, joint.split(parameters), joint.split(esds), error, history,
        target.anomalous,
    )  # fmt: skip


def _without_outliers(data: ScalingData, scale: F, variance: F, settings: ScalingSettings) -> Mask:
    """(n,) observations kept.

    Those with fewer than two mates of the same hand are held against the other hand too,
    with room for an anomalous difference; those without any, against their resolution shell.
    """
    value, merged = data.value / scale, variance / scale**2
    kept = ~improbable(value, merged, data.shell, data.laue, settings.z_max)
    kept = reject_outliers(value, merged, data.merged, kept, settings.z_max, settings.one_pass)
    if data.merged is not data.laue:
        few = data.merged.sum(kept)[data.merged.group] < 3
        fair = reject_outliers(value, merged, data.laue, kept, settings.z_max, settings.one_pass, ANOMALOUS)
        kept &= fair | ~few
    return kept


def _first_variance(data: ScalingData, scale: F, error: ErrorModel) -> F:
    """Variances before anything is known of the means: twice from the merged data themselves."""
    everything = np.ones(len(data), dtype=bool)
    n_shells = int(data.shell.max()) + 1
    level = np.bincount(data.shell, data.value, n_shells) / np.maximum(np.bincount(data.shell, minlength=n_shells), 1)
    variance = error.variance(data, np.maximum(level, 0.0)[data.shell])
    for _ in range(2):
        variance = error.variance(data, scale * expected_intensity(data, scale, variance, everything))
    return variance


def _selection(data: ScalingData, limit: int) -> I64:
    """Rows to refine on: groups of two and more, thinned evenly in their order by a fixed hash."""
    counts = data.laue.counts
    multiple = counts > 1
    total = int(counts[multiple].sum())
    if limit and total > limit:
        share = (data.laue.keys.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(40)
        multiple &= share < np.uint64(limit / total * 2**24)
    return np.flatnonzero(multiple[data.laue.group])


def _refine(joint: _Models, parameters: F, target: Target, variance: F, max_iterations: int = 12) -> tuple[F, float]:
    """Gauss-Newton with step halving; returns parameters and the rms weighted residual."""
    last = np.inf
    step = np.zeros_like(parameters)
    for _ in range(max_iterations):
        objective, normal, gradient = _equations(joint, parameters, target, variance)
        if objective > last * (1 + 1e-6):
            step = step / 2
            parameters = parameters - step
            continue
        if last - objective < 1e-5 * objective:
            break
        last = objective
        step = _pseudo_inverse(normal) @ gradient
        parameters = parameters + step
    return parameters, float(np.sqrt(objective / max(1, len(target.rows))))


def _equations(joint: _Models, parameters: F, target: Target, variance: F) -> tuple[float, F, F]:
    """Objective, normal matrix and right-hand side, restraints included."""
    from xtal.physics.scaling.kernels import accumulate_normal

    n, rows = len(parameters), target.rows
    scale, csr = joint.evaluate(parameters, rows)
    value, offset = joint.data.value[rows], joint.offset[rows]
    normal, gradient, objective = np.zeros((n, n)), np.zeros(n), 0.0
    for grouping in target.groupings:
        groups, weight = grouping.groups, grouping.weights(value, variance[rows], scale)
        objective += accumulate_normal(
            groups.starts, groups.order, *csr, offset, weight, scale, value, normal, gradient
        )
    normal = np.tril(normal) + np.tril(normal, -1).T
    return objective + joint.restrain(parameters, normal, gradient), normal, gradient


def _pseudo_inverse(normal: F) -> F:
    """Inverse without the directions that the data do not see (the overall scale)."""
    size = np.sqrt(np.maximum(np.diag(normal), 1e-300))
    values, vectors = np.linalg.eigh(normal / np.outer(size, size))
    kept = values > 1e-9 * values[-1]
    return np.asarray((vectors[:, kept] / values[kept]) @ vectors[:, kept].T / np.outer(size, size))


def _covariance(joint: _Models, parameters: F, target: Target, variance: F) -> F:
    """Covariance of the parameters at the solution."""
    _, normal, _ = _equations(joint, parameters, target, variance)
    return _pseudo_inverse(normal)


def _propagate(joint: _Models, parameters: F, covariance: F, rows: I64) -> F:
    """(n,) variance of the scales of the rows, relative to the mean scale of their equivalents.

    What multiplies all equivalents alike (the overall scale and B) no data can tell, and it is
    left out by taking the mean derivative of the group from each.
    """
    scale, (pointers, indices, values) = joint.evaluate(parameters, rows)
    sizes = np.diff(pointers)
    shape = (len(rows), len(parameters))
    columns = indices + np.repeat(joint.offset[rows], sizes)
    relative = csr_matrix((values / np.repeat(scale, sizes), columns, pointers), shape=shape)
    groups = joint.data.laue
    member = csr_matrix((np.ones(len(rows)), groups.order, groups.starts), shape=(len(groups), len(rows)))
    mean = (member @ relative).multiply(1.0 / groups.counts[:, None]).tocsr()
    values_root, vectors = np.linalg.eigh(covariance)
    root = vectors * np.sqrt(np.maximum(values_root, 0.0))
    apart = relative @ root - (mean @ root)[groups.group]
    return np.asarray(scale**2 * np.einsum("np,np->n", apart, apart))
