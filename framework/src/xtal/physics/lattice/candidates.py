"""The Bravais lattices that a crystal's metric allows, and the best of them."""

from __future__ import annotations

from collections.abc import Collection

import gemmi
import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from xtal.models import Crystal
from xtal.models.crystal import space_group_of
from xtal.physics.lattice.constraints import constrain, constrained_metric, metric_of
from xtal.physics.lattice.groups import metric_groups
from xtal.physics.lattice.reduction import reduced
from xtal.physics.lattice.settings import SPACE_GROUPS, conventional

F = NDArray[np.float64]

ORDERS = {"a": 1, "m": 2, "o": 4, "hR": 6, "t": 8, "hP": 12, "c": 24}
"""Proper rotations of a lattice, by its Bravais symbol or crystal family."""


@frozen(eq=False)
class LatticeCandidate:
    """A Bravais lattice that fits a crystal within the tolerance.

    Attributes
    ----------
    bravais : symbol: "aP", "mP", "mC" ("mI" where beta is nearer to 90 degrees so), "oP" ... "cF"
    basis : (3, 3) P from the axes of the crystal given; indices become h P
    delta_deg : largest obliquity of its two-folds (Le Page 1982), degrees; 0 for triclinic
    order : operations of the lattice's rotation group (1 triclinic to 24 cubic)
    space_group : lowest symmetry with this metric
    crystal : on the new axes, its cell obeying the lattice's metric, ``space_group`` set
    """

    bravais: str
    basis: F
    delta_deg: float
    order: int
    space_group: gemmi.SpaceGroup
    crystal: Crystal

    @property
    def cell(self) -> gemmi.UnitCell:
        return self.crystal.cell


def lattice_candidates(
    crystal: Crystal, max_delta_deg: float = 5.0, bravais: Collection[str] = tuple(SPACE_GROUPS)
) -> list[LatticeCandidate]:
    """Bravais lattices whose metric a crystal's lattice has, within a tolerance.

    Parameters
    ----------
    crystal
        In any setting; a centred one is taken to its primitive lattice first.
    max_delta_deg
        Largest obliquity of the two-folds of a lattice, degrees.
    bravais
        Symbols of the lattices that are of interest.

    Returns
    -------
    list of LatticeCandidate
        Highest symmetry first, then smallest ``delta_deg``; the last of all is always triclinic.

    References
    ----------
    Le Page (1982) J. Appl. Cryst. 15, 255; Lebedev et al. (2006) Acta Cryst. D62, 83.
    """
    start, to_reduced = reduced(crystal)
    metric = metric_of(start.A)
    orders = {ORDERS.get(symbol) or ORDERS[symbol[0]] for symbol in bravais}
    out = []
    for group, delta in metric_groups(metric, np.radians(max_delta_deg)):
        if len(group) not in orders:
            continue
        found = conventional(group, constrained_metric(metric, group.astype(float)))
        if found is None or found[0] not in bravais:
            continue
        symbol, basis = found
        changed = start.change_basis(basis.astype(float))
        space_group = space_group_of(SPACE_GROUPS[symbol])
        changed.space_group = space_group
        total = to_reduced @ basis
        fitted = constrain(changed)
        out.append(LatticeCandidate(symbol, total, float(np.degrees(delta)), len(group), space_group, fitted))
    return sorted(out, key=lambda c: (-c.order, round(c.delta_deg, 2), -c.space_group.number, c.basis.tobytes()))


def best_lattice(crystal: Crystal, bravais: str, max_delta_deg: float = 5.0) -> LatticeCandidate | None:
    """The candidate of one Bravais type with the smallest obliquity, or None ("mI" counts as "mC")."""
    wanted = {"mC", "mI"} if bravais in ("mC", "mI") else {bravais}
    return min(lattice_candidates(crystal, max_delta_deg, wanted), key=lambda c: c.delta_deg, default=None)
