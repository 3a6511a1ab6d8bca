"""Masks that the options ask for, besides those of the images."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from xtal.errors import OptionError
from xtal.models import Experiment, Panel
from xtal.physics.resolution import highest_resolution
from xtal.physics.spots import ice_rings, resolution_mask
from xtal_steps_spots.options import FilterOptions, SpotfinderOptions

Mask = NDArray[np.bool_]


def search_masks(experiment: Experiment, options: SpotfinderOptions) -> list[Mask] | None:
    """Where to search, per panel (slow, fast); None if everywhere.

    Raises
    ------
    OptionError
        If the limits leave nothing, or contradict one another.
    """
    check_limits(options)
    f = options.filter
    by_resolution = f.d_min is not None or f.d_max is not None or f.resolution_range or f.ice_rings.filter
    if not (by_resolution or f.border or options.region_of_interest):
        return None
    excluded = excluded_ranges(experiment, f)
    masks = []
    for panel in experiment.detector:
        mask = window_mask(panel, f.border, options.region_of_interest)
        if by_resolution:
            mask &= resolution_mask(panel, experiment.beam, d_min=f.d_min, d_max=f.d_max, excluded=excluded)
        masks.append(mask)
    if not any(mask.any() for mask in masks):
        raise OptionError(
            "No pixel of the detector lies within the limits of the search.",
            advice="Change d_min, d_max, resolution_range, border or region_of_interest.",
        )
    return masks


def check_limits(options: SpotfinderOptions) -> None:
    """Whether the options agree with one another."""
    f = options.filter
    if f.d_min is not None and f.d_max is not None and f.d_min >= f.d_max:
        raise OptionError(f"d_min={f.d_min:g} must be smaller than d_max={f.d_max:g}.")
    if f.min_spot_size is not None and f.min_spot_size > f.max_spot_size:
        raise OptionError(f"min_spot_size={f.min_spot_size} is larger than max_spot_size={f.max_spot_size}.")


def excluded_ranges(experiment: Experiment, options: FilterOptions) -> list[tuple[float, float]]:
    """(fine, coarse) ranges of resolution (angstrom) to mask: those given, and powder rings."""
    ranges = [(min(pair), max(pair)) for pair in options.resolution_range]
    ice = options.ice_rings
    if ice.filter:
        limit = highest_resolution(experiment.detector, experiment.beam)
        ranges += ice_rings(
            ice.d_min or limit, unit_cell=ice.unit_cell, space_group=ice.space_group, width=ice.width
        )  # fmt: skip
    return ranges


def window_mask(panel: Panel, border: int, region: tuple[int, ...] | None) -> Mask:
    """(slow, fast) True inside of the border and of the region x0, x1, y0, y1."""
    fast, slow = panel.image_size
    x0, x1, y0, y1 = region or (0, fast, 0, slow)
    x0, x1, y0, y1 = max(x0, border), min(x1, fast - border), max(y0, border), min(y1, slow - border)
    mask = np.zeros((slow, fast), bool)
    mask[max(y0, 0) : max(y1, 0), max(x0, 0) : max(x1, 0)] = True
    return mask
