"""Checks of executors, on small blocks of work."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from functools import cached_property
from typing import Any

from xtal.hooks.protocols import BlockExecutor
from xtal.options import entries
from xtal.testing.conformance import Broken, Case, ensure, expects

PATIENCE = 2.0
"""Seconds that workers may take to come together."""


class ExecutorCase(Case):
    """An executor; its checks run with one worker and, where it has the option ``nproc``, with three."""

    kind = "executor"
    protocol = BlockExecutor

    def given(self) -> dict[str, Any]:
        return {"blocks": list(range(20))}

    def exercise(self, given: dict[str, Any]) -> list[Any]:
        return list(self.plugin.map(lambda k: k * k, given["blocks"]))

    @property
    def parallel(self) -> bool:
        """Whether it can have several workers."""
        return self.options is not None and any(e.path == "nproc" for e in entries(self.options))

    @cached_property
    def each(self) -> list[Any]:
        """One with its defaults, and one with three workers where it can have them."""
        return [self.plugin, *([self.construct(nproc=3)] if self.parallel else [])]


@expects("executor", "have at least one worker")
def workers(case: ExecutorCase) -> None:
    for executor in case.each:
        n = executor.n_workers
        ensure(isinstance(n, int) and n >= 1, f"n_workers is {n!r}")


@expects("executor", "have as many workers as its option nproc says")
def nproc(case: ExecutorCase) -> None:
    if case.parallel:
        n = case.construct(nproc=3).n_workers
        ensure(n == 3, f"n_workers is {n} with nproc=3")


@expects("executor", "give the results in the order of the blocks")
def order(case: ExecutorCase) -> None:
    def work(k: int) -> int:
        time.sleep(0.004 * (k % 3 == 0))
        return k

    for executor in case.each:
        found = list(executor.map(work, range(20)))
        ensure(found == list(range(20)), f"they come as {found}")


@expects("executor", "run every block once")
def once(case: ExecutorCase) -> None:
    for executor in case.each:
        run: list[int] = []
        list(executor.map(run.append, range(20)))
        ensure(sorted(run) == list(range(20)), f"of blocks 0 to 19 it ran {sorted(run)}")


@expects("executor", "give no results for no blocks")
def no_blocks(case: ExecutorCase) -> None:
    for executor in case.each:
        found = list(executor.map(lambda k: k, []))
        ensure(not found, f"it gives {found}")


@expects("executor", "run blocks in this process, so that what they leave in the caller's memory is seen")
def shared(case: ExecutorCase) -> None:
    for executor in case.each:
        left: dict[int, int] = {}

        def work(k: int, left: dict[int, int] = left) -> None:
            left[k] = k

        list(executor.map(work, range(4)))
        ensure(len(left) == 4, f"{4 - len(left)} of 4 blocks left nothing")


@expects("executor", "run as many blocks at once as it has workers")
def together(case: ExecutorCase) -> None:
    for executor in case.each:
        n = executor.n_workers
        meeting = threading.Barrier(n, timeout=PATIENCE)
        try:
            list(executor.map(lambda _, meeting=meeting: meeting.wait(), range(n)))
        except threading.BrokenBarrierError:
            raise Broken(f"{n} blocks never ran at the same time") from None


@expects("executor", "run no more blocks at once than it has workers")
def at_once(case: ExecutorCase) -> None:
    for executor in case.each:
        lock, running, most = threading.Lock(), 0, 0

        def work(_: int, lock: Any = lock) -> None:
            nonlocal running, most
            with lock:
                running += 1
                most = max(most, running)
            time.sleep(0.002)
            with lock:
                running -= 1

        list(executor.map(work, range(20)))
        ensure(most <= executor.n_workers, f"{most} run at once with {executor.n_workers} workers")


@expects("executor", "hold at most 2 n_workers blocks in flight")
def bounded(case: ExecutorCase) -> None:
    for executor in case.each:
        taken, n = 0, executor.n_workers

        def blocks() -> Iterator[int]:
            nonlocal taken
            for k in range(40):
                taken += 1
                yield k

        for k in executor.map(lambda k: k, blocks()):
            held = taken - (k + 1)
            ensure(held <= 2 * n, f"{held} are taken and not given back, with {n} workers")


def _spoilt(executor: Any) -> tuple[list[str], BaseException | None]:
    """Results of three blocks of which the second fails, and the error."""

    def work(name: str) -> str:
        if name == "frames 3-4":
            raise ValueError("spoilt")
        return name

    got: list[str] = []
    try:
        for result in executor.map(work, ["frames 1-2", "frames 3-4", "frames 5-6"]):
            got.append(result)
    except Exception as error:
        return got, error
    return got, None


@expects("executor", "raise the error of a block as it is")
def errors(case: ExecutorCase) -> None:
    for executor in case.each:
        _, error = _spoilt(executor)
        ensure(type(error) is ValueError and str(error) == "spoilt", f"a ValueError becomes {error!r}")


@expects("executor", "add a note to the error of a block that names the block")
def named(case: ExecutorCase) -> None:
    for executor in case.each:
        _, error = _spoilt(executor)
        notes = " ".join(getattr(error, "__notes__", ()))
        ensure("frames 3-4" in notes, f"the notes are {notes!r}")


@expects("executor", "raise the error of a block at its turn, after the results before it")
def in_turn(case: ExecutorCase) -> None:
    for executor in case.each:
        got, _ = _spoilt(executor)
        ensure(got == ["frames 1-2"], f"before the second of three blocks it gives {got}")


def _begun(executor: Any, stop: Any) -> tuple[int, int]:
    """Blocks begun by the time that a run was stopped, and after a while more."""
    begun: list[int] = []

    def work(k: int) -> int:
        begun.append(k)
        time.sleep(0.002)
        if k == 0 and stop == "error":
            raise ValueError
        return k

    results = executor.map(work, range(60))
    try:
        next(iter(results))
        results.close()
    except ValueError:
        pass
    before = len(begun)
    time.sleep(0.05)
    return before, len(begun)


@expects("executor", "cancel what waits when the iterator is closed")
def cancelled(case: ExecutorCase) -> None:
    for executor in case.each:
        before, after = _begun(executor, "close")
        ensure(before == after, f"{after - before} blocks are begun afterwards")
        ensure(after < 60, f"all {after} blocks were run")


@expects("executor", "begin no block after an error was raised")
def after_error(case: ExecutorCase) -> None:
    for executor in case.each:
        before, after = _begun(executor, "error")
        ensure(before == after < 60, f"{after} of 60 blocks are begun, {after - before} of them afterwards")


@expects("executor", "work again after a run that was closed")
def again(case: ExecutorCase) -> None:
    for executor in case.each:
        _begun(executor, "close")
        found = list(executor.map(lambda k: k, range(3)))
        ensure(found == [0, 1, 2], f"of three more blocks it gives {found}")


@expects("executor", "leave no thread behind")
def threads_end(case: ExecutorCase) -> None:
    for executor in case.each:
        before = set(threading.enumerate())
        list(executor.map(lambda k: k, range(6)))
        _begun(executor, "close")
        left = [thread.name for thread in threading.enumerate() if thread not in before]
        ensure(not left, f"{', '.join(left)} are left")
