"""Frames compressed by bitshuffle with LZ4, one chunk each: unpacked outside of the HDF5 library and its lock."""

from __future__ import annotations

import ctypes
import math
import os
import sys
import threading
from collections.abc import Callable
from functools import cache
from typing import Any

import hdf5plugin
import numpy as np
from numpy.typing import NDArray

from xtal_format_nxmx.chunks import (
    BITSHUFFLE,
    DEFLATE,
    SHUFFLE,
    inflate_frame,
    pipeline,
    read_by_library,
    stored_chunk,
    usual_block,
)

LZ4_BLOCKS = 2
_thread = threading.local()


@cache
def _decompressor() -> int:
    """Address of LZ4's decompressor in the filter's shared library, 0 where it cannot be used."""
    if sys.byteorder != "little":
        return 0
    try:
        library = ctypes.CDLL(os.path.join(hdf5plugin.PLUGINS_PATH, "libh5bshuf.so"))
        return ctypes.cast(library.LZ4_decompress_safe, ctypes.c_void_p).value or 0
    except (OSError, AttributeError):
        return 0


def decoder(dataset: Any) -> Callable[[Any, int, NDArray[Any]], None] | None:
    """A way to read frames of a dataset without the library's filters, or None.

    It needs chunks within one frame, deflated (shuffled before or not), or one chunk a frame and this filter alone.
    """
    chunks, shape = dataset.chunks, dataset.shape
    if chunks is None or chunks[:-2] != (1,) * (dataset.ndim - 2) or any(c > n for c, n in zip(chunks, shape)):
        return None
    if [number for number, _ in pipeline(dataset)] in ([DEFLATE], [SHUFFLE, DEFLATE]):
        return inflate_frame
    return _read if streams(dataset) else None


def streams(dataset: Any) -> bool:
    """Whether a frame is one chunk with this filter alone, which can be unpacked row after row (`stream`)."""
    if dataset.ndim != 3 or dataset.chunks != (1, *dataset.shape[1:]):
        return False
    filters = pipeline(dataset)
    if len(filters) != 1 or filters[0][0] != BITSHUFFLE or not _decompressor():
        return False
    values = filters[0][1]
    if len(values) < 5 or values[4] != LZ4_BLOCKS:
        return False
    return dataset.dtype.kind in "iu" and dataset.dtype.itemsize <= 4


def _read(dataset: Any, at: int, out: NDArray[Any]) -> None:
    """Read one chunk as stored, then unpack it where other threads may run.

    Raises
    ------
    NeverWritten, ValueError
        If there is none, or it is damaged.
    """
    unpacking = stream(dataset, at)
    if unpacking is None:
        read_by_library(dataset, at, out)
    else:
        unpacking.read(out)


def stream(dataset: Any, at: int) -> Unpacking | None:
    """The numbers of a frame in their order; None if its chunk is stored plain.

    Raises
    ------
    NeverWritten, ValueError
        If there is none, or it is damaged.
    """
    shape = dataset.shape[1:]
    info = stored_chunk(dataset, (at, 0, 0), math.prod(shape) * dataset.dtype.itemsize)
    if info.filter_mask:
        return None
    chunk = np.empty(info.size, np.uint8)
    dataset.id.read_direct_chunk((at, 0, 0), out=chunk)
    return Unpacking(chunk, dataset.dtype, math.prod(shape))


class Unpacking:
    """The numbers of a chunk in their order, unpacked as they are asked for.

    Parameters
    ----------
    chunk
        (m,) uint8, with its header of 12 bytes: bytes of all numbers, and of those of a block.
    dtype
        Of the numbers: integers of up to four bytes.
    n
        How many there are.

    Raises
    ------
    ValueError
        If the chunk is damaged.
    """

    def __init__(self, chunk: NDArray[np.uint8], dtype: np.dtype[Any], n: int) -> None:
        item, head = dtype.itemsize, chunk[:12].tobytes()
        block = int.from_bytes(head[8:], "big") // item or usual_block(item)
        if len(head) < 12 or int.from_bytes(head[:8], "big") != n * item or block % 8:
            raise ValueError("damaged chunk")
        self._chunk, self._kind = chunk, np.dtype(f"<u{item}")
        self._at, self._left = 12, n  # in the chunk; numbers that are still packed, or plain at its end
        self._block = min(block, n)  # one that claims to be larger than the frame ends with it
        self._over = np.empty(0, self._kind)  # numbers of a block that was begun

    def read(self, out: NDArray[Any]) -> None:
        """Fill a contiguous array with the next numbers.

        Raises
        ------
        ValueError
            If the chunk is damaged, or holds no more.
        """
        flat = out.reshape(-1).view(self._kind)
        while flat.size:
            if self._over.size:
                some = self._over[: flat.size]
                flat[: some.size] = some
                self._over = self._over[some.size :]
            else:
                some = self._unpacked(flat)
            flat = flat[some.size :]

    def _unpacked(self, out: NDArray[Any]) -> NDArray[Any]:
        """The first part of ``out``, filled with as many blocks as it has room for; where that is none, the next
        numbers are held over."""
        packed = self._left - self._left % 8
        n = packed if packed <= out.size else out.size - out.size % self._block
        if n:
            self._unpack(out[:n])
        elif packed:
            self._over = np.empty(min(self._block, packed), self._kind)
            self._unpack(self._over)
        else:  # the last numbers, less than eight, are stored plain
            size = self._left * self._kind.itemsize
            plain = self._chunk[self._at : self._at + size]
            if not size or plain.size < size:
                raise ValueError("damaged chunk")
            self._over, self._left = plain.view(self._kind), 0
        return out[:n]

    def _unpack(self, out: NDArray[Any]) -> None:
        from xtal_format_nxmx.kernels import unpack_blocks

        room = self._block * self._kind.itemsize
        words, turned = _buffer("words", room), _buffer("turned", room)
        words = words[: words.size // 8 * 8].view(np.uint64)
        self._at = unpack_blocks(_decompressor(), self._chunk, self._at, self._block, words, turned, out)
        if self._at < 0:
            raise ValueError("damaged chunk")
        self._left -= out.size


def _buffer(name: str, size: int) -> NDArray[np.uint8]:
    """Work space of this thread, of at least ``size`` bytes: fresh memory would cost more than the work."""
    found: NDArray[np.uint8] | None = getattr(_thread, name, None)
    if found is None or found.nbytes < size:
        found = np.empty(size + size // 4 + 1, np.uint8)
        setattr(_thread, name, found)
    return found
