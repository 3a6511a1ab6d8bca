"""The step import: find out what the images are and write it down."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from xtal.errors import DataError
from xtal.files import read_experiments
from xtal.models import Experiment, ExperimentList, Goniometer, Scan
from xtal.run import Context
from xtal.run.formats import Formats, UnknownFormat
from xtal_steps_import.collect import Series, collect, runs_of
from xtal_steps_import.geometry import beam_centre, change_beam, change_detector, change_goniometer, check_complete
from xtal_steps_import.options import ImportOptions
from xtal_steps_import.scans import Found, Grouping, same_beam, same_detector, same_goniometer

M = TypeVar("M")
LISTS = (".expt", ".json")


def run(context: Context) -> None:
    """Import images; see the package's README."""
    options: ImportOptions = context.options
    lists = [p for p in context.images if p.suffix in LISTS and p.is_file()]
    rest = [p for p in context.images if p not in lists]
    found = _find(context, rest, options) if rest or options.input.template or options.input.directory else []
    experiments = _experiments(context, found, options)
    forms = {id(e): form for e, form in zip(experiments, _forms(found, options), strict=True)}
    for path in lists:
        experiments += read_experiments(path)
    _apply_geometry(context, experiments, options)
    if options.lookup.mask:
        _set_mask(experiments, Path(options.lookup.mask))
    _check(context, experiments)
    for experiment in experiments:
        experiment.identifier = identifier(experiment)
    _report(context, experiments, forms)
    context.write_experiments(experiments)


def _find(context: Context, paths: list[Path], options: ImportOptions) -> list[Found]:
    """Scans among all images."""
    formats = Formats(context.plugins)
    grouping = Grouping(formats, options.input.tolerance, ignore_angles=options.geometry.scan.oscillation is not None)
    found: list[Found] = []
    left: list[str] = []
    for series in collect(paths, options.input.template, options.input.directory):
        _say_gaps(context, series)
        try:
            found += grouping.scans(series)
        except DataError as error:
            foreign = isinstance(error, UnknownFormat) and not series.named
            if not foreign and not options.input.ignore_unhandled:
                raise
            left.append(error.message)
    for message in left[:3]:
        context.warn(f"Left out: {message}")
    if len(left) > 3:
        context.warn(f"Left out {len(left) - 3} more files or templates that are no images.")
    if not found:
        raise DataError(
            "None of the files is an image that can be read.", advice=f"Installed formats: {', '.join(formats.names)}."
        )
    return _select(found, options)


def _say_gaps(context: Context, series: Series) -> None:
    """Name the images that are missing between others."""
    runs = runs_of(list(series.files))
    missing = [(a[1] + 1, b[0] - 1) for a, b in pairwise(runs)]
    gaps = [str(low) if low == high else f"{low}-{high}" for low, high in missing]
    if gaps:
        shown = ", ".join(gaps[:10]) + (" ..." if len(gaps) > 10 else "")
        context.warn(f"{os.path.basename(series.template or '')}: images {shown} are missing; each part is a scan.")


def _select(found: list[Found], options: ImportOptions) -> list[Found]:
    """Cut scans to image_range and replace their oscillation, where the user says so."""
    wanted, oscillation = options.geometry.scan.image_range, options.geometry.scan.oscillation
    have = ", ".join(f"{f.numbers[0]}-{f.numbers[1]}" for f in found)
    kept = []
    for one in found:
        if wanted is not None:
            low, high = max(wanted[0], one.numbers[0]), min(wanted[1], one.numbers[1])
            if low > high:
                continue
            _cut(one, low, high)
        if oscillation is not None:
            one.scan.oscillation_deg = oscillation[0], oscillation[1]
        kept.append(one)
    if wanted is not None and (not kept or max(f.numbers[1] for f in kept) < wanted[1]):
        raise DataError(f"There is no image {wanted[1]} for image_range={wanted[0]},{wanted[1]}: there are {have}.")
    return kept


