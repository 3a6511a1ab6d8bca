"""Frames compressed by bitshuffle with LZ4, one chunk each: unpacked outside of the HDF5 library and its lock."""

from __future__ import annotations

import ctypes
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
    filters = pipeline(dataset)
    if [number for number, _ in filters] in ([DEFLATE], [SHUFFLE, DEFLATE]):
        return inflate_frame
    if dataset.ndim != 3 or chunks[1:] != shape[1:] or len(filters) != 1 or filters[0][0] != BITSHUFFLE:
        return None
    if not _decompressor():
        return None
    values = filters[0][1]
    if len(values) < 5 or values[4] != LZ4_BLOCKS:
        return None
    return _read if dataset.dtype.kind in "iu" and dataset.dtype.itemsize <= 4 else None


def _read(dataset: Any, at: int, out: NDArray[Any]) -> None:
    """Read one chunk as stored, then unpack it where other threads may run.

    Raises
    ------
    NeverWritten, ValueError
        If there is none, or it is damaged.
    """
    info = stored_chunk(dataset, (at, 0, 0), out.nbytes)
    if info.filter_mask:
        read_by_library(dataset, at, out)  # stored plain
        return
    chunk = _buffer("chunk", info.size)[: info.size]
    dataset.id.read_direct_chunk((at, 0, 0), out=chunk)
    unpack(chunk, out)


def unpack(chunk: NDArray[np.uint8], out: NDArray[Any]) -> None:
    """Unpack a chunk into a contiguous array of integers of up to four bytes.

    Raises
    ------
    ValueError
        If the chunk is damaged.
    """
    from xtal_format_nxmx.kernels import unpack_chunk

    item, head = out.dtype.itemsize, chunk[:12].tobytes()
    block = int.from_bytes(head[8:], "big") // item or usual_block(item)
    if len(head) < 12 or int.from_bytes(head[:8], "big") != out.nbytes or block % 8:
        raise ValueError("damaged chunk")
    flat = out.reshape(-1).view(f"u{item}")
    # a block that claims to be larger than the frame ends with it
    room = item * min(block, flat.size)
    words = _buffer("words", room)
    end = unpack_chunk(
        _decompressor(), chunk, block, words[: words.size // 8 * 8].view(np.uint64), _buffer("turned", room), flat
    )
    left = flat.size % 8
    if end < 0 or end + left * item > chunk.size:
        raise ValueError("damaged chunk")
    flat[flat.size - left :] = chunk[end : end + left * item].view(f"<u{item}")


def _buffer(name: str, size: int, dtype: type = np.uint8) -> NDArray[Any]:
    """Work space of this thread, of at least ``size`` bytes: fresh memory would cost more than the work."""
    found: NDArray[Any] | None = getattr(_thread, name, None)
    if found is None or found.nbytes < size:
        item = np.dtype(dtype).itemsize
        found = np.empty((size + size // 4) // item + 1, dtype)
        setattr(_thread, name, found)
    return found
