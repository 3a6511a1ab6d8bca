"""The conventional cell of a rotation group: axes along its symmetry elements."""

from __future__ import annotations

import itertools

import gemmi
import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from xtal.physics.symmetry.groups import order_of

F = NDArray[np.float64]
I64 = NDArray[np.int64]


@frozen
class Setting:
    """A lattice with a rotation group, in its conventional setting.

    Attributes
    ----------
    basis : (3, 3) P, conventional axes = primitive axes P
    centring : P, C, I, F or R (obverse, hexagonal axes)
    point_group : proper point group, "422", "321", ...
    """

    basis: F
    centring: str
    point_group: str

    @property
    def symmorphic(self) -> gemmi.SpaceGroup:
        """The group without screw axes in this setting."""
        rest = {"2": "1 2 1", "222": "2 2 2", "422": "4 2 2", "622": "6 2 2", "32": "3 2"}
        tail = {"321": "3 2 1", "312": "3 1 2", "23": "2 3", "432": "4 3 2"} | rest
        suffix = ":H" if self.centring == "R" else ""
        found = gemmi.find_spacegroup_by_name(f"{self.centring} {tail.get(self.point_group, self.point_group)}{suffix}")
        assert found is not None
        return found


def point_group_of(rotations: I64) -> str:
    """Name of a proper rotation group; "32" for both settings of the trigonal one."""
    orders = [order_of(r) for r in rotations]
    count = {n: orders.count(n) for n in (2, 3, 4, 6)}
    names = {1: "1", 3: "3", 8: "422", 24: "432"}
    if len(rotations) in names:
        return names[len(rotations)]
    if len(rotations) == 2:
        return "2"
    if len(rotations) == 4:
        return "4" if count[4] else "222"
    if len(rotations) == 6:
        return "6" if count[6] else "32"
    return "622" if count[6] else "23"


def conventional_setting(rotations: I64, metric: F) -> Setting:
    """Conventional axes of a rotation group of a primitive reduced lattice.

    Parameters
    ----------
    rotations : (m, 3, 3) in the primitive basis
    metric : (3, 3) metric tensor of that basis, square angstrom
    """
    name = point_group_of(rotations)
    vectors = _short_vectors(metric)
    if name == "1":
        return Setting(np.eye(3), "P", "1")
    if name == "2":
        return _monoclinic(rotations, vectors, metric)
    if name in ("222", "23", "432"):
        return _rectangular(rotations, vectors, metric, name)
    return _uniaxial(rotations, vectors, metric, name)


def _short_vectors(metric: F) -> I64:
    """(n, 3) lattice vectors from the shortest on; of equals, the one with positive elements first."""
    grid = np.array(list(itertools.product(range(-3, 4), repeat=3)), dtype=np.int64)
    grid = grid[np.any(grid != 0, axis=1)]
    length = np.round(np.einsum("ni,ij,nj->n", grid, metric, grid), 3)
    return grid[np.lexsort((-grid[:, 2], -grid[:, 1], -grid[:, 0], length))]


def _kept(rotation: I64, vectors: I64) -> I64:
    """Vectors along the axis of a rotation."""
    return vectors[np.all(vectors @ rotation.T == vectors, axis=1)]


def _across(rotation: I64, vectors: I64) -> I64:
    """Vectors at right angles to the axis of a rotation: the turned copies add up to nothing."""
    n = order_of(rotation)
    total = sum(np.linalg.matrix_power(rotation, k) for k in range(n))
    return vectors[np.all(vectors @ np.asarray(total).T == 0, axis=1)]


def _right_handed(*columns: I64) -> F:
    basis = np.array(columns, dtype=float).T
    return basis if np.linalg.det(basis) > 0 else basis * np.array([-1.0, -1.0, -1.0])


def _centring(basis: F) -> str:
    """Centring letter of a basis from the lattice points inside its cell."""
    volume = round(abs(np.linalg.det(basis)))
    letters = {"A": (0, 1, 1), "B": (1, 0, 1), "C": (1, 1, 0), "I": (1, 1, 1)}
    halves = [k for k, v in letters.items() if np.allclose(np.round(basis @ v) % 2, 0)]
    if volume == 1:
        return "P"
    if volume == 3:
        return "R"
    return "F" if len(halves) == 3 else halves[0]


