"""Models and pixels of a full imgCIF image."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xtal.errors import DataError
from xtal.files import notes
from xtal.files.raw import LARGEST, read_whole
from xtal.models import Beam, Detector, Goniometer, Scan
from xtal.physics.detectors import PILATUS_MODULE, beam_of, module_gaps, set_sensor
from xtal_format_cbf_imgcif.axes import Axes
from xtal_format_cbf_imgcif.detector import DetectorMaker, Tile, size_of, tiles_of
from xtal_format_cbf_imgcif.goniometer import goniometer_of
from xtal_format_cbf_imgcif.pixels import arrays_of
from xtal_format_cbf_imgcif.sections import read_text, split
from xtal_format_cbf_imgcif.tables import Tables
from xtal_format_cbf_mini.header import Header, convention, is_full_imgcif

SENSORS = {"CS PAD": ("Si", 0.5)}
"""Material and thickness (mm) of sensors that headers do not name: Hart et al. (2012), Proc. SPIE 8504, 85040C."""


class CbfImgcif:
    """Full imgCIF: tables describe axes, arrays and the scan."""

    def sniff(self, head: bytes, path: Path) -> int:
        """5 for a CBF with the tables of full imgCIF."""
        return 5 if head.startswith(b"###CBF") and is_full_imgcif(head) else 0

    def open(self, path: Path) -> CbfImgcifImage:
        """Open the image; nothing is read before it is needed."""
        return CbfImgcifImage(Path(path))


class CbfImgcifImage:
    """One full imgCIF image (`xtal.hooks.protocols.ImageSource`)."""

    n_frames = 1
    dtype: np.dtype[Any] = np.dtype(np.int32)

    def __init__(self, path: Path) -> None:
        self.path = path

    @cached_property
    def _text(self) -> bytes:
        return read_text(self.path)

    @cached_property
    def tables(self) -> Tables:
        """The tables of the file."""
        return Tables(self._text, self.path)

    @cached_property
    def header(self) -> Header:
        """Comment lines, as a Pilatus writes them before the tables."""
        return Header(self._text.decode("latin-1"))

    @cached_property
    def _tiles(self) -> list[Tile]:
        return tiles_of(self.tables)

    @cached_property
    def shapes(self) -> Sequence[tuple[int, int]]:
        sizes = [size_of(self.tables, tile) for tile in self._tiles]
        if 4 * sum(fast * slow for fast, slow in sizes) > LARGEST:
            raise DataError(f"The panels of {self.path} claim more pixels than any image has.", advice="Copy it again.")
        return [(slow, fast) for fast, slow in sizes]

    @property
    def is_pilatus(self) -> bool:
        """Whether the header is also that of a Pilatus."""
        return convention(self._text).startswith("PILATUS")

    def models(self) -> tuple[Beam, Detector, Goniometer | None, Scan | None]:
        """Models from the tables; a wavelength that the header lacks is NaN.

        No goniometer and scan where there are no goniometer axes.
        """
        axes = Axes(self.tables)
        beam = self._beam(axes)
        detector = DetectorMaker(self.tables, axes).detector()
        self._describe(detector, beam)
        turned = goniometer_of(axes)
        if turned is None:
            return beam, detector, None, None
        goniometer, oscillation = turned
        frame = self.tables.first("diffrn_scan_frame")
        exposure = self.tables.number(frame, "integration_time")
        notes.read("exposure time", exposure, "_diffrn_scan_frame.integration_time")
        epoch = Header(f"# {frame.get('date', '')}").epoch() or self.header.epoch()
        return beam, detector, goniometer, Scan((1, 1), oscillation, np.array([exposure]), np.array([epoch]))

    def _beam(self, axes: Axes) -> Beam:
        radiation, row = self.tables.first("diffrn_radiation"), self.tables.first("diffrn_radiation_wavelength")
        beam = beam_of(
            self.tables.number(row, "wavelength", math.nan),
            flux=max(self.tables.number(radiation, "beam_flux"), 0.0),
        )
        notes.read("wavelength", beam.wavelength, "_diffrn_radiation_wavelength.wavelength")
        beam.direction = axes.source() / np.linalg.norm(axes.source())
        notes.read("direction to the source", beam.direction, "_axis, equipment source")
        if radiation.get("probe", "").lower() == "electron":
            beam.probe, beam.polarization_fraction = "electron", 0.5
        # the templates of Pilatus headers hold a ratio that nobody has measured
        if "polarizn_source_ratio" in radiation and not self.is_pilatus and not beam.is_electron:
            ratio = self.tables.number(radiation, "polarizn_source_ratio")
            angle = math.radians(self.tables.number(radiation, "polarizn_source_norm"))
            # (Ip - In) / (Ip + In) to Ip / (Ip + In)
            beam.polarization_fraction = min(max((1 + ratio) / 2, 0.0), 1.0)
            beam.polarization_normal = np.array([math.sin(angle), math.cos(angle), 0.0])
            notes.read("polarisation", beam.polarization_fraction, "_diffrn_radiation.polarizn_source_ratio")
        else:
            notes.assumed_polarisation(beam.polarization_fraction)
        return beam

    def _describe(self, detector: Detector, beam: Beam) -> None:
        """What stands outside the tables: sensor, gaps between modules, kind of detector."""
        if self.is_pilatus:
            material, thickness = self.header.sensor()
            set_sensor(detector, beam, material, thickness)
            panel = detector[0]
            panel.mask = module_gaps(panel.image_size, *PILATUS_MODULE) or []
            panel.identifier = self.header.detector
            notes.read("detector", panel.identifier, "# Detector")
            if panel.mask:
                notes.assumed("masked", f"{len(panel.mask)} gaps between modules", "the detector is a Pilatus")
        else:
            kind = self.tables.first("diffrn_detector").get("type", "")
            if kind in SENSORS:
                set_sensor(detector, beam, *SENSORS[kind])
                notes.assumed("sensor", SENSORS[kind], f"the detector is a {kind}")
            for panel in detector:
                panel.type = "SENSOR_UNKNOWN" if len(detector) == 1 else ""
        if len(detector) == 1:
            detector[0].name = "Panel"

    def read(self, frame: int, out: Sequence[NDArray[Any]]) -> None:
        """Decode the pixels into ``out``, int32, one array per panel."""
        if [a.shape for a in out] != list(self.shapes):
            raise DataError(f"The image {self.path} has panels of {self.shapes}, the others of its scan have not.")
        content = read_whole(self.path)
        sections, _ = split(content, self.path)
        arrays = arrays_of(content, sections, self.tables, self._tiles, out)
        for tile, target in zip(self._tiles, out, strict=True):
            array = arrays[tile.array]
            if array is target:
                continue
            fast, slow, depth = tile.start
            height, width = target.shape
            if depth >= array.shape[0] or slow + height > array.shape[1] or fast + width > array.shape[2]:
                raise DataError(f"The panel {tile.name} of {self.path} reaches beyond its array of pixels.")
            target[:] = array[depth, slow : slow + height, fast : fast + width]

    def masks(self) -> None:
        """Gaps between modules are rectangles of the panel: there is no further mask."""
        return None

    def frame_mask(self, frame: int) -> None:
        """Nothing moves in front of the detector, as far as the header tells."""
        return None

    def close(self) -> None:
        """Nothing is held open."""
