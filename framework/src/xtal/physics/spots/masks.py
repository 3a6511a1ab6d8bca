"""Masks by resolution: limits, ranges, powder rings of ice."""

from __future__ import annotations

from collections.abc import Sequence

import gemmi
import numpy as np
from numpy.typing import NDArray

from xtal.errors import OptionError
from xtal.models import Beam, Panel
from xtal.models.crystal import unit_cell_of
from xtal.models.space_groups import space_group_of
from xtal.physics.resolution import d_at

ROWS = 128
"""Rows of the panel at a time, to keep temporaries small."""


def ice_rings(
    d_min: float,
    *,
    unit_cell: Sequence[float] = (4.498, 4.498, 7.338, 90.0, 90.0, 120.0),
    space_group: str = "194",
    width: float = 0.002,
) -> list[tuple[float, float]]:
    """Resolution ranges of the powder rings of a lattice, by default hexagonal ice.

    Parameters
    ----------
    d_min
        Angstrom, finest ring.
    unit_cell, space_group
        Of the powder; lengths in angstrom, angles in degrees.
    width
        Of a ring in 1/d**2, 1/angstrom**2.

    Returns
    -------
    (finest d, coarsest d) of each ring, angstrom, coarse rings first

    Raises
    ------
    OptionError
        If there is no such unit cell or space group.
    """
    try:
        cell, group = unit_cell_of(unit_cell), space_group_of(space_group)
    except ValueError as error:
        raise OptionError(f"{error}.", advice="Give the powder's own ice_rings.unit_cell= and space_group=.") from None
    hkl = gemmi.make_miller_array(cell, group, d_min)
    inverse_squares = np.unique(np.round(cell.calculate_1_d2_array(hkl), 9))
    half = width / 2
    return [((q + half) ** -0.5, max(q - half, 1e-6) ** -0.5) for q in inverse_squares]


def resolution_mask(
    panel: Panel,
    beam: Beam,
    *,
    d_min: float | None = None,
    d_max: float | None = None,
    excluded: Sequence[tuple[float, float]] = (),
) -> NDArray[np.bool_]:
    """Pixels of a panel within resolution limits.

    Parameters
    ----------
    panel, beam
        The geometry.
    d_min, d_max
        Angstrom; pixels of d <= d_min and of d >= d_max are masked.
    excluded
        Pairs (fine, coarse), angstrom; pixels of fine <= d <= coarse are masked.

    Returns
    -------
    (slow, fast) bool, True is good
    """
    fast, slow = panel.image_size
    good = np.ones((slow, fast), bool)
    edges = np.array(sorted({float(d) for pair in excluded for d in pair}))
    middles = np.concatenate([[0.0], (edges[1:] + edges[:-1]) / 2, [0.0]]) if len(edges) else edges
    closed = np.array([any(a <= m <= b for a, b in excluded) for m in middles])
    for row in range(0, slow, ROWS):
        y, x = np.mgrid[row : min(row + ROWS, slow), 0:fast] + 0.5
        d = d_at(panel, beam, np.stack([x, y], axis=-1))
        part = good[row : row + ROWS]
        if d_min is not None:
            part &= d > d_min
        if d_max is not None:
            part &= d < d_max
        if len(edges):
            part &= ~closed[np.searchsorted(edges, d)]
    return good
