"""The step find_spots."""

from __future__ import annotations

import copy
import math
from typing import Any

import attrs
import numpy as np
from attrs import define
from numpy.typing import NDArray

from xtal.errors import AlgorithmFailed
from xtal.models import Detector, Experiment, ExperimentList
from xtal.physics.spots import Spots, SpotStream
from xtal.physics.spots.stream import Finished
from xtal.run import Context
from xtal.table import ReflectionTable
from xtal.words import counted
from xtal_steps_spots import advice, report
from xtal_steps_spots.filters import density_filter, gradient_filter, pair_filter, warm_filter
from xtal_steps_spots.frames import excluded_frames, frame_ranges
from xtal_steps_spots.hot import HotPixels
from xtal_steps_spots.imagesets import images_key
from xtal_steps_spots.masks import hardly_any, limits_against_detector, search_masks
from xtal_steps_spots.options import FilterOptions, FindSpotsOptions, SpotfinderOptions
from xtal_steps_spots.pieces import Pieces
from xtal_steps_spots.search import Search

LEAST_OF_PAIR = 9.0
"""Counts of a spot of two pixels: fewer are not known to three standard deviations, and a few particles that each mark
two neighbours are no spot."""

SKIP = "To go on without such images, give skip_bad_images=True."


@define
class Counts:
    """What was found and why it was dropped, added up over all images."""

    images: int = 0
    pixels: int = 0
    groups: int = 0
    small: int = 0
    large: int = 0
    large_pixels: int = 0
    off_centre: int = 0
    steep: int = 0
    crowded: int = 0
    warm: int = 0
    hot: int = 0


@define
class Found:
    """Of one experiment: its spots, its hot pixels and, where advice is due, what an image holds between spots.

    ``searched`` holds the array indices of the images that were searched: neither left out nor bad.
    """

    number: int
    experiment: Experiment
    searched: list[int]
    table: ReflectionTable
    background: advice.Background | None
    hot: HotPixels


def run(context: Context) -> None:
    """Find strong spots on the images of all experiments."""
    options: FindSpotsOptions = context.options
    counts, found = Counts(), []
    if options.spotfinder.lookup.mask is not None:
        context.use_mask(options.spotfinder.lookup.mask)
    done: dict[Any, int] = {}
    for number, experiment in enumerate(context.experiments):
        if (images := images_key(experiment)) in done:
            context.warn(f"Experiment {number} has the images of experiment {done[images]} and is not searched again.")
            continue
        done[images] = number
        found.append(search_experiment(context, number, experiment, counts))
        if len(context.experiments) > 1:
            context.print(f"Experiment {number}: {counted(len(found[-1].table), 'spot')}")
    tables = [f.table for f in found]
    table = tables[0] if len(tables) == 1 else ReflectionTable.concatenate(tables)
    table.identifiers = {i: e.identifier for i, e in enumerate(context.experiments) if e.identifier}
    if len(table) == 0:
        raise AlgorithmFailed(
            f"No spot was found on {counted(counts.images, 'image')}: {counted(counts.pixels, 'strong pixel')}, "
            f"{counted(counts.groups, 'group')} of them, none of which passed the filters.",
            advice=advice_for_none(options.spotfinder, counts, found),
        )
    searched = {f.number: f.searched for f in found}
    report.print_spots(context, table, searched)
    context.write_reflections(table)
    write_hot_pixels(context, found)
    if options.plot:
        with context.writing("plot", options.plot) as path:
            report.plot(table, searched, path)
    report.summarise(context, table, counts)
    advise(context, found)


