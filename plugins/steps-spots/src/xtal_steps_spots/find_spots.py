"""The step find_spots."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from attrs import define

from xtal.errors import AlgorithmFailed, OptionError
from xtal.models import Experiment
from xtal.physics.resolution import d_at
from xtal.physics.spots import Spots, StrongPixels, find_spots
from xtal.run import Context
from xtal.table import ReflectionTable
from xtal_steps_spots.histogram import histogram
from xtal_steps_spots.masks import search_masks
from xtal_steps_spots.options import FilterOptions, SpotfinderOptions
from xtal_steps_spots.search import Search

FEW = 20
"""Fewer spots than this are worth a warning: indexing is unlikely to succeed."""


@define
class Counts:
    """What was found and why it was dropped, added up over all images."""

    images: int = 0
    pixels: int = 0
    groups: int = 0
    small: int = 0
    large: int = 0
    off_centre: int = 0


def run(context: Context) -> None:
    """Find strong spots on the images of all experiments."""
    options: SpotfinderOptions = context.options.spotfinder
    counts, tables = Counts(), []
    if options.lookup.mask is not None:
        context.use_mask(options.lookup.mask)
    done: dict[Any, int] = {}
    for number, experiment in enumerate(context.experiments):
        if (images := images_key(experiment)) in done:
            context.warn(f"Experiment {number} has the images of experiment {done[images]} and is not searched again.")
            continue
        done[images] = number
        found = search_experiment(context, number, experiment, counts)
        if len(context.experiments) > 1:
            context.print(f"Experiment {number}: {len(found)} spots")
        tables.append(found)
    table = tables[0] if len(tables) == 1 else ReflectionTable.concatenate(tables)
    table.identifiers = {i: e.identifier for i, e in enumerate(context.experiments) if e.identifier}
    if len(table) == 0:
        raise AlgorithmFailed(
            f"No spot was found on {counts.images} images: {counts.pixels} strong pixels, "
            f"{counts.groups} groups of them, none of which passed the filters.",
            advice=advice_for_none(counts, options),
        )
    context.print(histogram(table["xyzobs.px.value"][:, 2]))
    context.write_reflections(table)
    summarise(context, table, counts)


def images_key(experiment: Experiment) -> Any:
    """What tells the images of experiments apart."""
    scan = experiment.scan.image_range if experiment.scan else None
    images = experiment.images
    if images is None:
        return id(experiment)
    return images.template, tuple(images.paths), tuple(images.indices or ()), scan


def search_experiment(context: Context, number: int, experiment: Experiment, counts: Counts) -> ReflectionTable:
    """Spots of one experiment.

    Raises
    ------
    DataError
        If an image cannot be read.
    AlgorithmFailed
        If an image has too many strong pixels.
    """
    options: SpotfinderOptions = context.options.spotfinder
    masks = search_masks(experiment, options)
    threshold = context.plugin(options.threshold)
    link = not (experiment.is_still or options.force_2d)
    reader = context.frames(experiment)
    tables = []
    try:
        ranges = frame_ranges(reader.z0, reader.z1, options.scan_range)
        search = Search(experiment, reader, threshold, masks, options.filter.max_strong_pixel_fraction)
        with context.progress(sum(last - first for first, last in ranges), "frames") as progress:
            for first, last in ranges:
                parts = []
                for n_frames, pixels in search.run(first, last, context.executor):
                    parts.append(pixels)
                    progress.advance(n_frames)
                counts.images += last - first
                for panel, of_panel in enumerate(zip(*parts, strict=True)):
                    spots = filtered(find_spots(joined(of_panel), link_frames=link), experiment, options.filter, counts)
                    tables.append(spots.table(panel, number, first, shoeboxes=options.shoeboxes))
    finally:
        reader.close()
    return tables[0] if len(tables) == 1 else ReflectionTable.concatenate(tables)


def joined(parts: tuple[StrongPixels, ...]) -> StrongPixels:
    """The frames of all blocks."""
    return StrongPixels.concatenate(parts)


def frame_ranges(first: int, last: int, scan_range: tuple[tuple[int, int], ...]) -> list[tuple[int, int]]:
    """Runs of frames to search, of those from first to last (array indices, half open).

    Raises
    ------
    OptionError
        If no image lies in the ranges asked for.
    """
    if not scan_range:
        return [(first, last)]
    wanted = np.zeros(last - first + 2, bool)
    for a, b in scan_range:
        wanted[1:-1][max(a - 1 - first, 0) : max(b - first, 0)] = True
    edges = np.flatnonzero(np.diff(wanted.astype(np.int8)))
    if len(edges) == 0:
        raise OptionError(f"scan_range holds no image: those of the scan are {first + 1} to {last}.")
    return [(first + int(a), first + int(b)) for a, b in edges.reshape(-1, 2)]


def filtered(spots: Spots, experiment: Experiment, options: FilterOptions, counts: Counts) -> Spots:
    """Spots of a sensible size whose highest pixel is near the centroid."""
    pixel_array = experiment.detector[0].type in ("SENSOR_PAD", "")
    smallest = options.min_spot_size or (3 if pixel_array else 6)
    small, large = spots.count < smallest, spots.count > options.max_spot_size
    counts.pixels += len(spots.pixels)
    counts.groups += len(spots)
    counts.small += int(small.sum())
    counts.large += int(large.sum())
    spots = spots.select(~(small | large))
    near = spots.peak_distance() <= options.max_separation
    counts.off_centre += int((~near).sum())
    return spots.select(near)


def summarise(context: Context, table: ReflectionTable, counts: Counts) -> None:
    """Three lines, and a warning where spots are few."""
    n, images = len(table), counts.images
    context.summary(
        f"{many(n, 'spot')} on {many(images, 'image')} ({n / images:.1f} per image), {limit_of(context, table)}",
        f"kept of {counts.groups} groups of strong pixels: {counts.small} were too small, {counts.large} too large, "
        f"{counts.off_centre} had the highest pixel off the centre",
        f"threshold {context.options.spotfinder.threshold.name}: {counts.pixels} strong pixels",
    )
    if n < FEW:
        context.warn(
            f"Only {many(n, 'spot')} found: indexing is unlikely to succeed. "
            "Check mask, gain and beam on the images, or lower threshold.sigma_strong= or min_spot_size=."
        )


def many(n: int, noun: str) -> str:
    """The number with its noun."""
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def limit_of(context: Context, table: ReflectionTable) -> str:
    """Resolution (finer than all but one in a hundred spots) in words."""
    d: list[Any] = []
    for panel, xy, number in panels_of(table):
        experiment = context.experiments[number]
        d.append(d_at(experiment.detector[panel], experiment.beam, xy))
    return f"99 % of them coarser than {np.quantile(np.concatenate(d), 0.01):.2f} Å"


def panels_of(table: ReflectionTable) -> Iterator[tuple[int, Any, int]]:
    """(panel, (n, 2) positions, experiment) of the spots."""
    panel, number, xyz = table["panel"].astype(np.int64), table["id"], table["xyzobs.px.value"]
    for i, p in np.unique(np.stack([number, panel]), axis=1).T:
        yield int(p), xyz[(panel == p) & (number == i), :2], int(i)


def advice_for_none(counts: Counts, options: SpotfinderOptions) -> str:
    """What to try where nothing was found."""
    if counts.groups == 0:
        return (
            "Check that the images are not blank, the trusted range and the mask; "
            "or lower threshold.sigma_strong= and threshold.sigma_background=."
        )
    if counts.small > counts.groups // 2:
        return "Lower min_spot_size=, or threshold.sigma_strong=."
    return "Check the images, or change max_spot_size= and max_separation=."
