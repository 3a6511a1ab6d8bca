"""Crystals whose cell obeys their space group."""

from __future__ import annotations

import gemmi
import numpy as np
from numpy.typing import NDArray

from xtal.models import Crystal

F = NDArray[np.float64]


def metric_of(a_matrix: F) -> F:
    """(..., 3, 3) direct metric tensor (square angstrom) of setting matrices A."""
    inverse = np.linalg.inv(a_matrix)
    return np.asarray(inverse @ np.swapaxes(inverse, -1, -2), dtype=np.float64)


def constrained_metric(metric: F, rotations: F) -> F:
    """Mean of W^T G W over a point group: the nearest metric that the group leaves unchanged.

    Parameters
    ----------
    metric : (..., 3, 3)
    rotations : (n, 3, 3) matrices W of all operations, acting on coordinates
    """
    turned = np.einsum("nki,...kl,nlj->...nij", rotations, metric, rotations)
    return turned.mean(axis=-3)


def rotations_of(space_group: gemmi.SpaceGroup) -> F:
    """(n, 3, 3) rotation parts of a space group's operations."""
    return np.array([op.rot for op in space_group.operations().sym_ops], dtype=float) / gemmi.Op.DEN


def with_metric(a_matrix: F, metric: F) -> F:
    """Setting matrices of the given metric in the orientation nearest to the old ones.

    The rotation R minimises |R M' - M| over the direct vectors (Kabsch 1976).

    Parameters
    ----------
    a_matrix, metric : (..., 3, 3)
    """
    direct = np.swapaxes(np.linalg.inv(a_matrix), -1, -2)
    target = np.swapaxes(np.linalg.cholesky(metric), -1, -2)
    u, _, vt = np.linalg.svd(direct @ np.swapaxes(target, -1, -2))
    flip = np.ones(u.shape[:-1])
    flip[..., 2] = np.linalg.det(u @ vt)
    rotated = (u * flip[..., None, :]) @ vt @ target
    return np.swapaxes(np.linalg.inv(rotated), -1, -2)


def constrain(crystal: Crystal) -> Crystal:
    """The crystal with its cell averaged over the operations of its space group.

    Returns
    -------
    Crystal
        On the same axes, orientation as near as possible; scan points are treated alike, covariances dropped.
    """
    rotations = rotations_of(crystal.space_group)

    def fix(a: F) -> F:
        return with_metric(a, constrained_metric(metric_of(a), rotations))

    points = None if crystal.A_at_scan_points is None else fix(crystal.A_at_scan_points)
    return Crystal(fix(crystal.A), crystal.hall, points, mosaicity_deg=crystal.mosaicity_deg, extra=dict(crystal.extra))
