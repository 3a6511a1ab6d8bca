"""Indexing: the largest cell, bases from lattice vectors, scores, assignment of indices."""

from xtal.physics.indexing.assign import Assignment, assign_indices
from xtal.physics.indexing.beam import coherent_shifts, neighbour_differences
from xtal.physics.indexing.geometry import fit_shift, fit_with_shift, shift_derivatives, shifted
from xtal.physics.indexing.max_cell import estimate_max_cell
from xtal.physics.indexing.origin import OffsetClass, offset_classes, plane_shifts, shift_for_offset
from xtal.physics.indexing.score import Score, fit_setting, log_evidence, score_lattice, share_on_plane
from xtal.physics.indexing.search import (
    LatticeTrial,
    best_lattices,
    compare_cells,
    evenly,
    large_enough,
    reduce_setting,
    same_lattice,
    sublattices,
)

__all__ = [
    "Assignment",
    "LatticeTrial",
    "OffsetClass",
    "Score",
    "assign_indices",
    "best_lattices",
    "coherent_shifts",
    "compare_cells",
    "estimate_max_cell",
    "evenly",
    "fit_setting",
    "fit_shift",
    "fit_with_shift",
    "large_enough",
    "log_evidence",
    "neighbour_differences",
    "offset_classes",
    "plane_shifts",
    "reduce_setting",
    "same_lattice",
    "score_lattice",
    "share_on_plane",
    "shift_derivatives",
    "shift_for_offset",
    "shifted",
    "sublattices",
]
