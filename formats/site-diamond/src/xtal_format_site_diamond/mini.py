"""miniCBF images whose goniometer is known by the detector's serial number."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from xtal.files import notes
from xtal.models import Goniometer
from xtal.models.goniometer import rotation_matrix
from xtal.units import DEG
from xtal_format_cbf_mini.header import Header
from xtal_format_cbf_mini.source import CbfMini, CbfMiniImage

CLAIM = 8
"""More specific than any generic format; 9 is left to the beamline itself."""

X, Y = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0)
MINI_KAPPA = (0.914, 0.279, -0.297)


def year(header: Header) -> int:
    """Year of the image, 0 if the header has no time."""
    return int(header.time[:4]) if header.time else 0


def _mini_kappa(header: Header) -> Goniometer:
    angles = [header.number(key, 0.0) for key in ("Phi", "Kappa", "Omega")]
    return Goniometer.from_axes([X, MINI_KAPPA, X], angles, ["GON_PHI", "GON_KAPPA", "GON_OMEGA"], 2)


def _fixed_mini_kappa(header: Header) -> Goniometer:
    phi, kappa = (header.number(key, 0.0) * DEG for key in ("Phi", "Kappa"))
    return Goniometer(X, rotation_matrix(MINI_KAPPA, kappa) @ rotation_matrix(X, phi))


def _smargon(header: Header) -> Goniometer:
    angles = [header.number(key, 0.0) for key in ("Phi", "Chi", "Omega")]
    return Goniometer.from_axes([X, (0.0, 0.0, -1.0), X], angles, ["GON_PHI", "GON_CHI", "GON_OMEGA"], 2)


def _vertical(header: Header) -> Goniometer:
    return Goniometer(Y)


def _vertical_or_plates(header: Header) -> Goniometer:
    # plates stand in for the vertical axis; headers before a correction give the opposite sign
    plates = "FAST" in header.values.get("Oscillation_axis", "")
    return Goniometer((-1.0, 0.0, 0.0) if plates else Y)


GONIOMETERS: dict[str, tuple[int, Callable[[Header], Goniometer]]] = {
    "60-0100 Diamond": (0, _mini_kappa),
    "60-0114": (2017, _vertical),
    "60-0119": (2015, _vertical_or_plates),
    "60-0126": (0, _fixed_mini_kappa),
    "160-0001": (0, _smargon),
}
"""By serial number: the first year in which the detector stood there, and its goniometer."""


def goniometer_maker(header: Header) -> tuple[str, Callable[[Header], Goniometer]] | None:
    """The serial number and its goniometer, or None where nothing is known of the detector."""
    for serial, (since, make) in GONIOMETERS.items():
        if f"S/N {serial}" in header.detector and year(header) >= since:
            return serial, make
    return None


class DiamondMini(CbfMini):
    """miniCBF of a detector whose goniometer is known here."""

    def sniff(self, head: bytes, path: Path) -> int:
        """8 for a miniCBF with a serial number of the table."""
        if not super().sniff(head, path):
            return 0
        return CLAIM if goniometer_maker(Header(head.decode("latin-1"))) else 0

    def open(self, path: Path) -> DiamondMiniImage:
        """Open the image; nothing is read before it is needed."""
        return DiamondMiniImage(Path(path))


class DiamondMiniImage(CbfMiniImage):
    """A miniCBF image with the goniometer of its beamline."""

    def goniometer(self) -> Goniometer:
        """The goniometer at the place of the detector's serial number."""
        known = goniometer_maker(self.header)
        if known is None:
            return super().goniometer()
        serial, make = known
        made = make(self.header)
        notes.assumed("rotation axis", np.round(made.axis, 6), f"the detector S/N {serial} stands there")
        return made
