"""The step spot_counts_per_image."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from xtal.errors import DataError, OptionError
from xtal.physics.resolution import d_at
from xtal.physics.spots.statistics import NONE, SpotStatistics, spot_statistics, statistics_per_image
from xtal.run import Context
from xtal.table import ReflectionTable
from xtal.words import counted
from xtal_steps_spots.report import whole_numbers

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FEW = 20
"""Images of fewer spots are left out of the plot of resolution."""
COARSE = 50.0
"""Angstrom; coarser estimates are left out too."""

METHODS = (
    ("d_min", "estimated_d_min", None),
    ("d_min (distl method 1)", "d_min_distl_method_1", "noisiness_method_1"),
    ("d_min (distl method 2)", "d_min_distl_method_2", "noisiness_method_2"),
)


def run(context: Context) -> None:
    """Count spots per image and estimate how far they reach."""
    options = context.options
    table = spots_of(context)
    columns = (resolution(context, table), table["intensity.sum.value"], table["intensity.sum.variance"])
    analyse = {"resolution": options.resolution_analysis}
    images: list[int] = []
    found: list[SpotStatistics] = []
    for number, experiment in enumerate(context.experiments):
        if options.id is not None and number != options.id:
            continue
        mine = table["id"] == number
        first, last = experiment.scan.array_range if experiment.scan else (0, 1)
        z = table["xyzobs.px.value"][mine, 2]
        found += statistics_per_image(z, first, last, [c[mine] for c in columns], **analyse)
        images += range(first + 1, last + 1)
    if len(context.experiments) > 1 and options.id is None:  # which may all have an image 1
        images = list(range(1, len(found) + 1))
    show(context, images, found)
    overall = spot_statistics(*columns, **analyse)
    context.table("Overall statistics", ["", ""], overall_rows(overall))
    if options.json:
        write_json(context, found)
    if options.plot:
        with context.writing("plot", options.plot) as path:
            plot(images, found, path)
    context.summary(
        f"{counted(overall.n_spots_total, 'spot')} on {counted(len(found), 'image')}, "
        f"{overall.n_spots_no_ice} of them off ice rings"
    )


def spots_of(context: Context) -> ReflectionTable:
    """The spots to count.

    Raises
    ------
    DataError
        If there are crystals: indexed reflections are not spots of an image alone.
    OptionError
        If ``id`` is no experiment.
    """
    if any(e.crystal is not None for e in context.experiments):
        raise DataError(
            "These experiments have crystals: only spots that are not indexed are counted per image.",
            advice="Give imported.expt and strong.refl.",
        )
    wanted = context.options.id
    if wanted is None:
        return context.reflections
    if wanted >= len(context.experiments):
        there = "is one experiment" if len(context.experiments) == 1 else f"are {len(context.experiments)} experiments"
        raise OptionError(f"id={wanted}: there {there}, counted from 0.")
    return context.reflections.select(context.reflections["id"] == wanted)


def resolution(context: Context, table: ReflectionTable) -> NDArray[np.float64]:
    """(n,) angstrom."""
    d = np.empty(len(table))
    panel, number, xyz = table["panel"].astype(np.int64), table["id"], table["xyzobs.px.value"]
    for i, p in np.unique(np.stack([number, panel]), axis=1).T:
        rows = (panel == p) & (number == i)
        experiment = context.experiments[int(i)]
        d[rows] = d_at(experiment.detector[int(p)], experiment.beam, xyz[rows, :2])
    return d


def show(context: Context, images: list[int], found: list[SpotStatistics]) -> None:
    """A row per image; a column of resolution where every image has an estimate, as DIALS prints it."""
    methods = [m for m in METHODS if found and all(getattr(s, m[1]) > 0 for s in found)]
    rows = [
        [str(n), str(s.n_spots_total), str(s.n_spots_no_ice), f"{s.total_intensity:.0f}", *limits(s, methods)]
        for n, s in zip(images, found, strict=True)
    ]
    names = ["image", "#spots", "#spots_no_ice", "total_intensity", *(m[0] for m in methods)]
    context.table("Spots per image", names, rows)


def limits(s: SpotStatistics, methods: Any = METHODS) -> list[str]:
    """Estimates of resolution in words, each with its noisiness."""
    return [
        f"{getattr(s, value):.2f}" + (f" ({getattr(s, noise):.2f})" if noise else "") for _, value, noise in methods
    ]


def overall_rows(s: SpotStatistics) -> list[list[str]]:
    """Rows of the table of all images together."""
    rows = [["#spots", str(s.n_spots_total)], ["#spots_no_ice", str(s.n_spots_no_ice)]]
    known = [m for m in METHODS if getattr(s, m[1]) != NONE]
    return rows + [[m[0], text] for m, text in zip(known, limits(s, known), strict=True)]


def write_json(context: Context, found: list[SpotStatistics]) -> None:
    """Lists over the images, keyed as DIALS keys them."""
    options = context.options
    per_image = [s.as_dict() for s in found]
    figures = {key: [s[key] for s in per_image] for key in (per_image[0] if per_image else {})}
    if options.joint_json:
        with context.writing("json", options.json) as path:
            path.write_text(json.dumps(figures))
    if options.split_json:
        name = Path(options.json)
        for key, values in figures.items():
            with context.writing(key, str(name.with_name(f"{name.stem}_{key}.json"))) as path:
                path.write_text(json.dumps(values))


def plot(images: list[int], found: list[SpotStatistics], path: Path) -> None:
    """Counts, resolution and intensity against the image, as PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 9), layout="constrained")
    counts, limit, intensity = figure.subplots(3, sharex=True)
    n = np.array(images)
    series = (("n_spots_total", "all"), ("n_spots_no_ice", "off ice rings"), ("n_spots_4A", "d > 4 Å"))
    for key, label in series:
        counts.plot(n, [getattr(s, key) for s in found], ".", label=label)
    counts.set(ylabel="spots", ylim=(0, None))
    draw_resolution(limit, n, found)
    intensity.plot(n, [s.total_intensity for s in found], ".", color="grey")
    intensity.set(xlabel="image", ylabel="counts of the spots off ice rings", ylim=(0, None))
    whole_numbers(intensity)
    for axes in (counts, limit):
        axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0))
    figure.savefig(path, format="png", dpi=120)


def draw_resolution(axes: Axes, n: NDArray[Any], found: list[SpotStatistics]) -> None:
    """Estimates of the images that have enough spots; fine resolution at the top."""
    n_shown = 0
    for label, key, _ in METHODS:
        d = np.array([getattr(s, key) for s in found])
        shown = (d > 0) & (d < COARSE) & (np.array([s.n_spots_total for s in found]) > FEW)
        axes.plot(n[shown], d[shown], ".", label=label)
        n_shown += int(shown.sum())
    axes.set(ylabel="resolution (Å)")
    axes.invert_yaxis()
    if n_shown == 0:
        axes.set(yticks=[])
        axes.text(0.5, 0.5, f"no image has more than {FEW} spots", transform=axes.transAxes, ha="center")
