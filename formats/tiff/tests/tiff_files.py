"""TIFF files for tests."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

from xtal_format_tiff.rayonix import ENDS, PLACES, STARTS

IMAGE = np.random.default_rng(1).integers(0, 65535, (60, 80)).astype(np.uint16)
PILATUS = """# Pixel_size 172e-6 m x 172e-6 m
# Silicon sensor, thickness 0.000320 m
# Exposure_period 0.5000 s
# Count_cutoff 1048574 counts
# Wavelength 1.0 A
# Detector_distance 0.2 m
# Beam_xy (40.0, 30.0) pixels
# Start_angle 10.0 deg.
# Angle_increment 0.1 deg.
"""


def rayonix(path: Path, image: np.ndarray = IMAGE, order: str = "<", angles: tuple = (0, 5.0), **values: int) -> Path:
    """Angles: start and end of phi."""
    numbers = {
        "fast": image.shape[1], "slow": image.shape[0], "bytes of a pixel": 2, "saturation": 65535,
        "distance at the start": 200_000, "beam x": 41_000, "beam y": 29_000, "exposure": 1500, "bias": 10_000,
        "pixel x": 100_000, "pixel y": 100_000, "wavelength": 97_950, **values,
    }  # fmt: skip
    head = bytearray(4096)
    # one entry after another: width, height, bits, no compression, photometric, offset, rows, bytes
    tags = [(256, 4, image.shape[1]), (257, 4, image.shape[0]), (258, 3, 16), (259, 3, 1), (262, 3, 1),
            (273, 4, 4096), (278, 4, image.shape[0]), (279, 4, image.nbytes)]  # fmt: skip
    head[:10] = (b"II" if order == "<" else b"MM") + struct.pack(order + "HIH", 42, 8, len(tags))
    for k, (tag, kind, value) in enumerate(tags):
        short = kind == 3
        struct.pack_into(order + ("HHIHH" if short else "HHII"), head, 10 + 12 * k, tag, kind, 1, value, *[0] * short)
    head[1028:1032] = b"MMX\0"
    for name, value in numbers.items():
        struct.pack_into(order + "i", head, PLACES[name], value)
    for place, phi in zip((STARTS, ENDS), angles, strict=True):
        struct.pack_into(order + "i", head, place + 16, round(1000 * phi))
    head[2368:2383] = b"041621332005.17"
    path.write_bytes(bytes(head) + image.astype(order + "u2").tobytes())
    return path
