"""Image plates of mar research: integers and lines of text, saturated pixels, packed pixels.

fabio reads them too, but its unpacker trusts the stream: damaged files crash the interpreter.
"""

from __future__ import annotations

import re
import struct
from typing import Any

import numpy as np
from attrs import define, field
from numpy.typing import NDArray

from xtal_format_fabio_generic.kernels import unpack_ccp4

HEADER = 4096
_INTEGERS = {
    "PixelLength": (24, 1e-3), "PixelHeight": (28, 1e-3), "Wavelength": (32, 1e-6), "Distance": (36, 1e-3),
    "StartPhi": (40, 1e-3), "EndPhi": (44, 1e-3), "StartOmega": (48, 1e-3), "EndOmega": (52, 1e-3),
    "Chi": (56, 1e-3), "TwoTheta": (60, 1e-3),
}  # fmt: skip
"""Byte and unit (mm, angstrom, degree)."""


@define
class Mar345:
    """Header and pixels of one image, as the classes of fabio have them."""

    header: dict[str, Any] = field(factory=dict)
    data: NDArray[np.int32] = field(factory=lambda: np.empty((0, 0), np.int32))

    def read(self, stream: Any) -> Mar345:
        """Read a stream whose sizes were checked.

        Raises
        ------
        ValueError
            If pixels are missing.
        """
        content = stream.read()
        order = "<" if content[:1] == b"\xd2" else ">"
        width, high = struct.unpack_from(order + "2i", content, 4)
        for name, (at, unit) in _INTEGERS.items():
            self.header[name] = round(struct.unpack_from(order + "i", content, at)[0] * unit, 9)
        text = content[64:HEADER].split(b"END OF HEADER")[0].decode("latin-1")
        centre = re.search(r"^CENTER\s+X\s+(\S+)\s+Y\s+(\S+)", text, re.MULTILINE)
        if centre:
            self.header["CENTER_X"], self.header["CENTER_Y"] = centre.groups()
        time = re.search(r"^TIME\s+(\S+)", text, re.MULTILINE)
        if time:
            self.header["TIME"] = time[1]
        start = content.find(b"CCP4 packed image", HEADER)
        begin = content.index(b"\n", start) + 1
        flat = np.zeros(width * width, np.int32)
        if unpack_ccp4(np.frombuffer(content, np.uint8, offset=begin), width, flat) != flat.size:
            raise ValueError("pixels are missing")
        pairs = np.frombuffer(content, order + "i4", 2 * high, HEADER).reshape(high, 2).astype(np.int64)
        good = (pairs[:, 0] >= 1) & (pairs[:, 0] <= flat.size)
        flat[pairs[good, 0] - 1] = pairs[good, 1]
        self.data = flat.reshape(width, width)
        return self
