"""miniCBF files for tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from xtal_format_cbf_mini.header import MAGIC

HEADER = """###CBF: VERSION 1.5
data_x
_array_data.header_convention "PILATUS_1.2"
_array_data.header_contents
;
# Detector: {detector}
# 2020-01-02T03:04:05.250
# Pixel_size 172e-6 m x 172e-6 m
# Silicon sensor, thickness 0.000320 m
# Exposure_time 0.0990000 s
# Exposure_period 0.1000000 s
# Count_cutoff 1000 counts
# Wavelength {wavelength} A
# Detector_distance 0.2 m
# Beam_xy (244.00, 203.50) pixels
{rotation};

_array_data.data
;
--CIF-BINARY-FORMAT-SECTION--
Content-Type: application/octet-stream;
     conversions="x-CBF_BYTE_OFFSET"
X-Binary-Size: {size}
X-Binary-Element-Type: "signed 32-bit integer"
X-Binary-Number-of-Elements: {n}
X-Binary-Size-Fastest-Dimension: {fast}
X-Binary-Size-Second-Dimension: {slow}

"""
ROTATION = "# Start_angle 10.0 deg.\n# Angle_increment 0.5 deg.\n"


def encode(values: np.ndarray) -> bytes:
    """Byte-offset compression, slowly."""
    out, before = bytearray(), 0
    for value in map(int, values.ravel()):
        step = value - before
        before = value
        if -127 <= step <= 127:
            out += step.to_bytes(1, "little", signed=True)
        elif -32767 <= step <= 32767:
            out += b"\x80" + step.to_bytes(2, "little", signed=True)
        else:
            out += b"\x80\x00\x80" + step.to_bytes(4, "little", signed=True)
    return bytes(out)


def write(
    path: Path, image: np.ndarray, *, rotation: str = ROTATION, detector: str = "PILATUS 200K", **more: str
) -> Path:
    data = encode(image)
    slow, fast = image.shape
    text = HEADER.format(
        detector=detector, rotation=rotation, size=len(data), n=image.size, fast=fast, slow=slow,
        wavelength=more.get("wavelength", "1.0"),
    )  # fmt: skip
    path.write_bytes(text.replace("\n", "\r\n").encode() + MAGIC + data + bytes(4095))
    return path