def search_experiment(context: Context, number: int, experiment: Experiment, counts: Counts) -> Found:
    """Spots of one experiment.

    Raises
    ------
    DataError
        If an image cannot be read and bad images are not to be passed over.
    AlgorithmFailed
        If an image has too many strong pixels.
    """
    options: SpotfinderOptions = context.options.spotfinder
    experiment = with_trusted_limit(experiment, context.options.maximum_trusted_value)
    masks = search_masks(experiment, options)
    threshold = context.plugin(options.threshold)
    reader = context.frames(experiment)
    hot = HotPixels(reader.shapes)
    pieces = Pieces(number)
    try:
        search = Search(
            experiment,
            reader,
            threshold,
            masks,
            options.filter.max_strong_pixel_fraction,
            excluded=excluded_frames(number, len(context.experiments), reader.z0, reader.z1, options),
            skip_bad=options.skip_bad_images,
            bad_advice=SKIP,
            measure_background=options.compute_mean_background,
        )
        ranges = frame_ranges(reader.z0, reader.z1, options.scan_range)
        for k, frames in enumerate(ranges):
            spots_of_range(context, search, k, frames, hot, pieces, counts)
        searched = [z for a, b in ranges for z in range(a, b) if z not in search.excluded and z not in search.bad]
        hot.images = len(searched)
        counts.images += len(searched)
        report.bad_images(context, search.bad)
        report.mean_background(context, search.background)
        table, numbers = pieces.table()
        kept = rows_kept(table, experiment, reader, options, counts)
        table, numbers = table.select(kept), numbers[kept]
        if context.options.output.shoeboxes:
            columns = {
                **{name: table[name] for name in table},
                "shoebox": pieces.boxes(table, numbers, context.executor),
            }
            table = ReflectionTable(dict(sorted(columns.items())))
        strange = advice.too_many(len(table), hot.images, experiment) or advice.too_few(len(table), hot.images)
        background = search.sample_background() if strange else None
    finally:
        reader.close()
    counts.hot += sum(map(len, hot.found(options.hot_fraction)))
    return Found(number, experiment, searched, table, background, hot)


def with_trusted_limit(experiment: Experiment, limit: float | None) -> Experiment:
    """The experiment, or one whose panels trust values up to ``limit``."""
    if limit is None:
        return experiment
    panels = copy.deepcopy(experiment.detector.panels)
    for panel in panels:
        panel.trusted_range = (panel.trusted_range[0], limit)
    return attrs.evolve(experiment, detector=Detector(panels))


def spots_of_range(
    context: Context, search: Search, run: int, frames: tuple[int, int], hot: HotPixels, pieces: Pieces, counts: Counts
) -> None:
    """Add the spots of each panel on a run of frames to the pieces."""
    options: SpotfinderOptions = context.options.spotfinder
    experiment, (first, last) = search.experiment, frames
    link = not (experiment.is_still or options.force_2d)
    streams = [SpotStream(link_frames=link) for _ in search.reader.shapes]

    def keep(panel: int, finished: Finished | None) -> None:
        if finished is not None:
            pieces.add(run, panel, first, finished, passed(finished.spots, experiment, options.filter, counts))

    with context.progress(last - first, "frames") as progress:
        for n_frames, pixels in search.run(first, last, context.executor):
            hot.add(pixels)
            counts.pixels += sum(map(len, pixels))
            for panel, stream in enumerate(streams):
                keep(panel, stream.add(pixels[panel]))
            progress.advance(n_frames)
    for panel, stream in enumerate(streams):
        keep(panel, stream.finish())


def passed(spots: Spots, experiment: Experiment, options: FilterOptions, counts: Counts) -> Any:
    """(n,) whether spots have a sensible size and their highest pixel near the centroid.

    Of electrons two pixels of a pixel array may be a spot, too, unless the options say how small spots may be: side by
    side and alone, for where background is uneven, strong pixels come in swarms, and one that flickers is single on
    each image (and not by chance: `pair_filter`). Crystals for electrons are thin: in number and in counts their spots
    are few.
    """
    pixel_array = experiment.detector[0].type in ("SENSOR_PAD", "")
    smallest = options.min_spot_size or (3 if pixel_array else 6)
    small, large = spots.count < smallest, spots.count > options.max_spot_size
    if pixel_array and experiment.beam.is_electron and options.min_spot_size is None:
        small &= ~(spots.lone_pairs() & (spots.total >= LEAST_OF_PAIR))
    counts.groups += len(spots)
    counts.small += int(small.sum())
    counts.large += int(large.sum())
    counts.large_pixels += int(spots.count[large].sum())
    sized, near = ~(small | large), spots.peak_distance() <= options.max_separation
    counts.off_centre += int((sized & ~near).sum())
    return sized & near


def filtered(spots: Spots, experiment: Experiment, options: FilterOptions, counts: Counts) -> Spots:
    """The spots that pass (`passed`)."""
    return spots.select(passed(spots, experiment, options, counts))


