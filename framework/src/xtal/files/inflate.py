"""The inflating of what zlib and gzip deflate, by the library that does it fastest."""

from __future__ import annotations

from typing import Any, cast

from zlib_ng import zlib_ng

GZIP = 31
"""As ``wbits`` of `inflater`: the stream is that of a .gz file."""

InflateError = cast(type[Exception], zlib_ng.error)
"""Raised where a stream is damaged."""


def inflater(wbits: int = zlib_ng.MAX_WBITS) -> Any:
    """An object like that of `zlib.decompressobj`; zlib-ng takes a quarter of zlib's time."""
    return zlib_ng.decompressobj(wbits=wbits)


def inflated(content: Any, most: int) -> bytes:
    """A whole stream of zlib, of at most so many bytes when it is inflated.

    Raises
    ------
    ValueError, InflateError
        If it is larger, cut off or damaged.
    """
    stream = inflater()
    found: bytes = stream.decompress(content, most + 1)
    if len(found) > most or not stream.eof:
        raise ValueError("a chunk unpacks to another size than it should")
    return found
