"""From image files to scans: headers are compared, consecutive images of one rotation belong together."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from attrs import define, field

from xtal.errors import DataError
from xtal.hooks.protocols import ImageFormat, ImageSource
from xtal.models import Beam, Detector, Goniometer, Images, Scan
from xtal.run.formats import Formats
from xtal_steps_import.collect import Series, runs_of
from xtal_steps_import.options import Tolerance


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

    def images(self) -> Images:
        """Where the images of the whole are."""
        first, last = self.numbers
        if self.template and "#" not in self.template:
            return Images(self.template, indices=list(range(first - 1, last)))
        return Images(self.template) if self.template else Images(paths=list(self.files))

    def image(self, number: int) -> Images:
        """Where one image is."""
        if self.template and "#" not in self.template:
            return Images(paths=[self.template], indices=[number - 1])
        return Images(paths=[self.files[number - self.numbers[0]]])


def _close(a: Any, b: Any, tolerance: float) -> bool:
    return bool(np.allclose(a, b, rtol=0.0, atol=tolerance, equal_nan=True))


def same_beam(a: Beam, b: Beam, tolerance: Tolerance) -> bool:
    """Whether two beams differ less than the tolerance."""
    near = partial(_close, tolerance=1e-6)
    return (
        _close(a.wavelength, b.wavelength, tolerance.beam.wavelength)
        and _close(a.direction, b.direction, tolerance.beam.direction)
        and near(a.polarization_normal, b.polarization_normal)
        and near(a.polarization_fraction, b.polarization_fraction)
    )


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


def same_models(a: Header, b: Header, tolerance: Tolerance) -> bool:
    """Whether two images were taken with the same models."""
    return (
        same_beam(a.beam, b.beam, tolerance)
        and same_detector(a.detector, b.detector, tolerance)
        and same_goniometer(a.goniometer, b.goniometer, tolerance)
    )


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
    """

    def __init__(self, formats: Formats, tolerance: Tolerance, *, ignore_angles: bool = False) -> None:
        self.formats = formats
        self.tolerance = tolerance
        self.ignore_angles = ignore_angles

    def scans(self, series: Series) -> Iterator[Found]:
        """Scans among the files of one template.

        Raises
        ------
        DataError
            If a file is no image, or its header cannot be used.
        """
        first = next(iter(series.files.values()))
        name, form = self.formats.recognise(Path(first))
        source = form.open(Path(first))
        if getattr(source, "container", source.n_frames > 1):
            source.close()
            for file in series.files.values():
                yield self._container(Path(file))
            return
        for low, high in runs_of(list(series.files)):
            yield from self._run(series, name, form, low, high)

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
        _check_sizes([series.files[n] for n in range(low, high + 1)])
        probes = sorted({low, min(low + 1, high), (low + high) // 2, high})
        headers = {n: self._header(form, series.files[n]) for n in probes}
        if all(self._belongs(headers[low], headers[n], n - low) for n in probes[1:]):
            yield self._found(series, name, headers[low], headers[high], low, high)
            return
        headers |= {n: self._header(form, series.files[n]) for n in range(low, high + 1) if n not in headers}
        start = low
        for n in range(low + 1, high + 2):
            if n > high or not self._belongs(headers[start], headers[n], n - start):
                yield self._found(series, name, headers[start], headers[n - 1], start, n - 1)
                start = n

    def _belongs(self, first: Header, other: Header, steps: int) -> bool:
        """Whether an image continues the rotation of another, ``steps`` images before."""
        if not same_models(first, other, self.tolerance):
            return False
        if self.ignore_angles:
            return True
        (start, width), (angle, other_width) = first.oscillation, other.oscillation
        limit = self.tolerance.scan.oscillation * abs(width)
        if width == 0.0:
            return other_width == 0.0
        jump = (angle - start - steps * width + 180.0) % 360.0 - 180.0
        return abs(other_width - width) <= limit and abs(jump) <= max(limit, 1e-6)

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


def _check_sizes(files: list[str]) -> None:
    """Files whose headers are not read at least exist and are not empty."""
    for file in files:
        try:
            size = os.stat(file).st_size
        except OSError as error:
            raise DataError(f"The image {file} cannot be read: {error.strerror}.") from error
        if size == 0:
            raise DataError(f"The image {file} is empty.", advice="Copy it again, or leave it out.")