def _monoclinic(rotations: I64, vectors: I64, metric: F) -> Setting:
    """Unique axis b, the least oblique of the C and I cells."""
    rotation = rotations[1]
    b, plane = _kept(rotation, vectors)[0], _across(rotation, vectors)
    short = plane[np.gcd.reduce(plane, axis=1) == 1][:16]
    area = min(_area(u, v, metric) for u, v in itertools.combinations(short, 2) if np.any(np.cross(u, v)))
    best: tuple[float, F, str] | None = None
    for a, c in itertools.permutations(short, 2):
        cosine = float(a @ metric @ c) / float(np.sqrt((a @ metric @ a) * (c @ metric @ c)))
        if abs(_area(a, c, metric) - area) > 1e-3 * area or cosine > 1e-5:
            continue
        basis = np.array([a, b, c], dtype=float).T
        basis = basis if np.linalg.det(basis) > 0 else basis * np.array([1.0, -1.0, 1.0])
        letter = _centring(basis)
        if letter not in ("P", "C", "I") or (letter != "C" and a @ metric @ a > 1.0001 * (c @ metric @ c)):
            continue
        if best is None or -cosine < best[0] - 1e-5:
            best = (-cosine, basis, letter)
    assert best is not None
    return Setting(best[1], best[2], "2")


def _area(u: I64, v: I64, metric: F) -> float:
    return float(np.sqrt(max(0.0, float((u @ metric @ u) * (v @ metric @ v) - (u @ metric @ v) ** 2))))


def _rectangular(rotations: I64, vectors: I64, metric: F, name: str) -> Setting:
    """Orthorhombic and cubic: axes along the two-folds, or the four-folds where there are any."""
    wanted = 4 if name == "432" else 2
    axes: list[I64] = []
    for rotation in rotations:
        if order_of(rotation) == wanted:
            axis = _kept(rotation, vectors)[0]
            if not any(np.array_equal(axis, a) or np.array_equal(-axis, a) for a in axes):
                axes.append(axis)
    axes.sort(key=lambda v: float(np.round(v @ metric @ v, 3)))
    basis = _right_handed(*axes)
    letter = _centring(basis)
    if letter in "AB":
        a, b, c = axes
        basis, letter = _right_handed(*((b, c, a) if letter == "A" else (a, c, b))), "C"
    return Setting(basis, letter, name)


def _uniaxial(rotations: I64, vectors: I64, metric: F, name: str) -> Setting:
    """Tetragonal, trigonal and hexagonal: c along the main axis, a the shortest across it."""
    order = 4 if name.startswith("4") else 3
    turn = next(r for r in rotations if order_of(r) == order)
    c = _kept(turn, vectors)[0]
    a = _across(turn, vectors)[0]
    b = turn @ a
    basis = np.array([a, b, c], dtype=float).T
    if np.linalg.det(basis) < 0:
        basis = np.array([a, turn @ b if order == 3 else -b, c], dtype=float).T
    letter = _centring(basis)
    if letter == "R" and not np.allclose(np.round(basis @ (2, 1, 1)) % 3, 0):
        basis = basis * np.array([-1.0, -1.0, 1.0])
    if name == "32":
        name = "32" if letter == "R" else _two_fold_setting(rotations, basis)
    return Setting(basis, letter, name)


def _two_fold_setting(rotations: I64, basis: F) -> str:
    """321 where a two-fold runs along a, b or a + b, else 312."""
    a, b = basis[:, 0], basis[:, 1]
    for rotation in rotations:
        if order_of(rotation) == 2 and any(np.allclose(rotation @ v, v) for v in (a, b, a + b)):
            return "321"
    return "312"


def in_basis(rotations: I64, basis: F) -> I64:
    """The rotations P^-1 R P on new axes; they must be integers there."""
    turned = np.linalg.inv(basis) @ rotations @ basis
    return np.rint(turned).astype(np.int64)


def same_rotations(first: I64, second: I64) -> bool:
    """Whether two arrays hold the same rotations, in any order."""
    as_set = lambda group: {np.ascontiguousarray(r, dtype=np.int64).tobytes() for r in group}
    return as_set(first) == as_set(second)
