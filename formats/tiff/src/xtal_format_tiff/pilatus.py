"""TIFF images of a Pilatus: comment lines as in its miniCBF, in the description."""

from __future__ import annotations

import re

import numpy as np

from xtal.files import notes
from xtal.models import Beam, Detector, Goniometer, Panel, Scan
from xtal.physics.detectors import PILATUS_MODULE, beam_of, flat_panel, module_gaps, set_sensor

_LINE = re.compile(r"^#?[ \t]*+([A-Za-z_]++)[ \t]*+[:=]?([^\n]*)", re.MULTILINE)
_NUMBER = re.compile(r"[-+]?\d+\.?\d*(?:[eE][-+]?\d+)?")
NAN = float("nan")


class Header:
    """Lines ``# key value``."""

    def __init__(self, text: str) -> None:
        self._values = {key: value.strip() for key, value in _LINE.findall(text) if len(value) < 256}

    def numbers(self, key: str, count: int) -> list[float]:
        """The first numbers of a line, NaN where there are fewer."""
        found = [float(n) for n in _NUMBER.findall(self._values.get(key, ""))[:count]]
        if len(found) < count:
            return [NAN] * count
        notes.read(key, self._values[key], f"# {key}")
        return found


def is_pilatus(text: str) -> bool:
    """Whether a description is one of a Pilatus."""
    return "# Pixel_size" in text


def models(text: str, shape: tuple[int, int]) -> tuple[Beam, Detector, Goniometer | None, Scan | None]:
    """Models of a description and the (slow, fast) shape; numbers that it lacks are NaN."""
    header = Header(text)
    beam = beam_of(header.numbers("Wavelength", 1)[0])
    notes.assumed_polarisation(beam.polarization_fraction)
    detector = Detector([_panel(header, shape)])
    thickness = header.numbers("Silicon", 1)[0]
    if np.isfinite(thickness):
        set_sensor(detector, beam, "Si", thickness * 1000.0)
    (start,), (width,) = header.numbers("Start_angle", 1), header.numbers("Angle_increment", 1)
    if not np.isfinite([start, width]).all():
        return beam, detector, None, None
    notes.assumed("rotation axis", (1.0, 0.0, 0.0), "the header names none")
    exposure = np.nan_to_num(header.numbers("Exposure_period", 1))
    return beam, detector, Goniometer(), Scan((1, 1), (start, width), exposure, np.zeros(1))


def _panel(header: Header, shape: tuple[int, int]) -> Panel:
    size = shape[1], shape[0]
    pixel = [1000.0 * x for x in header.numbers("Pixel_size", 2)]
    centre = header.numbers("Beam_xy", 2)
    cutoff = header.numbers("Count_cutoff", 1)[0]
    gaps = module_gaps(size, *PILATUS_MODULE) or []
    if gaps:
        notes.assumed("masked", f"{len(gaps)} gaps between modules", "the detector is a Pilatus")
    return flat_panel(
        header.numbers("Detector_distance", 1)[0] * 1000.0,
        (centre[0] * pixel[0], centre[1] * pixel[1]),
        size,
        (pixel[0], pixel[1]),
        trusted_range=(0.0, cutoff - 1.0 if cutoff > 1 else 2.0**31 - 3),
        mask=gaps,
    )
