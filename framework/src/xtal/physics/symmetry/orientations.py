"""How crystals are turned against one another, over all ways to index them alike."""

from __future__ import annotations

import gemmi
import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from xtal.models import Crystal
from xtal.physics.symmetry.asu import point_group_rotations
from xtal.physics.symmetry.change_of_basis import ChangeOfBasis
from xtal.physics.symmetry.groups import lattice_rotations, reduced_basis

F = NDArray[np.float64]


@frozen(eq=False)
class Turn:
    """The smallest rotation that takes one crystal to another.

    Attributes
    ----------
    change : of the second crystal's axes, within its symmetry
    rotation : (3, 3) R with U2' = R U1
    angle_deg : degrees, 0 to 180
    axis : (3,) unit vector; along z where nothing turns
    """

    change: ChangeOfBasis
    rotation: F
    angle_deg: float
    axis: F


def smallest_turn(first: Crystal, second: Crystal, group: gemmi.SpaceGroup | None = None) -> Turn:
    """The smallest rotation between two crystals over all equivalent indexings of the second.

    Parameters
    ----------
    group
        Whose proper rotations are equivalent (None: that of the second crystal).
    """
    best: Turn | None = None
    for rotation in point_group_rotations(group or second.space_group):
        change = ChangeOfBasis.from_matrix(rotation)
        turned = second.change_basis(change.basis).U @ first.U.T
        angle, axis = angle_and_axis(turned)
        if best is None or angle < best.angle_deg - 1e-9:
            best = Turn(change, turned, angle, axis)
    assert best is not None
    return best


def angle_and_axis(rotation: F) -> tuple[float, F]:
    """Angle (degrees, 0 to 180) and unit axis of a rotation matrix (3, 3)."""
    cross = np.array(
        [rotation[2, 1] - rotation[1, 2], rotation[0, 2] - rotation[2, 0], rotation[1, 0] - rotation[0, 1]]
    )
    sine, cosine = float(np.linalg.norm(cross)) / 2, (float(np.trace(rotation)) - 1) / 2
    angle = float(np.degrees(np.arctan2(sine, cosine)))
    if sine > 1e-8:
        return angle, cross / (2 * sine)
    if cosine > 0:
        return angle, np.array([0.0, 0.0, 1.0])
    # half a turn: the axis is the column of R + 1 that is longest
    columns = rotation + np.eye(3)
    column = columns[:, int(np.argmax(np.linalg.norm(columns, axis=0)))]
    return angle, np.asarray(column / np.linalg.norm(column))


def ambiguities(cell: gemmi.UnitCell, group: gemmi.SpaceGroup, max_delta_deg: float = 3.0) -> list[ChangeOfBasis]:
    """Ways to index the same lattice that the space group does not make equivalent (twin operators).

    Parameters
    ----------
    max_delta_deg
        How far the lattice may miss the higher symmetry.

    Returns
    -------
    list
        One of each kind, the identity not among them; empty where the lattice has no more symmetry than the group.
    """
    to_reduced = reduced_basis(cell, group.centring_type())
    reduced = ChangeOfBasis.from_matrix(to_reduced).cell(cell)
    rotations, _ = lattice_rotations(reduced, max_delta_deg)
    own = point_group_rotations(group)
    seen = {r.tobytes() for r in own}
    found = []
    for rotation in sorted(rotations, key=lambda r: (-np.trace(r), np.abs(r).sum())):
        here = to_reduced @ rotation @ np.linalg.inv(to_reduced)
        whole = np.rint(here).astype(np.int64)
        if not np.allclose(here, whole, atol=1e-6) or whole.tobytes() in seen:
            continue
        found.append(ChangeOfBasis.from_matrix(whole))
        seen |= {np.ascontiguousarray(whole @ r).tobytes() for r in own}
        seen |= {np.ascontiguousarray(r @ whole).tobytes() for r in own}
    return found


def indexing_ways(cell: gemmi.UnitCell, group: gemmi.SpaceGroup, max_delta_deg: float = 2.0) -> int:
    """In how many ways crystals of one kind can be indexed so that their intensities differ.

    Only turns of the lattice count that leave the axes of the space group what they are: others are told by
    the symmetry of the intensities.

    Parameters
    ----------
    max_delta_deg
        How far the lattice may miss the higher symmetry.
    """
    own = point_group_rotations(group)
    known = {r.tobytes() for r in own}
    turns = [op.basis for op in ambiguities(cell, group, max_delta_deg)]
    return 1 + sum(
        all(np.rint(t @ r @ np.linalg.inv(t)).astype(np.int64).tobytes() in known for r in own) for t in turns
    )
