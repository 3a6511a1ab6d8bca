"""Primitive and reduced bases of a lattice."""

from __future__ import annotations

import gemmi
import numpy as np
from numpy.typing import NDArray

from xtal.models import Crystal
from xtal.models.crystal import cell_of

F = NDArray[np.float64]


def niggli_basis(cell: gemmi.UnitCell) -> F:
    """Change of basis P from a primitive cell to its Niggli cell (Krivy & Gruber 1976).

    Returns
    -------
    (3, 3) of integers as float64, determinant +1
    """
    total = np.eye(3)
    for _ in range(20):
        gruber = gemmi.GruberVector(cell, "P", True)
        steps = gruber.niggli_reduce(epsilon=1e-5 * cell.volume ** (2 / 3), iteration_limit=100)
        basis = np.array(gruber.change_of_basis.rot, dtype=float) / gemmi.Op.DEN
        total = total @ basis
        cell = gruber.get_cell()
        if steps < 100:
            break
    return total * np.sign(np.linalg.det(total))


def primitive_basis(space_group: gemmi.SpaceGroup) -> F:
    """Change of basis P from the axes of a space group's setting to a primitive basis, determinant > 0."""
    basis = np.array(space_group.centred_to_primitive().rot, dtype=float) / gemmi.Op.DEN
    return basis * np.sign(np.linalg.det(basis))


def reduced(crystal: Crystal) -> tuple[Crystal, F]:
    """The crystal on the Niggli axes of its primitive lattice, in P 1.

    Returns
    -------
    crystal : Crystal
    basis : (3, 3) P from the axes given
    """
    basis = primitive_basis(crystal.space_group)
    basis = basis @ niggli_basis(cell_of(crystal.A @ np.linalg.inv(basis).T))
    out = crystal.change_basis(basis)
    out.hall = " P 1"
    return out, basis
