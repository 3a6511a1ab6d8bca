"""What find_spots tells: tables, a histogram, a plot, the summary."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from xtal.physics.resolution import d_at
from xtal.physics.spots.statistics import statistics_per_image
from xtal.run import Context
from xtal.table import ReflectionTable
from xtal.words import counted
from xtal_steps_spots.histogram import histogram

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Searched = Mapping[int, Sequence[int]]
"""Experiment to the array indices of its images that were searched."""

LISTED = 5
"""Bad images that are named one by one."""


def print_spots(context: Context, table: ReflectionTable, searched: Searched) -> None:
    """Spots against images, as a picture and, on request, as a table."""
    if context.options.per_image_statistics:
        per_image(context, table, searched)
    context.print(histogram(*spots_per_image(table, searched), title=f"spots per {image_of(searched)}"))


def image_of(searched: Searched) -> str:
    """What the number of an image means."""
    return "image" if len(searched) == 1 else "image, counted over all experiments"


def spots_per_image(table: ReflectionTable, searched: Searched) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Numbers of the images that were searched, and the spots on each.

    The numbers are those of the scan; of several experiments, which may all have an image 1, images are counted on.
    """
    z, counts = np.floor(table["xyzobs.px.value"][:, 2]), [np.empty(0, np.int64)]
    for number, frames in searched.items():
        first, last = np.searchsorted(table["id"], [number, number + 1])  # rows come experiment by experiment
        mine = np.sort(z[first:last])
        counts.append(np.searchsorted(mine, frames, "right") - np.searchsorted(mine, frames, "left"))
    spots = np.concatenate(counts)
    one = next(iter(searched.values())) if len(searched) == 1 else range(len(spots))
    return np.asarray(one, np.int64) + 1, spots


def per_image(context: Context, table: ReflectionTable, searched: Searched) -> None:
    """A row for each image that was searched, of each experiment."""
    d = np.empty(len(table))
    for panel, rows, number in panels_of(table):
        experiment = context.experiments[number]
        d[rows] = d_at(experiment.detector[panel], experiment.beam, table["xyzobs.px.value"][rows, :2])
    columns = (d, table["intensity.sum.value"], table["intensity.sum.variance"])
    rows_out = []
    for number, frames in searched.items():
        mine = table["id"] == number
        first, last = (frames[0], frames[-1] + 1) if frames else (0, 0)
        z = table["xyzobs.px.value"][mine, 2]
        found = statistics_per_image(z, first, last, [c[mine] for c in columns], resolution=False)
        which = [str(number)] if len(searched) > 1 else []
        rows_out += [
            [*which, str(k + 1), str(s.n_spots_total), str(s.n_spots_no_ice), f"{s.total_intensity:.0f}"]
            for k, s in ((k, found[k - first]) for k in frames)
        ]
    names = ["experiment"] if len(searched) > 1 else []
    context.table("Spots per image", [*names, "image", "#spots", "#spots_no_ice", "total_intensity"], rows_out)


def plot(table: ReflectionTable, searched: Searched, path: Path) -> None:
    """Spots on each image that was searched, as PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot(*spots_per_image(table, searched), ".-", linewidth=0.5)
    axes.set(xlabel=image_of(searched), ylabel="spots", ylim=(0, None))
    whole_numbers(axes)
    figure.savefig(path, format="png", dpi=120)


def whole_numbers(axes: Axes) -> None:
    """Let the axis of images tell no part of one, also where they are few."""
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def bad_images(context: Context, bad: dict[int, str]) -> None:
    """A warning that names images that were passed over."""
    if bad:
        named = "; ".join(f"image {z + 1}: {bad[z].rstrip('.')}" for z in sorted(bad)[:LISTED])
        more = f"; and {len(bad) - LISTED} more" if len(bad) > LISTED else ""
        context.warn(f"{counted(len(bad), 'image')} passed over: {named}{more}")


def mean_background(context: Context, background: dict[int, tuple[int, float]]) -> None:
    """A line with the mean of the pixels that are not strong."""
    if background:
        pixels, total = np.sum(list(background.values()), axis=0)
        context.print(f"Mean background: {total / max(pixels, 1):.3f} ADU per pixel")


def summarise(context: Context, table: ReflectionTable, counts: Any) -> None:
    """Three lines."""
    n, images = len(table), counts.images
    dropped = [
        (counts.small, "too small"),
        (counts.large, "too large"),
        (counts.off_centre, "with the highest pixel off the centre"),
        (counts.steep, "on a steep background"),
        (counts.crowded, "in crowded places"),
        (counts.warm, "on warm pixels"),
    ]
    parts = [f"{k} {why}" for i, (k, why) in enumerate(dropped) if k or i < 3]
    name = context.options.spotfinder.threshold.name
    hot = f", {counted(counts.hot, 'hot pixel')}" if counts.hot else ""
    context.summary(
        f"{counted(n, 'spot')} on {counted(images, 'image')} ({n / images:.1f} per image), {limit_of(context, table)}",
        f"kept of {counted(counts.groups, 'group')} of strong pixels; dropped: {', '.join(parts)}",
        f"threshold {name}: {counted(counts.pixels, 'strong pixel')}{hot}",
    )


def limit_of(context: Context, table: ReflectionTable) -> str:
    """Resolution (finer than all but one in a hundred spots) in words."""
    d: list[Any] = []
    for panel, rows, number in panels_of(table):
        experiment = context.experiments[number]
        d.append(d_at(experiment.detector[panel], experiment.beam, table["xyzobs.px.value"][rows, :2]))
    return f"99 % of them coarser than {np.quantile(np.concatenate(d), 0.01):.2f} Å"


def panels_of(table: ReflectionTable) -> Iterator[tuple[int, Sequence[bool], int]]:
    """(panel, (n,) bool rows, experiment) of the spots."""
    panel, number = table["panel"].astype(np.int64), table["id"].astype(np.int64)
    most = int(panel.max(initial=0)) + 1
    both = number * most + panel
    for one in np.unique(both):
        yield int(one % most), both == one, int(one // most)
