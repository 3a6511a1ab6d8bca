"""A lattice in the setting of a known space group and unit cell."""

from __future__ import annotations

from functools import cache
from itertools import product

import gemmi
import numpy as np
from numpy.typing import NDArray

from xtal.models import Crystal
from xtal.models.crystal import space_group_of, space_group_of_hall
from xtal.physics.lattice.candidates import LatticeCandidate, lattice_candidates
from xtal.physics.lattice.constraints import constrain, metric_of, rotations_of
from xtal.physics.lattice.reduction import niggli_basis

F = NDArray[np.float64]


def bravais_of(space_group: gemmi.SpaceGroup) -> str:
    """Bravais symbol ("aP" to "cF") of a space group in any setting."""
    reference = gemmi.find_spacegroup_by_number(space_group.number)
    system = {"triclinic": "a", "monoclinic": "m", "orthorhombic": "o", "tetragonal": "t", "cubic": "c"}
    letter = reference.hm[0]
    return system.get(space_group.crystal_system_str(), "h") + ("C" if letter in "ABC" else letter)


@cache
def unimodular() -> NDArray[np.int64]:
    """(3480, 3, 3) integer matrices with elements -1, 0, 1 and determinant +1, the identity first."""
    m = np.array(list(product((0, 1, -1), repeat=9))).reshape(-1, 3, 3)
    m = m[np.round(np.linalg.det(m)) == 1]
    return m[np.argsort(np.abs(m - np.eye(3, dtype=int)).sum(axis=(1, 2)), kind="stable")]


def apply_known_symmetry(
    crystal: Crystal,
    space_group: str | gemmi.SpaceGroup,
    cell: tuple[float, ...] | None = None,
    max_delta_deg: float = 5.0,
    length_tolerance: float = 0.1,
    angle_tolerance_deg: float = 5.0,
) -> tuple[Crystal, F] | None:
    """A crystal on the axes of a known space group, its cell constrained.

    Parameters
    ----------
    crystal : in any setting
    space_group : in any setting; that setting is kept
    cell : a, b, c, alpha, beta, gamma (angstrom, degree) in that setting, or None: conventional axes
    length_tolerance, angle_tolerance_deg : relative and in degrees, against ``cell``

    Returns
    -------
    crystal : Crystal
    basis : (3, 3) P from the axes given
    None if the lattice does not have this symmetry or is not like the cell.
    """
    group = space_group_of(space_group)
    wanted = bravais_of(group)
    wanted_types = {"mC", "mI"} if wanted == "mC" else {wanted}
    fitting = lattice_candidates(crystal, max_delta_deg, wanted_types)
    for candidate in sorted(fitting, key=lambda c: c.delta_deg):
        placed = _placed(candidate, group, cell, length_tolerance, angle_tolerance_deg)
        if placed is None:
            continue
        changed = crystal.change_basis(placed)
        changed.space_group = group
        return constrain(changed), placed
    return None


def _placed(
    candidate: LatticeCandidate,
    group: gemmi.SpaceGroup,
    cell: tuple[float, ...] | None,
    length_tolerance: float,
    angle_tolerance_deg: float,
) -> F | None:
    """Basis P from the original axes to the wanted setting, or None."""
    to_setting = _to_setting(candidate, group)
    if to_setting is None:
        return None
    basis = candidate.basis @ to_setting
    if cell is None:
        return basis
    start = candidate.crystal.change_basis(to_setting)
    target = gemmi.UnitCell(*cell)
    if group.crystal_system_str() == "triclinic":
        ours, theirs = niggli_basis(start.cell), niggli_basis(target)
        changed = start.change_basis(ours)
        move = best_move(changed, group, _changed_cell(target, theirs), length_tolerance, angle_tolerance_deg)
        return None if move is None else basis @ ours @ move @ np.linalg.inv(theirs)
    move = best_move(start, group, target, length_tolerance, angle_tolerance_deg)
    return None if move is None else basis @ move


def _changed_cell(cell: gemmi.UnitCell, basis: F) -> gemmi.UnitCell:
    return Crystal(np.array(cell.frac.mat.tolist()).T).change_basis(basis).cell


def _to_setting(candidate: LatticeCandidate, group: gemmi.SpaceGroup) -> F | None:
    """From the candidate's axes to those of the group's setting."""
    reference = gemmi.find_spacegroup_by_number(group.number)
    moves = unimodular().astype(float)
    if candidate.bravais[0] == "m":
        moves = moves[np.argsort(_unlike_90(candidate.crystal, moves), kind="stable")]
    for move in moves:
        if _keeps(candidate.space_group, move, reference):
            operation = np.array(group.basisop.rot, dtype=float) / gemmi.Op.DEN
            return np.asarray(move @ np.linalg.inv(operation))
    return None