def _cut(one: Found, low: int, high: int) -> None:
    first = one.numbers[0]
    start, width = one.scan.oscillation_deg
    part = slice(low - first, high - first + 1)
    times, epochs = one.scan.exposure_times, one.scan.epochs
    one.scan = Scan(
        (low, high),
        (start + (low - first) * width, width),
        None if times is None else times[part],
        None if epochs is None else epochs[part],
    )
    one.files = one.files[part]
    one.numbers = (low, high)


def _forms(found: list[Found], options: ImportOptions) -> Iterator[str]:
    for one in found:
        yield from [one.form] * (one.scan.n_images if one.scan.is_still else 1)


def _shared(known: list[M], model: M, same: Callable[[M, M], bool]) -> M:
    """An equal model seen before, else this one."""
    for old in known:
        if same(old, model):
            return old
    known.append(model)
    return model


def _experiments(context: Context, found: list[Found], options: ImportOptions) -> ExperimentList:
    """One experiment per scan, or per still."""
    scans = [one for one in found if not one.scan.is_still]
    if not options.input.allow_multiple_sequences and len(scans) > 1:
        raise DataError(
            f"The images are {len(scans)} scans where only one is allowed.",
            advice="Their headers or numbers do not follow one another; the table without this option shows how.",
        )
    tolerance = options.input.tolerance
    beams: list[Any] = []
    detectors: list[Any] = []
    goniometers: list[Any] = []
    experiments = ExperimentList()
    for one in found:
        header = one.header
        beam = _shared(beams, header.beam, lambda a, b: same_beam(a, b, tolerance))
        detector = _shared(detectors, header.detector, lambda a, b: same_detector(a, b, tolerance))
        if one.scan.is_still:
            context.warn(f"{_name(one)}: {_why_stills(one)}")
            for number in range(one.numbers[0], one.numbers[1] + 1):
                experiments.append(Experiment(beam, detector, images=one.image(number)))
            continue
        goniometer = header.goniometer or Goniometer()
        goniometer = _shared(goniometers, goniometer, lambda a, b: same_goniometer(a, b, tolerance))
        experiments.append(Experiment(beam, detector, goniometer, one.scan, images=one.images()))
    return experiments


def _name(one: Found) -> str:
    return os.path.basename(one.template or one.files[0])


def _why_stills(one: Found) -> str:
    if one.turns:
        return "the images have no rotation (width 0): they are treated as stills."
    return "the header has no rotation: treated as stills; for a scan give geometry.scan.oscillation=START,WIDTH."


def _apply_geometry(context: Context, experiments: ExperimentList, options: ImportOptions) -> None:
    """Change each model once, whoever shares it."""
    geometry = options.geometry
    said: list[str] = []
    done: set[int] = set()
    changed: dict[int, Goniometer] = {}
    for e in experiments:
        if id(e.beam) not in done:
            said += change_beam(e.beam, geometry.beam)
        if id(e.detector) not in done:
            new_wavelength = geometry.beam.wavelength is not None
            said += change_detector(e.detector, e.beam, geometry.detector, new_wavelength=new_wavelength)
        done |= {id(e.beam), id(e.detector)}
        if e.goniometer is not None:
            if id(e.goniometer) not in changed:
                old = e.goniometer
                changed[id(old)], more = change_goniometer(old, geometry.goniometer)
                changed[id(changed[id(old)])] = changed[id(old)]
                said += more
            e.goniometer = changed[id(e.goniometer)]
    for text in dict.fromkeys(said):
        context.print(f"Set by you: {text}")


def _set_mask(experiments: ExperimentList, path: Path) -> None:
    from xtal.run.images import read_mask

    for e in experiments:
        read_mask(path, [(p.image_size[1], p.image_size[0]) for p in e.detector])
        if e.images is not None:
            e.images.mask = str(path.absolute())


def _check(context: Context, experiments: ExperimentList) -> None:
    """Refuse what cannot be, warn of what is unlikely."""
    seen: set[tuple[int, int]] = set()
    for e in experiments:
        if (id(e.beam), id(e.detector)) in seen:
            continue
        seen.add((id(e.beam), id(e.detector)))
        path = (e.images.template or e.images.paths[0]) if e.images is not None else "the images"
        check_complete(path, e.beam, e.detector)
        if beam_centre(e.detector, e.beam) is None:
            context.warn(
                "The beam does not meet the detector; if that is wrong, give geometry.detector.fast_slow_beam_centre=."
            )
        if e.beam.is_electron:
            context.print(
                f"Wavelength {e.beam.wavelength:g} Å: electrons (unpolarised, no parallax). "
                "Their headers seldom hold the rotation axis: check it, or give geometry.goniometer.axis=."
            )