def rows_kept(
    table: ReflectionTable, experiment: Experiment, reader: Any, options: SpotfinderOptions, counts: Counts
) -> NDArray[np.int64]:
    """Rows that pass the filters which look at all spots of an experiment, one filter after another."""
    o, rows = options.filter, np.arange(len(table))
    gradient = o.background_gradient

    def drop(keep: NDArray[np.bool_]) -> int:
        nonlocal rows
        rows = rows[keep]
        return int((~keep).sum())

    if o.min_spot_size is None and np.any(np.asarray(table["n_signal"]) == 2):
        counts.small += drop(pair_filter(table, reader, experiment.detector))
    if gradient.filter and len(rows):
        counts.steep += drop(
            gradient_filter(table.select(rows), reader, gradient.background_size, gradient.gradient_cutoff)
        )
    if o.spot_density.filter and len(rows):
        counts.crowded += drop(density_filter(table["xyzobs.px.value"][rows, :2]))
    if o.warm_pixels and len(rows) and experiment.scan is not None and not experiment.is_still:
        n_turns = math.ceil(experiment.scan.n_images * abs(experiment.scan.oscillation_deg[1]) / 360)
        n_pixels = sum(slow * fast for slow, fast in reader.shapes)
        counts.warm += drop(warm_filter(table.select(rows), n_pixels, n_turns))
    return rows


def write_hot_pixels(context: Context, found: list[Found]) -> None:
    """Masks of hot pixels, and the experiments with them, where the options ask for them."""
    options: FindSpotsOptions = context.options
    s = options.spotfinder
    experiments = context.experiments
    if s.write_hot_mask:
        from xtal.files import write_mask

        experiments = copy.deepcopy(experiments)
        for f in found:
            name = f"{s.hot_mask_prefix}_{f.number}.h5"
            reader = context.frames(f.experiment)
            masks = [a & b for a, b in zip(f.hot.masks(s.hot_fraction), reader.static_mask(), strict=True)]
            reader.close()
            with context.writing(f"hot_mask_{f.number}", name) as path:
                write_mask(path, masks)
            context.use_mask(context.outputs[f"hot_mask_{f.number}"], ExperimentList([experiments[f.number]]))
    if options.output.experiments:
        from xtal.files import write_experiments

        with context.writing("experiments", options.output.experiments) as path:
            write_experiments(experiments, path)


def advise(context: Context, found: list[Found]) -> None:
    """Warn where spots are absurdly many or few, and say why that may be."""
    fraction = context.options.spotfinder.hot_fraction
    for f in found:
        if not len(f.table):
            continue
        xyz, panel, n = f.table["xyzobs.px.value"], f.table["panel"], len(f.table)
        images = max(f.hot.images, 1)
        name = f"Experiment {f.number}: " if len(context.experiments) > 1 else ""
        if advice.too_many(n, images, f.experiment):
            often = min(fraction, advice.OFTEN) if advice.outlasts_reflections(f.experiment, images) else fraction
            n_hot, n_often = (sum(map(len, f.hot.found(part))) for part in (fraction, often))
            causes = advice.causes_of_many(f.experiment, xyz, panel, f.background, n_hot, n_often - n_hot)
            context.warn(f"{name}{n / images:.0f} spots per image are more than crystals give. " + " ".join(causes))
        elif advice.too_few(n, images):
            causes = advice.causes_of_few(f.experiment, xyz, panel, f.background)
            context.warn(f"{name}Only {counted(n, 'spot')} found: indexing is unlikely to succeed. " + " ".join(causes))


def advice_for_none(options: SpotfinderOptions, counts: Counts, found: list[Found]) -> str:
    """What to try where nothing was found."""
    f = found[0]
    masks = search_masks(f.experiment, options)
    if masks is not None and hardly_any(masks):
        left, told = sum(int(m.sum()) for m in masks), limits_against_detector(f.experiment, options.filter)
        return f"The limits of the search leave {counted(left, 'pixel')} of the detector. {told}".rstrip()
    if counts.groups == 0:
        return " ".join(advice.causes_of_few(f.experiment, np.empty((0, 3)), np.empty(0), f.background))
    if counts.large_pixels > counts.pixels // 2:
        return (
            "Most strong pixels hang together in groups of more than max_spot_size=: rings of a powder or of ice, or "
            "an uneven background. Look at an image: xtal run show imported.expt output.png=image.png."
        )
    if counts.small > counts.groups // 2:
        return "Lower min_spot_size=, or threshold.sigma_strong=."
    return "Check the images, or change max_spot_size= and max_separation=."
