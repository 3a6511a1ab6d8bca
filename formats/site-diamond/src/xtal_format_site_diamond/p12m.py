"""The Pilatus 12M of Diamond I23: 24 rows of five modules on a half barrel around the sample."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xtal.errors import DataError
from xtal.files import notes
from xtal.models import Beam, Detector, Goniometer, Panel
from xtal.models.detector import Group
from xtal.physics.detectors import Rectangle, set_sensor
from xtal.units import DEG
from xtal_format_cbf_mini.header import Header
from xtal_format_cbf_mini.source import CbfMini, CbfMiniImage
from xtal_format_site_diamond.mini import CLAIM, X

SERIAL = "S/N 120-0100"
ROWS = 24
ROW_SHAPE = (195, 2463)
ROW_STEP = 212
MODULE, GAP = 487, 7
PIXEL = 0.172
RADIUS = 250.0
"""Of the barrel, mm."""

TO_EDGE = (184.9, 16.8)
"""From the foot of the normal to the first pixel of a row (fast, slow), mm."""

FIRST_ANGLE, STEP_ANGLE = -12.2 + 0.5 * 7.903, 7.903 + 0.441
"""Of the rows around the barrel, degrees."""

IDEAL_BEAM = (1075.0, 2594.0)
"""Where the beam meets the array (pixels) when the detector is in place."""

LIMIT = 1e6 - 1
"""Highest trusted count."""

KAPPA = (np.cos(50 * DEG), -np.sin(50 * DEG), 0.0)

_ROW = range(5)
BAD: list[tuple[str, list[tuple[int, int, Rectangle | None]]]] = [
    ("2024-11-25", []),
    ("2024-09-01", [(21, column, None) for column in _ROW]),
    ("2022-07-01", []),
    ("2022-01-24", [(10, 3, None)]),
    ("2020-09-08", []),
    ("2020-02-21", [(1, 4, None), (17, 0, None), (17, 4, None), (15, 4, (60, 0, 120, 97))]),
    ("2019-11-26", [(17, 0, None), (17, 4, None)]),
    ("2019-09-03", [(15, 2, None), (17, 0, None)]),
]
"""Modules (row, column) that were bad from a date on, latest first; a rectangle is the bad part of a module."""

REVERSED_BEFORE = datetime(2016, 4, 1, tzinfo=UTC).timestamp()
"""Until then the axis turned the other way and was the only one."""

_thread = threading.local()


def bad_rectangles(epoch: float) -> dict[int, list[Rectangle]]:
    """Untrusted rectangles by row at a time (seconds of UTC)."""
    for date, modules in BAD:
        if epoch > datetime.fromisoformat(f"{date}T00:00:00+00:00").timestamp():
            found: dict[int, list[Rectangle]] = {}
            for row, column, part in modules:
                f0, s0, f1, s1 = part or (0, 0, MODULE, ROW_SHAPE[0])
                left = column * (MODULE + GAP)
                found.setdefault(row, []).append((left + f0, s0, left + f1, s1))
            return found
    return {}


class P12M(CbfMini):
    """miniCBF of the Pilatus 12M."""

    def sniff(self, head: bytes, path: Path) -> int:
        """8 for a miniCBF with this detector's serial number."""
        known = super().sniff(head, path) and SERIAL in Header(head.decode("latin-1")).detector
        return CLAIM if known else 0

    def open(self, path: Path) -> P12MImage:
        """Open the image; nothing is read before it is needed."""
        return P12MImage(Path(path))


class P12MImage(CbfMiniImage):
    """One image of the Pilatus 12M: a panel for each row of modules."""

    @property
    def shapes(self) -> Sequence[tuple[int, int]]:
        self._check_array()
        return [ROW_SHAPE] * ROWS

    def _check_array(self) -> None:
        expected = ((ROWS - 1) * ROW_STEP + ROW_SHAPE[0], ROW_SHAPE[1])
        if self.raw_shape != expected:
            raise DataError(f"The image {self.path} has {self.raw_shape} pixels, a Pilatus 12M {expected}.")

    def detector(self, beam: Beam) -> Detector:
        """The rows around the barrel, in a group that carries distance and beam centre."""
        self._check_array()
        header = self.header
        centre = header.numbers("Beam_xy", 2) or [float("nan")] * 2
        x, y, z = np.array([-1.0, 0.0, 0.0]), np.array([0.0, 1.0, 0.0]), np.array([0.0, 0.0, 1.0])
        shift = [PIXEL * (ideal - seen) for ideal, seen in zip(IDEAL_BEAM, centre, strict=True)]
        origin = -1000.0 * header.number("Detector_distance") * z + shift[0] * x + shift[1] * y
        frame = np.column_stack([x, y, -z])
        bad = bad_rectangles(header.epoch())
        panels = [self._row(j, frame, origin, bad.get(j, [])) for j in range(ROWS)]
        why = f"the detector {SERIAL} is a half barrel"
        notes.assumed("panels", f"{ROWS} rows, radius {RADIUS:g} mm", why)
        notes.assumed("pixel size", (PIXEL, PIXEL), why)
        notes.assumed("trusted range", (0.0, LIMIT), "counts that this detector can hold")
        if bad:
            notes.assumed("masked", f"bad modules of {len(bad)} rows", "they were bad when the image was taken")
        detector = Detector(panels, Group(x, y, origin, children=list(range(ROWS))))
        set_sensor(detector, beam, *header.sensor())
        return detector

    @staticmethod
    def _row(j: int, frame: NDArray[np.float64], origin: NDArray[np.float64], mask: list[Rectangle]) -> Panel:
        angle = (FIRST_ANGLE + j * STEP_ANGLE) * DEG
        fast, slow = np.array(X), np.array([0.0, np.sin(angle), np.cos(angle)])
        corner = RADIUS * np.cross(fast, slow) - TO_EDGE[0] * fast - TO_EDGE[1] * slow
        return Panel(
            frame @ fast,
            frame @ slow,
            origin + frame @ corner,
            (ROW_SHAPE[1], ROW_SHAPE[0]),
            (PIXEL, PIXEL),
            trusted_range=(0.0, LIMIT),
            name=f"row-{j:02d}",
            raw_image_offset=(0, j * ROW_STEP),
            mask=mask,
        )

    def goniometer(self) -> Goniometer:
        """The kappa goniometer; before April 2016 a single reversed axis."""
        header = self.header
        if header.epoch() < REVERSED_BEFORE:
            notes.assumed("rotation axis", (-1.0, 0.0, 0.0), "so it turned at I23 before April 2016")
            return Goniometer((-1.0, 0.0, 0.0))
        notes.assumed("rotation axis", X, "the omega axis of the kappa goniometer at I23")
        angles = [header.number(key, 0.0) for key in ("Phi", "Kappa", "Omega")]
        return Goniometer.from_axes([X, KAPPA, X], angles, ["PHI", "KAPPA", "OMEGA"], 2)

    def read(self, frame: int, out: Sequence[NDArray[Any]]) -> None:
        """Decode the pixels and copy the rows of modules into ``out``, int32."""
        self._check_array()
        if [a.shape for a in out] != [ROW_SHAPE] * ROWS:
            raise DataError(f"The image {self.path} has {ROWS} panels of {ROW_SHAPE} pixels, others of its scan not.")
        # a fresh array for each image would cost more page faults than the decoding itself
        whole = getattr(_thread, "array", None)
        if whole is None:
            whole = _thread.array = np.empty(self.raw_shape, np.int32)
        self.decode(whole)
        for j, row in enumerate(out):
            row[:] = whole[j * ROW_STEP : j * ROW_STEP + ROW_SHAPE[0]]
