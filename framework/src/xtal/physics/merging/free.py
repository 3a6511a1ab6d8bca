"""Flags of a free set for cross validation."""

from __future__ import annotations

import gemmi
import numpy as np
from numpy.typing import NDArray

from xtal.physics.symmetry.asu import pack
from xtal.physics.symmetry.groups import lattice_rotations, reduced_basis


def free_flags(
    hkl: NDArray[np.integer], cell: gemmi.UnitCell, group: gemmi.SpaceGroup, *, fraction: float = 0.05, seed: int = 0
) -> NDArray[np.int32]:
    """Flags 0 to 1/fraction - 1 as CCP4 numbers them; 0 is the free set.

    Reflections that the full symmetry of the lattice makes equivalent share a flag, so that
    neither twinning nor a lower or higher choice of Laue group leaks the free set, and the
    flag follows from the index and ``seed`` alone: data sets of one crystal form agree.

    Parameters
    ----------
    hkl : (n, 3)
    fraction : of the reflections in the free set
    """
    basis = reduced_basis(cell, group.centring_type())
    orth = np.array(cell.orth.mat.tolist()) @ basis
    a, b, c = orth.T
    reduced = _cell(a, b, c)
    rotations, _ = lattice_rotations(reduced, 1.0)
    operations = in_basis_inverse(rotations, basis)
    key = np.zeros(len(hkl), dtype=np.int64)
    for rotation in operations:
        turned = np.rint(hkl @ rotation).astype(np.int64)
        key = np.maximum(key, np.maximum(pack(turned), pack(-turned)))
    classes = max(2, round(1.0 / fraction))
    return (_mix(key.astype(np.uint64) + np.uint64(seed)) % np.uint64(classes)).astype(np.int32)


def in_basis_inverse(rotations: NDArray[np.int64], basis: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rotations of the reduced basis back on the original axes."""
    return np.asarray(basis @ rotations @ np.linalg.inv(basis))


def _cell(a: NDArray[np.float64], b: NDArray[np.float64], c: NDArray[np.float64]) -> gemmi.UnitCell:
    length = [float(np.linalg.norm(v)) for v in (a, b, c)]
    cosines = [b @ c / (length[1] * length[2]), a @ c / (length[0] * length[2]), a @ b / (length[0] * length[1])]
    return gemmi.UnitCell(*length, *np.degrees(np.arccos(cosines)))


def _mix(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Scatter integers evenly over 64 bits (Steele, Lea & Flood 2014, splitmix64)."""
    with np.errstate(over="ignore"):
        x = (x + np.uint64(0x9E3779B97F4A7C15)).astype(np.uint64)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return x ^ (x >> np.uint64(31))
