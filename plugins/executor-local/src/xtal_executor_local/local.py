"""Blocks in threads."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Generic, TypeVar

from xtal_executor_local.options import LocalOptions

T = TypeVar("T")
R = TypeVar("R")

IN_FLIGHT = 2
"""Blocks begun or waiting per worker: enough to keep all busy, few enough to keep memory flat."""

SWITCH_SECONDS = 5e-4
"""After so long a thread gives the interpreter to another one that waits (5 ms unless told): workers need it between
kernels for some microseconds, and the caller's thread, which works on their results, should not hold them up."""


class _Job(Generic[T, R]):
    """A block of which the pool, where it may wait long after somebody else has done it, holds only the place."""

    def __init__(self, function: Callable[[T], R], block: T, pool: ThreadPoolExecutor) -> None:
        self._function, self._place = function, [block]
        self.future: Future[R] = pool.submit(_named, function, self._place)

    def helped(self) -> bool:
        """Run it here, unless it was begun elsewhere; whether that was done."""
        if not self.future.cancel():
            return False
        self.future = Future()
        try:
            self.future.set_result(_named(self._function, self._place))
        except Exception as error:
            self.future.set_exception(error)
        return True


class LocalExecutor:
    """Runs blocks in threads, of which the caller's is one (`xtal.hooks.protocols.BlockExecutor`)."""

    def __init__(self, options: LocalOptions | None = None) -> None:
        self.n_workers = (options or LocalOptions()).nproc

    def map(self, function: Callable[[T], R], blocks: Iterable[T]) -> Iterator[R]:
        """Results in the order of the blocks.

        Blocks are taken from the iterable only when there is room for them. An exception of a
        block is raised at its turn, with the block's name as a note; blocks that wait are then
        cancelled, as they are when the iterator is closed. While the result whose turn it is is not
        there, the caller's thread works on blocks that nobody has begun.
        """
        source = iter(blocks)
        if self.n_workers == 1:
            for block in source:
                yield _named(function, [block])
            return
        waiting: deque[_Job[T, R]] = deque()
        interval, pool = sys.getswitchinterval(), ThreadPoolExecutor(self.n_workers - 1, thread_name_prefix="xtal")
        try:
            sys.setswitchinterval(SWITCH_SECONDS)
            for block in islice(source, IN_FLIGHT * self.n_workers):
                waiting.append(_Job(function, block, pool))
            while waiting:
                while not waiting[0].future.done() and any(job.helped() for job in waiting):
                    pass
                result = waiting.popleft().future.result()
                for following in islice(source, 1):
                    waiting.append(_Job(function, following, pool))
                yield result
                del result
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
            sys.setswitchinterval(interval)


def _named(function: Callable[[T], R], place: list[T]) -> R:
    """The result of a block, which leaves its place; an exception carries the block's name."""
    block = place.pop()
    try:
        return function(block)
    except Exception as error:
        error.add_note(f"in block {block!r}"[:200])
        raise
