"""Files of the families that fabio reads, for tests."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

WIDTHS = (0, 4, 5, 6, 7, 8, 16, 32)


def pack(image: np.ndarray) -> bytes:
    """Slow twin of the packing, blocks of eight differences."""
    width = image.shape[1]
    signed = ((image.astype(np.int64) + 32768) & 65535) - 32768
    flat = signed.ravel()
    steps = []
    for k, value in enumerate(flat):
        if k > width:
            around = flat[k - 1] + flat[k - width + 1] + flat[k - width] + flat[k - width - 1] + 2
            value -= int(around / 4)
        elif k:
            value -= flat[k - 1]
        steps.append(int(value))
    stream, n_bits = 0, 0
    for k in range(0, len(steps), 8):
        block = (steps[k : k + 8] + [0] * 8)[:8]
        code = next(c for c, w in enumerate(WIDTHS) if all(-(1 << w) <= 2 * s < 1 << w for s in block))
        stream |= (3 | code << 3) << n_bits
        n_bits += 6
        for step in block:
            stream |= (step & ((1 << WIDTHS[code]) - 1)) << n_bits
            n_bits += WIDTHS[code]
    return stream.to_bytes(-(-n_bits // 8), "little")


def mar345(path: Path, image: np.ndarray, order: str = "<", table: tuple = (), centre: str = "", **ints: int) -> Path:
    n = image.shape[0]
    values = {
        "width": n, "high": len(table), "format": 1, "mode": 1, "pixels": n * n, "length": 150, "height": 150,
        "wavelength": 1000000, "distance": 120000, "phi": 10000, "phi_end": 10500, "omega": 0, "omega_end": 0,
        "chi": 0, "twotheta": 0, **ints,
    }  # fmt: skip
    head = struct.pack(order + "16i", 1234, *values.values()).ljust(128, b"\0")
    head += f"mar research\n{centre}TIME 60.0\nEND OF HEADER\n".encode()
    saturated = b"".join(struct.pack(order + "2i", *pair) for pair in table).ljust(-(-len(table) // 64) * 512, b"\0")
    packed = f"\nCCP4 packed image, X: {n:04d}, Y: {n:04d}\n".encode() + pack(image)
    path.write_bytes(head.ljust(4096, b"\0") + saturated + packed)
    return path


def raxis(path: Path, image: np.ndarray, **values: float) -> Path:
    places = {
        "wavelength": (292, "f", 1.5418), "distance": (344, "f", 100.0), "curved": (448, "i", 0),
        "start": (524, "f", 20.0), "end": (528, "f", 20.5), "minutes": (536, "f", 2.0), "x": (540, "f", 30.0),
        "y": (544, "f", 20.0), "twotheta": (556, "f", 0.0), "fast": (768, "i", image.shape[1]),
        "slow": (772, "i", image.shape[0]), "px": (776, "f", 0.1), "py": (780, "f", 0.2), "ratio": (800, "f", 8.0),
    }  # fmt: skip
    head = bytearray(2 * image.shape[1] * (1 + 2048 // (2 * image.shape[1])))
    head[:10] = b"R-AXIS4   "
    for name, (at, kind, value) in places.items():
        struct.pack_into(">" + kind, head, at, values.get(name, value))
    path.write_bytes(bytes(head) + image.astype(">u2").tobytes())
    return path


def bruker(path: Path, image: np.ndarray, **more: object) -> Path:
    values = {
        "FORMAT": 86, "VERSION": 9, "HDRBLKS": 15, "NROWS": image.shape[0], "NCOLS": image.shape[1], "NPIXELB": 2,
        "NOVERFL": 1, "START": 84.8, "INCREME": -0.2, "ANGLES": "0 -90 84.8 54.9", "DISTANC": 8.9,
        "CENTER": "26.5 24.5", "WAVELEN": "0.5166 0 0", "DETTYPE": "CCD-PXL-L6500F 32.0 1.6 0 0.254 0.038",
        "CCDPARM": "44.9 10.0 15.0 238.0 65535.0", "CUMULAT": 0.992, "LINEAR": "1.0 0.0", **more,
    }  # fmt: skip
    text = "".join(f"{key:7}:{value!s:72}" for key, value in values.items())
    overflow = f"{145942:9d}{7:7d}".encode()
    path.write_bytes(text.ljust(15 * 512).encode() + image.astype("<u2").tobytes() + overflow)
    return path


def edf(path: Path, image: np.ndarray, **more: object) -> Path:
    values = {
        "HeaderID": "EH:000001:000000:000000", "Image": 1, "ByteOrder": "LowByteFirst", "DataType": "UnsignedShort",
        "Dim_1": image.shape[1], "Dim_2": image.shape[0], "Size": 2 * image.size, "PSize_1": 1e-4, "PSize_2": 1e-4,
        "Center_1": 12, "Center_2": 13, "SampleDistance": 0.2, "WaveLength": 1e-10, **more,
    }  # fmt: skip
    text = "{\n" + "".join(f"{key} = {value} ;\n" for key, value in values.items())
    path.write_bytes(text.ljust(1022).encode() + b"}\n" + image.astype("<u2").tobytes())
    return path


def esperanto(path: Path, image: np.ndarray) -> Path:
    """At least 256 pixels each way, as its description wants."""
    image = np.pad(image, (0, 204))
    lines = ["ESPERANTO FORMAT   1 CONSISTING OF   25 LINES OF   256 BYTES EACH"]
    lines += [f'IMAGE {image.shape[1]} {image.shape[0]} 1 1 "4BYTE_LONG"', *[""] * 23]
    path.write_bytes("".join(line.ljust(254) + "\r\n" for line in lines).encode() + image.astype("<i4").tobytes())
    return path
