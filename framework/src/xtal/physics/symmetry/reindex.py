"""Which axes to take: those at hand where they are conventional already."""

from __future__ import annotations

import itertools

import gemmi
import numpy as np
from numpy.typing import NDArray

from xtal.physics.symmetry.asu import point_group_rotations
from xtal.physics.symmetry.groups import metric
from xtal.physics.symmetry.laue import LaueResult, SubgroupScore
from xtal.physics.symmetry.settings import in_basis, same_rotations

F = NDArray[np.float64]


def fits_cell(group: gemmi.SpaceGroup, cell: gemmi.UnitCell, max_delta_deg: float = 2.0) -> bool:
    """Whether the rotations of a space group leave a cell as it is, to within a few degrees and per cent."""
    g = metric(cell)
    size = np.sqrt(np.outer(np.diag(g), np.diag(g)))
    tolerance = max(np.sin(np.radians(max_delta_deg)), 0.02)
    return all(np.all(np.abs(r.T @ g @ r - g) < 2 * tolerance * size) for r in point_group_rotations(group))


def basis_of(subgroup: SubgroupScore, reduced: F, centring: str) -> F:
    """Change of basis from the axes at hand to a conventional setting of a subgroup.

    Parameters
    ----------
    reduced : (3, 3) P from the axes at hand to the reduced cell
    centring : of the axes at hand

    Returns
    -------
    (3, 3)
        The identity where the axes at hand are a conventional setting already (for a lattice
        without symmetry: the reduced cell in any order).
    """
    setting = subgroup.setting
    if len(subgroup.rotations) == 1 and not np.all(np.isin(reduced, (-1, 0, 1)) & (np.abs(reduced).sum(axis=0) == 1)):
        return reduced
    turned = reduced @ subgroup.rotations @ np.linalg.inv(reduced)
    whole = np.allclose(turned, np.rint(turned), atol=1e-6)
    if whole and centring == setting.centring:
        wanted = point_group_rotations(setting.symmorphic)
        if same_rotations(np.rint(turned).astype(np.int64), wanted):
            return np.eye(3)
    return np.asarray(reduced @ setting.basis)


def basis_for_space_group(
    group: gemmi.SpaceGroup, cell: gemmi.UnitCell, centring: str, reduced: F, result: LaueResult
) -> F | None:
    """Change of basis that brings the lattice into a given space group; None where it does not fit.

    Of several ways the one whose symmetry elements agree best with the data.
    """
    if centring == group.centring_type() and fits_cell(group, cell):
        return np.eye(3)
    wanted = point_group_rotations(group)
    for candidate in result.subgroups:
        setting = candidate.setting
        if len(candidate.rotations) != len(wanted):
            continue
        for order in _axis_orders():
            basis = setting.basis @ order
            turned = np.linalg.inv(basis) @ candidate.rotations @ basis
            if not np.allclose(turned, np.rint(turned), atol=1e-6):
                continue
            if same_rotations(in_basis(candidate.rotations, basis), wanted) and _centred_alike(basis, group):
                return np.asarray(reduced @ basis)
    return None


def _axis_orders() -> list[F]:
    """The identity first, then every right-handed permutation of the axes, and the oblique I to C change."""
    orders = [np.eye(3)]
    for p in itertools.permutations(range(3)):
        matrix = np.eye(3)[:, list(p)]
        orders.append(matrix if np.linalg.det(matrix) > 0 else -matrix)
    orders.append(np.array([[1.0, 0, 0], [0, 1, 0], [1, 0, 1]]))
    orders.append(np.array([[-1.0, 0, 1], [0, 1, 0], [-1, 0, 0]]))
    return orders


def _centred_alike(basis: F, group: gemmi.SpaceGroup) -> bool:
    """Whether a basis of a primitive lattice has exactly the centring vectors of a space group."""
    vectors = np.array(group.operations().cen_ops, dtype=float) / gemmi.Op.DEN
    inside = basis @ vectors.T
    return round(abs(np.linalg.det(basis))) == len(vectors) and np.allclose(inside, np.rint(inside), atol=1e-6)


def to_reference(group: gemmi.SpaceGroup) -> tuple[F, gemmi.SpaceGroup]:
    """Axis permutation to the reference setting of a primitive orthorhombic group, and that group.

    Other groups stay as they are: their settings are chosen by the shape of the cell.
    """
    if group.is_reference_setting() or group.crystal_system_str() != "orthorhombic":
        return np.eye(3), group
    reference = gemmi.get_spacegroup_reference_setting(group.number)
    fitting = (order for order in _axis_orders()[:7] if _absent_alike(group, reference, order))
    order = next(fitting, None)
    return (np.eye(3), group) if order is None else (order, reference)


def on_axes(group: gemmi.SpaceGroup, order: F) -> gemmi.SpaceGroup:
    """The setting that a group has on permuted axes; the group itself where the table has none."""
    same = (g for g in gemmi.spacegroup_table() if g.number == group.number)
    return next((g for g in same if _absent_alike(group, g, order)), group)


def _absent_alike(group: gemmi.SpaceGroup, other: gemmi.SpaceGroup, order: F) -> bool:
    """Whether a group extinguishes what another does on permuted axes."""
    grid = np.array(list(itertools.product(range(4), repeat=3)), dtype=np.int32)[1:]
    moved = np.ascontiguousarray(np.rint(grid @ order), dtype=np.int32)
    here, there = group.operations().systematic_absences(grid), other.operations().systematic_absences(moved)
    return bool(np.array_equal(here, there))
