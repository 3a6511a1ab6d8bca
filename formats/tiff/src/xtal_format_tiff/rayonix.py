"""The header of MarCCD and Rayonix images: 3072 bytes of integers from byte 1024 of a TIFF file."""

from __future__ import annotations

import struct
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xtal.errors import DataError
from xtal.files import notes
from xtal.files.raw import check_claim
from xtal.models import Beam, Detector, Goniometer, Panel, Scan, rotation_matrix
from xtal.physics.detectors import beam_of, flat_panel

SIZE = 4096
"""Bytes in front of the pixels."""

PLACES = {
    "fast": 1104, "slow": 1108, "bytes of a pixel": 1112, "saturation": 1128, "distance at the start": 1664,
    "beam x": 1668, "beam y": 1672, "exposure": 1680, "distance at the end": 1720, "axis": 1756, "range": 1760,
    "tilt x": 1764, "tilt y": 1768, "tilt z": 1772, "pixel x": 1796, "pixel y": 1800, "bias": 1804, "wavelength": 1932,
}  # fmt: skip
STARTS, ENDS = 1692, 1724
"""Seven angles each."""

ANGLES = ("two-theta", "omega", "chi", "kappa", "phi", "delta", "gamma")
GAINS = {162.0: ("165", 1.0), 225.0: ("225", 1.5), 300.0: ("300", 1.5), 325.0: ("325", 1.3)}
"""ADU per photon by the width of the detector, mm."""

NAN = float("nan")


def is_rayonix(head: bytes) -> bool:
    """Whether a TIFF file has such a header."""
    return len(head) >= SIZE and head[1028:1032] == b"MMX\0"


class Header:
    """Numbers of the header of one file."""

    def __init__(self, head: bytes, path: Path) -> None:
        if not is_rayonix(head):
            raise DataError(f"The image {path} is truncated in its header.", advice="Copy it again.")
        self.path, self._head = path, head
        self._order = ">" if head.startswith(b"MM") else "<"

    def raw(self, name: str) -> int:
        value = struct.unpack_from(self._order + "i", self._head, PLACES[name])[0]
        notes.read(name, value, f"byte {PLACES[name]}")
        return int(value)

    def number(self, name: str, factor: float) -> float:
        """A number in its unit; NaN where the header has 0 or less."""
        value = self.raw(name) * factor
        return value if value > 0 else NAN

    def angles(self, place: int) -> NDArray[np.float64]:
        """(7,) degrees."""
        found = np.array(struct.unpack_from(self._order + "7i", self._head, place)) * 1e-3
        notes.read("angles", found, f"{', '.join(ANGLES)}: bytes {place} to {place + 27}")
        return found

    @property
    def shape(self) -> tuple[int, int]:
        """(slow, fast)."""
        slow, fast = self.raw("slow"), self.raw("fast")
        check_claim(self.path, slow, fast)
        return slow, fast

    @property
    def stored(self) -> np.dtype[Any]:
        """Type of the stored pixels."""
        depth = self.raw("bytes of a pixel")
        if depth not in (2, 4):
            raise DataError(f"The image {self.path} claims {depth} bytes a pixel; 2 or 4 are known.")
        return np.dtype(f"{self._order}u{depth}")

    @property
    def bias(self) -> int:
        """Counts that stand for none."""
        return round(self.raw("bias") * 1e-3)

    def epoch(self) -> float:
        """Time stamp MMDDhhmmYYYY.ss in seconds of UTC, 0 if there is none."""
        text = self._head[2368:2400].split(b"\0")[0].decode("latin-1").strip()
        try:
            return datetime.strptime(text, "%m%d%H%M%Y.%S").replace(tzinfo=UTC).timestamp()
        except ValueError:
            return 0.0


def models(header: Header) -> tuple[Beam, Detector, Goniometer | None, Scan | None]:
    """Models from the header; numbers that it lacks are NaN.

    Raises
    ------
    DataError
        If the header describes what no one here has seen (a tilted detector).
    """
    if any(header.raw(f"tilt {xyz}") for xyz in "xyz"):
        raise DataError(f"The detector of {header.path} is tilted by its header, which xtal does not read.")
    starts, ends = header.angles(STARTS), header.angles(ENDS)
    panel = _panel(header)
    if starts[0]:
        notes.assumed("axis of two-theta", (1.0, 0.0, 0.0), "the header names none")
        turn = rotation_matrix(np.array([1.0, 0.0, 0.0]), np.radians(starts[0]))
        panel.fast_axis, panel.slow_axis, panel.origin = (
            turn @ v for v in (panel.fast_axis, panel.slow_axis, panel.origin)
        )
    beam = beam_of(header.number("wavelength", 1e-5))
    notes.assumed_polarisation(beam.polarization_fraction)
    moving = [k for k in range(1, len(ANGLES)) if starts[k] != ends[k]]
    if len(moving) != 1:
        many = f"{len(moving)} angles differ" if moving else "no angle differs"
        notes.assumed("rotation", "none", f"{many} between start and end")
        return beam, Detector([panel]), None, None
    start, width = float(starts[moving[0]]), float(ends[moving[0]] - starts[moving[0]])
    axis = np.array([1.0, 0.0, 0.0])
    notes.assumed("rotation axis", axis, f"of {ANGLES[moving[0]]}; the header names none")
    if width < 0:
        start, width, axis = -start, -width, -axis + 0.0
    exposure = np.array([header.raw("exposure") * 1e-3])
    scan = Scan((1, 1), (start, float(f"{width:.6g}")), exposure, np.array([header.epoch()]))
    return beam, Detector([panel]), Goniometer(axis), scan


def _panel(header: Header) -> Panel:
    slow, fast = header.shape
    pixel = header.number("pixel x", 1e-6), header.number("pixel y", 1e-6)
    if pixel[1] != pixel[1]:  # square where only one is given
        pixel = pixel[0], pixel[0]
    distance = header.number("distance at the start", 1e-3)
    if distance != distance:
        distance = header.number("distance at the end", 1e-3)
    centre = _centre(header, (fast, slow), pixel)
    bias, saturation = header.bias, header.raw("saturation")
    top = saturation if saturation > 0 else 65535
    return flat_panel(
        distance,
        centre,
        (fast, slow),
        pixel,
        type="SENSOR_CCD",
        # zero marks pixels without a value, saturation is no count
        trusted_range=(1.0 - bias, top - 1.0 - bias),
        gain=_gain(fast * pixel[0]),
    )


def _centre(header: Header, size: tuple[int, int], pixel: tuple[float, float]) -> tuple[float, float]:
    """Beam centre (fast, slow), mm: the header has it in pixels, or at some beamlines in mm."""
    x, y = header.number("beam x", 1e-3), header.number("beam y", 1e-3)
    if x < 0.25 * size[0] and y < 0.25 * size[1]:
        notes.assumed("unit of the beam centre", "mm", "in pixels it would be far from the middle of the image")
        return x, y
    return x * pixel[0], y * pixel[1]


def _gain(width: float) -> float:
    """ADU per photon of the detector of this width (mm), 1 where it is not known."""
    for known, (model, gain) in GAINS.items():
        if abs(width / known - 1.0) < 0.02:
            notes.assumed("gain", gain, f"the width is that of a model {model}")
            return gain
    notes.assumed("gain", 1.0, "the model is not known by its width")
    return 1.0
