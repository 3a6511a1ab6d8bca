"""Space groups by name, number or Hall symbol, in any setting and from any origin."""

from __future__ import annotations

import contextlib
from functools import cache

import gemmi
import numpy as np

Operations = dict[bytes, set[tuple[int, int, int]]]
"""Rotation (3, 3) int64 to its translations, in parts of UNIT."""
UNIT = 216
"""Parts of a cell edge in which translations are counted: 24ths, and ninths for the axes of rhombohedral cells."""

LONGEST_NUMBER = 4
"""Digits of a number of a space group; those of CCP4 have up to four."""


def space_group_of(value: str | gemmi.SpaceGroup) -> gemmi.SpaceGroup:
    """Space group of a Hermann-Mauguin name, number in a string, or Hall symbol.

    A Hall symbol may have another origin than the tables (cctbx writes such), which is no difference to intensities.

    Raises
    ------
    ValueError
        If the symbol is unknown, or describes a setting that is not in the tables.
    """
    if isinstance(value, gemmi.SpaceGroup):
        return value
    found = _by_symbol(value.strip())
    if found is None:
        raise ValueError(f"{value!r} is not a space group that xtal knows")
    return found


@cache
def _by_symbol(text: str) -> gemmi.SpaceGroup | None:
    number = int(text) if text.isascii() and text.isdigit() and len(text) <= LONGEST_NUMBER else None
    found = gemmi.find_spacegroup_by_name(text) if number is None else gemmi.find_spacegroup_by_number(number)
    return found or _by_hall(text)


def space_group_of_hall(hall: str) -> gemmi.SpaceGroup:
    """Space group of a Hall symbol, which may read like a name of another one: P 4 2 is P 4 2 2, not P 42.

    Raises
    ------
    ValueError
        If it is no Hall symbol, or describes a setting that is not in the tables.
    """
    found = _by_hall(hall.strip())
    if found is None:
        raise ValueError(f"{hall!r} is not the Hall symbol of a space group that xtal knows")
    return found


@cache
def _by_hall(text: str) -> gemmi.SpaceGroup | None:
    with contextlib.suppress(RuntimeError, UnicodeDecodeError):  # gemmi quotes a part of the symbol
        group = gemmi.symops_from_hall(text)
        return gemmi.find_spacegroup_by_ops(group) or find_group(operations_of(group))
    return None


def operations_of(group: gemmi.GroupOps) -> Operations:
    """The operations of a group with their centrings."""
    found: Operations = {}
    for op in group:
        rotation = np.array(op.rot, dtype=np.int64) // gemmi.Op.DEN
        translation = np.array(op.tran, dtype=np.int64) * (UNIT // gemmi.Op.DEN) % UNIT
        found.setdefault(rotation.tobytes(), set()).add(tuple(translation.tolist()))
    return found


@cache
def _tabulated() -> dict[frozenset[bytes], list[tuple[gemmi.SpaceGroup, Operations]]]:
    """Space groups with their operations, by the set of their rotations."""
    groups: dict[frozenset[bytes], list[tuple[gemmi.SpaceGroup, Operations]]] = {}
    for group in gemmi.spacegroup_table():
        operations = operations_of(group.operations())
        groups.setdefault(frozenset(operations), []).append((group, operations))
    return groups


def find_group(operations: Operations) -> gemmi.SpaceGroup | None:
    """The tabulated group of these operations, with or without a shift of the origin.

    Of groups that differ in the origin only, the one without a shift, else the first in the tables.
    """
    identity = np.eye(3, dtype=np.int64).tobytes()
    alike = [x for x in _tabulated().get(frozenset(operations), []) if x[1][identity] == operations[identity]]
    for parts in (1, 8, 12, 24):
        steps = np.arange(0, UNIT, UNIT // parts)
        shifts = np.array(np.meshgrid(steps, steps, steps, indexing="ij")).reshape(3, -1).T
        for group, known in alike:
            if _same_up_to(shifts, operations, known):
                return group
    return None


def _same_up_to(shifts: np.ndarray, operations: Operations, known: Operations) -> bool:
    """Whether one of the shifts of the origin (n, 3) makes the translations of two groups equal."""
    for key, translations in operations.items():
        rotation = np.frombuffer(key, dtype=np.int64).reshape(3, 3)
        moved = (np.array(next(iter(translations))) + shifts @ (np.eye(3, dtype=np.int64) - rotation).T) % UNIT
        allowed = np.array(sorted(known[key]))
        shifts = shifts[np.any(np.all(moved[:, None, :] == allowed[None, :, :], axis=2), axis=1)]
        if not len(shifts):
            return False
    return True
