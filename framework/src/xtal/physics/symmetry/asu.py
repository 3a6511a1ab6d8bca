"""Equivalent reflections, for whole arrays of indices at once."""

from __future__ import annotations

import gemmi
import numpy as np
from numpy.typing import NDArray

I64 = NDArray[np.int64]

_BITS = 20
_HALF = 1 << (_BITS - 1)
_MASK = (1 << _BITS) - 1


def pack(hkl: NDArray[np.integer]) -> I64:
    """(n,) int64 keys of indices (n, 3), in dictionary order of (h, k, l); |index| < 2**19."""
    h = np.asarray(hkl, dtype=np.int64) + _HALF
    return (h[:, 0] << 2 * _BITS) | (h[:, 1] << _BITS) | h[:, 2]


def unpack(keys: I64) -> NDArray[np.int32]:
    """(n, 3) int32 indices of keys made by `pack`."""
    k = np.asarray(keys, dtype=np.int64)
    parts = [k >> 2 * _BITS, (k >> _BITS) & _MASK, k & _MASK]
    return (np.stack(parts, axis=1) - _HALF).astype(np.int32)


def point_group_rotations(group: gemmi.SpaceGroup) -> I64:
    """(m, 3, 3) proper rotations R of the group's point group, identity first; h' = h R.

    Mirrors and inversions enter as the rotation that is left after an inversion, which
    makes the same Laue class.
    """
    found: dict[bytes, I64] = {}
    for op in group.operations().sym_ops:
        rotation = np.array(op.rot, dtype=np.int64) // gemmi.Op.DEN
        rotation *= round(np.linalg.det(rotation))
        found.setdefault(rotation.tobytes(), rotation)
    return np.array(list(found.values()))


def representatives(hkl: NDArray[np.integer], group: gemmi.SpaceGroup) -> tuple[I64, NDArray[np.bool_]]:
    """Key of each reflection's representative in its Laue group, and which Friedel mate it is.

    The representative is the equivalent (rotations and inversion) that is largest in
    dictionary order.

    Returns
    -------
    key : (n,) int64, as `pack`
    plus : (n,) whether rotations alone lead there (true for all centric reflections)
    """
    h = np.asarray(hkl, dtype=np.int64)
    best_plus = best_minus = None
    for rotation in point_group_rotations(group):
        turned = h @ rotation
        key, opposite = pack(turned), pack(-turned)
        best_plus = key if best_plus is None else np.maximum(best_plus, key)
        best_minus = opposite if best_minus is None else np.maximum(best_minus, opposite)
    assert best_plus is not None and best_minus is not None
    return np.maximum(best_plus, best_minus), best_plus >= best_minus


def ccp4_asu(keys: I64, group: gemmi.SpaceGroup) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """Indices in CCP4's asymmetric unit of unique reflections (packed), one by one.

    Returns
    -------
    hkl : (n, 3) int32
    same_hand : (n,) whether a rotation alone carries the given index there
    """
    asu, operations = gemmi.ReciprocalAsu(group), group.operations()
    hkl = unpack(keys)
    moved = [asu.to_asu(h, operations) for h in hkl.tolist()]
    out = np.array([m[0] for m in moved], dtype=np.int32).reshape(-1, 3)
    odd = np.array([m[1] % 2 == 1 for m in moved], dtype=bool)
    return out, odd | centric(hkl, group)


def centric(hkl: NDArray[np.integer], group: gemmi.SpaceGroup) -> NDArray[np.bool_]:
    """(n,) reflections whose Friedel mate is symmetry equivalent."""
    return np.asarray(group.operations().centric_flag_array(_int32(hkl)), dtype=bool)


def epsilon(hkl: NDArray[np.integer], group: gemmi.SpaceGroup) -> NDArray[np.float64]:
    """(n,) expected-intensity factor of reflections on symmetry elements, centring not counted."""
    return np.asarray(group.operations().epsilon_factor_without_centering_array(_int32(hkl)), dtype=float)


def systematically_absent(hkl: NDArray[np.integer], group: gemmi.SpaceGroup) -> NDArray[np.bool_]:
    """(n,) reflections that centring, screw axes or glides extinguish."""
    return np.asarray(group.operations().systematic_absences(_int32(hkl)), dtype=bool)


def _int32(hkl: NDArray[np.integer]) -> NDArray[np.int32]:
    return np.ascontiguousarray(hkl, dtype=np.int32)
