"""Models and pixels of SMV images."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xtal.errors import DataError
from xtal.files import notes
from xtal.files.raw import fill, read_head, read_whole
from xtal.models import Beam, Detector, Goniometer, Panel, Scan
from xtal.physics.detectors import beam_of, flat_panel, set_sensor
from xtal_format_smv import dtrek, timepix
from xtal_format_smv.header import Header, is_smv

HEAD = 65536
ADSC_GAIN = {
    **dict.fromkeys((401, 402, 414, 423, 428, 429), 1.25),
    **dict.fromkeys((471, 472, 474), 2.8),
    **dict.fromkeys((*range(441, 449), 457, 901, 905, 907, 913, 917, 923, 925, 926, 928, 931, 933), 2.4),
}
"""ADU per photon by serial number: Quantum 4, 270, and 210 or 315."""


class Smv:
    """SMV images; the dialect is told by BEAMLINE and the keys that are there."""

    def sniff(self, head: bytes, path: Path) -> int:
        """4 for SMV, 6 for a dialect known here."""
        if not is_smv(head):
            return 0
        header = Header.parse(head, path)
        return 6 if timepix.is_timepix(header) or dtrek.is_dtrek(header) else 4

    def open(self, path: Path) -> SmvImage:
        """Open the image; nothing is read before it is needed."""
        return SmvImage(Path(path))


class SmvImage:
    """One SMV image (`xtal.hooks.protocols.ImageSource`)."""

    n_frames = 1

    def __init__(self, path: Path) -> None:
        self.path = path

    @cached_property
    def header(self) -> Header:
        return Header.parse(read_head(self.path, HEAD), self.path)

    @cached_property
    def dtype(self) -> np.dtype[Any]:
        """As stored, in this machine's byte order; signed short is widened, as is what image plates compress."""
        stored = self.header.stored
        if stored.kind == "f":
            return stored.newbyteorder("=")
        if dtrek.compression_ratio(self.header) > 1:
            return np.dtype(np.int32)
        return np.dtype(np.int32) if stored.kind == "i" else stored.newbyteorder("=")

    @cached_property
    def _slices(self) -> list[Any]:
        return timepix.slices() if timepix.is_quad(self.header) else [np.s_[:, :]]

    @property
    def shapes(self) -> Sequence[tuple[int, int]]:
        slow, fast = self.header.shape
        return [(len(range(slow)[s]), len(range(fast)[f])) for s, f in self._slices]

    def models(self) -> tuple[Beam, Detector, Goniometer | None, Scan | None]:
        """Models from the header; numbers that it lacks are NaN."""
        header = self.header
        self._check_size()
        if dtrek.is_dtrek(header):
            return dtrek.models(header)
        beam = beam_of(header.number("WAVELENGTH"))
        notes.assumed_polarisation(beam.polarization_fraction)
        axis = np.array([1.0, 0.0, 0.0])
        if timepix.is_timepix(header):
            detector, axis = timepix.detector_model(header), timepix.axis(header)
            set_sensor(detector, beam, "Si", timepix.THICKNESS)
            notes.assumed("sensor", f"{timepix.THICKNESS} mm Si", "the detector is a Timepix quad")
            notes.assumed("trusted range", timepix.TRUSTED, "what its pixels can hold")
            if detector[0].mask:
                notes.assumed("masked", "the cross between its chips", "pixels there are stretched from wider ones")
        elif header.text("BEAMLINE").lower() == "fake":
            detector = Detector([_simulated_panel(header)])
        else:
            detector = Detector([_adsc_panel(header)])
        notes.assumed("rotation axis", axis, "the header names none")
        start, width = header.number("OSC_START", "PHI"), header.number("OSC_RANGE")
        if not np.isfinite([start, width]).all():
            return beam, detector, None, None
        if width < 0:
            width, axis = -width, -axis + 0.0
        exposure = np.array([header.number("TIME", default=0.0)])
        return beam, detector, Goniometer(axis), Scan((1, 1), (start, width), exposure, np.array([header.epoch()]))

    def _check_size(self) -> None:
        """A plain file that is shorter than its header says is found before its pixels are needed."""
        header, packed = self.header, self.path.suffix in (".gz", ".bz2")
        slow, fast = header.shape
        needed = header.needed("HEADER_BYTES") + slow * fast * header.stored.itemsize
        if not packed and self.path.stat().st_size < needed:
            raise DataError(f"The image {self.path} is truncated: pixels are missing.", advice="Copy it again.")

    def read(self, frame: int, out: Sequence[NDArray[Any]]) -> None:
        """Copy the pixels into ``out``, one array per panel."""
        content = read_whole(self.path)
        header = Header.parse(bytes(content[:HEAD]), self.path)
        slow, fast = header.shape
        start, stored = header.needed("HEADER_BYTES"), header.stored
        if len(content) < start + slow * fast * stored.itemsize:
            raise DataError(f"The image {self.path} is truncated: pixels are missing.", advice="Copy it again.")
        pixels: NDArray[Any] = np.frombuffer(content, stored, slow * fast, start).reshape(slow, fast)
        ratio = dtrek.compression_ratio(header)
        if ratio > 1:
            pixels = dtrek.expand(pixels, ratio)
        for panel, part in zip(out, self._slices, strict=True):
            fill(panel, pixels[part], self.path)

    def masks(self) -> None:
        """Bad regions are rectangles of the panels: there is no further mask."""
        return None

    def frame_mask(self, frame: int) -> None:
        """Nothing moves in front of the detector, as far as the header tells."""
        return None

    def close(self) -> None:
        """Nothing is held open."""


def _size_and_pixel(header: Header) -> tuple[tuple[int, int], tuple[float, float]]:
    slow, fast = header.shape
    pixel = header.number("PIXEL_SIZE")
    if not pixel > 0:
        raise DataError(f"The SMV image {header.path} has no PIXEL_SIZE in its header, which nothing can replace.")
    return (fast, slow), (pixel, pixel)


def _top(header: Header) -> float:
    """Highest value below saturation."""
    return header.number("CCD_IMAGE_SATURATION", default=65535.0) - 1.0


def _adsc_panel(header: Header) -> Panel:
    """ADSC writes the beam centre as (slow, fast), in mm."""
    size, pixel = _size_and_pixel(header)
    centre = header.number("BEAM_CENTER_Y"), header.number("BEAM_CENTER_X")
    serial = header.number("DETECTOR_SN", default=0.0)
    gain = header.number("GAIN", default=ADSC_GAIN.get(int(serial) if abs(serial) < 1e6 else 0, 1.0))
    return flat_panel(
        header.number("DISTANCE"),
        centre,
        size,
        pixel,
        type="SENSOR_CCD",
        trusted_range=(0.0, _top(header)),
        gain=gain,
        pedestal=header.number("IMAGE_PEDESTAL", default=0.0),
    )


def _simulated_panel(header: Header) -> Panel:
    """Images of simtbx: the beam centre is that of ADXV, counted from the lower edge and one pixel off."""
    size, pixel = _size_and_pixel(header)
    x = header.number("ADXV_CENTER_X", "BEAM_CENTER_X")
    y = header.number("ADXV_CENTER_Y", "BEAM_CENTER_Y")
    pedestal = header.number("ADC_OFFSET", default=1.0)
    return flat_panel(
        header.number("DISTANCE"),
        (x + pixel[0], size[1] * pixel[1] - y + pixel[1]),
        size,
        pixel,
        type="SENSOR_PAD" if abs(pixel[0] - 0.172) < 1e-6 else "SENSOR_CCD",
        trusted_range=(0.0, _top(header)),
        pedestal=pedestal,
    )
