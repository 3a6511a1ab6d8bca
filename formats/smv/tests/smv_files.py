"""SMV files for tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np

IMAGE = np.random.default_rng(2).integers(0, 65535, (516, 516)).astype(np.uint16)


def write(path: Path, image: np.ndarray = IMAGE, order: str = "little_endian", **keys: object) -> Path:
    values: dict[str, object] = {
        "HEADER_BYTES": "  512", "DIM": 2, "BYTE_ORDER": order, "TYPE": "unsigned_short", "SIZE1": image.shape[1],
        "SIZE2": image.shape[0], "PIXEL_SIZE": 0.1, "DISTANCE": 100.0, "WAVELENGTH": 1.0, "OSC_START": 5.0,
        "OSC_RANGE": 0.5, "TIME": 2.0, "BEAM_CENTER_X": 20.0, "BEAM_CENTER_Y": 30.0,
        "DATE": "Sat Dec 14 10:17:53 2002", **keys,
    }  # fmt: skip
    text = "{\n" + "".join(f"{k}={v};\n" for k, v in values.items() if v is not None) + "}\n"
    stored = image.astype(">u2" if order == "big_endian" else "<u2")
    path.write_bytes(text.encode().ljust(int(str(values["HEADER_BYTES"]))) + stored.tobytes())
    return path


def dtrek(path: Path, image: np.ndarray = IMAGE, order: str = "big_endian", **keys: object) -> Path:
    """A d*TREK header: CCD swung by 30 degrees about -x at 45 mm, omega scan with chi at 54 degrees."""
    return write(
        path, image, order,
        TYPE=None, Data_type="unsigned short int", PIXEL_SIZE=None, DISTANCE=None, WAVELENGTH=None, OSC_START=None,
        OSC_RANGE=None, BEAM_CENTER_X=None, BEAM_CENTER_Y=None, DATE=None, HEADER_BYTES=" 2048", **{
            "DTREK_DATE_TIME": "14-Dec-2002 10:17:53", "DETECTOR_NAMES": "CCD_",
            "CCD_DETECTOR_VECTORS": "1 0 0 0 -1 0", "CCD_SPATIAL_DISTORTION_VECTORS": "1 0 0 1",
            "CCD_SPATIAL_DISTORTION_INFO": "250 260 0.1 0.1", "CCD_GONIO_UNITS": "deg deg deg mm mm mm",
            "CCD_GONIO_NAMES": "RotZ RotX/Swing RotY TransX TransY TransZ/Distance",
            "CCD_GONIO_VECTORS": "0 0 1 -1 0 0 0 1 0 1 0 0 0 1 0 0 0 -1", "CCD_GONIO_VALUES": "0 30 0 0 0 45",
            "CRYSTAL_GONIO_NAMES": "Omega Chi Phi", "CRYSTAL_GONIO_UNITS": "deg deg deg",
            "CRYSTAL_GONIO_VECTORS": "1 0 0 0 1 0 1 0 0", "CRYSTAL_GONIO_VALUES": "-20 54 90",
            "ROTATION": "-20 -19.5 0.5 4 0 0 0 0 0 0", "ROTATION_AXIS_NAME": "Omega", "ROTATION_VECTOR": "1 0 0",
            "SCAN_WAVELENGTH": "0.7107", "SOURCE_VECTORS": "0 0 1 1 0 0", "SOURCE_POLARZ": "0.5 0 1 0",
            "SATURATED_VALUE": 65535,
        } | keys,
    )  # fmt: skip
