"""Conventional axes of a lattice whose point group is known in a primitive basis."""

from __future__ import annotations

from itertools import product

import numpy as np
from numpy.typing import NDArray

from xtal.physics.lattice.groups import axis_of, order_of

F = NDArray[np.float64]
I = NDArray[np.int64]

SPACE_GROUPS = {
    "aP": "P 1",
    "mP": "P 1 2 1",
    "mC": "C 1 2 1",
    "mI": "I 1 2 1",
    "oP": "P 2 2 2",
    "oC": "C 2 2 2",
    "oF": "F 2 2 2",
    "oI": "I 2 2 2",
    "tP": "P 4",
    "tI": "I 4",
    "hP": "P 3",
    "hR": "R 3:H",
    "cP": "P 2 3",
    "cF": "F 2 3",
    "cI": "I 2 3",
}
"""Space group of lowest symmetry that has the metric of each Bravais type."""


def conventional(group: I, metric: F) -> tuple[str, I] | None:
    """Bravais symbol and integer basis P (from the primitive axes) of a lattice.

    Parameters
    ----------
    group : (n, 3, 3) proper rotations on primitive axes
    metric : (3, 3) averaged over the group

    Returns
    -------
    None if the group is not the whole symmetry of any Bravais type (32 on a primitive hexagonal lattice).
    """
    finder = {
        1: _triclinic, 2: _monoclinic, 4: _orthorhombic, 6: _rhombohedral, 8: _uniaxial, 12: _uniaxial, 24: _cubic
    }  # fmt: skip
    found = finder[len(group)](group, metric) if len(group) in finder else None
    if found is None:
        return None
    symbol, basis = found
    if np.linalg.det(basis) < 0:
        basis = basis * (np.array([1, -1, 1]) if symbol[0] == "m" else -1)
    return symbol, basis


def _axes(group: I, order: int, metric: F) -> list[I]:
    """Axes of the rotations of one order, each once, shortest first."""
    axes = {tuple(axis_of(w)) for w in group if order_of(w) == order}
    return [np.array(a) for a in sorted(axes, key=lambda a: (round(float(np.array(a) @ metric @ a), 6), a))]


_GRID = np.array(list(product(range(-1, 3), repeat=3))).T


def _centring(basis: I) -> str | None:
    """Letter of the centring of a basis P (from primitive axes), None if it is not a standard one."""
    points = np.unique(np.round(12 * np.linalg.inv(basis) @ _GRID).astype(int).T % 12, axis=0)
    found = frozenset(map(tuple, points.tolist())) - {(0, 0, 0)}
    table = {
        frozenset(): "P",
        frozenset({(6, 6, 6)}): "I",
        frozenset({(6, 6, 0)}): "C",
        frozenset({(6, 0, 6)}): "B",
        frozenset({(0, 6, 6)}): "A",
        frozenset({(6, 6, 0), (6, 0, 6), (0, 6, 6)}): "F",
        frozenset({(8, 4, 4), (4, 8, 8)}): "R",
    }
    return table.get(found)


def _triclinic(group: I, metric: F) -> tuple[str, I]:
    return "aP", np.eye(3, dtype=np.int64)


def _monoclinic(group: I, metric: F) -> tuple[str, I] | None:
    """Unique axis b; of the settings P, C, I that with the shortest axes and beta nearest to 90 degrees."""
    b = _axes(group, 2, metric)[0]
    h = axis_of(next(w for w in group if order_of(w) == 2).T)
    plane = [v for v in map(np.array, product(range(-3, 4), repeat=3)) if v @ h == 0 and np.any(v)]
    plane = sorted(plane, key=lambda v: (round(float(v @ metric @ v), 6), tuple(v)))
    first = plane[0]
    second = next(v for v in plane if np.any(np.cross(first, v)))
    best: tuple[tuple[float, float], str, I] | None = None
    for i, j, k, m in product((-1, 0, 1), repeat=4):
        a, c = i * first + j * second, k * first + m * second
        if abs(i * m - j * k) != 1 or a @ metric @ c > 1e-9 * (a @ metric @ a):
            continue
        basis = np.column_stack([a, b, c])
        letter = _centring(basis)
        if letter not in ("P", "C", "I"):
            continue
        lengths = np.sqrt([a @ metric @ a, c @ metric @ c])
        obtuse = round(float(np.degrees(np.arccos(np.clip(a @ metric @ c / lengths.prod(), -1, 1)))), 4)
        key = (obtuse + (0.01 if letter == "I" else 0.0), float(lengths[0]))
        if best is None or key < best[0]:
            best = key, f"m{letter}", basis
    return None if best is None else best[1:]


def _orthorhombic(group: I, metric: F) -> tuple[str, I] | None:
    """a <= b <= c; of a centred face it is that of a and b."""
    axes = _axes(group, 2, metric)
    letter = _centring(np.column_stack(axes))
    if letter in ("A", "B"):
        a, b, c = axes
        axes = [b, c, a] if letter == "A" else [a, c, b]
        letter = "C"
    return None if letter is None else (f"o{letter}", np.column_stack(axes))


def _uniaxial(group: I, metric: F) -> tuple[str, I] | None:
    """Tetragonal and hexagonal: c along the main axis, a the shortest two-fold across it."""
    order = 4 if len(group) == 8 else 6
    main = next(w for w in group if order_of(w) == order)
    c = axis_of(main)
    a = next(v for v in _axes(group, 2, metric) if abs(v @ metric @ c) < 1e-6 * (c @ metric @ c))
    turn = main if order == 4 else main @ main
    basis = np.column_stack([a, turn @ a, c])
    letter = _centring(basis)
    return None if letter is None else (("t" if order == 4 else "h") + letter, basis)


def _rhombohedral(group: I, metric: F) -> tuple[str, I] | None:
    """Hexagonal axes, obverse setting."""
    turn = next(w for w in group if order_of(w) == 3)
    a = _axes(group, 2, metric)[0]
    for sign in (1, -1):
        basis = np.column_stack([sign * a, turn @ (sign * a), axis_of(turn)])
        basis = basis if np.linalg.det(basis) > 0 else basis * np.array([1, 1, -1])
        if _centring(basis) == "R":
            return "hR", basis
    return None


def _cubic(group: I, metric: F) -> tuple[str, I] | None:
    basis = np.column_stack(_axes(group, 4, metric))
    letter = _centring(basis)
    return None if letter is None else (f"c{letter}", basis)
