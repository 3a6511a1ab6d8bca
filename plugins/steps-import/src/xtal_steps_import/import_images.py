"""The step import: find out what the images are and write it down."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import numpy as np

from xtal.errors import DataError, OptionError, UsageError
from xtal.files import read_experiments
from xtal.models import Beam, Detector, Experiment, ExperimentList, Goniometer, Images, Scan
from xtal.run import Context
from xtal.run.formats import Formats, UnknownFormat, WithoutHeader, lacking
from xtal.run.images import file_of_template
from xtal.run.inputs import role_of
from xtal_steps_import.checks import check
from xtal_steps_import.collect import Series, collect
from xtal_steps_import.geometry import change_beam, change_detector
from xtal_steps_import.goniometer import axis_in_words, change_goniometer
from xtal_steps_import.options import Geometry, ImportOptions, Lookup, ScanGeometry
from xtal_steps_import.reference import apply_reference
from xtal_steps_import.report import report
from xtal_steps_import.scans import Found, Grouping, same_beam, same_detector, same_goniometer

M = TypeVar("M")
SHOWN = 10
"""Files that are named where many are left out."""


def run(context: Context) -> None:
    """Import images; see the package's README."""
    options: ImportOptions = context.options
    lists = [p for p in context.images if p.is_file() and role_of(p) == "experiments"]
    rest = [p for p in context.images if p not in lists]
    named = rest or options.input.template or options.input.directory
    if not named and not lists:
        raise UsageError("The step import needs images.", advice="See xtal run import --help.")
    if options.geometry.convert_stills_to_sequences and options.geometry.scan.oscillation is None:
        raise OptionError(
            "convert_stills_to_sequences needs the rotation.", advice="Give geometry.scan.oscillation=START,WIDTH."
        )
    found = _find(context, rest, options) if named else []
    experiments = _experiments(context, found, options)
    forms = {id(e): form for e, form in zip(experiments, _forms(found), strict=True)}
    for path in lists:
        experiments += _listed(path, options.geometry)
    _apply_geometry(context, experiments, options)
    if options.input.ignore_unhandled:
        experiments = _complete(context, experiments)
    _set_lookups(context, experiments, options.lookup)
    check(context, experiments)
    _identify(experiments)
    report(context, experiments, forms)
    context.write_experiments(experiments)


# --- images ------------------------------------------------------------------------


def _find(context: Context, paths: list[Path], options: ImportOptions) -> list[Found]:
    """Scans among all images."""
    formats = Formats(context.plugins)
    wanted = options.geometry.scan
    grouping = Grouping(
        formats,
        options.input.tolerance,
        warn=context.warn,
        say=context.print,
        ignore_angles=wanted.oscillation is not None,
        limits=wanted.image_range,
    )
    found: list[Found] = []
    left: list[str] = []
    data: list[tuple[Series, WithoutHeader]] = []
    for series in collect(paths, options.input.template, options.input.directory):
        try:
            found += grouping.scans(series)
        except WithoutHeader as error:
            data.append((series, error))
        except DataError as error:
            foreign = isinstance(error, UnknownFormat) and not series.named
            if not foreign and not options.input.ignore_unhandled:
                if not series.named:
                    error.advice = f"{error.advice} Or leave out what cannot be read: ignore_unhandled=True.".lstrip()
                raise
            left.append(error.message)
    if not any(one.container for one in found):  # else these are the files of a master, as *.h5 names them
        for series, why in data:
            if series.named and not options.input.ignore_unhandled:
                raise why
            left.append(why.message)
    for message in left[:SHOWN]:
        context.warn(f"Left out: {message}")
    if len(left) > SHOWN:
        context.warn(f"Left out {len(left) - SHOWN} more files or templates that are no images.")
    if not found:
        inner = any(entry.is_dir() for p in paths if p.is_dir() for entry in p.iterdir())
        raise DataError(
            "None of the files is an image that can be read.",
            advice=("Folders within a folder are not searched: name them. " if inner else "")
            + f"Installed formats: {', '.join(formats.names)}.",
        )
    return _split(_select(found, options.geometry), options.input.split)


def _select(found: list[Found], geometry: Geometry) -> list[Found]:
    """Cut scans to image_range and replace their oscillation, where the user says so."""
    options = geometry.scan
    kept = [one for one in found if options.image_range is None or _overlap(one.numbers, options.image_range)]
    begins: dict[str, int] = {}
    if options.image_range is not None:
        _check_range(options, [f.numbers for f in found])
    for k, one in enumerate(kept):
        if options.image_range is not None:
            kept[k] = one = one.cut(*_overlap(one.numbers, options.image_range))
        since = one.numbers[0] - begins.setdefault(one.template or one.files[0], one.numbers[0])
        one.scan = _scan(one.scan, options, since, stills=geometry.convert_sequences_to_stills)
    return kept


def _overlap(numbers: tuple[int, int], wanted: tuple[int, ...]) -> tuple[int, int] | tuple[()]:
    low, high = max(wanted[0], numbers[0]), min(wanted[1], numbers[1])
    return (low, high) if low <= high else ()


