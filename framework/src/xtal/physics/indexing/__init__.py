"""Indexing: the largest cell, bases from lattice vectors, scores, assignment of indices."""

from xtal.physics.indexing.assign import Assignment, assign_indices
from xtal.physics.indexing.max_cell import estimate_max_cell
from xtal.physics.indexing.score import Score, fit_setting, score_lattice
from xtal.physics.indexing.search import LatticeTrial, best_lattices, same_lattice

__all__ = [
    "Assignment",
    "LatticeTrial",
    "Score",
    "assign_indices",
    "best_lattices",
    "estimate_max_cell",
    "fit_setting",
    "same_lattice",
    "score_lattice",
]
