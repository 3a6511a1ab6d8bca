"""Statistics of images, and images as experiments."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xtal.errors import DataError
from xtal.models import Experiment, Images, Scan
from xtal.run import Context
from xtal.run.formats import Formats
from xtal_steps_import.collect import parse_name
from xtal_steps_import.fit import fitting_table
from xtal_steps_import.options import ShowOptions


def experiment_of(path: Path, formats: Formats) -> tuple[str, Experiment]:
    """The format of an image file, and its header as an experiment.

    Raises
    ------
    DataError
        If the file is no image that an installed format reads.
    """
    name, form = formats.recognise(path)
    source = form.open(path)
    beam, detector, goniometer, scan = source.models()
    n, container = source.n_frames, getattr(source, "container", source.n_frames > 1)
    source.close()
    where = str(path.absolute())
    if container:
        scan = scan or Scan((1, n), (0.0, 0.0))
        return name, Experiment(beam, detector, goniometer, scan, images=Images(where, indices=list(range(n))))
    number = parse_name(where).number
    oscillation = scan.oscillation_deg if scan is not None else (0.0, 0.0)
    times = scan.exposure_times if scan is not None else None
    scan = Scan((number, number), oscillation, times)
    return name, Experiment(beam, detector, goniometer, scan, images=Images(paths=[where]))


def five_numbers(values: NDArray[Any]) -> tuple[float, float, float, float, float]:
    """Least, lower hinge, median, upper hinge and greatest value (Tukey 1977; R's ``fivenum``)."""
    n = values.size
    half = (n + 3) // 2 / 2
    at = np.array([1, half, (n + 1) / 2, n + 1 - half, n]) - 1
    low, high = np.floor(at).astype(int), np.ceil(at).astype(int)
    ordered = np.partition(values.ravel(), np.unique(np.concatenate([low, high])))
    a, b, c, d, e = (float(x) for x in (ordered[low].astype(float) + ordered[high]) / 2)
    return a, b, c, d, e


def show_statistics(context: Context, experiments: Sequence[Experiment], options: ShowOptions) -> None:
    """The five numbers of every image, raw or corrected for gain and pedestal, over all pixels as DIALS has it."""
    wanted = options.image_statistics
    for kind, asked in (("raw", wanted.show_raw), ("corrected", wanted.show_corrected)):
        if asked:
            rows = [row for e in experiments for row in _rows(context, e, corrected=kind == "corrected")]
            fitting_table(context, f"The {kind} images, all pixels", ["image", "Min", "Q1", "Med", "Q3", "Max"], rows)


def _rows(context: Context, experiment: Experiment, *, corrected: bool) -> Iterator[list[str]]:
    try:
        reader = context.frames(experiment)
    except DataError as error:
        raise DataError(f"The images cannot be read: {error.message}", advice=error.advice) from error
    with reader:
        arrays = reader.allocate()
        for z in range(reader.z0, reader.z1):
            reader.read(z, out=arrays)
            values = [
                (a.astype(np.float64) - p.pedestal) / p.adu_per_photon if corrected else a
                for a, p in zip(arrays, experiment.detector, strict=True)
            ]
            numbers = five_numbers(np.concatenate([v.ravel() for v in values]))
            name = os.path.basename(reader.path(z))
            many = reader.frame(z) or len(reader.images.indices or ()) > 1
            yield [f"{name} {reader.frame(z) + 1}" if many else name, *(f"{x:.1f}" for x in numbers)]


def summary_rows(arrays: Sequence[NDArray[Any]], masks: Sequence[NDArray[np.bool_]]) -> list[tuple[str, str]]:
    """What one image holds: its good pixels, and how many are not good."""
    good = np.concatenate([a[m] for a, m in zip(arrays, masks, strict=True)])
    total = sum(a.size for a in arrays)
    rows = [("pixels", f"{total}, of which {total - good.size} ({100 * (total - good.size) / total:.2f} %) masked")]
    if good.size:
        numbers = ", ".join(f"{x:g}" for x in five_numbers(good))
        rows.append(("good pixels", f"{numbers} (least, quartiles, greatest), mean {good.mean(dtype=float):.4g}"))
    return rows
