"""Blocks in threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from xtal_executor_template.options import TemplateOptions

T = TypeVar("T")
R = TypeVar("R")


class TemplateExecutor:
    """A pool of threads (`xtal.hooks.protocols.BlockExecutor`)."""

    def __init__(self, options: TemplateOptions) -> None:
        self.n_workers = options.nproc

    def map(self, function: Callable[[T], R], blocks: Iterable[T]) -> Iterator[R]:
        """Results in the order of the blocks, of which at most ``2 * n_workers`` are in flight."""
        queue: deque[tuple[T, Future[R]]] = deque()
        with ThreadPoolExecutor(self.n_workers) as pool:
            try:
                for block in blocks:
                    queue.append((block, pool.submit(function, block)))
                    if len(queue) == 2 * self.n_workers:
                        yield _result(*queue.popleft())
                while queue:
                    yield _result(*queue.popleft())
            finally:
                # after an error, or when the caller has seen enough, what waits is not begun
                pool.shutdown(wait=True, cancel_futures=True)


def _result(block: T, future: Future[R]) -> R:
    try:
        return future.result()
    except Exception as error:
        error.add_note(f"in block {block!r}"[:200])
        raise