def _unlike_90(crystal: Crystal, moves: F) -> F:
    """(n,) how far the angles of new axes are from 90 degrees; acute ones last."""
    metrics = np.einsum("nki,kl,nlj->nij", moves, metric_of(crystal.A), moves)
    lengths = np.sqrt(np.diagonal(metrics, axis1=1, axis2=2))
    cosines = np.stack([metrics[:, i, j] / (lengths[:, i] * lengths[:, j]) for i, j in ((1, 2), (0, 2), (0, 1))])
    return np.round(np.abs(cosines).sum(axis=0) + 10.0 * (cosines > 1e-6).any(axis=0), 6)


def _keeps(source: gemmi.SpaceGroup, move: F, target: gemmi.SpaceGroup) -> bool:
    """Whether axes moved by P have the target's centring, and its system's axes."""
    inverse: F = np.asarray(np.linalg.inv(move), dtype=np.float64)
    if not _same_centring(source, inverse, target):
        return False
    ours = {tuple(np.round(inverse @ w @ move).astype(int).ravel()) for w in _holohedry(source)}
    return all(tuple(np.round(w).astype(int).ravel()) in ours for w in _holohedry(target))


@cache
def _holohedry_by_hall(hall: str) -> F:
    """Rotations of the full lattice symmetry of a space group's setting, by a metric that has it exactly."""
    group = space_group_of_hall(hall)
    crystal = Crystal(np.array(gemmi.UnitCell(31.0, 37.0, 43.0, 81.0, 103.0, 97.0).frac.mat.tolist()).T, hall)
    metric = metric_of(constrain(crystal).A)
    moves = unimodular().astype(float)
    turned = np.einsum("nki,kl,nlj->nij", moves, metric, moves)
    same = np.all(np.abs(turned - metric) < 1e-6 * metric.max(), axis=(1, 2))
    return np.array([m for m in moves[same] if _same_centring(group, np.linalg.inv(m), group)])


def _holohedry(group: gemmi.SpaceGroup) -> F:
    return _holohedry_by_hall(str(group.hall))


def _same_centring(source: gemmi.SpaceGroup, inverse: F, target: gemmi.SpaceGroup) -> bool:
    ours = {tuple(np.round(inverse @ t).astype(int) % gemmi.Op.DEN) for t in source.operations().cen_ops}
    return ours == {tuple(np.array(t) % gemmi.Op.DEN) for t in target.operations().cen_ops}


def best_move(
    crystal: Crystal,
    group: gemmi.SpaceGroup,
    cell: gemmi.UnitCell,
    length_tolerance: float = 0.1,
    angle_tolerance_deg: float = 5.0,
) -> F | None:
    """Change of basis within a space group's setting that comes nearest to a cell.

    Returns
    -------
    (3, 3) P or None if no choice of axes is within the tolerances.
    """
    moves = unimodular().astype(float)
    metric = metric_of(crystal.A)
    metrics = np.einsum("nki,kl,nlj->nij", moves, metric, moves)
    lengths = np.sqrt(np.diagonal(metrics, axis1=1, axis2=2))
    pairs = ((1, 2), (0, 2), (0, 1))
    cosines = np.stack([metrics[:, i, j] / (lengths[:, i] * lengths[:, j]) for i, j in pairs], axis=1)
    angles = np.degrees(np.arccos(np.clip(cosines, -1.0, 1.0)))
    wanted = np.array(cell.parameters)
    off_length, off_angle = np.abs(lengths / wanted[:3] - 1.0), np.abs(angles - wanted[3:])
    near = np.all(off_length <= length_tolerance, axis=1) & np.all(off_angle <= angle_tolerance_deg, axis=1)
    distance = np.sum((off_length / 0.01) ** 2, axis=1) + np.sum(off_angle**2, axis=1)
    rotations = {tuple(np.round(w).astype(int).ravel()) for w in rotations_of(group)}
    for k in np.argsort(np.round(distance, 6), kind="stable"):
        if not near[k]:
            continue
        inverse: F = np.asarray(np.linalg.inv(moves[k]), dtype=np.float64)
        turned = {tuple(np.round(inverse @ w @ moves[k]).astype(int).ravel()) for w in rotations_of(group)}
        if turned == rotations and _same_centring(group, inverse, group):
            return moves[k]
    return None
