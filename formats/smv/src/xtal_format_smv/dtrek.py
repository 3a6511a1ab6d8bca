"""Rigaku's dialect of SMV (d*TREK): geometry as vectors and stages, one prefix for each detector.

The frame of these headers is the laboratory frame: z points from the sample to the source.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xtal.errors import DataError
from xtal.files import notes
from xtal.models import Beam, Detector, Goniometer, Panel, Scan, rotation_matrix
from xtal.physics.detectors import beam_of, set_sensor
from xtal_format_smv.header import Header

EIGER_THICKNESS = 0.45
_MOST_STAGES = 16


def is_dtrek(header: Header) -> bool:
    """Whether the geometry stands in d*TREK's keys."""
    return "DETECTOR_NAMES" in header.values or "DTREK_DATE_TIME" in header.values


def compression_ratio(header: Header) -> int:
    """Factor of pixels whose highest bit is set (image plates store 16 bits so), or 1."""
    if not is_dtrek(header) or header.stored.str[1:] != "u2" or "RAXIS_COMPRESSION_RATIO" not in header.values:
        return 1
    ratio = header.number("RAXIS_COMPRESSION_RATIO")
    return int(ratio) if 1 <= ratio <= 1024 else 1


def expand(pixels: NDArray[Any], ratio: int) -> NDArray[np.int32]:
    """Counts of an image plate: 32768 + n means n times the ratio."""
    wide = pixels.astype(np.int32)
    return np.where(wide >= 32768, (wide - 32768) * ratio, wide)


def models(header: Header) -> tuple[Beam, Detector, Goniometer | None, Scan | None]:
    """Models of a d*TREK header; numbers that it lacks are NaN.

    Raises
    ------
    DataError
        If vectors are missing that no option can supply.
    """
    beam = _beam(header)
    prefix = (header.text("DETECTOR_NAMES").split() or [""])[0]
    detector = Detector([_panel(header, prefix)])
    if "EIGER" in (header.text(prefix + "DETECTOR_DESCRIPTION") + header.text("DETECTOR_NAME")).upper():
        notes.assumed("sensor", f"{EIGER_THICKNESS} mm Si", "an Eiger")
        set_sensor(detector, beam, "Si", EIGER_THICKNESS)
    goniometer, scan = _goniometer_and_scan(header)
    return beam, detector, goniometer, scan


def _beam(header: Header) -> Beam:
    wavelengths = header.numbers("SCAN_WAVELENGTH") or header.numbers("SOURCE_WAVELENGTH")
    # their number may stand in front of them
    beam = beam_of(wavelengths[-1] if wavelengths else float("nan"))
    direction = header.numbers("SOURCE_VECTORS")[:3]
    if len(direction) == 3 and np.linalg.norm(direction) > 0:
        beam.direction = np.array(direction) / np.linalg.norm(direction)
    polarisation = header.numbers("SOURCE_POLARZ")
    if len(polarisation) >= 4 and 0 <= polarisation[0] <= 1 and np.linalg.norm(polarisation[1:4]) > 0:
        beam.polarization_fraction = polarisation[0]
        beam.polarization_normal = np.array(polarisation[1:4]) / np.linalg.norm(polarisation[1:4])
    else:
        notes.assumed_polarisation(beam.polarization_fraction)
    return beam


def _vectors(header: Header, key: str, n: int) -> NDArray[np.float64]:
    """(n, 3) vectors.

    Raises
    ------
    DataError
        If there are fewer, or one has no length.
    """
    found = header.numbers(key)
    if len(found) < 3 * n:
        raise DataError(f"The SMV image {header.path} has no usable {key} in its header ({3 * n} numbers).")
    vectors = np.array(found[: 3 * n]).reshape(n, 3)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    if not np.all((lengths > 1e-6) & np.isfinite(lengths)):
        raise DataError(f"The SMV image {header.path} has a vector without length in {key}.")
    return vectors / lengths


