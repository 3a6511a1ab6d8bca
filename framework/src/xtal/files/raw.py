"""Bytes of image files, decompressed where they are .gz or .bz2; pixels into the arrays of a scan."""

from __future__ import annotations

import bz2
import gzip
import os
import threading
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xtal.errors import DataError
from xtal.files.inflate import GZIP, InflateError, inflater

LARGEST, PIECE, FED = 2**29, 2**26, 2**18
"""Most bytes of an image, also once it is unpacked: several times the largest frame known; what is more is a trap.
And bytes that are unpacked, and that are fed to be unpacked, at a time."""

_PROBLEMS = (OSError, EOFError, ValueError, zlib.error, InflateError)
_thread = threading.local()


def _trouble(path: Path, error: Exception) -> DataError:
    if isinstance(error, FileNotFoundError):
        return DataError(f"The image {path} does not exist.", advice="Check the path; were the images moved?")
    if isinstance(error, OSError) and error.errno is not None:
        return DataError(f"The image {path} cannot be read: {error.strerror}.")
    return DataError(f"The compressed image {path} is truncated or damaged.", advice="Copy it again.")


def check_claim(path: Path, slow: int, fast: int, n_bytes: int = 4) -> None:
    """Refuse an image larger than any that is known, before room is made for it.

    Parameters
    ----------
    path
        Of the file whose header says so.
    slow, fast, n_bytes
        Pixels, and bytes of one; at least four are counted, as most are widened.

    Raises
    ------
    DataError
        Names the file.
    """
    if min(slow, fast) < 1 or slow * fast * max(n_bytes, 4) > LARGEST:
        raise DataError(
            f"The image {path} claims {fast} x {slow} pixels, which no image has.",
            advice="Its header is damaged: copy it again, or leave it out.",
        )


def read_head(path: Path, size: int = 4096) -> bytes:
    """The first ``size`` bytes of the content of a file.

    Raises
    ------
    DataError
        If it cannot be read or decompressed.
    """
    try:
        with open(path, "rb") as file:
            head = file.read(size)
        if head[:2] == b"\x1f\x8b":
            with gzip.open(path) as unzipped:
                return unzipped.read(size)
        if head[:3] == b"BZh":
            with bz2.open(path) as unpacked:
                return unpacked.read(size)
        return head
    except _PROBLEMS as error:
        raise _trouble(path, error) from error


def read_whole(path: Path) -> memoryview:
    """The content of a file.

    A fresh buffer for every image would cost more page faults than the reading itself, so
    each thread has one: the view is valid until the same thread reads its next file.

    Raises
    ------
    DataError
        If it cannot be read or decompressed, or would unpack to more than `LARGEST` bytes.
    """
    try:
        with open(path, "rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            buffer = getattr(_thread, "buffer", bytearray())
            if len(buffer) < size:
                buffer = _thread.buffer = bytearray(size + size // 4)
            content = memoryview(buffer)[: _fill(file, buffer, size)]
        if content[:2] == b"\x1f\x8b":
            return _unpacked(content, lambda: inflater(GZIP), path)
        if content[:3] == b"BZh":
            return _unpacked(content, bz2.BZ2Decompressor, path)
        return content
    except _PROBLEMS as error:
        raise _trouble(path, error) from error


def _unpacked(content: memoryview, decompressor: Callable[[], Any], path: Path) -> memoryview:
    """All streams of a compressed file, one after another, within `LARGEST` bytes.

    A stream that ends keeps a copy of all that it was fed beyond its end: so it is fed little at a time.
    """
    whole, at = bytearray(), 0
    while at < len(content):
        stream = decompressor()
        while not stream.eof:
            fed = content[at : at + FED]
            part = stream.decompress(fed, PIECE)
            left = stream.unused_data if stream.eof else getattr(stream, "unconsumed_tail", b"")  # bz2 keeps it
            at += len(fed) - len(left)
            if not part and not fed and not stream.eof:
                raise EOFError
            whole += part
            if len(whole) > LARGEST:
                raise DataError(
                    f"The compressed image {path} unpacks to more than {LARGEST >> 20} MB, which no image is.",
                    advice="Unpack it by hand if it can be trusted.",
                )
        if content[at : at + 1] == b"\0" and not bytes(content[at:]).strip(b"\0"):  # padding, no other stream
            break
    return memoryview(whole)


def _fill(file: Any, buffer: bytearray, size: int) -> int:
    view, done = memoryview(buffer), 0
    while done < size:
        got = file.readinto(view[done:size])
        if not got:
            break
        done += got
    return done


def fill(out: NDArray[Any], pixels: NDArray[Any], path: Path) -> None:
    """Copy the pixels of a file into an array of the type that the first file of its scan has.

    Integers that the type cannot hold become its highest value, which no trusted range includes.

    Raises
    ------
    DataError
        If the file has another number of pixels, or fractions where the scan has integers.
    """
    if out.shape != pixels.shape:
        slow, fast = pixels.shape
        raise DataError(f"The image {path} has {fast} x {slow} pixels, the others of its scan have not.")
    if out.dtype.kind == "f" or np.can_cast(pixels.dtype, out.dtype):
        out[...] = pixels
    elif pixels.dtype.kind == "f":
        raise DataError(f"The image {path} has pixels of type {pixels.dtype}, the others of its scan {out.dtype}.")
    else:
        limits = np.iinfo(out.dtype)
        np.clip(pixels, limits.min, limits.max, out=out, casting="unsafe")
