"""Lattices: reduction, lattice symmetry, Bravais settings, metric constraints.

A change of basis P takes the axes (a, b, c) to (a', b', c') = (a, b, c) P and Miller indices
(rows) to h P, as in `xtal.models.Crystal.change_basis`.
"""

from xtal.physics.lattice.candidates import LatticeCandidate, best_lattice, lattice_candidates
from xtal.physics.lattice.constraints import constrain, constrained_metric, metric_of
from xtal.physics.lattice.known import apply_known_symmetry, bravais_of
from xtal.physics.lattice.reduction import niggli_basis, primitive_basis, reduced
from xtal.physics.lattice.uncertainty import cell_esds, describe_cell, with_esd

__all__ = [
    "LatticeCandidate",
    "apply_known_symmetry",
    "best_lattice",
    "bravais_of",
    "cell_esds",
    "constrain",
    "constrained_metric",
    "describe_cell",
    "lattice_candidates",
    "metric_of",
    "niggli_basis",
    "primitive_basis",
    "reduced",
    "with_esd",
]
