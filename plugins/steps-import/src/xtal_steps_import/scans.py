"""From image files to scans: headers are compared, consecutive images of one rotation belong together."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from attrs import define, evolve, field, fields

from xtal.errors import DataError
from xtal.hooks.protocols import ImageFormat, ImageSource
from xtal.models import Beam, Detector, Goniometer, Images, Scan
from xtal.run.formats import Formats
from xtal_steps_import.collect import Series, missing_of, runs_of
from xtal_steps_import.options import BeamTolerance, Tolerance

PROBES = 16
"""Headers that are read of a long scan: evenly spread ones, the second and the last among them."""
SMALL, SMALL_COMPRESSED = 0.5, 0.1
"""Part of the usual size of a file below which it is told as suspicious; a blank frame compresses well."""


@define
class Header:
    """Models of one image."""

    path: str
    beam: Beam
    detector: Detector
    goniometer: Goniometer | None
    scan: Scan | None

    @property
    def oscillation(self) -> tuple[float, float]:
        """Start and width in degrees; (0, 0) where the header has no rotation."""
        return self.scan.oscillation_deg if self.scan is not None else (0.0, 0.0)


@define
class Found:
    """A scan, or stills of one template: models, image numbers and where the images are.

    Attributes
    ----------
    numbers : (first, last) image numbers
    files : path of each number; empty for a container
    template : with # for the number, a container's path, or "" for files without a number
    turns : whether the header has a rotation at all
    """

    header: Header
    form: str
    numbers: tuple[int, int]
    scan: Scan
    template: str
    files: list[str] = field(factory=list)
    turns: bool = True

    @property
    def name(self) -> str:
        return os.path.basename(self.template or self.files[0])

    @property
    def container(self) -> bool:
        """Whether all images are in one file."""
        return bool(self.template) and "#" not in self.template

    def cut(self, low: int, high: int) -> Found:
        """The images numbered ``low`` to ``high`` of this scan."""
        first = self.numbers[0]
        files = self.files[low - first : high - first + 1]
        return evolve(self, scan=self.scan.cut(low, high), files=files, numbers=(low, high))

    def images(self) -> Images:
        """Where the images of the whole are."""
        first, last = self.numbers
        if self.container:
            return Images(self.template, indices=list(range(first - 1, last)))
        return Images(self.template) if self.template else Images(paths=list(self.files))

    def image(self, number: int) -> Images:
        """Where one image is."""
        if self.container:
            return Images(paths=[self.template], indices=[number - 1])
        return Images(paths=[self.files[number - self.numbers[0]]])


def _close(a: Any, b: Any, tolerance: float) -> bool:
    return bool(np.allclose(a, b, rtol=0.0, atol=tolerance, equal_nan=True))


def same_beam(a: Beam, b: Beam, tolerance: Tolerance) -> bool:
    """Whether two beams differ less than the tolerance."""
    names = [field.name for field in fields(BeamTolerance)]
    return all(_close(getattr(a, name), getattr(b, name), getattr(tolerance.beam, name)) for name in names)


def same_detector(a: Detector, b: Detector, tolerance: Tolerance) -> bool:
    """Whether two detectors differ less than the tolerance."""
    limits = tolerance.detector
    return len(a) == len(b) and all(
        p.image_size == q.image_size
        and p.trusted_range == q.trusted_range
        and _close(p.pixel_size, q.pixel_size, 1e-9)
        and _close(p.fast_axis, q.fast_axis, limits.fast_axis)
        and _close(p.slow_axis, q.slow_axis, limits.slow_axis)
        and _close(p.origin, q.origin, limits.origin)
        for p, q in zip(a, b, strict=True)
    )


def same_goniometer(a: Goniometer | None, b: Goniometer | None, tolerance: Tolerance) -> bool:
    """Whether two goniometers differ less than the tolerance."""
    if a is None or b is None:
        return a is b
    limits = tolerance.goniometer
    return (
        _close(a.axis_datum, b.axis_datum, limits.rotation_axis)
        and _close(a.fixed_rotation, b.fixed_rotation, limits.fixed_rotation)
        and _close(a.setting_rotation, b.setting_rotation, limits.setting_rotation)
    )


def difference(first: Header, other: Header, tolerance: Tolerance) -> str:
    """In what two images' models differ, as text; "" where they are the same."""
    if not same_beam(first.beam, other.beam, tolerance):
        a, b = first.beam, other.beam
        if not _close(a.wavelength, b.wavelength, tolerance.beam.wavelength):
            return f"the wavelength changes from {a.wavelength:.6g} to {b.wavelength:.6g} Å"
        return "the beam changes"
    if not same_detector(first.detector, other.detector, tolerance):
        p, q = first.detector[0], other.detector[0]
        if not np.isclose(p.distance, q.distance, atol=tolerance.detector.origin, rtol=0.0, equal_nan=True):
            return f"the distance changes from {p.distance:.6g} to {q.distance:.6g} mm"
        if p.trusted_range != q.trusted_range:
            return f"the trusted range changes from {p.trusted_range} to {q.trusted_range}"
        return "the detector moves"
    if not same_goniometer(first.goniometer, other.goniometer, tolerance):
        return "the goniometer's axes change"
    return ""


