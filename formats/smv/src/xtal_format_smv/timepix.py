"""Timepix quads: four chips of 256 x 256 pixels whose inner edge pixels are three times as wide.

Images of 516 x 516 pixels hold the wide pixels stretched to three (the cross, which is not
to be trusted); those of 512 x 512 hold each as one, so that the chips are panels of their
own without their edge pixels.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from xtal.models import Detector, Group
from xtal.physics.detectors import flat_panel
from xtal_format_smv.header import Header

CHIP = 256
CROSS = (255, 261)
"""Half-open range of untrusted rows and columns of an image of 516 x 516 pixels."""

THICKNESS = 0.3
"""Silicon sensor, mm."""

AXIS = {516: (0.7826, -0.6226, 0.0), 512: (-0.755, -0.656, 0.0)}
"""Rotation axis of the microscope where these headers come from; others give geometry.goniometer.axis."""

TRUSTED = (0.0, 65534.0)


def is_timepix(header: Header) -> bool:
    """Whether the header is of a quad, by BEAMLINE and size."""
    return header.text("BEAMLINE").upper().startswith("TIMEPIX_SU") and header.values.get("SIZE1") in ("512", "516")


def is_quad(header: Header) -> bool:
    """Whether the image is one of four panels."""
    return is_timepix(header) and header.shape == (2 * CHIP, 2 * CHIP)


def axis(header: Header) -> NDArray[np.float64]:
    """(3,) rotation axis."""
    return np.array(AXIS[header.shape[1]])


def slices() -> list[Any]:
    """(slow, fast) of the four panels in the image: chips without their outermost pixels."""
    parts = (slice(1, CHIP - 1), slice(CHIP + 1, 2 * CHIP - 1))
    return [np.s_[slow, fast] for slow in parts for fast in parts]


def _true_position(x: float) -> float:
    """Distance from the edge, in normal pixels, of a position in an image of 512 pixels."""
    if x < CHIP - 1:
        return x
    return CHIP - 1 + 3 * (x - CHIP + 1) if x < CHIP + 1 else x + 4


def detector_model(header: Header) -> Detector:
    """One panel with its cross masked, or four panels. The beam centre is (fast, slow) in pixels."""
    pixel = header.number("PIXEL_SIZE", default=0.055)
    distance = header.number("DISTANCE")
    beam = header.number("BEAM_CENTER_X"), header.number("BEAM_CENTER_Y")
    if not is_quad(header):
        slow, fast = header.shape
        low, high = CROSS
        panel = flat_panel(distance, (beam[0] * pixel, beam[1] * pixel), (fast, slow), (pixel, pixel))
        panel.mask = [(low, 0, high, slow), (0, low, fast, high)]
        panel.trusted_range = TRUSTED
        return Detector([panel])
    true = [_true_position(x) for x in beam]
    panels = []
    for k, (slow_part, fast_part) in enumerate(slices()):
        start = fast_part.start, slow_part.start
        centre = [(b - _true_position(s)) * pixel for b, s in zip(true, start, strict=True)]
        size = CHIP - 2, CHIP - 2
        panel = flat_panel(distance, (centre[0], centre[1]), size, (pixel, pixel), name=f"Panel{k}")
        panel.raw_image_offset, panel.trusted_range = start, TRUSTED
        panels.append(panel)
    first = panels[0]
    # the chips begin with their outermost pixels, which no panel has and which are as wide as the inner ones
    corner = first.origin - 3 * pixel * (first.fast_axis + first.slow_axis)
    return Detector(panels, Group(first.fast_axis, first.slow_axis, corner, children=list(range(len(panels)))))
