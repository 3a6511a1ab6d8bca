"""miniCBF files as a Pilatus writes them."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from xtal.files.atomic import writing
from xtal_steps_simulate.kernels import byte_offset
from xtal_steps_simulate.model import Model

CUTOFF = 1048575
_MAGIC = b"\x0c\x1a\x04\xd5"
_PADDING = 4095


def header(model: Model, frame: int) -> str:
    """Text header of an image (0-based), with the errors that the model asks for."""
    x, y = model.beam_px + np.array(model.beam_error)
    nx, ny = model.image_size
    lines = [
        f"# Detector: PILATUS simulated {nx}x{ny}, S/N 00-0000",
        "# 2024-01-01T00:00:00.000",
        f"# Pixel_size {model.pixel * 1e3:.0f}e-6 m x {model.pixel * 1e3:.0f}e-6 m",
        f"# Silicon sensor, thickness {model.sensor * 1e-3:.6f} m",
        "# Exposure_time 0.0990000 s",
        "# Exposure_period 0.1000000 s",
        f"# Count_cutoff {CUTOFF} counts",
        f"# Wavelength {model.wavelength:.6f} A",
        f"# Detector_distance {(model.distance + model.distance_error) * 1e-3:.8f} m",
        f"# Beam_xy ({x:.3f}, {y:.3f}) pixels",
        f"# Start_angle {model.start + frame * model.width:.6f} deg.",
        f"# Angle_increment {model.width:.6f} deg.",
    ]
    return "\r\n".join(
        [
            "###CBF: VERSION 1.5, written by xtal",
            "",
            f"data_{model.name}_{frame + 1:05d}",
            "",
            '_array_data.header_convention "PILATUS_1.2"',
            "_array_data.header_contents",
            ";",
            *lines,
            ";",
            "",
            "_array_data.data",
            ";",
        ]
    )


def cbf_bytes(model: Model, frame: int, image: NDArray[np.int32]) -> bytes:
    """The whole file of one image (slow, fast)."""
    buffer = np.empty(7 * image.size, dtype=np.uint8)
    data = buffer[: byte_offset(image.reshape(-1), buffer)].tobytes()
    section = [
        "--CIF-BINARY-FORMAT-SECTION--",
        "Content-Type: application/octet-stream;",
        '     conversions="x-CBF_BYTE_OFFSET"',
        "Content-Transfer-Encoding: BINARY",
        f"X-Binary-Size: {len(data)}",
        "X-Binary-ID: 1",
        'X-Binary-Element-Type: "signed 32-bit integer"',
        "X-Binary-Element-Byte-Order: LITTLE_ENDIAN",
        f"Content-MD5: {base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()}",
        f"X-Binary-Number-of-Elements: {image.size}",
        f"X-Binary-Size-Fastest-Dimension: {image.shape[1]}",
        f"X-Binary-Size-Second-Dimension: {image.shape[0]}",
        f"X-Binary-Size-Padding: {_PADDING}",
    ]
    text = header(model, frame) + "\r\n" + "\r\n".join(section) + "\r\n\r\n"
    end = b"\r\n--CIF-BINARY-FORMAT-SECTION----\r\n;\r\n"
    return text.encode() + _MAGIC + data + bytes(_PADDING) + end


def write_cbf(model: Model, frame: int, image: NDArray[np.int32], directory: Path) -> None:
    """Write one image as NAME_00001.cbf and so on; whole or not at all."""
    with writing(directory / f"{model.name}_{frame + 1:05d}.cbf") as path:
        path.write_bytes(cbf_bytes(model, frame, image))
