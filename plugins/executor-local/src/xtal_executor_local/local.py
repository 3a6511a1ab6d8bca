"""Blocks in threads."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import islice
from typing import TypeVar

from xtal_executor_local.options import LocalOptions

T = TypeVar("T")
R = TypeVar("R")

IN_FLIGHT = 2
"""Blocks begun or waiting per worker: enough to keep all busy, few enough to keep memory flat."""

SWITCH_SECONDS = 5e-4
"""After so long a thread gives the interpreter to another one that waits (5 ms unless told): workers need it between
kernels for some microseconds, and the caller's thread, which works on their results, should not hold them up."""


class LocalExecutor:
    """Runs blocks in threads (`xtal.hooks.protocols.BlockExecutor`)."""

    def __init__(self, options: LocalOptions | None = None) -> None:
        self.n_workers = (options or LocalOptions()).nproc

    def map(self, function: Callable[[T], R], blocks: Iterable[T]) -> Iterator[R]:
        """Results in the order of the blocks.

        Blocks are taken from the iterable only when there is room for them. An exception of a
        block is raised at its turn, with the block's name as a note; blocks that wait are then
        cancelled, as they are when the iterator is closed. A single worker is the caller's own thread.
        """
        if self.n_workers == 1:
            for block in blocks:
                yield _named(block, partial(function, block))
            return
        source, interval = iter(blocks), sys.getswitchinterval()
        waiting: deque[tuple[T, Future[R]]] = deque()
        pool = ThreadPoolExecutor(self.n_workers, thread_name_prefix="xtal")
        try:
            sys.setswitchinterval(SWITCH_SECONDS)
            for block in islice(source, IN_FLIGHT * self.n_workers):
                waiting.append((block, pool.submit(function, block)))
            while waiting:
                block, future = waiting.popleft()
                result = _named(block, future.result)
                for following in islice(source, 1):
                    waiting.append((following, pool.submit(function, following)))
                yield result
                del result
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
            sys.setswitchinterval(interval)


def _named(block: T, work: Callable[[], R]) -> R:
    """The result of a block; an exception carries the block's name."""
    try:
        return work()
    except Exception as error:
        error.add_note(f"in block {block!r}"[:200])
        raise
