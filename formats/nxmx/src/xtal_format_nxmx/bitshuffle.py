"""Frames compressed by bitshuffle with LZ4, one chunk each: unpacked outside of the HDF5 library and its lock."""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable
from functools import cache
from typing import Any

import hdf5plugin
import numpy as np
from numpy.typing import NDArray

FILTER = 32008
LZ4_BLOCKS = 2
_thread = threading.local()


@cache
def _library() -> Any:
    """The decompressor of the filter's shared library, or None where it cannot be used."""
    try:
        library = ctypes.CDLL(os.path.join(hdf5plugin.PLUGINS_PATH, "libh5bshuf.so"))
        function = library.bshuf_decompress_lz4
    except (OSError, AttributeError):
        return None
    function.restype = ctypes.c_int64
    function.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t, ctypes.c_size_t]
    return function


def decoder(dataset: Any) -> Callable[[Any, int, NDArray[Any]], None] | None:
    """A fast way to read frames of a dataset, or None: it needs one chunk a frame, and this filter alone."""
    pipeline = dataset.id.get_create_plist()
    if dataset.ndim != 3 or dataset.chunks != (1, *dataset.shape[1:]) or pipeline.get_nfilters() != 1:
        return None
    number, _, values, _ = pipeline.get_filter(0)
    if number != FILTER or len(values) < 5 or values[4] != LZ4_BLOCKS or _library() is None:
        return None
    return _read


def _read(dataset: Any, at: int, out: NDArray[Any]) -> None:
    """Read one chunk as stored, then unpack it where other threads may run."""
    from xtal_format_nxmx.kernels import blocks_fit

    info = dataset.id.get_chunk_info_by_coord((at, 0, 0))
    if info.filter_mask:
        dataset.read_direct(out, np.s_[at])  # stored plain
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