def identifier(experiment: Experiment) -> str:
    """Identifier from what the experiment is: where its images are, and its models. Chance has no part."""
    images = experiment.images
    scan = experiment.scan
    told = [
        (images.template, images.paths, images.indices) if images is not None else None,
        (scan.image_range, [round(x, 9) for x in scan.oscillation_deg]) if scan is not None else None,
        float(f"{experiment.beam.wavelength:.9g}"),
        [np.round(p.d_matrix, 6).tolist() for p in experiment.detector],
        np.round(experiment.goniometer.axis, 6).tolist() if experiment.goniometer is not None else None,
    ]
    h = hashlib.sha256(json.dumps(told).encode()).hexdigest()
    return "-".join((h[:8], h[8:12], h[12:16], h[16:20], h[20:32]))


def _report(context: Context, experiments: ExperimentList, forms: dict[int, str]) -> None:
    """A table of the scans, stills of a kind in one line."""
    rows: list[list[str]] = []
    stills: dict[tuple[int, int], int] = {}
    for e in experiments:
        form = forms.get(id(e), "")
        if e.scan is not None:
            rows.append(_row(e, form))
            continue
        key = id(e.beam), id(e.detector)
        if key not in stills:
            stills[key] = len(rows)
            rows.append(_row(e, form))
            rows[-1][1] = "0"
        row = rows[stills[key]]
        n = int(row[1].split()[0]) + 1
        row[1] = f"{n} still{'s' if n > 1 else ''}"
    columns = ["images", "numbers", "oscillation (°)", "format", "detector (px)", "distance (mm)", "λ (Å)", "beam (px)"]
    context.table("Scans", columns, rows)
    n_scans = sum(e.scan is not None for e in experiments)
    n_images = sum(e.scan.n_images for e in experiments if e.scan is not None)
    parts = [f"{n_images} images in {n_scans} scan{'s' if n_scans != 1 else ''}"] if n_scans else []
    if len(experiments) > n_scans:
        parts.append(f"{len(experiments) - n_scans} stills")
    first = experiments[0]
    context.summary(
        f"{' and '.join(parts)}, {_detector(first)}",
        f"wavelength {first.beam.wavelength:.5g} Å, distance {first.detector[0].distance:.2f} mm, {_turn(first)}",
    )


def _row(e: Experiment, form: str) -> list[str]:
    images = e.images
    name = os.path.basename(images.template or images.paths[0]) if images is not None else ""
    centre = beam_centre(e.detector, e.beam)
    numbers = f"{e.scan.image_range[0]}-{e.scan.image_range[1]}" if e.scan is not None else ""
    turn = f"{e.scan.oscillation_deg[0]:.6g} + {e.scan.oscillation_deg[1]:.6g}" if e.scan is not None else "still"
    at = "" if centre is None else f"{centre[1][0]:.2f}, {centre[1][1]:.2f}"
    if centre is not None and len(e.detector) > 1:
        at += f" ({centre[0]})"
    return [
        name, numbers, turn, form, _detector(e), f"{e.detector[0].distance:.2f}", f"{e.beam.wavelength:.6g}", at,
    ]  # fmt: skip


def _detector(e: Experiment) -> str:
    fast, slow = e.detector[0].image_size
    return f"{len(e.detector)} x " * (len(e.detector) > 1) + f"{fast} x {slow}"


def _turn(e: Experiment) -> str:
    if e.scan is None or e.goniometer is None:
        return "stills"
    start, width = e.scan.oscillation_deg
    axis = ", ".join(f"{x:.3g}" for x in e.goniometer.axis)
    return f"{start:.5g}° to {start + width * e.scan.n_images:.5g}° by {width:.5g}° about ({axis})"
