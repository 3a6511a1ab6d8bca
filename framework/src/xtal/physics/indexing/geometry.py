"""A quick look at errors of the detector's position together with the lattice."""

from __future__ import annotations

import copy

import numpy as np
from numpy.typing import NDArray

from xtal.models import Detector, ExperimentList
from xtal.physics.indexing.score import MIN_SIGMA, deviations
from xtal.physics.rays import row_experiments, to_zero_rotation
from xtal.table import ReflectionTable

F = NDArray[np.float64]


def shift_axes(detector: Detector) -> F:
    """(3, 3) rows: fast, slow and normal of the first panel, along which a detector is moved."""
    panel = detector[0]
    return np.stack([panel.fast_axis, panel.slow_axis, panel.normal])


def shift_derivatives(table: ReflectionTable, experiments: ExperimentList) -> F:
    """Change of ``rlp`` (1/angstrom) per mm of shift of the detectors along `shift_axes`.

    Returns
    -------
    (n, 3, 3), last axis the shifts
    """
    s1, phi = np.asarray(table["s1"]), np.asarray(table["xyzobs.mm.value"])[:, 2]
    px, panel = np.asarray(table["xyzobs.px.value"])[:, :2], np.asarray(table["panel"])
    owner, out = row_experiments(table, experiments), np.zeros((len(table), 3, 3))
    for k, experiment in enumerate(experiments):
        axes = shift_axes(experiment.detector)
        for p, model in enumerate(experiment.detector):
            rows = np.flatnonzero((owner == k) & (panel == p))
            distance = np.linalg.norm(model.lab(model.px_to_mm(px[rows])), axis=1)
            ray = s1[rows] * experiment.beam.wavelength
            for j, axis in enumerate(axes):
                across = axis - (ray @ axis)[:, None] * ray
                moved = across / (distance * experiment.beam.wavelength)[:, None]
                out[rows, :, j] = to_zero_rotation(experiment, moved, phi[rows])
    return out


def fit_with_shift(
    a_matrix: F, rlp: F, derivatives: F, sigma_mm: F, cycles: int = 10, tolerance: float = 0.25
) -> tuple[F, F]:
    """Setting matrix and shift of the detector that bring spots to lattice points.

    Resolution grows cycle by cycle, so that errors of a few spot spacings at the edge can be undone.

    Parameters
    ----------
    derivatives : (n, 3, 3) of `shift_derivatives`
    sigma_mm : (3,) how far the detector may well be off; 0 holds a direction fixed

    Returns
    -------
    a_matrix : (3, 3)
    shift : (3,) mm
    """
    length = np.linalg.norm(rlp, axis=1)
    shift = np.zeros(3)
    free = np.flatnonzero(sigma_mm > 0)
    for cycle in range(cycles):
        limit = np.quantile(length, min(1.0, 0.25 + 0.9 * cycle / cycles))
        use = length <= limit
        moved = rlp[use] + derivatives[use] @ shift
        hkl, delta = deviations(a_matrix, moved)
        good = (np.einsum("ni,ni->n", delta, delta) < tolerance**2) & np.any(hkl != 0, axis=1)
        if good.sum() < 8 or np.linalg.matrix_rank(hkl[good]) < 3:
            continue
        e = delta[good] @ a_matrix.T
        e2 = np.einsum("ni,ni->n", e, e)
        scale = max(3 * float(np.median(e2)), MIN_SIGMA**2)
        fitted, shift = _solve(
            hkl[good], rlp[use][good], derivatives[use][good], 1.0 / (1.0 + e2 / scale), scale, sigma_mm, free
        )
        if np.linalg.det(fitted) * np.linalg.det(a_matrix) <= 0:
            break
        a_matrix = fitted
    return a_matrix, shift


def fit_shift(hkl: F, rlp: F, derivatives: F, sigma_mm: F) -> tuple[F, F]:
    """Setting matrix and shift (3,) of the detector, mm, that bring spots nearest to points of known indices.

    Parameters
    ----------
    derivatives : (n, 3, 3) of `shift_derivatives`
    sigma_mm : (3,) how far the detector may well be off; 0 holds a direction fixed
    """
    weight, free = np.ones(len(hkl)), np.flatnonzero(sigma_mm > 0)
    a_matrix, shift = _solve(hkl, rlp, derivatives, weight, 0.0, sigma_mm, free)
    left = rlp + derivatives @ shift - hkl @ a_matrix.T
    return _solve(hkl, rlp, derivatives, weight, float(np.mean(np.sum(left**2, axis=1))), sigma_mm, free)


def _solve(h: F, r: F, derivatives: F, weight: F, scale: float, sigma_mm: F, free: NDArray[np.int64]) -> tuple[F, F]:
    """Weighted least squares of A h - D t = r over A and t, with a prior on t."""
    n = len(h)
    design = np.zeros((n, 3, 9 + len(free)))
    for i in range(3):
        design[:, i, 3 * i : 3 * i + 3] = h
    design[:, :, 9:] = -derivatives[:, :, free]
    root = np.sqrt(weight)[:, None]
    matrix = (design * root[:, :, None]).reshape(3 * n, -1)
    normal = matrix.T @ matrix
    prior = scale / 3 / sigma_mm[free] ** 2
    normal[np.arange(9, 9 + len(free)), np.arange(9, 9 + len(free))] += prior
    solution = np.linalg.lstsq(normal, matrix.T @ (r * root).ravel(), rcond=1e-13)[0]
    shift = np.zeros(3)
    shift[free] = solution[9:]
    return np.asarray(solution[:9].reshape(3, 3), dtype=np.float64), shift


def shifted(experiments: ExperimentList, shift: F) -> ExperimentList:
    """Experiments with their detectors moved (shared ones stay shared)."""
    moved: dict[int, Detector] = {}
    out = ExperimentList(extra=experiments.extra)
    for experiment in experiments:
        key = id(experiment.detector)
        if key not in moved:
            detector = copy.deepcopy(experiment.detector)
            step = shift @ shift_axes(detector)
            for panel in detector:
                panel.origin = panel.origin + step
            if detector.root is not None:
                detector.root.origin = detector.root.origin + step
            moved[key] = detector
        new = copy.copy(experiment)
        new.detector = moved[key]
        out.append(new)
    return out
