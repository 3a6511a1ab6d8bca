"""miniCBF files of Diamond's detectors for tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from xtal_format_site_diamond.p12m import ROW_SHAPE, ROW_STEP, ROWS

HEADER = """###CBF: VERSION 1.5
data_x
_array_data.header_convention "PILATUS_1.2"
_array_data.header_contents
;
# Detector: {detector}
# {time}
# Pixel_size 172e-6 m x 172e-6 m
# Silicon sensor, thickness 0.000320 m
# Exposure_period 0.1 s
# Count_cutoff 1000 counts
# Wavelength 2.75 A
# Detector_distance 0.01 m
# Beam_xy (1075.00, 2594.00) pixels
# Start_angle 10.0 deg.
# Angle_increment 0.5 deg.
# Phi 20.0 deg.
# Kappa {kappa} deg.
# Chi 40.0 deg.
# Omega 10.0 deg.
# Oscillation_axis {axis}
;
_array_data.data
;
--CIF-BINARY-FORMAT-SECTION--
Content-Type: application/octet-stream;
     conversions="x-CBF_BYTE_OFFSET"
X-Binary-Size: {size}
X-Binary-Size-Fastest-Dimension: {fast}
X-Binary-Size-Second-Dimension: {slow}

"""
BARREL = ((ROWS - 1) * ROW_STEP + ROW_SHAPE[0], ROW_SHAPE[1])


def write(path: Path, detector: str, shape: tuple[int, int], time: str = "2021-06-17T13:51:36", **more: object) -> Path:
    """Pixels are the number of their row modulo 100."""
    slow, fast = shape
    steps = np.zeros(shape, np.int8)
    steps[1:, 0] = 1
    steps[100::100, 0] = -99
    values = {"kappa": 30.0, "axis": "X, CW", **more}
    text = HEADER.format(detector=detector, time=time, size=steps.size, fast=fast, slow=slow, **values)
    path.write_bytes(text.encode() + b"\x0c\x1a\x04\xd5" + steps.tobytes())
    return path
