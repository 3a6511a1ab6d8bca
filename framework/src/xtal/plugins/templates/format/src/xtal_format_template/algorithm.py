"""Images of a header of 512 bytes of text, then pixels of 32 bits, little endian::

PLAIN IMAGE 1
width = 120
...
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xtal.errors import DataError
from xtal.files import notes
from xtal.files.raw import fill, read_head, read_whole
from xtal.models import Beam, Detector, Goniometer, Scan
from xtal.physics.detectors import beam_of, flat_panel
from xtal_format_template.options import TemplateOptions

MAGIC = b"PLAIN IMAGE 1\n"
HEADER = 512
MAX_PIXELS = 100_000_000


class TemplateFormat:
    """Reader of plain images (`xtal.hooks.protocols.ImageFormat`)."""

    def __init__(self, options: TemplateOptions) -> None:
        self.options = options

    def sniff(self, head: bytes, path: Path) -> int:
        """5 for the first line, else 0."""
        return 5 if head.startswith(MAGIC) else 0

    def open(self, path: Path) -> TemplateImage:
        """Read the header."""
        return TemplateImage(Path(path), self.options.axis_reversed)


class TemplateImage:
    """One image (`xtal.hooks.protocols.ImageSource`)."""

    n_frames = 1
    dtype = np.dtype("<i4")

    def __init__(self, path: Path, axis_reversed: bool) -> None:
        self.path, self.axis_reversed = path, axis_reversed
        lines = read_head(path, HEADER).decode("ascii", "replace").splitlines()[1:]
        self.header = {k.strip(): v.strip() for k, found, v in (line.partition("=") for line in lines) if found}
        width, height = int(self._number("width")), int(self._number("height"))
        # a size is not believed before the file has been seen to hold it, and never without bounds
        if width < 1 or height < 1 or width * height > MAX_PIXELS:
            raise DataError(f"The image {path} claims {width} x {height} pixels.")
        self.shapes: Sequence[tuple[int, int]] = [(height, width)]

    def _number(self, key: str, default: float | None = None) -> float:
        try:
            value = float(self.header[key]) if default is None else float(self.header.get(key, default))
        except (KeyError, ValueError):
            raise DataError(f"The header of {self.path} has no number {key!r}.") from None
        if key in self.header:
            notes.read(key, value, f"the header's {key}")
        return value

    def models(self) -> tuple[Beam, Detector, Goniometer | None, Scan | None]:
        """What the header says; NaN for what import is to ask the user for."""
        unknown = float("nan")
        beam = beam_of(self._number("wavelength", unknown))
        pixel = self._number("pixel_mm", unknown)
        centre = (self._number("beam_x_mm", unknown), self._number("beam_y_mm", unknown))
        height, width = self.shapes[0]
        panel = flat_panel(
            self._number("distance_mm", unknown), centre, (width, height), (pixel, pixel), trusted_range=(0, 1e6)
        )
        if "oscillation_deg" not in self.header:
            return beam, Detector([panel]), None, None
        axis = (-1.0, 0.0, 0.0) if self.axis_reversed else (1.0, 0.0, 0.0)
        notes.assumed("rotation axis", axis, "the header does not say it")
        number = int(self._number("image", 1))
        scan = Scan((number, number), (self._number("angle_deg", 0.0), self._number("oscillation_deg")))
        return beam, Detector([panel]), Goniometer(axis), scan

    def read(self, frame: int, out: Sequence[NDArray[Any]]) -> None:
        """Copy the pixels, if the array is of their size."""
        (shape,) = self.shapes
        content = read_whole(self.path)
        expected = HEADER + shape[0] * shape[1] * self.dtype.itemsize
        if len(content) != expected:
            raise DataError(f"Frame {frame + 1} of {self.path}: {len(content)} bytes where {expected} are expected.")
        fill(out[0], np.frombuffer(content, self.dtype, offset=HEADER).reshape(shape), self.path)

    def masks(self) -> Sequence[NDArray[np.bool_]] | None:
        """None: the trusted range says all."""
        return None

    def frame_mask(self, frame: int) -> Sequence[NDArray[np.bool_]] | None:
        """None: no shadow moves."""
        return None

    def close(self) -> None:
        """Nothing is held open."""
