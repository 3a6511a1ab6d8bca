"""A toy format of images, and experiments with them, for the tests beside this file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from xtal.errors import DataError
from xtal.models import Experiment, Images, Scan
from xtal.run.formats import Formats
from xtal.testing.data import tiny_experiment

SHAPE = (100, 120)


class Source:
    """Frames of a toy format: a header line, then uint16 frames."""

    dtype = np.dtype(np.uint16)
    shapes: Sequence[tuple[int, int]] = [SHAPE]

    def __init__(self, path: Path) -> None:
        if not path.exists():
            raise DataError(f"The image {path} does not exist.")
        self.path = path
        self.n_frames = (path.stat().st_size - 4) // (2 * SHAPE[0] * SHAPE[1])

    def read(self, frame: int, out: Sequence[np.ndarray]) -> None:
        size = SHAPE[0] * SHAPE[1]
        out[0][:] = np.fromfile(self.path, np.uint16, size, offset=4 + 2 * size * frame).reshape(SHAPE)

    def masks(self) -> list[np.ndarray]:
        mask = np.ones(SHAPE, dtype=bool)
        mask[1, 1] = False
        return [mask]

    def frame_mask(self, frame: int) -> list[np.ndarray] | None:
        mask = np.ones(SHAPE, dtype=bool)
        mask[frame, 0] = False
        return [mask]

    def close(self) -> None: ...


class Toy:
    def __init__(self, claim: int = 3) -> None:
        self.claim = claim

    def sniff(self, head: bytes, path: Path) -> int:
        return self.claim if head.startswith(b"TOYS") else 0

    def open(self, path: Path) -> Source:
        return Source(path)


def formats(**known: Any) -> Formats:
    made = Formats.__new__(Formats)
    made._formats, made._broken = known or {"toy": Toy()}, []
    return made


def frame(z: int) -> np.ndarray:
    return (np.arange(SHAPE[0] * SHAPE[1], dtype=np.uint16).reshape(SHAPE) % 100 + z).astype(np.uint16)


def write(path: Path, *frames: np.ndarray) -> Path:
    path.write_bytes(b"TOYS" + b"".join(f.tobytes() for f in frames))
    return path


def experiment(images: Images, first: int = 1, n: int = 4) -> Experiment:
    e = tiny_experiment(n)
    e.scan = Scan((first, first + n - 1), (0.0, 0.5))
    e.images = images
    return e
