"""Symmetry of reflections: asymmetric units, Laue groups scored on the data, systematic absences.

Rotations act on fractional coordinates as x' = R x and on Miller indices (rows) as
h' = h R. A change of basis P has (a', b', c') = (a, b, c) P, so h' = h P and
R' = P^-1 R P.
"""

from xtal.physics.symmetry.absences import SpaceGroupScore, score_space_groups
from xtal.physics.symmetry.asu import (
    ccp4_asu,
    centric,
    epsilon,
    pack,
    point_group_rotations,
    representatives,
    systematically_absent,
    unpack,
)
from xtal.physics.symmetry.change_of_basis import ChangeOfBasis
from xtal.physics.symmetry.groups import lattice_rotations, reduced_basis, subgroups
from xtal.physics.symmetry.laue import ElementScore, LaueResult, SubgroupScore, find_laue_group, normalise
from xtal.physics.symmetry.orientations import Turn, ambiguities, indexing_ways, smallest_turn
from xtal.physics.symmetry.reindex import basis_for_space_group, basis_of, fits_cell, on_axes, to_reference
from xtal.physics.symmetry.settings import Setting, conventional_setting

__all__ = [
    "ChangeOfBasis",
    "ElementScore",
    "LaueResult",
    "Setting",
    "SpaceGroupScore",
    "SubgroupScore",
    "Turn",
    "ambiguities",
    "basis_for_space_group",
    "basis_of",
    "ccp4_asu",
    "centric",
    "conventional_setting",
    "epsilon",
    "find_laue_group",
    "fits_cell",
    "indexing_ways",
    "lattice_rotations",
    "normalise",
    "on_axes",
    "pack",
    "point_group_rotations",
    "reduced_basis",
    "representatives",
    "score_space_groups",
    "smallest_turn",
    "subgroups",
    "systematically_absent",
    "to_reference",
    "unpack",
]
