"""Blocks one after another."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


class SerialExecutor:
    """Runs each block when its result is asked for (`xtal.hooks.protocols.BlockExecutor`)."""

    n_workers = 1

    def map(self, function: Callable[[T], R], blocks: Iterable[T]) -> Iterator[R]:
        """Results in the order of the blocks; an exception of a block carries its name as a note."""
        for block in blocks:
            try:
                result = function(block)
            except Exception as error:
                error.add_note(f"in block {block!r}"[:200])
                raise
            yield result
