"""What chunks of a dataset claim, checked before the HDF5 library undoes their filters.

The library and its filters trust the stored bytes: they make room for what a chunk says that it unpacks to, or as much
as comes, and some read beyond a chunk that is too short. So chunks are looked at first.
"""

from __future__ import annotations

import bz2
import math
from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xtal.files.inflate import inflated
from xtal.files.raw import LARGEST

DEFLATE, SHUFFLE, FLETCHER32, BZIP2 = 1, 2, 3, 307
BLOSC, LZ4, BITSHUFFLE, BLOSC2 = 32001, 32004, 32008, 32026
Filter = tuple[int, tuple[int, ...]]
"""Number and values."""

CHECKSUM = 4
SHORTEST = 9
"""Bytes of a packed chunk with its header."""

MOST_CHUNKS = 1_000_000
"""More chunks than any frame is divided into."""

SLACK = 64
"""Bytes by which what a filter makes may be larger than the chunk: checksums of inner filters."""


def _big(chunk: bytes) -> int:
    return int.from_bytes(chunk[:8], "big")


def _blosc2(chunk: bytes) -> int:
    """Frames have their size in a header; bare chunks as those of Blosc."""
    return int.from_bytes(chunk[30:38], "big") if chunk[2:9] == b"b2frame" else _blosc(chunk)


def _blosc(chunk: bytes) -> int:
    return int.from_bytes(chunk[4:8], "little")


def _zstd(chunk: bytes) -> int:
    """Content size of a frame (RFC 8878, 3.1.1.1); 0 where it has none, which the filter refuses."""
    flags = chunk[4]
    single = flags >> 5 & 1
    size = (single, 2, 4, 8)[flags >> 6]
    at = 5 + (1 - single) + (0, 1, 2, 4)[flags & 3]
    return int.from_bytes(chunk[at : at + size], "little") + (256 if size == 2 else 0)


class NeverWritten(Exception):
    """A frame whose chunk does not exist: the library would give zeros for it."""


CLAIMS: dict[int, Callable[[bytes], int]] = {BITSHUFFLE: _big, LZ4: _big, BLOSC: _blosc, BLOSC2: _blosc2, 32015: _zstd}
"""Filters that write how much they packed: where it stands."""


def pipeline(dataset: Any) -> list[Filter]:
    """The filters of a dataset, in the order in which they were applied."""
    filters = dataset.id.get_create_plist()
    found = [filters.get_filter(k) for k in range(filters.get_nfilters())]
    return [(one[0], one[2]) for one in found]


def _starts(dataset: Any, at: int | None) -> Iterator[tuple[int, ...]]:
    """Where the chunks of a frame begin, or those of the whole dataset."""
    ranges = [range(0, n, step) for n, step in zip(dataset.shape, dataset.chunks, strict=True)]
    if at is not None:
        first = at // dataset.chunks[0] * dataset.chunks[0]
        ranges[0] = range(first, first + 1)
    if math.prod(map(len, ranges)) > MOST_CHUNKS:
        raise ValueError("it has too many chunks")
    yield from product(*ranges)


def stored_chunk(dataset: Any, start: tuple[int, ...], room: int) -> Any:
    """What is known of the chunk that begins at ``start`` and holds ``room`` bytes of values.

    Raises
    ------
    NeverWritten
        If there is none.
    ValueError
        If it is larger than any filter makes it.
    """
    info = dataset.id.get_chunk_info_by_coord(start)
    if info.byte_offset is None:
        raise NeverWritten
    if info.size > 2 * room + SLACK:
        raise ValueError("a chunk is larger than what it holds")
    return info


def check_chunks(dataset: Any, at: int | None = None) -> None:
    """Refuse chunks that the library had better not read: those of frame ``at``, or all.

    Raises
    ------
    ValueError
        If one is larger than what it holds, shorter than its filters need, or unpacks to more than it should.
    """
    if dataset.chunks is None:
        return
    room = math.prod(dataset.chunks) * dataset.dtype.itemsize
    if room > LARGEST:
        raise ValueError("its chunks are larger than any image")
    filters = pipeline(dataset)
    for start in _starts(dataset, at) if filters else ():
        try:
            info = stored_chunk(dataset, start, room)
        except NeverWritten:
            continue
        _, chunk = dataset.id.read_direct_chunk(start)
        active = [one for k, one in enumerate(filters) if not info.filter_mask >> k & 1]
        _check(chunk, active, room)


