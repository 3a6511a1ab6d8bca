"""Where frames stand: datasets, virtual datasets and linked files; reading one."""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from xtal.errors import DataError
from xtal.files.inflate import InflateError
from xtal.files.links import target_of
from xtal.files.raw import check_claim
from xtal_format_nxmx.bitshuffle import Unpacking, decoder, stream, streams
from xtal_format_nxmx.chunks import NeverWritten, read_by_library
from xtal_format_nxmx.links import check_dataset, follow, open_file

MOST_FRAMES = 10_000_000
"""More frames than any scan: what claims more is damaged."""


@frozen
class Part:
    """Frames ``first`` to ``first + n - 1`` of the scan are those from ``offset`` on of a dataset of a file."""

    file: str
    dataset: str
    first: int
    n: int
    offset: int = 0


def parts_of(file: str, name: str, first: int = 0) -> list[Part]:
    """The parts behind a dataset, virtual ones resolved where they are whole frames.

    Raises
    ------
    DataError
        If the dataset or a file of its data is missing.
    """
    file, name = follow(file, name)
    with open_file(file) as opened:
        dataset = opened.get(name)
        if not isinstance(dataset, h5py.Dataset) or dataset.ndim not in (2, 3):
            raise DataError(f"{file} holds no images at {name}.")
        n = 1 if dataset.ndim == 2 else dataset.shape[0]
        if n > MOST_FRAMES:
            raise DataError(f"{file} claims {n} images at {name}.")
        check_dataset(dataset)
        whole = [Part(file, name, first, n)]
        if not dataset.is_virtual:
            return whole
        sources = [
            (source, "" if source.file_name == "." else target_of(file, source.file_name))
            for source in dataset.virtual_sources()
        ]
        mapped = [_frames_of(source, dataset.shape) for source, _ in sources]
    if any(pairs is None for pairs in mapped):
        return whole  # parts of frames are put together by the library
    found = []
    for (source, path), pairs in zip(sources, mapped, strict=True):
        where, inner = follow(path or file, "/" + source.dset_name.lstrip("/"))
        found += [Part(where, inner, first + low, count, offset) for low, count, offset in pairs or []]
    return found


def _frames_of(source: Any, shape: tuple[int, ...]) -> list[tuple[int, int, int]] | None:
    """Runs of whole frames that a virtual dataset takes from a source: (first, number, first in the source).

    None where it takes parts of frames, or takes frames in an order that is not regular.
    """
    target = _runs(source.vspace, shape)
    if source.src_space.shape == ():  # all of the source, however much that is
        origin: Iterator[tuple[int, int]] | None = iter([(0, MOST_FRAMES)])
    else:
        origin = _runs(source.src_space, source.src_space.shape)
    if len(shape) != 3 or target is None or origin is None or source.src_space.shape[-2:] not in ((), shape[-2:]):
        return None
    pairs: list[tuple[int, int, int]] = []
    (low, room), (offset, left) = (0, 0), (0, 0)
    while True:
        if not room:
            low, room = next(target, (0, 0))
        if not left:
            offset, left = next(origin, (0, 0))
        n = min(room, left)
        if not n:
            return pairs if not room else None
        pairs.append((low, n, offset))
        low, room, offset, left = low + n, room - n, offset + n, left - n


def _runs(space: Any, shape: tuple[int, ...]) -> Iterator[tuple[int, int]] | None:
    """Runs (first, number) of whole frames that a selection consists of, or None if it does not."""
    if space.get_select_type() == h5py.h5s.SEL_ALL:
        return iter([(0, shape[0])]) if len(shape) == 3 else iter([(0, 1)])
    if space.get_select_type() != h5py.h5s.SEL_HYPERSLABS or not space.is_regular_hyperslab():
        return None
    try:
        start, stride, count, block = (np.array(v, dtype=np.int64) for v in space.get_regular_hyperslab())
    except OverflowError:  # without end
        return None
    sizes = np.array(shape)
    whole = (start == 0) & (np.where(count == 1, block, stride * count) == sizes) & ((count == 1) | (stride == block))
    if not np.all(whole[-2:]) or start[0] + (count[0] - 1) * stride[0] + block[0] > sizes[0]:
        return None
    if len(shape) == 2:
        return iter([(0, 1)])
    if stride[0] == block[0]:
        return iter([(int(start[0]), int(block[0] * count[0]))])
    return ((int(start[0] + k * stride[0]), int(block[0])) for k in range(count[0]))


@frozen(eq=False)
class Stored:
    """A dataset, what asking it each time would cost as much as a part of the decoding, its decoder, if any, and
    whether its frames can be decoded row after row."""

    dataset: Any
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    decode: Callable[[Any, int, NDArray[Any]], None] | None
    streams: bool

    @classmethod
    def of(cls, dataset: Any) -> Stored:
        """Of an open dataset."""
        return cls(dataset, dataset.shape, dataset.dtype, decoder(dataset), streams(dataset))