def _check_range(options: ScanGeometry, have: list[tuple[int, int]]) -> None:
    """Refuse a range of images that are not there, unless scans may be continued beyond them."""
    first, last = options.image_range or (0, 0)
    told = ", ".join(f"{low}-{high}" for low, high in have)
    if first > last:
        raise OptionError(f"image_range={first},{last} has its last image before its first.")
    lacking = [n for n in (first, last) if not any(low <= n <= high for low, high in have)]
    if not any(low <= last and high >= first for low, high in have) or (lacking and not options.extrapolate_scan):
        number = lacking[-1] if lacking else first
        raise DataError(f"There is no image {number} for image_range={first},{last}: there are {told}.")


def _scan(scan: Scan, options: ScanGeometry, since: int, *, stills: bool = False) -> Scan:
    """A scan with what the user says of it.

    ``since`` counts images from the first of its template: behind a gap the angle goes on as the numbers do.
    """
    if options.extrapolate_scan and options.image_range is not None:
        first, last = options.image_range
        before, after = scan.image_range[0] - first, last - scan.image_range[1]
        start, width = scan.oscillation_deg
        grown = lambda values: None if values is None else np.pad(values, (before, after), mode="edge")
        times, epochs = grown(scan.exposure_times), grown(scan.epochs)
        scan = Scan((first, last), (start - before * width, width), times, epochs, scan.batch_offset)
    if options.oscillation is not None:
        start, width = options.oscillation
        scan.oscillation_deg = start + since * width, width
        scan.properties = {}
    if stills:
        scan.oscillation_deg = scan.oscillation_deg[0], 0.0
    if options.batch_offset is not None:
        scan.batch_offset = options.batch_offset
    return scan


def _split(found: list[Found], options: tuple[int, ...] | None) -> list[Found]:
    """Scans in pieces of as many images as the user says."""
    if options is None:
        return found
    if len(options) not in (1, 3):
        raise OptionError("input.split needs IMAGES, or FIRST,LAST,IMAGES.")
    size = options[-1]
    pieces = []
    for one in found:
        low, high = one.numbers if len(options) == 1 else _overlap(one.numbers, options[:2]) or (1, 0)
        pieces += [one.cut(first, min(first + size - 1, high)) for first in range(low, high + 1, size)]
    if not pieces:
        raise DataError(f"There is no image from {options[0]} to {options[1]} to split.")
    return pieces


def _forms(found: list[Found]) -> Iterator[str]:
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
            advice="Either there are more, or headers do not follow one another (said above): "
            "then give template=, which takes the first header for all.",
        )
    tolerance = options.input.tolerance
    beams: list[Beam] = []
    detectors: list[Detector] = []
    goniometers: list[Goniometer] = []
    experiments = ExperimentList()
    why = dict.fromkeys(f"{o.name}: {_why_stills(o, options.geometry)}" for o in found if o.scan.is_still)
    for text in why:
        context.warn(text)
    for one in found:
        header = one.header
        beam = _shared(beams, header.beam, lambda a, b: same_beam(a, b, tolerance))
        detector = _shared(detectors, header.detector, lambda a, b: same_detector(a, b, tolerance))
        if one.scan.is_still:
            for number in range(one.numbers[0], one.numbers[1] + 1):
                experiments.append(Experiment(beam, detector, images=one.image(number)))
            continue
        goniometer = header.goniometer or Goniometer()
        goniometer = _shared(goniometers, goniometer, lambda a, b: same_goniometer(a, b, tolerance))
        experiments.append(Experiment(beam, detector, goniometer, one.scan, images=one.images()))
    return experiments


def _why_stills(one: Found, options: Geometry) -> str:
    if options.convert_sequences_to_stills or options.scan.oscillation is not None:
        return "treated as stills, as you say."
    if one.turns:
        return "the images have no rotation (width 0): they are treated as stills."
    return "the header has no rotation: treated as stills; for a scan give geometry.scan.oscillation=START,WIDTH."


# --- experiment lists --------------------------------------------------------------


def _listed(path: Path, geometry: Geometry) -> ExperimentList:
    """The experiments of a list, their scans cut and changed as the user says."""
    experiments = read_experiments(path)
    options = geometry.scan
    scans = [e.scan.image_range for e in experiments if e.scan is not None]
    if options.image_range is not None and scans:
        _check_range(options, scans)
    found = ExperimentList(extra=experiments.extra)
    done: dict[int, tuple[Scan, Scan]] = {}  # the old ones are kept, so that their ids stay theirs
    begins: dict[str, int] = {}
    for e in experiments:
        if e.scan is None:
            if options.oscillation is not None and options.oscillation[1] != 0.0:
                raise DataError(f"{path} holds stills without image numbers.", advice="Import their images again.")
            found.append(e)
            continue
        overlap = _overlap(e.scan.image_range, options.image_range or e.scan.image_range)
        if not overlap:
            continue
        if overlap != e.scan.image_range:
            _cut(e, *overlap)
        if id(e.scan) not in done:
            first = e.scan.image_range[0]
            since = first - begins.setdefault(e.images.template, first) if e.images is not None else 0
            scan = _scan(e.scan, options, since, stills=geometry.convert_sequences_to_stills)
            done[id(e.scan)] = e.scan, scan
        e.scan = done[id(e.scan)][1]
        found += _stills_of(e) if e.scan.is_still else [e]
    return found


