"""Where frames stand: datasets, virtual datasets and linked files; reading and decompressing one."""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from xtal.errors import DataError

BITSHUFFLE = 32008
LZ4_BLOCKS = 2
_thread = threading.local()


@frozen
class Part:
    """Frames ``first`` to ``first + n - 1`` of the scan are those from ``offset`` on of a dataset of a file."""

    file: str
    dataset: str
    first: int
    n: int
    offset: int = 0


def missing(path: str, master: str) -> DataError:
    """The error of a data file that is not there."""
    return DataError(
        f"The data file {path}, which {master} refers to, does not exist.",
        advice="Put it beside the master file, or check how it was copied.",
    )


def follow(file: str, name: str) -> tuple[str, str]:
    """The file and path at the end of external links.

    Raises
    ------
    DataError
        If a file of them does not exist; names it.
    """
    for _ in range(8):
        with _opened(file) as opened:
            parent, _, last = name.rstrip("/").rpartition("/")
            group = opened.get(parent or "/")
            link = None if group is None else group.get(last, getlink=True)
        if isinstance(link, h5py.SoftLink):
            name = link.path if link.path.startswith("/") else f"{parent}/{link.path}"
            continue
        if not isinstance(link, h5py.ExternalLink):
            return file, name
        target = os.path.join(os.path.dirname(file), link.filename)
        if not os.path.exists(target):
            raise missing(target, file)
        file, name = target, "/" + link.path.lstrip("/")
    raise DataError(f"The links of {file} to its data go in a circle.")


def _opened(path: str) -> Any:
    try:
        return h5py.File(path, "r", locking=False)
    except OSError as error:
        raise DataError(f"{path} is no HDF5 file, or is truncated.", advice="Copy it again.") from error


def parts_of(file: str, name: str, first: int = 0) -> list[Part]:
    """The parts behind a dataset, virtual ones resolved.

    Raises
    ------
    DataError
        If the dataset or a file of its data is missing.
    """
    file, name = follow(file, name)
    with _opened(file) as opened:
        dataset = opened.get(name)
        if not isinstance(dataset, h5py.Dataset) or dataset.ndim not in (2, 3):
            raise DataError(f"{file} holds no images at {name}.")
        if not dataset.is_virtual:
            return [Part(file, name, first, 1 if dataset.ndim == 2 else dataset.shape[0])]
        sources = dataset.virtual_sources()
    found = []
    for source in sources:
        where = file if source.file_name == "." else os.path.join(os.path.dirname(file), source.file_name)
        if not os.path.exists(where):
            raise missing(where, file)
        low, high = source.vspace.get_select_bounds()
        begin = _first_selected(source.src_space)
        n = int(high[0] - low[0] + 1)
        where, path = follow(where, "/" + source.dset_name.lstrip("/"))
        found.append(Part(where, path, first + int(low[0]), n, begin))
    return found


def _first_selected(space: Any) -> int:
    """First frame that a virtual dataset takes of its source; 0 where the space is not told."""
    try:
        return int(space.get_select_bounds()[0][0])
    except (ValueError, RuntimeError):
        return 0