@frozen(eq=False)
class Rows:
    """The rows of a frame, in their order (`xtal.hooks.protocols.RowStream`)."""

    _unpacking: Unpacking
    _telling: Callable[[], AbstractContextManager[None]]

    def read(self, out: NDArray[Any]) -> None:
        """Fill ``out`` (n, fast) with the next rows.

        Raises
        ------
        DataError
            If the frame is damaged.
        """
        with self._telling():
            self._unpacking.read(out)


class Frames:
    """Reads frames of a list of parts; safe to use from several threads.

    h5py lets one thread at a time into the HDF5 library; decompression of the usual
    filter (bitshuffle with LZ4) is done outside of it, into the caller's array.
    """

    def __init__(self, parts: list[Part], master: Path) -> None:
        if not parts:
            raise DataError(f"The file {master} refers to no images.")
        self.parts = sorted(parts, key=lambda part: part.first)
        self._starts = [part.first for part in self.parts]
        self.master = master
        self.n = max(part.first + part.n for part in parts)
        self._lock = threading.Lock()
        self._files: dict[str, Any] = {}
        self._datasets: dict[tuple[str, str], Stored] = {}
        first = self._dataset(self.parts[0])
        self.shape: tuple[int, int] = (first.shape[-2], first.shape[-1])
        self.stored: np.dtype[Any] = first.dtype
        slow, fast = self.shape
        check_claim(Path(self.parts[0].file), slow, fast, self.stored.itemsize)

    def _dataset(self, part: Part) -> Stored:
        key = part.file, part.dataset
        with self._lock:
            if key not in self._datasets:
                if part.file not in self._files:
                    self._files[part.file] = open_file(target_of(str(self.master), part.file))
                dataset = self._files[part.file].get(part.dataset)
                images = isinstance(dataset, h5py.Dataset) and dataset.dtype.kind in "iuf"
                if not images or len(dataset.shape or ()) not in (2, 3):
                    raise DataError(f"{part.file} holds no images at {part.dataset}.")
                self._datasets[key] = Stored.of(dataset)
            return self._datasets[key]

    def _part(self, frame: int) -> Part:
        k = bisect_right(self._starts, frame) - 1
        if k < 0 or not 0 <= frame < self.n:
            raise DataError(f"{self.master} has no frame {frame + 1}: it has {self.n}.")
        part = self.parts[k]
        if frame >= part.first + part.n:
            raise DataError(f"Frame {frame + 1} of {self.master} is in none of its data files.")
        return part

    def _place(self, frame: int, shape: tuple[int, ...]) -> tuple[Part, Stored, int]:
        """Where a frame is stored, with its number there.

        Raises
        ------
        DataError
            If it is not there, or not of this shape.
        """
        part = self._part(frame)
        stored = self._dataset(part)
        at = frame - part.first + part.offset
        if stored.shape[-2:] != shape or (len(stored.shape) == 3 and at >= stored.shape[0]):
            raise DataError(f"Frame {frame + 1} of {self.master} is missing or of another size in {part.file}.")
        return part, stored, at

    @contextmanager
    def _telling(self, frame: int, file: str) -> Iterator[None]:
        """Say which frame cannot be read, and why."""
        try:
            yield
        except NeverWritten as error:
            raise DataError(
                f"Frame {frame + 1} of {self.master} was never written to {file}.",
                advice="Leave it out with geometry.scan.image_range=, or copy the file again.",
            ) from error
        except (OSError, RuntimeError, ValueError, KeyError, InflateError) as error:
            raise DataError(
                f"Frame {frame + 1} of {self.master} cannot be read from {file}: it is truncated or damaged.",
                advice="Copy the file again.",
            ) from error

    def read(self, frame: int, out: NDArray[Any]) -> None:
        """Fill ``out`` (slow, fast), of the dtype that is stored or a wider one.

        Raises
        ------
        DataError
            If the frame was never written, or is damaged or of another size; names its file.
        """
        part, stored, at = self._place(frame, out.shape)
        with self._telling(frame, part.file):
            if stored.decode is not None and out.dtype == stored.dtype and out.flags.c_contiguous:
                stored.decode(stored.dataset, at, out)
            else:
                read_by_library(stored.dataset, at, out)

    def stream(self, frame: int, dtype: np.dtype[Any]) -> Rows | None:
        """The rows of a frame in their order, as ``dtype``; None where it is stored in another way.

        Raises
        ------
        DataError
            As `read` does.
        """
        part, stored, at = self._place(frame, self.shape)
        if not stored.streams or stored.dtype != dtype:
            return None
        telling = partial(self._telling, frame, part.file)
        with telling():
            unpacking = stream(stored.dataset, at)
        return None if unpacking is None else Rows(unpacking, telling)

    def close(self) -> None:
        with self._lock:
            for file in self._files.values():
                file.close()
            self._files.clear()
            self._datasets.clear()
