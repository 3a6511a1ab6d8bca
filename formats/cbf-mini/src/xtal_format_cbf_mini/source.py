"""Models and pixels of a miniCBF image."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xtal.errors import DataError
from xtal.files import notes
from xtal.files.raw import read_head, read_whole
from xtal.models import Beam, Detector, Goniometer, Panel, Scan
from xtal.physics.detectors import PILATUS_MODULE, beam_of, eiger_gaps, flat_panel, module_gaps, set_sensor
from xtal_format_cbf_mini.header import Binary, Header, binary_section, convention, is_full_imgcif

HEAD = 65536
"""Bytes in which the whole text of the header stands."""

EIGER_THICKNESS = 0.450
"""Silicon sensor of an Eiger whose header names none, mm."""

UNLIMITED = 2**31 - 3
"""Highest trusted value where no saturation is given."""


class CbfMini:
    """miniCBF: the header is comment lines, the pixels are compressed by byte offset."""

    def sniff(self, head: bytes, path: Path) -> int:
        """5 for a CBF with a header convention known here and without the tables of full imgCIF."""
        if not head.startswith(b"###CBF") or not convention(head) or is_full_imgcif(head):
            return 0
        return 5

    def open(self, path: Path) -> CbfMiniImage:
        """Open the image; nothing is read before it is needed."""
        return CbfMiniImage(Path(path))


class CbfMiniImage:
    """One miniCBF image (`xtal.hooks.protocols.ImageSource`)."""

    n_frames = 1
    dtype: np.dtype[Any] = np.dtype(np.int32)

    def __init__(self, path: Path) -> None:
        self.path = path

    @cached_property
    def _head(self) -> bytes:
        return read_head(self.path, HEAD)

    @cached_property
    def _binary(self) -> Binary:
        return binary_section(self._head, self.path)

    @cached_property
    def header(self) -> Header:
        """The comment lines."""
        return Header(self._head[: self._binary.start].decode("latin-1"))

    @property
    def raw_shape(self) -> tuple[int, int]:
        """(slow, fast) of the array in the file."""
        return self._binary.shape

    @property
    def shapes(self) -> Sequence[tuple[int, int]]:
        return [self._binary.shape]

    def models(self) -> tuple[Beam, Detector, Goniometer | None, Scan | None]:
        """Models from the comment lines; numbers that the header lacks are NaN.

        No goniometer and scan where there is no rotation in the header.
        """
        self._check_size()
        header = self.header
        beam = beam_of(
            header.number("Wavelength"),
            flux=max(header.number("Flux", 0.0), 0.0),
            transmission=header.number("Transmission", 1.0),
        )
        notes.assumed_polarisation(beam.polarization_fraction)
        detector = self.detector(beam)
        if header.numbers("Start_angle") is None or header.numbers("Angle_increment") is None:
            return beam, detector, None, None
        exposure = header.number("Exposure_period", header.number("Exposure_time", 0.0))
        scan = Scan(
            (1, 1),
            (header.number("Start_angle"), header.number("Angle_increment")),
            np.array([exposure]),
            np.array([header.epoch()]),
        )
        return beam, detector, self.goniometer(), scan

    def detector(self, beam: Beam) -> Detector:
        """One flat panel across the beam; formats of detectors of another shape replace this."""
        if "12M" in self.header.detector and "PILATUS" in self.header.detector.upper():
            raise DataError(
                f"The image {self.path} is of the curved detector {self.header.detector}, "
                "which cbf_mini cannot describe."
            )
        detector = Detector([self._panel(self.header, beam)])
        self._sensor(self.header, detector, beam)
        return detector

    def goniometer(self) -> Goniometer:
        """A single axis along x; formats of sites that know better replace this."""
        notes.assumed("rotation axis", (1.0, 0.0, 0.0), "miniCBF headers name none that is to be relied on")
        return Goniometer()

    def _check_size(self) -> None:
        """A plain file that is shorter than its header says is found before its pixels are needed."""
        packed, needed = self.path.suffix in (".gz", ".bz2"), self._binary.start + self._binary.size
        if not packed and self.path.stat().st_size < needed:
            raise DataError(f"The image {self.path} is truncated: pixels are missing.", advice="Copy it again.")

    def _panel(self, header: Header, beam: Beam) -> Panel:
        pixel = header.numbers("Pixel_size", 2)
        if pixel is None:
            raise DataError(f"The header of {self.path} has no Pixel_size, which nothing can replace.")
        pixel_mm = (pixel[0] * 1000.0, pixel[1] * 1000.0)
        centre = header.numbers("Beam_xy", 2) or [float("nan")] * 2
        cutoff = header.number("Count_cutoff", 0.0)
        if "EIGER" in header.detector.upper() and cutoff <= 0:
            cutoff = 1e8
            notes.assumed("Count_cutoff", cutoff, "the header of this Eiger has none")
        elif cutoff <= 0:
            notes.assumed("trusted range", (0.0, UNLIMITED), "the header has no Count_cutoff")
        slow, fast = self._binary.shape
        return flat_panel(
            header.number("Detector_distance") * 1000.0,
            (centre[0] * pixel_mm[0], centre[1] * pixel_mm[1]),
            (fast, slow),
            pixel_mm,
            # the cutoff itself is a saturated count
            trusted_range=(0.0, cutoff - 1.0 if cutoff > 0 else UNLIMITED),
            mask=self._gaps(header, (fast, slow)),
            identifier=header.detector if "EIGER" in header.detector.upper() else "",
        )

    def _gaps(self, header: Header, size: tuple[int, int]) -> list[tuple[int, int, int, int]]:
        name = header.detector.upper()
        notes.read("detector", header.detector, "# Detector")
        gaps = (
            module_gaps(size, *PILATUS_MODULE) if "PILATUS" in name else eiger_gaps(size) if "EIGER" in name else None
        )
        if gaps:
            notes.assumed("masked", f"{len(gaps)} gaps between modules", "the detector is known by name and size")
        return gaps or []

    def _sensor(self, header: Header, detector: Detector, beam: Beam) -> None:
        material, thickness = header.sensor()
        if "EIGER" in header.detector.upper():
            if not material or not thickness:
                notes.assumed("sensor", f"{EIGER_THICKNESS} mm Si", "usual for an Eiger, where the header has none")
            material, thickness = material or "Si", thickness or EIGER_THICKNESS
        set_sensor(detector, beam, material, thickness)

    def read(self, frame: int, out: Sequence[NDArray[Any]]) -> None:
        """Decode the pixels into ``out[0]``, int32."""
        self.decode(out[0])

    def decode(self, out: NDArray[Any]) -> None:
        """Decode the array in the file into ``out``, int32 and of `raw_shape`."""
        content = read_whole(self.path)
        binary = binary_section(bytes(content[:HEAD]), self.path)
        if out.shape != binary.shape:
            slow, fast = binary.shape
            raise DataError(f"The image {self.path} has {fast} x {slow} pixels, the others of its scan have not.")
        data = np.frombuffer(content, np.uint8)[binary.start : binary.start + binary.size]
        data.flags.writeable = False  # as it is for unpacked files: one signature of the kernel
        flat = out.reshape(-1)
        if "x-cbf_byte_offset" in binary.conversion:
            # the kernel comes with its compiler: only a reader of pixels pays for that
            from xtal_format_cbf_mini.kernels import decode_byte_offset

            complete = decode_byte_offset(data, flat) == flat.size
        elif "x-cbf_none" in binary.conversion:
            complete = data.size >= 4 * flat.size
            if complete:
                flat[:] = data[: 4 * flat.size].view("<i4")
        else:
            raise DataError(f"The pixels of {self.path} are compressed with {binary.conversion}, unknown to cbf_mini.")
        if not complete:
            raise DataError(f"The image {self.path} is truncated: pixels are missing.", advice="Copy it again.")

    def masks(self) -> None:
        """Gaps between modules are rectangles of the panel: there is no further mask."""
        return None

    def frame_mask(self, frame: int) -> None:
        """Nothing moves in front of the detector, as far as the header tells."""
        return None

    def close(self) -> None:
        """Nothing is held open."""
