"""Wrong executors."""

from __future__ import annotations

import copy
import queue
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from types import CellType, FunctionType
from typing import Any

from xtal_executor_local.local import LocalExecutor
from xtal_executor_local.options import LocalOptions
from xtal_executor_serial.serial import SerialExecutor

RIGHT = "local"


class NoWorkers(LocalExecutor):
    def __init__(self, options: Any) -> None:
        self.n_workers = 0


class OneWorker(LocalExecutor):
    def __init__(self, options: Any) -> None:
        self.n_workers = 1


class AsCompleted(LocalExecutor):
    def map(self, function: Callable[[Any], Any], blocks: Any) -> Iterator[Any]:
        with ThreadPoolExecutor(self.n_workers) as pool:
            for future in as_completed([pool.submit(function, block) for block in blocks]):
                yield future.result()


class Twice(LocalExecutor):
    def map(self, function: Callable[[Any], Any], blocks: Any) -> Iterator[Any]:
        return super().map(lambda block: (function(block), function(block))[0], blocks)


class AtLeastOne(LocalExecutor):
    def map(self, function: Callable[[Any], Any], blocks: Any) -> Iterator[Any]:
        blocks = list(blocks)
        yield from super().map(function, blocks) if blocks else [None]


class Elsewhere(LocalExecutor):
    """Sends copies of the function and what it holds, as to another process."""

    def map(self, function: Any, blocks: Any) -> Iterator[Any]:
        cells = tuple(CellType(copy.deepcopy(cell.cell_contents)) for cell in function.__closure__ or ())
        defaults = copy.deepcopy(function.__defaults__)
        there = FunctionType(function.__code__, function.__globals__, function.__name__, defaults, cells)
        return super().map(there, blocks)


class OneByOne(LocalExecutor):
    def map(self, function: Callable[[Any], Any], blocks: Any) -> Iterator[Any]:
        return SerialExecutor().map(function, blocks)


class TwiceAsMany(LocalExecutor):
    def map(self, function: Callable[[Any], Any], blocks: Any) -> Iterator[Any]:
        return LocalExecutor(LocalOptions(nproc=2 * self.n_workers)).map(function, blocks)


class Copies(LocalExecutor):
    """Hands over blocks that are like those given."""

    def map(self, function: Callable[[Any], Any], blocks: Any) -> Iterator[Any]:
        return (
            tuple(map(copy.copy, one)) for one in super().map(lambda block: (type(block)(), function(block)), blocks)
        )


class Counts(LocalExecutor):
    """Gives the results that there are."""

    def map(self, function: Callable[[Any], Any], blocks: Any) -> Iterator[Any]:
        return (one for one in super().map(function, blocks) if one is not None)


class RunsAhead(LocalExecutor):
    """Takes blocks in a thread of its own, before anybody asks."""

    def map(self, function: Callable[[Any], Any], blocks: Any) -> Iterator[Any]:
        ahead: queue.SimpleQueue[Any] = queue.SimpleQueue()
        taker = threading.Thread(target=lambda: [ahead.put(block) for block in (*blocks, None)])
        taker.start()
        yield from super().map(function, iter(ahead.get, None))
        taker.join()


class Keeps(LocalExecutor):
    """Keeps all results, to be asked for again."""

    def map(self, function: Callable[[Any], Any], blocks: Any) -> Iterator[Any]:
        self.results = []
        for result in super().map(function, blocks):
            self.results.append(result)
            yield result


class Greedy(LocalExecutor):
    """Takes all blocks at once."""

    def map(self, function: Callable[[Any], Any], blocks: Any) -> Iterator[Any]:
        return super().map(function, list(blocks))


class Wraps(LocalExecutor):
    def map(self, function: Callable[[Any], Any], blocks: Any) -> Iterator[Any]:
        try:
            yield from super().map(function, blocks)
        except ValueError as error:
            raise RuntimeError("a worker failed") from error


class Rebuilds(LocalExecutor):
    """Makes errors anew, of their type and text alone."""

    def map(self, function: Callable[[Any], Any], blocks: Any) -> Iterator[Any]:
        try:
            yield from super().map(function, blocks)
        except Exception as error:
            raise type(error)(*error.args) from None


class Swallows(LocalExecutor):
    """Ends at Ctrl-C as if all were done."""

    def map(self, function: Callable[[Any], Any], blocks: Any) -> Iterator[Any]:
        with suppress(KeyboardInterrupt):
            yield from super().map(function, blocks)


class Nameless(LocalExecutor):
    def map(self, function: Callable[[Any], Any], blocks: Any) -> Iterator[Any]:
        try:
            yield from super().map(function, blocks)
        except ValueError as error:
            error.__notes__.clear()
            raise


class AllOrNothing(LocalExecutor):
    """Gives results when all are there."""

    def map(self, function: Callable[[Any], Any], blocks: Any) -> Iterator[Any]:
        yield from list(super().map(function, blocks))


class GoesOn(SerialExecutor):
    """Finishes what it has begun, whatever happens."""

    def __init__(self, options: Any) -> None:
        self.n_workers = options.nproc

    def map(self, function: Callable[[Any], Any], blocks: Any) -> Iterator[Any]:
        waiting = iter(blocks)
        try:
            yield from super().map(function, waiting)
        finally:
            for block in waiting:
                function(block)


class LetsRun(LocalExecutor):
    """Does not wait for what still runs."""

    def map(self, function: Callable[[Any], Any], blocks: Any) -> Iterator[Any]:
        pool = ThreadPoolExecutor(self.n_workers)
        futures = [pool.submit(function, block) for block in blocks]
        try:
            for future in futures:
                yield future.result()
        finally:
            pool.shutdown(wait=False)


class Once(LocalExecutor):
    """Is of no use after it was closed."""

    closed = False

    def map(self, function: Callable[[Any], Any], blocks: Any) -> Iterator[Any]:
        try:
            yield from () if self.closed else super().map(function, blocks)
        except GeneratorExit:
            self.closed = True
            raise


class LeavesThread(LocalExecutor):
    def map(self, function: Callable[[Any], Any], blocks: Any) -> Iterator[Any]:
        threading.Thread(target=time.sleep, args=(0.5,), daemon=True).start()
        return super().map(function, blocks)


WRONG = {
    "workers": NoWorkers,
    "nproc": OneWorker,
    "order": AsCompleted,
    "once": Twice,
    "no_blocks": AtLeastOne,
    "shared": Elsewhere,
    "themselves": Copies,
    "nothing": Counts,
    "together": OneByOne,
    "at_once": TwiceAsMany,
    "bounded": [Greedy, RunsAhead],
    "let_go": [Keeps, Greedy],
    "errors": [Wraps, Rebuilds, Swallows],
    "named": Nameless,
    "in_turn": AllOrNothing,
    "cancelled": [GoesOn, LetsRun],
    "after_error": GoesOn,
    "interrupted": [Swallows, LetsRun],
    "again": Once,
    "threads_end": LeavesThread,
}
