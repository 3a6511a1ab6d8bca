"""Models of a reference in place of the headers'."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from copy import deepcopy
from pathlib import Path
from typing import TypeVar

import numpy as np
from attrs import evolve

from xtal.errors import DataError
from xtal.files import read_experiments
from xtal.models import Detector, Experiment, ExperimentList, Goniometer
from xtal.words import counted
from xtal_steps_import.options import ImportInput
from xtal_steps_import.scans import same_beam, same_detector, same_goniometer

M = TypeVar("M")


def apply_reference(experiments: ExperimentList, options: ImportInput) -> list[str]:
    """Take beam, detector and goniometer from the reference where the options say so; returns what was taken.

    Raises
    ------
    DataError
        If the reference is not unique, or its detector is not the images'.
    """
    path = Path(options.reference_geometry or "")
    reference = read_experiments(Path(os.path.expanduser(path)))
    tolerance = options.tolerance
    taken = []
    if options.use_beam_reference:
        beam = deepcopy(_only([e.beam for e in reference], lambda a, b: same_beam(a, b, tolerance), "beams", path))
        beam.s0_at_scan_points = None
        for e in experiments:
            e.beam = beam
        taken.append("beam")
    if options.use_detector_reference:
        detectors = [e.detector for e in reference]
        detector = deepcopy(_only(detectors, lambda a, b: same_detector(a, b, tolerance), "detectors", path))
        for e in experiments:
            if options.check_reference_geometry:
                _check_detector(e, detector, path)
            e.detector = detector
        taken.append("detector")
    goniometers = [e.goniometer for e in reference if e.goniometer is not None]
    turning = [e for e in experiments if e.goniometer is not None]
    if options.use_gonio_reference and goniometers and turning:
        same = lambda a, b: same_goniometer(a, b, tolerance)
        _set_goniometers(turning, goniometers, lambda: _only(goniometers, same, "goniometers", path))
        taken.append("goniometer")
    return taken


def _only(models: Sequence[M], same: Callable[[M, M], bool], what: str, path: Path) -> M:
    """The one model of a kind in the reference."""
    distinct: list[M] = []
    for model in models:
        if not any(same(old, model) for old in distinct):
            distinct.append(model)
    if len(distinct) != 1:
        raise DataError(
            f"The reference {path} has {len(distinct)} {what}, where one can be taken.",
            advice=f"Give the experiments of one of them, or use_{_OPTION[what]}_reference=False.",
        )
    return distinct[0]


_OPTION = {"beams": "beam", "detectors": "detector", "goniometers": "gonio"}


def _check_detector(e: Experiment, reference: Detector, path: Path) -> None:
    facts = [
        [(p.image_size, tuple(np.round(p.pixel_size, 6))) for p in detector] for detector in (e.detector, reference)
    ]
    if facts[0] != facts[1]:
        texts = [f"{counted(len(f), 'panel')} of {f[0][0][0]} x {f[0][0][1]} pixels" for f in facts]
        raise DataError(
            f"The detector of the reference {path} ({texts[1]}) is not that of the images ({texts[0]}).",
            advice="Give another reference, use_detector_reference=False or check_reference_geometry=False.",
        )


def _set_goniometers(
    experiments: Sequence[Experiment], reference: Sequence[Goniometer], only: Callable[[], Goniometer]
) -> None:
    """Axes from the reference; angles of the axes that stand still from the images, whose they are."""
    done: dict[int, Goniometer] = {}
    for e in experiments:
        mine = e.goniometer
        if mine is None:
            continue
        if id(mine) not in done:
            alike = [g for g in reference if _same_chain(g, mine)]
            if alike and mine.angles_deg is not None:
                found = alike[0]
                done[id(mine)] = Goniometer.from_axes(found.axes, mine.angles_deg, found.names, mine.scan_axis)
                done[id(mine)].extra = dict(found.extra)
            else:
                done[id(mine)] = evolve(deepcopy(only()), setting_at_scan_points=None)
        e.goniometer = done[id(mine)]


def _same_chain(a: Goniometer, b: Goniometer) -> bool:
    return a.axes is not None and b.axes is not None and len(a.axes) == len(b.axes) and a.scan_axis == b.scan_axis