class Grouping:
    """Groups files into scans.

    Parameters
    ----------
    formats
        The installed formats.
    tolerance
        Below which models are equal.
    ignore_angles
        The user gives the oscillation: angles in headers do not split scans.
    limits
        First and last image that the user wants: a template may lack others.
    warn, say
        Where to tell what was decided.
    """

    def __init__(
        self,
        formats: Formats,
        tolerance: Tolerance,
        *,
        warn: Callable[[str], None],
        say: Callable[[str], None],
        ignore_angles: bool = False,
        limits: tuple[int, ...] | None = None,
    ) -> None:
        self.formats, self.tolerance = formats, tolerance
        self.ignore_angles, self.limits = ignore_angles, limits
        self.warn, self.say = warn, say

    def scans(self, series: Series) -> Iterator[Found]:
        """Scans among the files of one template.

        Raises
        ------
        DataError
            If a file is no image, its header cannot be used, or images of a template that the user gave are missing.
        """
        first = next(iter(series.files.values()))
        name, form = self.formats.recognise(Path(first))
        source = form.open(Path(first))
        if getattr(source, "container", source.n_frames > 1):
            source.close()
            for file in series.files.values():
                found = self._container(Path(file))
                yield found if series.limits is None else found.cut(*self._within(series, found))
            return
        series = self._limited(series)
        missing = missing_of(list(series.files))
        if missing:
            self.warn(f"{series.name}: images are missing ({missing}); a new scan begins after each gap.")
        for low, high in runs_of(list(series.files)):
            yield from self._run(series, name, form, low, high)

    def _within(self, series: Series, found: Found) -> tuple[int, int]:
        first, last = series.limits or found.numbers
        if not found.numbers[0] <= first <= last <= found.numbers[1]:
            raise DataError(
                f"{series.name} has the images {found.numbers[0]} to {found.numbers[1]}, not {first} to {last}."
            )
        return first, last

    def _limited(self, series: Series) -> Series:
        """The images of a template within the limits that the user gave, which must all be there."""
        if not series.whole:
            return series
        limits = series.limits or (None if self.limits is None else (self.limits[0], self.limits[1]))
        missing = missing_of(list(series.files), limits)
        if missing:
            raise DataError(
                f"Images of the template {series.template} are missing: {missing}.",
                advice="Give image_range=FIRST,LAST of a part that is whole, or the files themselves "
                f"({series.name.replace('#', '?')}): then each part is a scan.",
            )
        if limits is None:
            return series
        return evolve(series, files={n: f for n, f in series.files.items() if limits[0] <= n <= limits[1]})

    def _container(self, path: Path) -> Found:
        name, form = self.formats.recognise(path)
        source = form.open(path)
        beam, detector, goniometer, scan = source.models()
        n = source.n_frames
        source.close()
        header = Header(str(path), beam, detector, goniometer, scan)
        return Found(header, name, (1, n), scan or Scan((1, n), (0.0, 0.0)), str(path), turns=scan is not None)

    def _header(self, form: ImageFormat, path: str) -> Header:
        source: ImageSource = form.open(Path(path))
        header = Header(path, *source.models())
        source.close()
        return header

    def _run(self, series: Series, name: str, form: ImageFormat, low: int, high: int) -> Iterator[Found]:
        """Scans among consecutive images: usually one, and then few of its headers are read."""
        n = high - low + 1
        check_sizes([series.files[k] for k in range(low, high + 1)], self.warn)
        few = n > 2 * PROBES
        probes = np.unique(np.linspace(low, high, PROBES).astype(int)) if few else np.arange(low, high + 1)
        chosen = sorted({low, min(low + 1, high), *map(int, probes)})
        headers = {k: self._header(form, series.files[k]) for k in chosen}
        if few and all(not self._break(headers[low], headers[k], k - low) for k in chosen[1:]):
            self.say(
                f"{series.name}: the headers of {len(chosen)} of {n} images were read and agree; "
                "of the others, number and size of the file were checked."
            )
            yield self._found(series, name, headers[low], headers[high], low, high)
            return
        headers |= {k: self._header(form, series.files[k]) for k in range(low, high + 1) if k not in headers}
        start = low
        for k in range(low + 1, high + 2):
            why = self._break(headers[start], headers[k], k - start) if k <= high else ""
            if why and series.whole:
                self.warn(f"{series.name} is one scan, as the template asks; but at image {k} {why}.")
                break
            if k > high or why:
                yield self._found(series, name, headers[start], headers[k - 1], start, k - 1)
                if why and start == low:  # the first is told aloud, the others stand in the log
                    self.warn(
                        f"{series.name}: a new scan begins at image {k}: {why}. "
                        f"Give template={series.name} for one scan all the same."
                    )
                elif why:
                    self.say(f"{series.name}: a new scan begins at image {k}: {why}.")
                start = k
        if start <= high:
            yield self._found(series, name, headers[start], headers[high], start, high)

    def _break(self, first: Header, other: Header, steps: int) -> str:
        """Why an image does not continue the rotation of another, ``steps`` images before; "" where it does.

        Raises
        ------
        DataError
            If the images are of two detectors.
        """
        sizes = [[(p.image_size, p.pixel_size) for p in h.detector] for h in (first, other)]
        if sizes[0] != sizes[1]:
            raise DataError(
                f"{first.path} and {other.path} are of different detectors ({_pixels(first)}; {_pixels(other)}), "
                "yet numbered as one scan.",
                advice="Give the images of each detector apart.",
            )
        why = difference(first, other, self.tolerance)
        if why or self.ignore_angles:
            return why
        (start, width), (angle, other_width) = first.oscillation, other.oscillation
        limit = self.tolerance.scan.oscillation * abs(width)
        if abs(other_width - width) > limit:
            return f"the width of images changes from {width:g} to {other_width:g}°"
        jump = (angle - start - steps * width + 180.0) % 360.0 - 180.0
        if width == 0.0 or abs(jump) <= max(limit, 1e-6):
            return ""
        return f"it starts at {angle:.6g}° where {start + steps * width:.6g}° would go on"

    def _found(self, series: Series, name: str, first: Header, last: Header, low: int, high: int) -> Found:
        n = high - low + 1
        times, epochs = np.zeros(n), np.zeros(n)
        if first.scan is not None and last.scan is not None:
            if first.scan.exposure_times is not None:
                times += first.scan.exposure_times[0]
            if first.scan.epochs is not None and last.scan.epochs is not None:
                epochs = np.linspace(first.scan.epochs[0], last.scan.epochs[0], n)
        scan = Scan((low, high), first.oscillation, times, epochs)
        files = [series.files[k] for k in range(low, high + 1)]
        return Found(first, name, (low, high), scan, series.template or "", files, turns=first.scan is not None)


def _pixels(header: Header) -> str:
    panel = header.detector[0]
    many = f"{len(header.detector)} x " if len(header.detector) > 1 else ""
    return f"{many}{panel.image_size[0]} x {panel.image_size[1]} pixels of {panel.pixel_size[0]:g} mm"


def check_sizes(files: list[str], warn: Callable[[str], None]) -> None:
    """Files whose headers are not read at least exist, are not empty and not far smaller than the others."""
    sizes = np.empty(len(files), np.int64)
    for k, file in enumerate(files):
        try:
            sizes[k] = os.stat(file).st_size
        except OSError as error:
            raise DataError(f"The image {file} cannot be read: {error.strerror}.") from error
        if sizes[k] == 0:
            raise DataError(f"The image {file} is empty.", advice="Copy it again, or leave it out.")
    part = SMALL_COMPRESSED if files[0].endswith((".gz", ".bz2", ".cbf")) else SMALL
    small = np.flatnonzero(sizes < part * np.median(sizes))
    if len(small):
        names = ", ".join(os.path.basename(files[k]) for k in small[:5]) + (" ..." if len(small) > 5 else "")
        warn(f"Far smaller than the other files: {names}. Were they copied whole?")
