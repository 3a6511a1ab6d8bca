"""TIFF images as sources of frames."""

from __future__ import annotations

import io
import logging
import math
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from xtal.errors import DataError
from xtal.files import notes
from xtal.files.raw import LARGEST, fill, read_head, read_whole
from xtal.models import Beam, Detector, Goniometer, Scan
from xtal.physics.detectors import beam_of, flat_panel
from xtal_format_tiff import pilatus, rayonix

MAGIC = (b"II*\0", b"MM\0*")
MOST_FRAMES = 100_000
_RATIO = {1: 1, 5: 2800, 8: 1100, 32773: 128, 32946: 1100}
"""Compressions that are read (none, LZW, zlib, packbits, zlib): most that each makes of a byte."""

NAN = float("nan")
_WIDENED = {"int8": "int32", "int16": "int32"}
_KNOWN = ("uint8", "uint16", "uint32", "int8", "int16", "int32", "float32", "float64")

# damaged files are reported by us, in one sentence
logging.getLogger("tifffile").addHandler(logging.NullHandler())
logging.getLogger("tifffile").propagate = False


class Tiff:
    """TIFF files; who wrote them is told by what stands beside the pixels."""

    def sniff(self, head: bytes, path: Path) -> int:
        """5 for Rayonix and MarCCD, 4 for Pilatus, 2 for any other TIFF."""
        if not head.startswith(MAGIC):
            return 0
        if rayonix.is_rayonix(head):
            return 5
        return 4 if b"# Pixel_size" in head else 2

    def open(self, path: Path) -> RayonixImage | TiffImages:
        """Open the file.

        Raises
        ------
        DataError
            If it is damaged.
        """
        head = read_head(Path(path), rayonix.SIZE)
        return RayonixImage(Path(path), head) if rayonix.is_rayonix(head) else TiffImages(Path(path))


def _truncated(path: Path) -> DataError:
    return DataError(f"The image {path} is truncated: pixels are missing.", advice="Copy it again.")


class RayonixImage:
    """One image of a Rayonix or MarCCD (`xtal.hooks.protocols.ImageSource`); its bias is subtracted."""

    n_frames = 1
    dtype: np.dtype[Any] = np.dtype(np.int32)

    def __init__(self, path: Path, head: bytes) -> None:
        self.path = path
        self._header = rayonix.Header(head, path)

    @cached_property
    def shapes(self) -> Sequence[tuple[int, int]]:
        return [self._header.shape]

    def models(self) -> tuple[Beam, Detector, Goniometer | None, Scan | None]:
        """Models from the header; numbers that it lacks are NaN."""
        return rayonix.models(self._header)

    def read(self, frame: int, out: Sequence[NDArray[Any]]) -> None:
        """Counts above the bias, in ``out[0]``."""
        content = read_whole(self.path)
        header = rayonix.Header(bytes(content[: rayonix.SIZE]), self.path)
        (slow, fast), stored = header.shape, header.stored
        if len(content) < rayonix.SIZE + slow * fast * stored.itemsize:
            raise _truncated(self.path)
        fill(out[0], np.frombuffer(content, stored, slow * fast, rayonix.SIZE).reshape(slow, fast), self.path)
        out[0][...] -= header.bias

    def masks(self) -> None:
        """Pixels without a value are 0 in the file, below the trusted range."""
        return None

    def frame_mask(self, frame: int) -> None:
        """Nothing moves in front of the detector, as far as the header tells."""
        return None

    def close(self) -> None:
        """Nothing is held open."""


@frozen
class _Page:
    """What is needed of one image of a file."""

    index: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any] | None
    n_bytes: int
    tile: int
    compression: int
    description: str

    @classmethod
    def of(cls, page: Any) -> _Page:
        # a tag of several values, where one is meant, is a tuple: an error here
        tile = int(page.tilewidth) * int(page.tilelength) if page.is_tiled else 0
        shape = tuple(int(n) for n in page.shape)
        n_bytes = math.prod(shape) * (page.dtype.itemsize if page.dtype is not None else 1)
        return cls(page.index, shape, page.dtype, n_bytes, 8 * tile, int(page.compression), str(page.description))


