"""Masks that the options ask for, besides those of the images."""

from __future__ import annotations

from collections.abc import Iterator

import attrs
import numpy as np
from numpy.typing import NDArray

from xtal.errors import OptionError
from xtal.models import Detector, Experiment, Panel
from xtal.physics.resolution import highest_resolution, resolution_range
from xtal.physics.spots import circle_mask, ice_rings, polygon_mask, resolution_mask
from xtal.words import counted
from xtal_steps_spots.mask_options import MaskOptions, UntrustedOptions
from xtal_steps_spots.options import SpotfinderOptions

Mask = NDArray[np.bool_]
FEW_LEFT = 0.01
"""Part of the pixels: hardly anyone means to look at fewer."""


def search_masks(experiment: Experiment, options: SpotfinderOptions) -> list[Mask] | None:
    """Where to search, per panel (slow, fast); None if everywhere.

    Raises
    ------
    OptionError
        If the limits leave nothing, or contradict one another.
    """
    f = options.filter
    if f.min_spot_size is not None and f.min_spot_size > f.max_spot_size:
        raise OptionError(f"min_spot_size={f.min_spot_size} is larger than max_spot_size={f.max_spot_size}.")
    masks = drawn_masks(experiment, f)
    if options.region_of_interest:
        regions = [inside(panel, 0, options.region_of_interest) for panel in experiment.detector]
        masks = regions if masks is None else [a & b for a, b in zip(masks, regions, strict=True)]
    if masks is not None and not any(mask.any() for mask in masks):
        raise OptionError(
            "No pixel of the detector lies within the limits of the search.",
            advice=limits_against_detector(experiment, f)
            or "Change resolution_range, border, untrusted or region_of_interest.",
        )
    return masks


def limits_against_detector(experiment: Experiment, options: MaskOptions) -> str:
    """The limits of resolution beside what the detector covers; "" where none are given."""
    given = [f"{name}={value:g}" for name in ("d_min", "d_max") if (value := getattr(options, name)) is not None]
    given += [f"resolution_range={a:g},{b:g}" for a, b in options.resolution_range]
    if not given:
        return ""
    fine, coarse = resolution_range(experiment.detector, experiment.beam)
    return f"Change {', '.join(given)}: the pixels of the detector are at {fine:.2f} to {coarse:.4g} Å."


def hardly_any(masks: list[Mask]) -> bool:
    """Whether so few pixels are good that something was got wrong."""
    return sum(int(mask.sum()) for mask in masks) < FEW_LEFT * sum(mask.size for mask in masks)


def drawn_masks(experiment: Experiment, options: MaskOptions) -> list[Mask] | None:
    """Masks by shapes and resolution, per panel (slow, fast), True is good; None if nothing is to be masked.

    Raises
    ------
    OptionError
        If the limits contradict one another, or a shape is not on the detector.
    """
    masks: list[Mask] | None = None
    for _, part in drawn_parts(experiment, options):
        masks = part if masks is None else [a & b for a, b in zip(masks, part, strict=True)]
    return masks


def drawn_parts(experiment: Experiment, options: MaskOptions) -> Iterator[tuple[str, list[Mask]]]:
    """What is masked and by which option, one after another (see `drawn_masks`)."""
    o = options
    if o.d_min is not None and o.d_max is not None and o.d_min >= o.d_max:
        raise OptionError(f"d_min={o.d_min:g} must be smaller than d_max={o.d_max:g}.")
    if o.border:
        yield "border", [inside(panel, o.border, None) for panel in experiment.detector]
    if o.untrusted:
        masks = [inside(panel, 0, None) for panel in experiment.detector]
        for region in o.untrusted:
            mask_region(masks, region, experiment.detector)
        yield "untrusted", masks
    limits = [n for n in ("d_min", "d_max", "resolution_range") if getattr(o, n)] + ["ice_rings"] * o.ice_rings.filter
    if limits:
        excluded = excluded_ranges(experiment, o)
        panels = experiment.detector.panels
        if o.disable_parallax_correction:
            panels = [attrs.evolve(panel, parallax=False) for panel in panels]
        yield (
            ", ".join(limits),
            [
                resolution_mask(panel, experiment.beam, d_min=o.d_min, d_max=o.d_max, excluded=excluded)
                for panel in panels
            ],
        )


def excluded_ranges(experiment: Experiment, options: MaskOptions) -> list[tuple[float, float]]:
    """(fine, coarse) ranges of resolution (angstrom) to mask: those given, and powder rings."""
    ranges = [(min(pair), max(pair)) for pair in options.resolution_range]
    ice = options.ice_rings
    if ice.filter:
        limit = highest_resolution(experiment.detector, experiment.beam)
        ranges += ice_rings(
            ice.d_min or limit, unit_cell=ice.unit_cell, space_group=ice.space_group, width=ice.width
        )  # fmt: skip
    return ranges


def inside(panel: Panel, border: int, region: tuple[int, ...] | None) -> Mask:
    """(slow, fast) True inside of the border and of the region x0, x1, y0, y1."""
    fast, slow = panel.image_size
    x0, x1, y0, y1 = region or (0, fast, 0, slow)
    x0, x1, y0, y1 = max(x0, border), min(x1, fast - border), max(y0, border), min(y1, slow - border)
    mask = np.zeros((slow, fast), bool)
    mask[max(y0, 0) : max(y1, 0), max(x0, 0) : max(x1, 0)] = True
    return mask


def mask_region(masks: list[Mask], region: UntrustedOptions, detector: Detector) -> None:
    """Clear a region of the masks of the panels.

    Raises
    ------
    OptionError
        If there is no such panel or pixel, or a polygon has no three corners.
    """
    number = region.panel or 0
    if number >= len(detector):
        raise OptionError(
            f"untrusted.panel={number}: the detector has {counted(len(detector), 'panel')}, counted from 0."
        )
    mask = masks[number]
    slow, fast = mask.shape
    if region.circle is region.rectangle is region.polygon is region.pixel is None:
        mask[:] = False
    if region.circle is not None:
        mask &= ~circle_mask((slow, fast), *region.circle)
    if region.rectangle is not None:
        x0, x1, y0, y1 = np.clip(region.rectangle, 0, [fast, fast, slow, slow])
        mask[y0:y1, x0:x1] = False
    if region.polygon is not None:
        values = region.polygon
        if len(values) < 6 or len(values) % 2:
            raise OptionError("untrusted.polygon needs x and y of three or more corners: x1,y1,x2,y2,x3,y3,...")
        mask &= ~polygon_mask((slow, fast), list(zip(values[::2], values[1::2], strict=True)))
    if region.pixel is not None:
        y, x = region.pixel
        if not (0 <= y < slow and 0 <= x < fast):
            raise OptionError(f"untrusted.pixel={y},{x} (y, x) is not on a panel of {slow} rows of {fast} pixels.")
        mask[y, x] = False
