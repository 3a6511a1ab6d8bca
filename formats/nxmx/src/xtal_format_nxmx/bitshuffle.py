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
        self._chunk, self._kind, self._plain = chunk, np.dtype(f"<u{item}"), n % 8
        self._block = min(block, n)  # one that claims to be larger than the frame ends with it
        self._place = np.array([12, n - self._plain, 0])  # `unpack_numbers`
        self._over = np.empty(self._block, self._kind)

    def read(self, out: NDArray[Any]) -> None:
        """Fill a contiguous array with the next numbers.

        Raises
        ------
        ValueError
            If the chunk is damaged, or holds no more.
        """
        from xtal_format_nxmx.kernels import unpack_numbers

        flat, room = out.reshape(-1).view(self._kind), self._over.nbytes
        words, turned = _buffer("words", room), _buffer("turned", room)
        words = words[: words.size // 8 * 8].view(np.uint64)
        decompressor, work = _decompressor(), (words, turned, self._over)
        done = unpack_numbers(decompressor, self._chunk, self._place, self._block, *work, flat)
        if 0 <= done < flat.size:  # the last numbers, less than eight, are stored plain
            n, at, item = flat.size - done, int(self._place[0]), self._kind.itemsize
            if n > self._plain or at + n * item > self._chunk.size:
                raise ValueError("damaged chunk")
            flat[done:] = self._chunk[at : at + n * item].view(self._kind)
            self._place[0], self._plain = at + n * item, self._plain - n
        elif done < 0:
            raise ValueError("damaged chunk")


def _buffer(name: str, size: int) -> NDArray[np.uint8]:
    """Work space of this thread, of at least ``size`` bytes: fresh memory would cost more than the work."""
    found: NDArray[np.uint8] | None = getattr(_thread, name, None)
    if found is None or found.nbytes < size:
        found = np.empty(size + size // 4 + 1, np.uint8)
        setattr(_thread, name, found)
    return found