def _cut(e: Experiment, low: int, high: int) -> None:
    """Keep some images of a scan that comes from a list: models that vary with it would no longer fit."""
    first = e.scan.image_range[0] if e.scan is not None else low
    if e.scan is None or (e.crystal is not None and e.crystal.A_at_scan_points is not None):
        raise DataError(
            "A crystal that varies during the scan cannot be cut by import.", advice="Use xtal run slice_sequence."
        )
    if e.images is not None and e.images.indices is not None:
        images = e.images
        e.images = Images(images.template, images.paths, (images.indices or [])[low - first : high - first + 1])
        e.images.mask, e.images.params = images.mask, images.params
    e.scan = e.scan.cut(low, high)
    e.identifier = ""


def _stills_of(e: Experiment) -> Iterator[Experiment]:
    """Each image of a scan as a still."""
    if e.scan is None or e.images is None:
        raise DataError("A scan without images cannot become stills.", advice="Import its images again.")
    for number in range(e.scan.image_range[0], e.scan.image_range[1] + 1):
        if "#" in e.images.template:
            images = Images(paths=[str(file_of_template(e.images.template, number))])
        else:
            images = Images(paths=[e.images.template], indices=[number - 1])
        images.mask = e.images.mask
        yield Experiment(e.beam, e.detector, crystal=e.crystal, images=images)


def _identify(experiments: ExperimentList) -> None:
    """Give an identifier to those that have none; what comes twice would make a list that nobody reads."""
    seen: set[str] = set()
    for e in experiments:
        e.identifier = e.identifier or identifier(e)
        if e.identifier in seen:
            images = (e.images.template or e.images.paths[0]) if e.images is not None else f"experiment {e.identifier}"
            raise DataError(f"{images} was given twice.", advice="Give each scan once.")
        seen.add(e.identifier)


# --- geometry and lookups ----------------------------------------------------------


def _apply_geometry(context: Context, experiments: ExperimentList, options: ImportOptions) -> None:
    """The reference's models, then the user's own; each model is changed once, whoever shares it."""
    geometry = options.geometry
    said: list[str] = []
    if options.input.reference_geometry:
        taken = apply_reference(experiments, options.input)
        said.append(f"{', '.join(taken) or 'nothing'} of the reference {options.input.reference_geometry}")
    done: set[int] = set()
    changed: dict[int, Goniometer] = {}
    new_beam = geometry.beam.wavelength is not None or geometry.beam.probe is not None
    for e in experiments:
        if id(e.beam) not in done:
            said += change_beam(e.beam, geometry.beam)
        if id(e.detector) not in done:
            said += change_detector(e.detector, e.beam, geometry.detector, new_wavelength=new_beam)
        done |= {id(e.beam), id(e.detector)}
        if e.goniometer is None:
            continue
        if id(e.goniometer) not in changed:
            old = e.goniometer
            new, more = change_goniometer(old, geometry.goniometer)
            changed |= {id(old): new, id(new): new}
            said += [f"{text}: {axis_in_words(new, e.detector)}" for text in more]
        e.goniometer = changed[id(e.goniometer)]
    for text in dict.fromkeys(said):
        context.print(f"Set by you: {text}")


def _complete(context: Context, experiments: ExperimentList) -> ExperimentList:
    """The experiments whose models lack nothing."""
    kept = ExperimentList(extra=experiments.extra)
    for e in experiments:
        missing = ", ".join(name for name, _ in lacking(e.beam, e.detector))
        if missing and e.images is not None:
            context.warn(f"Left out: the header of {e.images.template or e.images.paths[0]} has no {missing}.")
        else:
            kept.append(e)
    if not kept:
        raise DataError(
            "No image has a complete header.", advice="Leave ignore_unhandled=True out: see what is missing."
        )
    return kept


def _set_lookups(context: Context, experiments: ExperimentList, options: Lookup) -> None:
    """Keep the files of masks and maps with the images; a mask must fit the detector."""
    if (options.dx is None) != (options.dy is None):
        raise OptionError("Of lookup.dx and lookup.dy one is given.", advice="Give both or neither.")
    if options.mask is not None:
        context.use_mask(options.mask, experiments)
    for name in ("gain", "pedestal", "dx", "dy"):
        text = getattr(options, name)
        if text is None:
            continue
        path = Path(os.path.expanduser(text)).absolute()
        if not path.is_file():
            raise DataError(f"The file {text} of lookup.{name} does not exist.", advice="Check its name.")
        for e in experiments:
            if e.images is not None:
                setattr(e.images, name, str(path))
        context.warn(f"lookup.{name} is kept in the list for DIALS; the steps of xtal do not use it.")


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
    if experiment.crystal is not None:  # lattices of the same images
        told.append(np.round(experiment.crystal.A, 9).tolist())
    h = hashlib.sha256(json.dumps(told).encode()).hexdigest()
    return "-".join((h[:8], h[8:12], h[12:16], h[16:20], h[20:32]))
