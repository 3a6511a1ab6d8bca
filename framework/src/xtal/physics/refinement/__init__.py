"""Least-squares refinement of the models of rotation data against observed centroids.

The way of Waterman et al. (2016), Acta Cryst. D72, 558: exact analytic gradients, tensor
constraints on the cell, smoothly varying crystals. `refine` is a pure function.
"""

from xtal.physics.refinement.engine import refine, split_crystals
from xtal.physics.refinement.settings import Cycle, RefinementResult, RefinementSettings

__all__ = ["Cycle", "RefinementResult", "RefinementSettings", "refine", "split_crystals"]
