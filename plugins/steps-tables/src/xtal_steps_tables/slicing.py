"""Cut experiments and tables to ranges of images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from xtal.errors import DataError, OptionError
from xtal.models import Experiment, ExperimentList, Images, Scan
from xtal.table import ReflectionTable

Range = tuple[int, int]


def block_ranges(scan: Scan, block_size: float) -> list[Range]:
    """Image ranges of about ``block_size`` degrees each; the last takes what is left over."""
    n = scan.n_images
    blocks = min(max(round(abs(n * scan.oscillation_deg[1]) / block_size), 1), n)
    each, first = n // blocks, scan.image_range[0]
    starts = [first + k * each for k in range(blocks)]
    return [(a, b - 1) for a, b in zip(starts, [*starts[1:], scan.image_range[1] + 1], strict=True)]


def ranges_between(scan: Scan, multiple: int) -> list[Range]:
    """Image ranges between the images whose numbers are multiples, which belong to none."""
    first, last = scan.image_range
    kept = [n for n in range(first, last + 1) if n % multiple]
    starts = [n for n in kept if n == first or (n - 1) % multiple == 0]
    return [(n, min(n + multiple - 1 - n % multiple, last)) for n in starts]


def cut_experiments(experiments: Sequence[Experiment], ranges: Sequence[Range]) -> ExperimentList:
    """Experiments cut to image ranges; models that were shared stay shared.

    Scan, images and whatever varies over the scan (crystal, beam, goniometer, profile) are cut.

    Raises
    ------
    OptionError
        If a range is not within its scan.
    """
    made: dict[tuple[int, Range], Any] = {}
    out = ExperimentList()
    for k, (experiment, wanted) in enumerate(zip(experiments, ranges, strict=True)):
        scan = experiment.scan
        if scan is None or not scan.image_range[0] <= wanted[0] <= wanted[1] <= scan.image_range[1]:
            has = "no scan" if scan is None else "the images {} to {}".format(*scan.image_range)
            raise OptionError(f"image_range={wanted[0]},{wanted[1]} does not fit experiment {k}, which has {has}.")
        out.append(_cut(experiment, scan, wanted, made))
    return out


def _cut(e: Experiment, scan: Scan, wanted: Range, made: dict[tuple[int, Range], Any]) -> Experiment:
    start, stop = wanted[0] - scan.image_range[0], wanted[1] - scan.image_range[0] + 1

    def once(model: Any, cut: Callable[[Any], Any]) -> Any:
        key = id(model), wanted
        if model is not None and key not in made:
            made[key] = cut(model)
        return made.get(key)

    def points(model: Any, *names: str) -> Any:
        """A model with its scan points cut: one more than images, whose boundaries they are."""
        found = {name: getattr(model, name) for name in names if getattr(model, name) is not None}
        return attrs.evolve(model, **{n: v[start : stop + 1] for n, v in found.items()}) if found else model

    def per_image(values: Any) -> Any:
        return values[start:stop] if isinstance(values, list) and len(values) == scan.n_images else values

    return attrs.evolve(
        e,
        beam=once(e.beam, lambda m: points(m, "s0_at_scan_points")),
        goniometer=once(e.goniometer, lambda m: points(m, "setting_at_scan_points")),
        crystal=once(e.crystal, lambda m: points(m, "A_at_scan_points", "B_covariance_at_scan_points")),
        scan=once(scan, lambda m: m.cut(*wanted)),
        images=once(e.images, lambda m: cut_images(m, start, stop)),
        profile=None if e.profile is None else {key: per_image(value) for key, value in e.profile.items()},
    )


def cut_images(images: Images, start: int, stop: int) -> Images:
    """The images from ``start`` to before ``stop``, counted from 0."""
    indices = None if images.indices is None else images.indices[start:stop]
    return attrs.evolve(images, indices=indices, paths=images.paths[start:stop])


def cut_table(table: ReflectionTable, number: int, wanted: Range) -> NDArray[np.int64]:
    """(m,) rows of experiment ``number`` observed on these images: z from first - 1 to below last."""
    z = np.asarray(table["xyzobs.px.value"])[:, 2]
    mine = np.asarray(table["id"]) == number
    return np.flatnonzero(mine & (z >= wanted[0] - 1) & (z < wanted[1]))


def need_frames(table: ReflectionTable, experiments: ExperimentList | None) -> None:
    """Compute the column ``xyzobs.px.value`` from millimetres where it is missing.

    Raises
    ------
    DataError
        If it is missing and cannot be computed.
    """
    if "xyzobs.px.value" in table:
        return
    if experiments is None or "xyzobs.mm.value" not in table:
        raise DataError(
            "The reflections have no image numbers (xyzobs.px.value), and nothing to compute them from.",
            advice="Give the experiment list (.expt), too.",
        )
    mm = np.asarray(table["xyzobs.mm.value"])
    px = np.full_like(mm, -1.0)
    panels = np.asarray(table["panel"]) if "panel" in table else np.zeros(len(mm), int)
    for k, experiment in enumerate(experiments):
        mine = np.asarray(table["id"]) == k
        for p, panel in enumerate(experiment.detector):
            rows = mine & (panels == p)
            px[rows, :2] = panel.mm_to_px(mm[rows, :2])
        if experiment.scan is not None:
            px[mine, 2] = experiment.scan.z(mm[mine, 2])
    table["xyzobs.px.value"] = px
