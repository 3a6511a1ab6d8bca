"""True intensities: Wilson statistics, absences, symmetry mates and an anomalous signal."""

from __future__ import annotations

import gemmi
import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from xtal_steps_simulate.model import Array, Model

Integers = NDArray[np.int64]
Booleans = NDArray[np.bool_]

_COMPOSITION = {"C": 5.0, "N": 1.35, "O": 1.5, "S": 0.03}
"""Atoms of an average protein residue."""


@frozen(eq=False)
class Intensities:
    """Unique reflections and their intensities.

    Attributes
    ----------
    hkl : (n, 3) the mate that is largest in dictionary order
    plus, minus : (n,) intensities of that mate and of its Friedel mate
    centric : (n,)
    """

    hkl: Integers
    plus: Array
    minus: Array
    centric: Booleans

    def rows(self, unique_hkl: Integers) -> Integers:
        """Row of each unique index; every one must be there."""
        return np.searchsorted(index_key(self.hkl), index_key(unique_hkl))


def index_key(hkl: Integers) -> Integers:
    """One integer per Miller index that sorts as the indices do (each below 1024 in size)."""
    h, k, l = np.moveaxis(np.asarray(hkl, dtype=np.int64), -1, 0)
    return ((h + 1024) * 2048 + k + 1024) * 2048 + l + 1024


def largest_mate(hkl: Integers, group: gemmi.SpaceGroup) -> tuple[Integers, Booleans]:
    """Symmetry mate, Friedel mates included, that is largest in dictionary order.

    Returns
    -------
    mate : (n, 3)
    plus : (n,) whether a proper operation leads there (true for centric reflections)
    """
    rotations = {tuple(np.ravel(op.rot) // op.DEN) for op in group.operations().sym_ops}
    mates = np.stack([hkl @ np.array(r, dtype=np.int64).reshape(3, 3) for r in sorted(rotations)])
    keys = index_key(mates)
    rows = np.arange(len(hkl))
    top, bottom = keys.argmax(axis=0), keys.argmin(axis=0)
    proper, improper = mates[top, rows], -mates[bottom, rows]
    plus = index_key(proper) >= index_key(improper)
    return np.where(plus[:, None], proper, improper), plus


def lattice_points(model: Model) -> Integers:
    """(n, 3) indices of all reflections to the resolution limit that the space group allows, sorted."""
    d_min = model.resolution
    limit = [int(edge / d_min) + 1 for edge in model.unit_cell[:3]]
    grid = np.stack(np.meshgrid(*(np.arange(-m, m + 1) for m in limit), indexing="ij"), axis=-1).reshape(-1, 3)
    s_sq = np.sum((grid @ model.b_matrix.T) ** 2, axis=1)
    hkl = grid[(s_sq > 0) & (s_sq <= d_min**-2)]
    return hkl[~group_absences(hkl, model.group)]


def group_absences(hkl: Integers, group: gemmi.SpaceGroup) -> Booleans:
    """(n,) whether the space group extinguishes each reflection."""
    return np.asarray(group.operations().systematic_absences(hkl.astype(np.int32)), dtype=bool)


def wilson_mean(s_sq: Array, wilson_b: float) -> Array:
    """Mean intensity at 1/d^2 (1/square angstrom) of randomly placed atoms, up to a scale (Wilson 1949)."""
    total = np.zeros_like(s_sq)
    for element, number in _COMPOSITION.items():
        form = gemmi.Element(element).it92
        a, b, c = np.array(form.a), np.array(form.b), form.c
        total += number * (np.exp(-np.multiply.outer(s_sq / 4, b)) @ a + c) ** 2
    return total * np.exp(-wilson_b * s_sq / 2)


def draw_intensities(model: Model, hkl: Integers) -> Intensities:
    """Seeded intensities of the unique reflections among ``hkl``.

    Acentric intensities are exponential, centric ones chi-square of one degree about the Wilson mean times
    the symmetry enhancement epsilon. Friedel amplitudes are F (1 +- delta / 2).
    """
    group = model.group
    mate, _ = largest_mate(hkl, group)
    _, first = np.unique(index_key(mate), return_index=True)
    unique = mate[first]
    operations = group.operations()
    epsilon = np.asarray(operations.epsilon_factor_without_centering_array(unique.astype(np.int32)), dtype=float)
    centric = np.asarray(operations.centric_flag_array(unique.astype(np.int32)), dtype=bool)
    mean = epsilon * wilson_mean(np.sum((unique @ model.b_matrix.T) ** 2, axis=1), model.wilson_b)
    rng = model.rng("intensities")
    value = mean * np.where(centric, rng.normal(size=len(unique)) ** 2, rng.exponential(size=len(unique)))
    delta = np.where(centric, 0.0, np.clip(model.anomalous * rng.normal(size=len(unique)), -1, 1))
    return Intensities(
        hkl=unique, plus=value * (1 + delta / 2) ** 2, minus=value * (1 - delta / 2) ** 2, centric=centric
    )
