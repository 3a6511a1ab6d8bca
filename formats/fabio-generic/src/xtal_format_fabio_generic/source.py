"""One image read by fabio as a source of frames."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xtal.errors import DataError
from xtal.files import notes
from xtal.files.raw import fill, read_head, read_whole
from xtal.models import Beam, Detector, Goniometer, Scan
from xtal_format_fabio_generic.families import check, family_of
from xtal_format_fabio_generic.geometry import MODELS, Values

_KEPT = ("uint8", "uint16", "int32", "float32", "float64")

# damaged files are reported by us, in one sentence
logging.getLogger("fabio").addHandler(logging.NullHandler())
logging.getLogger("fabio").propagate = False


class FabioGeneric:
    """What fabio reads and no more specific format claims."""

    def sniff(self, head: bytes, path: Path) -> int:
        """1 for a family known here."""
        return 1 if family_of(head) is not None else 0

    def open(self, path: Path) -> FabioImage:
        """Open the file; it is read when it is needed.

        Raises
        ------
        DataError
            If it cannot be read, or is of no family known here.
        """
        return FabioImage(Path(path))


class FabioImage:
    """One image (`xtal.hooks.protocols.ImageSource`)."""

    n_frames = 1

    def __init__(self, path: Path) -> None:
        self.path = path
        family = family_of(read_head(path))
        if family is None:
            raise DataError(f"{path} is of no family of files that fabio_generic knows.")
        self._family = family

    @cached_property
    def _image(self) -> tuple[dict[str, Any], NDArray[Any]]:
        """Header and pixels."""
        content = bytes(read_whole(self.path))
        check(self._family, content, self.path)
        module, _, name = self._family.reader.partition(":")
        reader = getattr(import_module(module), name)()
        from fabio.fabioutils import BytesIO  # with the name and the lock that fabio asks for

        try:
            with np.errstate(all="ignore"):
                image = reader.read(BytesIO(content, self.path.name))
                pixels, frames = np.asarray(image.data), int(getattr(image, "nframes", 1))
        except Exception as error:  # the library promises no type of error for damaged files
            raise DataError(
                f"The {self._family.name} image {self.path} is truncated or damaged ({type(error).__name__}: {error}).",
                advice="Copy it again.",
            ) from error
        if pixels.ndim != 2 or not pixels.size or pixels.dtype.kind not in "iuf":
            raise DataError(f"The {self._family.name} image {self.path} holds no grey image: {pixels.shape}.")
        if frames > 1:
            raise DataError(f"{self.path} holds {frames} images.", advice="Write each into a file of its own.")
        return dict(image.header), pixels

    @property
    def dtype(self) -> np.dtype[Any]:
        """As fabio gives it; other integers as int32."""
        found = self._image[1].dtype
        if found.name in _KEPT:
            return found.newbyteorder("=")
        return np.dtype(np.float64 if found.kind == "f" else np.int32)

    @property
    def shapes(self) -> Sequence[tuple[int, int]]:
        slow, fast = self._image[1].shape
        return [(int(slow), int(fast))]

    def models(self) -> tuple[Beam, Detector, Goniometer | None, Scan | None]:
        """What the header has; numbers that it lacks are NaN."""
        notes.read("family", self._family.name, "the first bytes")
        values = Values(self._image[0], self.shapes[0], self.dtype, str(self.path))
        return MODELS[self._family.name](values)

    def read(self, frame: int, out: Sequence[NDArray[Any]]) -> None:
        """Pixels in ``out[0]``."""
        fill(out[0], self._image[1], self.path)

    def masks(self) -> None:
        """None is in the file."""
        return None

    def frame_mask(self, frame: int) -> None:
        """None is in the file."""
        return None

    def close(self) -> None:
        """Nothing is held open."""
