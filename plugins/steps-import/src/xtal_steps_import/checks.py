"""Whether the models can be: what is impossible is refused, what is unlikely is said."""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np

from xtal.errors import DataError
from xtal.models import Beam, Detector, Experiment, ExperimentList
from xtal.run import Context
from xtal_steps_import.geometry import beam_centre, check_complete

WAVELENGTHS = (0.005, 20.0)
"""Angstrom; others are most likely a slip of units."""
DISTANCES = (1e-3, 1e6)
"""Millimetres; at others no ray meets the detector in a place that can be told."""
LARGEST_WIDTH = 20.0
"""Degrees per image; more is a slip, or a header that means something else."""


def check(context: Context, experiments: ExperimentList) -> None:
    """Tell what is unlikely, once for each set of models.

    Raises
    ------
    DataError
        If models lack a number, or contradict themselves.
    """
    seen: set[tuple[int, int]] = set()
    electrons = False
    for e in experiments:
        if (id(e.beam), id(e.detector)) in seen:
            continue
        seen.add((id(e.beam), id(e.detector)))
        path = (e.images.template or e.images.paths[0]) if e.images is not None else "the images"
        check_complete(path, e.beam, e.detector)
        _refuse(path, e)
        for text in _doubts(e):
            context.warn(f"{os.path.basename(path)}: {text}")
        electrons |= e.beam.is_electron and e.scan is not None
    if electrons:
        wavelength = next(e.beam.wavelength for e in experiments if e.beam.is_electron)
        context.print(
            f"A wavelength of {wavelength:g} Å means electrons (unpolarised, no parallax). "
            "Their headers seldom hold the rotation axis: check it, or give geometry.goniometer.axis=."
        )


def _refuse(path: str, e: Experiment) -> None:
    for number, panel in enumerate(e.detector):
        if min(panel.image_size) < 1 or not min(panel.pixel_size) > 0:
            raise DataError(
                f"{path}: panel {number} has {panel.image_size} pixels of {panel.pixel_size} mm.",
                advice="Give geometry.detector.panel.image_size= or pixel_size=.",
            )
        if not DISTANCES[0] < abs(panel.distance) < DISTANCES[1]:
            raise DataError(
                f"{path}: the distance from the sample to the plane of panel {number} is {panel.distance:g} mm.",
                advice="Give geometry.detector.distance=, in mm.",
            )
        if not panel.trusted_range[0] < panel.trusted_range[1]:
            raise DataError(
                f"{path}: the trusted range of panel {number}, {panel.trusted_range}, holds no value.",
                advice="Give geometry.detector.panel.trusted_range=LOWEST,HIGHEST.",
            )
    if e.goniometer is not None and abs(e.goniometer.axis @ e.beam.direction) > 0.999:
        raise DataError(
            f"{path}: the rotation axis lies along the beam, so that no reflection ever comes into it.",
            advice="Give geometry.goniometer.axis=X,Y,Z.",
        )


def _doubts(e: Experiment) -> Iterator[str]:
    low, high = WAVELENGTHS
    if not low <= e.beam.wavelength <= high:
        yield f"a wavelength of {e.beam.wavelength:g} Å is unlikely; geometry.beam.wavelength= is in Å."
    if beam_centre(e.detector, e.beam) is None:
        yield off_detector(e.detector, e.beam)
    if e.scan is not None and abs(e.scan.oscillation_deg[1]) > LARGEST_WIDTH:
        yield f"one image turns by {e.scan.oscillation_deg[1]:g}°; check it, or give geometry.scan.oscillation=."


def off_detector(detector: Detector, beam: Beam) -> str:
    """Where the beam passes the detector, as a warning."""
    passes = []
    for number, panel in enumerate(detector):
        along = float(-beam.direction @ panel.normal) * panel.directed_distance
        if along == 0.0:
            continue
        point = -beam.direction * (panel.origin @ panel.normal) / (-beam.direction @ panel.normal)
        x = float((point - panel.origin) @ panel.fast_axis) / panel.pixel_size[0]
        y = float((point - panel.origin) @ panel.slow_axis) / panel.pixel_size[1]
        outside = [max(-v, v - n, 0.0) for v, n in zip((x, y), panel.image_size, strict=True)]
        passes.append((along < 0, float(np.hypot(*outside)), number, x, y))
    end = "if that is wrong, give geometry.detector.fast_slow_beam_centre=."
    if not passes:
        return f"the beam runs along the detector and does not meet it; {end}"
    behind, _, number, x, y = min(passes)
    if behind:
        return f"the detector is on the side that the beam comes from; {end}"
    where = f"panel {number}" if len(detector) > 1 else "the detector"
    size = " x ".join(map(str, detector[number].image_size))
    return f"the beam passes beside {where} ({size} pixels), at {x:.1f}, {y:.1f} px (fast, slow); {end}"