class TiffImages:
    """Grey images of a TIFF file, one a page (`xtal.hooks.protocols.ImageSource`)."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @cached_property
    def _pages(self) -> list[_Page]:
        import tifffile

        content = bytes(read_whole(self.path))
        try:
            with tifffile.TiffFile(io.BytesIO(content)) as file:
                if len(file.pages) > MOST_FRAMES:
                    raise DataError(f"{self.path} claims {len(file.pages)} images.")
                pages = [_Page.of(page.aspage()) for page in file.pages]
        except DataError:
            raise
        except Exception as error:  # the library promises no type of error for damaged files
            raise self._damaged(error) from error
        if not pages:
            raise DataError(f"The TIFF file {self.path} holds no image.")
        for page in pages:
            self._check(page, len(content))
        first = pages[0]
        return [page for page in pages if page.shape == first.shape and page.dtype == first.dtype]

    def _check(self, page: _Page, size: int) -> None:
        """Refuse what is no grey image, and claims that the file cannot hold."""
        if page.dtype is None or page.dtype.name not in _KNOWN:
            raise DataError(f"The TIFF file {self.path} has pixels of type {page.dtype}, which xtal does not read.")
        if len(page.shape) != 2 or 0 in page.shape:
            raise DataError(f"The TIFF file {self.path} holds no grey image: its shape is {page.shape}.")
        if page.compression not in _RATIO:
            raise DataError(
                f"The TIFF file {self.path} is compressed by method {page.compression}, which xtal does not read.",
                advice="Save it without compression, or with zlib.",
            )
        if page.n_bytes > LARGEST or page.tile > LARGEST or page.n_bytes > size * _RATIO[page.compression]:
            if page.compression == 1 and page.n_bytes <= LARGEST:
                raise _truncated(self.path)
            raise DataError(f"The TIFF file {self.path} claims {page.shape[1]} x {page.shape[0]} pixels.")

    def _damaged(self, error: Exception) -> DataError:
        return DataError(f"The TIFF file {self.path} is truncated or damaged ({error}).", advice="Copy it again.")

    @property
    def n_frames(self) -> int:
        return len(self._pages)

    @property
    def container(self) -> bool:
        """A stack numbers its images itself."""
        return len(self._pages) > 1

    @property
    def dtype(self) -> np.dtype[Any]:
        name = np.dtype(self._pages[0].dtype).name
        return np.dtype(_WIDENED.get(name, name))

    @property
    def shapes(self) -> Sequence[tuple[int, int]]:
        slow, fast = self._pages[0].shape
        return [(slow, fast)]

    def models(self) -> tuple[Beam, Detector, Goniometer | None, Scan | None]:
        """Models of a Pilatus; else all is NaN that no TIFF tells."""
        description = self._pages[0].description
        if pilatus.is_pilatus(description) and not self.container:
            return pilatus.models(description, self.shapes[0])
        slow, fast = self.shapes[0]
        notes.read("pixels", f"{fast} x {slow} {self.dtype}", "tags ImageWidth, ImageLength, BitsPerSample")
        panel = flat_panel(NAN, (NAN, NAN), (fast, slow), (NAN, NAN), trusted_range=self._trusted())
        notes.assumed("trusted range", panel.trusted_range, "what pixels of this type can hold")
        beam = beam_of(NAN)
        notes.assumed_polarisation(beam.polarization_fraction)
        return beam, Detector([panel]), None, None

    def _trusted(self) -> tuple[float, float]:
        if self.dtype.kind == "f":
            top = float(np.finfo(np.float32).max)
            return -top, top
        return 0.0, float(np.iinfo(np.dtype(self._pages[0].dtype)).max) - 1.0

    def read(self, frame: int, out: Sequence[NDArray[Any]]) -> None:
        """Pixels of a page, in ``out[0]``."""
        if not 0 <= frame < self.n_frames:
            raise DataError(f"{self.path} has no image {frame + 1}: it has {self.n_frames}.")
        import tifffile

        try:
            with tifffile.TiffFile(io.BytesIO(bytes(read_whole(self.path)))) as file:
                pixels = file.pages[self._pages[frame].index].asarray()
        except Exception as error:  # the library promises no type of error for damaged files
            raise self._damaged(error) from error
        fill(out[0], pixels, self.path)

    def masks(self) -> None:
        """None is in the file."""
        return None

    def frame_mask(self, frame: int) -> None:
        """None is in the file."""
        return None

    def close(self) -> None:
        """Nothing is held open."""
