"""Residuals of a block of reflections and their exact derivatives.

All is done in the `SpindleFrame`, where turning is two-dimensional. For a change dr of the
turned vector r at fixed angle, with s1 = s0 + r and g = (e x r) . s0 (Waterman et al. 2016):
dphi = -(s1 . dr) / g and the point on the panel moves by the projection of dr + (e x r) dphi.
So each of the three residuals has one covector (its gradient by dr), which is carried back
through the chain of rotations once, in place of carrying every derivative forward.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from xtal.physics.rays import SpindleFrame, spindle_frame
from xtal.physics.refinement.parameters import MRAD, CellParameters, OrientationParameters
from xtal.physics.refinement.problem import Block, Models, Observations, moved_goniometer
from xtal.physics.refinement.stills import StillRays

Array = NDArray[np.float64]
Vector = tuple[Array, Array, Array]


def evaluate(block: Block, obs: Observations, need_jacobian: bool) -> tuple[Array, Array | None, NDArray[np.int64]]:
    """Residuals (calculated - observed) and Jacobian of a block.

    Returns
    -------
    residual : (3, n) mm, mm, radian; nan where the reflection does not meet the sphere or the panel
    jacobian : (3, n, k) by the block's free parameters, or None
    columns : (k,) their places in the whole vector
    """
    if block.parts.experiment.is_still:
        return evaluate_still(block, obs, need_jacobian)
    parts, rows = block.parts, block.rows
    s0_lab = parts.beam.s0()
    frame = spindle_frame(parts.experiment.beam, moved_goniometer(parts), s0_lab)
    hkl, sign, seen = obs.hkl[rows], obs.sign[rows], obs.xyz[rows]
    crystal = CrystalState(parts.orientation, parts.cell, block, hkl)
    y = to_frame(frame.from_crystal, crystal.v3)
    r, cos, sin, ok = turn(y, frame.s0, sign)
    s1 = np.stack([r[0], frame.s0[1] + r[1], frame.s0[2] + r[2]])
    phi = np.arctan2(sin, cos)
    d, dd, which = panel_matrices(block, obs.panel[rows])
    pv = np.einsum("nij,jn->in" if d.ndim == 3 else "ij,jn->in", np.linalg.inv(d) @ frame.to_lab, s1)
    with np.errstate(divide="ignore", invalid="ignore"):
        x, y_mm = pv[0] / pv[2], pv[1] / pv[2]
    ok &= pv[2] > 0
    residual = np.stack([x - seen[:, 0], y_mm - seen[:, 1], wrap(phi - seen[:, 2])])
    residual[:, ~ok] = np.nan
    if not need_jacobian:
        return residual, None, np.zeros(0, np.int64)
    with np.errstate(all="ignore"):
        parts_j, columns = _jacobian(block, frame, crystal, r, cos, sin, s1, (x, y_mm, pv[2]), d, dd, which)
    jacobian = np.concatenate(parts_j, axis=2) if parts_j else np.zeros((3, len(rows), 0))
    jacobian[:, ~ok] = 0.0
    return residual, jacobian, columns


def evaluate_still(
    block: Block, obs: Observations, need_jacobian: bool
) -> tuple[Array, Array | None, NDArray[np.int64]]:
    """`evaluate` for a still, whose third residual is delta-psi."""
    parts, rows = block.parts, block.rows
    hkl, seen = obs.hkl[rows], obs.xyz[rows]
    crystal = CrystalState(parts.orientation, parts.cell, block, hkl)
    rays = StillRays.of(np.stack(np.broadcast_arrays(*crystal.v3)), parts.beam.s0())
    d, dd, which = panel_matrices(block, obs.panel[rows])
    project = np.linalg.inv(d)
    pv = np.einsum("nij,jn->in" if d.ndim == 3 else "ij,jn->in", project, rays.s1)
    ok = rays.ok & (pv[2] > 0)
    with np.errstate(all="ignore"):
        x, y = pv[0] / pv[2], pv[1] / pv[2]
        residual = np.stack([x - seen[:, 0], y - seen[:, 1], rays.angle])
        residual[:, ~ok] = np.nan
        if not need_jacobian:
            return residual, None, np.zeros(0, np.int64)
        p = [np.broadcast_to(project[..., i, :], (len(rows), 3)).T for i in range(3)]
        by_ray = [(p[0] - x * p[2]) / pv[2], (p[1] - y * p[2]) / pv[2]]
        out: list[Array] = []
        columns: list[NDArray[np.int64]] = []
        if parts.beam.n_free:
            changes = [rays.by_beam(ds0) for ds0 in parts.beam.derivatives().T]
            each = [np.stack([*(np.sum(c * ds1, axis=0) for c in by_ray), angle]) for ds1, angle in changes]
            out.append(np.stack(each, axis=2))
            columns.append(parts.beam.columns())
        cov = np.stack([*(rays.by_q(c) for c in by_ray), rays.angle_by_q()], axis=1)
        crystal.derivatives((cov[0], cov[1], cov[2]), out, columns)
        if block.detector.n_free:
            out.append(_by_detector(d, dd, which, x, y))
            columns.append(block.detector.columns())
    jacobian = np.concatenate(out, axis=2) if out else np.zeros((3, len(rows), 0))
    jacobian[:, ~ok] = 0.0
    return residual, jacobian, np.concatenate(columns) if columns else np.zeros(0, np.int64)


def wrap(angle: Array) -> Array:
    return np.asarray((angle + np.pi) % (2 * np.pi) - np.pi)


def turn(y: Vector, s0: Array, sign: Array) -> tuple[Vector, Array, Array, NDArray[np.bool_]]:
    """Turn vectors on to the sphere: the vectors, cosine and sine of the angle, whether they reach it."""
    a, b, c = y
    circle = a * a + c * c
    third = -(0.5 * (circle + b * b) + b * s0[1]) / s0[2]
    first2 = circle - third * third
    # |a'| s0[2] = |g|: below 1e-6 the angle is hardly defined.
    ok = first2 > (1e-6 / s0[2]) ** 2
    first = sign * np.sqrt(np.maximum(first2, 0.0))
    with np.errstate(divide="ignore", invalid="ignore"):
        cos, sin = (a * first + c * third) / circle, (c * first - a * third) / circle
    return (first, b, third), cos, sin, ok


def to_frame(matrix: Array, v: Vector) -> Vector:
    """Matrix (3, 3) times vectors given by their components."""
    x, y, z = (row[0] * v[0] + row[1] * v[1] + row[2] * v[2] for row in matrix)
    return x, y, z


def panel_matrices(block: Block, panel: NDArray[np.int64]) -> tuple[Array, Array, NDArray[np.int64] | None]:
    """d matrices and their derivatives: of the one panel, or stacked per reflection and per panel."""
    numbers, which = np.unique(panel, return_inverse=True)
    each = [block.detector.derivatives(int(p)) for p in numbers]
    if len(numbers) == 1:
        return each[0][0], each[0][1], None
    return np.stack([e[0] for e in each])[which], np.stack([e[1] for e in each]), which


def _jacobian(
    block: Block, frame: SpindleFrame, crystal: CrystalState, r: Vector, cos: Array, sin: Array, s1: Array,
    place: Vector, d: Array, dd: Array, which: NDArray[np.int64] | None,
) -> tuple[list[Array], NDArray[np.int64]]:  # fmt: skip
    """Columns of the Jacobian by model, and their places."""
    parts = block.parts
    x, y, w = place
    project = np.linalg.inv(d) @ frame.to_lab
    p = [project[..., i, :] for i in range(3)]
    qx = [(p[0][..., j] - x * p[2][..., j]) / w for j in range(3)]
    qy = [(p[1][..., j] - y * p[2][..., j]) / w for j in range(3)]
    g = -r[0] * frame.s0[2]
    tx, ty = qx[0] * r[2] - qx[2] * r[0], qy[0] * r[2] - qy[2] * r[0]
    by_phi = [-s1[j] / g for j in range(3)]
    # Covectors (3 residuals, n) by component of dr.
    cov = tuple(np.stack([qx[j] + tx * by_phi[j], qy[j] + ty * by_phi[j], by_phi[j]]) for j in range(3))
    out, columns = [], []
    if parts.beam.n_free:
        ds0 = frame.to_lab.T @ parts.beam.derivatives()
        phi_b = [-r[j] / g for j in range(3)]
        cov_b = [np.stack([qx[j] + tx * phi_b[j], qy[j] + ty * phi_b[j], phi_b[j]]) for j in range(3)]
        out.append(sum(cov_b[j][:, :, None] * ds0[j] for j in range(3)))
        columns.append(parts.beam.columns())
    if parts.goniometer is not None and parts.goniometer.n_free:
        spins = frame.to_lab.T @ parts.goniometer.derivatives() @ frame.to_lab
        moved = [to_frame(k, r) for k in spins]
        out.append(np.stack([sum(cov[j] * m[j] for j in range(3)) for m in moved], axis=2))
        columns.append(parts.goniometer.columns())
    back = (cos * cov[0] - sin * cov[2], cov[1], sin * cov[0] + cos * cov[2])
    back = to_frame(frame.from_crystal.T, back)
    crystal.derivatives(back, out, columns)
    if block.detector.n_free:
        out.append(_by_detector(d, dd, which, x, y))
        columns.append(block.detector.columns())
    return out, np.concatenate(columns) if columns else np.zeros(0, np.int64)


def _by_detector(d: Array, dd: Array, which: NDArray[np.int64] | None, x: Array, y: Array) -> Array:
    """(3, n, k): d(pv)/w = -D dd (X, Y, 1)."""
    inverse = np.linalg.inv(d)
    if which is None:
        m = inverse @ dd
        q = m[:, :, 0, None] * x + m[:, :, 1, None] * y + m[:, :, 2, None]
    else:
        m = inverse[:, None] @ dd[which]
        q = np.moveaxis(m[..., 0] * x[:, None, None] + m[..., 1] * y[:, None, None] + m[..., 2], 0, 2)
    out = np.zeros((3, len(x), dd.shape[-3]))
    out[0], out[1] = (x * q[:, 2] - q[:, 0]).T, (y * q[:, 2] - q[:, 1]).T
    return out


class CrystalState:
    """U B h of a block, static or varying, and what its derivatives need."""

    def __init__(self, orientation: OrientationParameters, cell: CellParameters, block: Block, hkl: Array) -> None:
        self.orientation, self.cell, self.block = orientation, cell, block
        angles = _smoothed(orientation, block.orientation_first, block.orientation_weights) * MRAD
        metric = _smoothed(cell, block.cell_first, block.cell_weights)
        self.cos, self.sin = np.cos(angles).T, np.sin(angles).T
        (ax, ay, by, az, bz, cz), self.db = cell.b_elements(metric)
        self.h = h, k, m = hkl[:, 0], hkl[:, 1], hkl[:, 2]
        v0 = to_frame(orientation.start, (ax * h, ay * h + by * k, az * h + bz * k + cz * m))
        (c1, c2, c3), (s1, s2, s3) = self.cos, self.sin
        self.v1 = (v0[0], c1 * v0[1] - s1 * v0[2], s1 * v0[1] + c1 * v0[2])
        v1 = self.v1
        self.v2 = (c2 * v1[0] + s2 * v1[2], v1[1], c2 * v1[2] - s2 * v1[0])
        v2 = self.v2
        self.v3: Vector = (c3 * v2[0] - s3 * v2[1], s3 * v2[0] + c3 * v2[1], v2[2])

    def derivatives(self, cov: Vector, out: list[Array], columns: list[NDArray[np.int64]]) -> None:
        """Append the columns of orientation and cell, given covectors by change of U B h."""
        (c1, c2, c3), (s1, s2, s3) = self.cos, self.sin
        v1, v2, v3 = self.v1, self.v2, self.v3
        by3 = cov[1] * v3[0] - cov[0] * v3[1]
        cov = (c3 * cov[0] + s3 * cov[1], c3 * cov[1] - s3 * cov[0], cov[2])
        by2 = cov[0] * v2[2] - cov[2] * v2[0]
        cov = (c2 * cov[0] - s2 * cov[2], cov[1], s2 * cov[0] + c2 * cov[2])
        by1 = cov[2] * v1[1] - cov[1] * v1[2]
        cov = (cov[0], c1 * cov[1] + s1 * cov[2], c1 * cov[2] - s1 * cov[1])
        if self.orientation.n_free:
            j = np.stack([by1, by2, by3], axis=2) * MRAD
            _spread(self.orientation, self.block.orientation_first, self.block.orientation_weights, j, out, columns)
        if self.cell.n_free:
            x, y, z = to_frame(self.orientation.start.T, cov)
            h, k, m = self.h
            dax, day, dby, daz, dbz, dcz = self.db
            each = [
                x * (dax[i] * h) + y * (day[i] * h + dby[i] * k) + z * (daz[i] * h + dbz[i] * k + dcz[i] * m)
                for i in range(len(dax))
            ]
            _spread(self.cell, self.block.cell_first, self.block.cell_weights, np.stack(each, axis=2), out, columns)


Varying = OrientationParameters | CellParameters


def _smoothed(parameters: Varying, first: int, weights: Array) -> Array:
    """(n, k) values at the rows; (1, k) where nothing varies."""
    if parameters.smoother.n_intervals == 0:
        return parameters.values
    return np.asarray(weights @ parameters.values[first : first + parameters.smoother.window])


def _spread(
    parameters: Varying, first: int, weights: Array, j: Array, out: list[Array], columns: list[NDArray[np.int64]]
) -> None:
    """Derivatives by a state to derivatives by the samples that make it."""
    j = j[:, :, parameters.free]
    if parameters.smoother.n_intervals == 0:
        out.append(j)
        columns.append(parameters.columns())
        return
    for i in range(parameters.smoother.window):
        out.append(j * weights[:, i, None])
        columns.append(parameters.columns(first + i))


def residuals(models: Models, obs: Observations, blocks: list[Block]) -> Array:
    """(n, 3) calculated - observed, mm, mm, radian; nan where there is no prediction."""
    out = np.full((len(obs), 3), np.nan)
    for block in blocks:
        out[block.rows] = evaluate(block, obs, False)[0].T
    return out


def normal_equations(models: Models, obs: Observations, blocks: list[Block]) -> tuple[Array, Array, float, int]:
    """J^T W J (n, n), J^T W r (n,), r^T W r and the number of reflections that could not be predicted."""
    n = models.n_free
    matrix, vector, chi2, lost = np.zeros((n, n)), np.zeros(n), 0.0, 0
    for block in blocks:
        r, j, columns = evaluate(block, obs, True)
        assert j is not None
        missing = np.isnan(r[0])
        lost += int(missing.sum())
        root = np.sqrt(obs.weight[block.rows].T)
        r = np.where(missing, 0.0, r * root).ravel()
        j = (j * root[:, :, None]).reshape(len(r), -1)
        matrix[np.ix_(columns, columns)] += j.T @ j
        vector[columns] += j.T @ r
        chi2 += float(r @ r)
    return matrix, vector, chi2, lost