def _panel(header: Header, prefix: str) -> Panel:
    fast, slow = _vectors(header, prefix + "DETECTOR_VECTORS", 2)
    mixing = header.numbers(prefix + "SPATIAL_DISTORTION_VECTORS")
    if len(mixing) >= 4:
        fast, slow = mixing[0] * fast + mixing[1] * slow, mixing[2] * fast + mixing[3] * slow
    info = header.numbers(prefix + "SPATIAL_DISTORTION_INFO")
    if len(info) < 4 or not min(info[2:4]) > 0:
        raise DataError(
            f"The SMV image {header.path} has no usable {prefix}SPATIAL_DISTORTION_INFO (beam and pixel size)."
        )
    beam, pixel = info[:2], (info[2], info[3])
    origin = -(beam[0] * pixel[0] * fast + beam[1] * pixel[1] * slow)
    fast, slow, origin = _through_stages(header, prefix, fast, slow, origin)
    rows, columns = header.shape
    top = header.number("SATURATED_VALUE", default=65535.0)
    return Panel(
        fast + 0.0,
        slow + 0.0,
        origin + 0.0,
        (columns, rows),
        pixel,
        type="SENSOR_CCD" if header.stored.itemsize == 2 else "SENSOR_PAD",
        trusted_range=(0.0, top - 1.0),
    )


def _through_stages(header: Header, prefix: str, *vectors: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    """Fast, slow and origin carried by the detector's stages, the outermost last."""
    units = header.text(prefix + "GONIO_UNITS").split()[:_MOST_STAGES]
    values = header.numbers(prefix + "GONIO_VALUES")
    carried = list(vectors)
    if not units or len(values) < len(units):
        carried[-1] = np.full(3, np.nan)
        return carried
    axes = _vectors(header, prefix + "GONIO_VECTORS", len(units))
    for unit, value, axis in zip(units[::-1], values[len(units) - 1 :: -1], axes[::-1], strict=True):
        if unit.lower().startswith("deg"):
            turn = rotation_matrix(axis, math.radians(value))
            carried = [turn @ v for v in carried]
        else:
            carried[-1] = carried[-1] + value * axis
    return carried


def _goniometer_and_scan(header: Header) -> tuple[Goniometer | None, Scan | None]:
    rotation = header.numbers("ROTATION")
    if len(rotation) < 3:
        return None, None
    start, width = rotation[0], rotation[2]
    names = header.text("CRYSTAL_GONIO_NAMES").split()[:_MOST_STAGES]
    values = header.numbers("CRYSTAL_GONIO_VALUES")
    scanned = header.text("ROTATION_AXIS_NAME")
    sign = -1.0 if width < 0 else 1.0
    if len(names) > 1 and len(values) >= len(names) and scanned in names:
        axes = _vectors(header, "CRYSTAL_GONIO_VECTORS", len(names))[::-1].copy()
        angles = np.array(values[: len(names)])[::-1].copy()
        k = names[::-1].index(scanned)
        axes[k] *= sign
        angles[k] *= sign
        goniometer = Goniometer.from_axes(axes + 0.0, angles, names[::-1], k)
    else:
        goniometer = Goniometer(sign * _vectors(header, "ROTATION_VECTOR", 1)[0] + 0.0)
    exposure = rotation[3] if len(rotation) > 3 else 0.0
    scan = Scan((1, 1), (sign * start, abs(width)), np.array([exposure]), np.array([_epoch(header)]))
    return goniometer, scan


def _epoch(header: Header) -> float:
    """DTREK_DATE_TIME in seconds of UTC, 0 where it cannot be read."""
    text = header.values.get("DTREK_DATE_TIME", "")
    for layout in ("%d-%b-%Y %H:%M:%S", "%d-%b-%y %H:%M:%S", "%Y-%m-%d %H:%M:%S"):
        try:
            return datetime.strptime(text, layout).replace(tzinfo=UTC).timestamp()
        except ValueError:
            continue
    return 0.0
