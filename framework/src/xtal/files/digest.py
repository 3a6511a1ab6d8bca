"""Digests of files: of one that is there, and of one while it is written."""

from __future__ import annotations

import hashlib
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

DIGEST_BYTES = 16
PARTS_WAITING = 4
"""Parts of a file that may wait to be digested while others are written: they stay in memory so long."""


def digest(path: Path) -> str:
    """Digest of a file's content (BLAKE2b of 16 bytes, in hexadecimal digits)."""
    h = hashlib.blake2b(digest_size=DIGEST_BYTES)
    with open(path, "rb") as stream:
        while block := stream.read(1 << 20):
            h.update(block)
    return h.hexdigest()


class Digester:
    """A thread that digests the parts of a file while others are made, written and flushed to the disk.

    It is closed at the end of the ``with`` block that it stands in.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="xtal-digest")
        self._hash = hashlib.blake2b(digest_size=DIGEST_BYTES)
        self._waiting: deque[Future[None]] = deque()

    def __enter__(self) -> Digester:
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown(cancel_futures=True)

    def add(self, part: bytes | memoryview) -> None:
        """Digest the next part, which must not be changed afterwards."""
        self._waiting.append(self._thread.submit(self._hash.update, part))
        if len(self._waiting) > PARTS_WAITING:
            self._waiting.popleft().result()

    def digest(self) -> str:
        """Digest of all parts."""
        while self._waiting:
            self._waiting.popleft().result()
        return self._hash.hexdigest()
