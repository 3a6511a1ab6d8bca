"""Whether what was indexed is a lattice: what chance, or too few spots, would give too is refused."""

from __future__ import annotations

import numpy as np

from xtal.errors import AlgorithmFailed
from xtal.models import Crystal
from xtal.physics.indexing import log_evidence, share_on_plane
from xtal.table import ReflectionTable
from xtal_steps_geometry.index_cycles import State
from xtal_steps_geometry.index_options import IndexingOptions

LEAST_EVIDENCE = 10.0
"""Log odds (natural) for a lattice that are asked for."""

ALL_ON_A_PLANE = 0.95
"""Share of the spots of one reciprocal plane from which on the axis across it is not known."""


def demand_lattices(state: State, options: IndexingOptions) -> None:
    """See to it that each lattice explains its spots and those without index better than chance, in three dimensions.

    Raises
    ------
    AlgorithmFailed
    """
    demand_more_than_chance(state.table, options.index_assignment.simple.hkl_tolerance)
    lattice = np.asarray(state.table["id"]) // len(state.images)
    for k, crystal in enumerate(state.crystals):
        demand_evidence(crystal, state.table.select((lattice == k) | (lattice < 0)), options)
        if options.known_symmetry.unit_cell is None:
            demand_three_dimensions(crystal, np.asarray(state.table["miller_index"])[lattice == k])


def by_chance(tolerance: float) -> float:
    """Probability that a spot at random falls within ``tolerance`` of a lattice point: a sphere of that radius."""
    return 4.0 / 3.0 * float(np.pi) * tolerance**3


def more_than_chance(n: int, indexed: int, tolerance: float) -> bool:
    """Whether of ``n`` spots more have an index than would of spots at random, by five standard deviations."""
    chance = by_chance(tolerance)
    return indexed >= n * chance + 5.0 * float(np.sqrt(n * chance * (1.0 - chance)))


def demand_more_than_chance(table: ReflectionTable, tolerance: float) -> None:
    """See to it that more spots have an index than by chance."""
    n, indexed = len(table), int((np.asarray(table["id"]) >= 0).sum())
    if not more_than_chance(n, indexed, tolerance):
        raise AlgorithmFailed(
            f"No lattice was found: the best one reaches {indexed} of {n} spots, "
            f"{100 * by_chance(tolerance):.0f} % would by chance.",
            advice="Check beam centre, distance and rotation axis, or give unit_cell= and space_group=.",
        )


def demand_evidence(crystal: Crystal, table: ReflectionTable, options: IndexingOptions) -> None:
    """A lattice that has as many free elements as the spots fix proves nothing."""
    known = options.known_symmetry
    share = 0.0 if known.unit_cell is None else 2 / 3
    evidence = log_evidence(crystal.A, np.asarray(table["rlp"]), share)
    if evidence < LEAST_EVIDENCE:
        cell = " ".join(f"{v:.2f}" for v in crystal.cell.parameters)
        raise AlgorithmFailed(
            f"No lattice was found: the best one, {cell}, has indices for {int((np.asarray(table['id']) >= 0).sum())} "
            f"of {len(table)} spots, which a lattice fitted to spots at random may have too (log odds {evidence:.0f}).",
            advice="Find more spots (more images, a lower threshold), check beam centre, distance and rotation axis"
            + (", or give unit_cell= and space_group=." if known.unit_cell is None else "."),
        )


def demand_three_dimensions(crystal: Crystal, hkl: np.ndarray) -> None:
    """Spots of one plane leave the third axis open."""
    share = share_on_plane(hkl)
    if share > ALL_ON_A_PLANE:
        cell = " ".join(f"{v:.2f}" for v in crystal.cell.parameters)
        raise AlgorithmFailed(
            f"{100 * share:.0f} % of the spots lie on one plane of the reciprocal lattice: only two of the three axes "
            f"can be known (cell tried: {cell}).",
            advice="Use images over a wider range of rotation.",
        )
