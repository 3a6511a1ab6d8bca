"""NXmx files and DECTRIS masters as sources of images."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xtal.errors import DataError
from xtal.files.raw import fill
from xtal.models import Beam, Detector, Goniometer, Scan
from xtal_format_nxmx import dectris, geometry
from xtal_format_nxmx.frames import Frames, Part, Rows, parts_of
from xtal_format_nxmx.links import member, open_file, telling_damage
from xtal_format_nxmx.tree import children, number, text

_NUMBERED = re.compile(r"data_\d+")
_AS_STORED = ("uint8", "uint16", "uint32", "int32", "float32", "float64")


def _entry(file: Any) -> Any:
    """The entry that holds images: after the definition NXmx, or of an Eiger; None if there is none."""
    for entry in children(file, "NXentry"):
        definition = text(member(entry, "definition"))
        if definition == "NXmx" or dectris.is_dectris(geometry.parts_of_entry(entry).detector):
            return entry
    return None


def holds_images(path: Path) -> bool:
    """Whether an HDF5 file has an entry that is read here, or is too damaged to tell: opening it then says so."""
    try:
        with open_file(str(path)) as file, telling_damage(str(path)):
            return _entry(file) is not None
    except DataError:
        return True


class NXmxImages:
    """All frames behind one master (`xtal.hooks.protocols.ImageSource`).

    Attributes
    ----------
    container : frames are numbered within the file, even if it holds one only
    value_limit : highest raw value that is a count; those above say that a pixel is bad
    """

    container = True

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = open_file(str(path))
        with telling_damage(str(path)):
            self._find_frames()

    def _find_frames(self) -> None:
        path, entry = self.path, _entry(self._file)
        if entry is None:
            raise DataError(f"{path} has no entry after the definition NXmx.")
        self._parts = geometry.parts_of_entry(entry)
        if self._parts.detector is None:
            raise DataError(f"{path} describes no detector.")
        self._frames = Frames(_data(entry, path), path)
        self.n_frames = self._frames.n
        self.dtype: np.dtype[Any] = np.dtype(stored if (stored := self._frames.stored.name) in _AS_STORED else "int32")
        self.value_limit = self._limit()

    def _limit(self) -> float:
        if self.dtype.kind == "f":
            return float(np.finfo(np.float32).max)
        bits = 8 * self.dtype.itemsize
        known = [number(self._parts.detector, f"bit_depth_{k}") for k in ("image", "readout")]
        bits = next((int(b) for b in known if 0 < b <= 32), bits)
        # all ones and all ones less one mark pixels without a value
        return 2**31 - 3 if self.dtype.kind == "i" else 2**bits - 3

    @cached_property
    def _models(self) -> tuple[Beam, Detector, Goniometer | None, Scan | None, list[Any]]:
        with telling_damage(str(self.path)):
            return self._read_models()

    def _read_models(self) -> tuple[Beam, Detector, Goniometer | None, Scan | None, list[Any]]:
        parts, shape, limit = self._parts, self._frames.shape, float(self.value_limit)
        beam = geometry.beam_model(parts)
        eiger = dectris.is_dectris(parts.detector)
        if eiger and next(children(parts.detector, "NXdetector_module"), None) is None:
            detector, slices = dectris.detector_model(parts, beam, shape, limit), [np.s_[:, :]]
        else:
            detector, slices = geometry.detector_model(parts, beam, shape, limit)
        goniometer, scan = geometry.goniometer_and_scan(parts, self.n_frames)
        if goniometer is None and eiger:
            goniometer, scan = dectris.goniometer_and_scan(parts, self.n_frames)
        return beam, detector, goniometer, scan, slices

    def models(self) -> tuple[Beam, Detector, Goniometer | None, Scan | None]:
        """Models of the whole file; numbers that it lacks are NaN."""
        return self._models[:4]

    @cached_property
    def shapes(self) -> Sequence[tuple[int, int]]:
        return [(panel.image_size[1], panel.image_size[0]) for panel in self._models[1]]

    def read(self, frame: int, out: Sequence[NDArray[Any]]) -> None:
        """Raw values of a frame, one array per module."""
        if len(out) == 1 and out[0].shape == self._frames.shape:
            self._frames.read(frame, out[0])
            return
        whole = np.empty(self._frames.shape, self.dtype)
        self._frames.read(frame, whole)
        for panel, part in zip(out, self._models[4], strict=True):
            fill(panel, whole[part], self.path)

    def stream(self, frame: int) -> Rows | None:
        """Rows of a frame of one panel in their order, where it is stored so that they can be had one after another."""
        if list(self.shapes) != [self._frames.shape]:
            return None
        return self._frames.stream(frame, self.dtype)

    def masks(self) -> Sequence[NDArray[np.bool_]] | None:
        """The detector's own pixel mask, per module."""
        with telling_damage(str(self.path)):
            mask = geometry.pixel_mask(self._parts.detector, self._frames.shape)
        return None if mask is None else [np.ascontiguousarray(mask[part]) for part in self._models[4]]

    def frame_mask(self, frame: int) -> None:
        """No shadow is known here."""
        return None

    def close(self) -> None:
        self._frames.close()
        self._file.close()


def _data(entry: Any, path: Path) -> list[Part]:
    """Where the frames of an entry are: its signal, or datasets data_000001, data_000002 ..."""
    found: list[Part] = []
    for group in children(entry, "NXdata"):
        signal = text(group.attrs.get("signal")) or "data"
        numbered = sorted(name for name in group if _NUMBERED.fullmatch(name))
        if "/" not in signal and signal in group:  # a path would be followed through links, unsaid
            return parts_of(str(path), f"{group.name}/{signal}")
        for name in numbered:
            found += parts_of(str(path), f"{group.name}/{name}", found[-1].first + found[-1].n if found else 0)
        if found:
            return found
    raise DataError(f"{path} holds no images.")