class Frames:
    """Reads frames of a list of parts; safe to use from several threads.

    h5py lets one thread at a time into the HDF5 library; decompression of the usual
    filter (bitshuffle with LZ4) is done outside of it, into the caller's array.
    """

    def __init__(self, parts: list[Part], master: Path) -> None:
        if not parts:
            raise DataError(f"The file {master} refers to no images.")
        self.parts = sorted(parts, key=lambda part: part.first)
        self.master = master
        self.n = max(part.first + part.n for part in parts)
        self._lock = threading.Lock()
        self._files: dict[str, Any] = {}
        self._datasets: dict[Part, tuple[Any, Callable[..., None] | None]] = {}
        dataset = self._dataset(self.parts[0])[0]
        self.shape: tuple[int, int] = dataset.shape[-2:]
        self.stored: np.dtype[Any] = dataset.dtype

    def _dataset(self, part: Part) -> tuple[Any, Callable[..., None] | None]:
        with self._lock:
            if part not in self._datasets:
                if part.file not in self._files:
                    if not os.path.exists(part.file):
                        raise missing(part.file, str(self.master))
                    self._files[part.file] = _opened(part.file)
                dataset = self._files[part.file].get(part.dataset)
                if not isinstance(dataset, h5py.Dataset) or dataset.dtype.kind not in "iu":
                    raise DataError(f"{part.file} holds no images at {part.dataset}.")
                self._datasets[part] = dataset, _decoder(dataset)
            return self._datasets[part]

    def read(self, frame: int, out: NDArray[Any]) -> None:
        """Fill ``out`` (slow, fast), of the dtype that is stored or a wider one."""
        part = next((p for p in self.parts if p.first <= frame < p.first + p.n), None)
        if part is None:
            raise DataError(f"{self.master} has no frame {frame + 1}: it has {self.n}.")
        dataset, decode = self._dataset(part)
        at = frame - part.first + part.offset
        try:
            if dataset.shape[-2:] != out.shape or (dataset.ndim == 3 and at >= dataset.shape[0]):
                raise DataError(f"Frame {frame + 1} of {self.master} is missing or of another size in {part.file}.")
            if decode is not None and out.dtype == dataset.dtype and out.flags.c_contiguous:
                decode(dataset, at, out)
            elif dataset.ndim == 3:
                dataset.read_direct(out, np.s_[at])
            else:
                dataset.read_direct(out)
        except (OSError, RuntimeError, ValueError) as error:
            raise DataError(
                f"Frame {frame + 1} of {self.master} cannot be read from {part.file}: it is truncated or damaged.",
                advice="Copy the file again.",
            ) from error

    def close(self) -> None:
        with self._lock:
            for file in self._files.values():
                file.close()
            self._files.clear()
            self._datasets.clear()


@cache
def _library() -> Any:
    """The shared library of the bitshuffle filter, or None where it cannot be used."""
    try:
        library = ctypes.CDLL(os.path.join(hdf5plugin.PLUGINS_PATH, "libh5bshuf.so"))
        function = library.bshuf_decompress_lz4
    except (OSError, AttributeError):
        return None
    function.restype = ctypes.c_int64
    function.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t, ctypes.c_size_t]
    return function


def _decoder(dataset: Any) -> Callable[..., None] | None:
    """A fast way to read frames of this dataset, or None: one chunk a frame, bitshuffle with LZ4 alone."""
    pipeline = dataset.id.get_create_plist()
    if dataset.ndim != 3 or dataset.chunks != (1, *dataset.shape[1:]) or pipeline.get_nfilters() != 1:
        return None
    number, _, values, _ = pipeline.get_filter(0)
    if number != BITSHUFFLE or len(values) < 5 or values[4] != LZ4_BLOCKS or _library() is None:
        return None
    return _read_bitshuffled


def _read_bitshuffled(dataset: Any, at: int, out: NDArray[Any]) -> None:
    """Read one chunk as stored, then unpack it where other threads may run."""
    from xtal_format_nxmx.kernels import blocks_fit

    info = dataset.id.get_chunk_info_by_coord((at, 0, 0))
    if info.byte_offset is None or info.filter_mask:
        dataset.read_direct(out, np.s_[at])  # never written, or stored plain
        return
    buffer = getattr(_thread, "buffer", None)
    if buffer is None or buffer.size < info.size:
        buffer = _thread.buffer = np.empty(info.size + info.size // 4, np.uint8)
    dataset.id.read_direct_chunk((at, 0, 0), out=buffer[: info.size])
    chunk, item = buffer[: info.size], out.dtype.itemsize
    block = int.from_bytes(chunk[8:12].tobytes(), "big") // item or _default_block(item)
    if int.from_bytes(chunk[:8].tobytes(), "big") != out.nbytes or not blocks_fit(chunk, out.size, item, block):
        raise ValueError("damaged chunk")
    if _library()(chunk.ctypes.data + 12, out.ctypes.data, out.size, item, block) < 0:
        raise ValueError("damaged chunk")


def _default_block(item: int) -> int:
    """Elements of a block where the chunk does not say it (8 kB, a multiple of 8)."""
    return max(8192 // item // 8 * 8, 128)
