"""Models of masters that DECTRIS detectors wrote before they followed NXmx."""

from __future__ import annotations

from typing import Any

import numpy as np

from xtal.files import notes
from xtal.models import Beam, Detector, Goniometer, Panel, Scan
from xtal.physics.detectors import eiger_gaps, set_sensor
from xtal_format_nxmx.geometry import MATERIALS, Parts, tidy
from xtal_format_nxmx.links import member
from xtal_format_nxmx.tree import TO_LAB, length_mm, number, numbers_of, text

TO_NEXUS = np.array([1.0, 1.0, -1.0])
"""These masters write geometry with z against the beam."""


def is_dectris(detector: Any) -> bool:
    """Whether the detector calls itself an Eiger of DECTRIS."""
    return detector is not None and "eiger" in text(member(detector, "description")).lower()


def detector_model(parts: Parts, beam: Beam, shape: tuple[int, int], limit: float) -> Detector:
    """One panel, from the group ``geometry`` or, without that, distance and beam centre."""
    group = parts.detector
    pixel = (length_mm(group, "x_pixel_size"), length_mm(group, "y_pixel_size"))
    fast, slow = np.array([-1.0, 0.0, 0.0]), np.array([0.0, -1.0, 0.0])
    orientation = numbers_of(member(group, "geometry/orientation/value"))
    distances = numbers_of(member(group, "geometry/translation/distances"))
    if orientation.size >= 6 and distances.size >= 3:
        fast, slow = orientation[:3] * TO_NEXUS, orientation[3:6] * TO_NEXUS
        origin = distances[:3] * TO_NEXUS * 1000.0
    else:
        centre = number(group, "beam_center_x") * pixel[0], number(group, "beam_center_y") * pixel[1]
        distance = length_mm(group, "detector_distance", default=length_mm(group, "distance"))
        origin = np.array([centre[0], centre[1], distance])
    saturation = saturation_value(group, limit)
    panel = Panel(
        TO_LAB @ fast + 0.0,
        TO_LAB @ slow + 0.0,
        TO_LAB @ origin,
        (shape[1], shape[0]),
        pixel,
        trusted_range=(0.0, min(saturation - 1.0, limit)),
        mask=eiger_gaps((shape[1], shape[0])),
    )
    detector = Detector([panel])
    material = MATERIALS.get(text(member(group, "sensor_material")).lower(), "")
    set_sensor(detector, beam, material, length_mm(group, "sensor_thickness", default=0.0))
    return detector


def saturation_value(group: Any, limit: float) -> float:
    """The count at which the rate correction gives up."""
    name = "countrate_correction_count_cutoff"
    places = "saturation_value", f"detectorSpecific/{name}", f"detectorSpecific/detectorModule_000/{name}"
    found = next((values[0] for place in places if (values := numbers_of(member(group, place))).size), None)
    return float(found) if found is not None and np.isfinite(found) else limit + 1.0


def goniometer_and_scan(parts: Parts, n_frames: int) -> tuple[Goniometer, Scan]:
    """Omega about the horizontal axis (+x in the laboratory frame)."""
    group = member(parts.sample, "goniometer") if parts.sample is not None else None
    start, width = 0.0, 0.0
    if group is not None:
        start = number(group, "omega", default=number(group, "omega_start", default=0.0))
        width = number(group, "omega_range_average", default=number(group, "omega_increment", default=0.0))
        angles = numbers_of(member(group, "omega"))
        if width == 0.0 and angles.size > 1:
            width = float(np.median(np.diff(angles)))
    axis = np.array([1.0, 0.0, 0.0])
    notes.assumed("rotation axis", axis, "these masters name none")
    if width < 0:
        start, width, axis = -start, -width, -axis + 0.0
    exposure = number(parts.detector, "frame_time", default=0.0)
    times, epochs = np.full(n_frames, exposure), exposure * np.arange(n_frames, dtype=np.float64)
    return Goniometer(axis), Scan((1, n_frames), (tidy(start), tidy(width)), times, epochs)