def _check(chunk: bytes, filters: list[Filter], room: int) -> None:
    """Check a chunk for the filters that are still to be undone, down to the first that unpacks."""
    for k, (number, values) in reversed(list(enumerate(filters))):
        if number == FLETCHER32:
            if len(chunk) < CHECKSUM:
                raise ValueError("a chunk is too short")
            chunk = chunk[:-CHECKSUM]
        elif number != SHUFFLE:
            size = _unpacked_size(chunk, number, values, room)
            # what is left to be undone keeps the size, or it is not known here
            known = all(inner in (SHUFFLE, FLETCHER32) for inner, _ in filters[:k])
            least = room if known else 0
            most = room + SLACK if known and number != BLOSC2 else LARGEST  # Blosc2 fills up its last block
            if size is not None and not least <= size <= most:
                raise ValueError("a chunk unpacks to another size than it should")
            if size is not None and not _is_whole(chunk, number, values, size):
                raise ValueError("a chunk is cut off")
            return
    if len(chunk) < room:
        raise ValueError("a chunk is too short")


def _unpacked_size(chunk: bytes, number: int, values: tuple[int, ...], room: int) -> int | None:
    """Bytes that a filter makes of a chunk, as far as it can be known before."""
    if number == DEFLATE:
        return len(inflated(chunk, room + SLACK))
    if number == BZIP2:
        size = len(bz2.BZ2Decompressor().decompress(chunk, room + SLACK + 1))
        return size if size <= room + SLACK else LARGEST + 1
    if number == BITSHUFFLE and (len(values) < 5 or not values[4]):
        return len(chunk)  # not packed
    if number not in CLAIMS:
        return None
    if len(chunk) < SHORTEST:
        raise ValueError("a chunk is too short")
    return CLAIMS[number](chunk)


def _is_whole(chunk: bytes, number: int, values: tuple[int, ...], size: int) -> bool:
    """Whether what a chunk says of its parts ends within it, for filters that do not look where it ends."""
    if number == BLOSC:
        return int.from_bytes(chunk[12:16], "little") <= len(chunk)
    if number == LZ4:
        return _blocks_end(chunk, min(_block_bytes(chunk), size), size) <= len(chunk)
    if number == BITSHUFFLE and len(values) >= 5 and values[4]:
        item = max(values[2], 1)
        block, plain = _block_bytes(chunk) or item * usual_block(item), size % (8 * item)
        return block % (8 * item) == 0 and _blocks_end(chunk, block, size - plain) + plain <= len(chunk)
    return True


def usual_block(item: int) -> int:
    """Elements of a block of bitshuffle where the chunk does not say it (8 kB, a multiple of 8)."""
    return max(8192 // item // 8 * 8, 128)


def _block_bytes(chunk: bytes) -> int:
    return int.from_bytes(chunk[8:12], "big")


def _blocks_end(chunk: bytes, block: int, size: int) -> float:
    """Where blocks end, each of which writes its packed length in front; infinity if that is beyond the chunk."""
    at, done = 12, 0
    while done < size:
        if block == 0 or at + 4 > len(chunk):
            return math.inf
        at += 4 + int.from_bytes(chunk[at : at + 4], "big")
        done += block
    return at


def inflate_frame(dataset: Any, at: int, out: NDArray[Any]) -> None:
    """Read a frame whose chunks are deflated, shuffled before or not.

    Raises
    ------
    NeverWritten, ValueError, InflateError
        If a chunk is missing or damaged.
    """
    shuffled = pipeline(dataset)[0][0] == SHUFFLE
    step = dataset.chunks[-2:]
    room = math.prod(step) * out.itemsize
    for start in _starts(dataset, at if dataset.ndim == 3 else None):
        if stored_chunk(dataset, start, room).filter_mask:
            read_by_library(dataset, at, out)  # not all filters were applied
            return
        _, chunk = dataset.id.read_direct_chunk(start)
        content = np.frombuffer(inflated(chunk, room), np.uint8)
        if len(content) != room:
            raise ValueError("a chunk unpacks to another size than it should")
        if shuffled:
            content = np.ascontiguousarray(content.reshape(out.itemsize, -1).T)
        row, column = start[-2:]
        part = out[row : row + step[0], column : column + step[1]]
        part[...] = content.reshape(-1).view(out.dtype).reshape(step)[: part.shape[0], : part.shape[1]]


def read_by_library(dataset: Any, at: int, out: NDArray[Any]) -> None:
    """Read one frame in whatever way it is stored.

    Raises
    ------
    NeverWritten
        If it is not stored.
    ValueError
        If its chunks are not to be trusted.
    """
    if dataset.ndim == 2:
        if not dataset.is_virtual and dataset.id.get_storage_size() == 0:
            raise NeverWritten
        check_chunks(dataset)
        dataset.read_direct(out)
        return
    if dataset.chunks is not None:
        room = math.prod(dataset.chunks) * dataset.dtype.itemsize
        stored_chunk(dataset, (at // dataset.chunks[0] * dataset.chunks[0], 0, 0), room)
        check_chunks(dataset, at)
    elif not dataset.is_virtual and dataset.id.get_storage_size() == 0:
        raise NeverWritten
    dataset.read_direct(out, np.s_[at])
