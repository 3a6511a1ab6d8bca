"""Checks of executors, on small blocks of work."""

from __future__ import annotations

import signal
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from typing import Any

from xtal.errors import DataError
from xtal.hooks.protocols import BlockExecutor
from xtal.options import entries
from xtal.testing.conformance import Broken, Case, ensure, expects

PATIENCE = 2.0
"""Seconds that workers may take to come together."""


class ExecutorCase(Case):
    """An executor; its checks run with one worker and, where it has the option ``nproc``, with three.

    Steps use one executor for one run of blocks after another, never for two at once.
    """

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


class _Block:
    """A block, or a result: like generators and locks it can neither be copied nor sent to another process."""

    def __init__(self) -> None:
        self.lock = threading.Lock()


@expects("executor", "hand over blocks and results themselves, which need not be such as can be copied")
def themselves(case: ExecutorCase) -> None:
    for executor in case.each:
        blocks = [_Block() for _ in range(5)]
        found = list(executor.map(lambda block: (block, None), blocks))
        same = [one for one, block in zip(found, blocks, strict=True) if one[0] is block and one[1] is None]
        ensure(len(same) == 5, f"{5 - len(same)} of 5 are others")


@expects("executor", "give a result also of a block that returns None")
def nothing(case: ExecutorCase) -> None:
    for executor in case.each:
        found = list(executor.map(lambda _: None, range(5)))
        ensure(found == [None] * 5, f"of 5 it gives {found}")


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


@expects("executor", "hold at most 2 n_workers blocks in flight, also where results are taken slowly")
def bounded(case: ExecutorCase) -> None:
    for executor in case.each:
        taken, n = 0, executor.n_workers

        def blocks() -> Iterator[int]:
            nonlocal taken
            for k in range(40):
                taken += 1
                yield k

        for k in executor.map(lambda k: k, blocks()):
            time.sleep(0.05 * (k == 0))
            held = taken - (k + 1)
            ensure(held <= 2 * n, f"{held} are taken and not given back, with {n} workers")


@expects("executor", "let go of blocks and results that it has given back, so that memory does not grow")
def let_go(case: ExecutorCase) -> None:
    for executor in case.each:
        alive: weakref.WeakSet[_Block] = weakref.WeakSet()

        def made(_: Any = None, alive: Any = alive) -> _Block:
            alive.add(block := _Block())
            return block

        # those in flight with their results, and the last two pairs, which local names may hold
        most = 2 * (2 * executor.n_workers + 2)
        for k, _ in enumerate(executor.map(made, (made() for _ in range(60)))):
            ensure(len(alive) <= most, f"it holds {len(alive)} after {k + 1}, with {executor.n_workers} workers")


def _spoilt(executor: Any, error: BaseException) -> tuple[list[str], BaseException | None]:
    """Results of three blocks of which the second raises an error, and what is raised of it."""

    def work(name: str) -> str:
        if name == "frames 3-4":
            raise error
        return name

    got: list[str] = []
    try:
        for result in executor.map(work, ["frames 1-2", "frames 3-4", "frames 5-6"]):
            got.append(result)
    except BaseException as raised:
        return got, raised
    return got, None


@expects("executor", "raise the error of a block itself, with all that it says")
def errors(case: ExecutorCase) -> None:
    for executor in case.each:
        for error in (ValueError("spoilt"), DataError("It is spoilt.", advice="Leave it."), KeyboardInterrupt()):
            _, raised = _spoilt(executor, error)
            ensure(raised is error, f"a {type(error).__name__} becomes {raised!r}")


@expects("executor", "add a note to the error of a block that names the block")
def named(case: ExecutorCase) -> None:
    for executor in case.each:
        _, error = _spoilt(executor, ValueError("spoilt"))
        notes = " ".join(getattr(error, "__notes__", ()))
        ensure("frames 3-4" in notes, f"the notes are {notes!r}")


@expects("executor", "raise the error of a block at its turn, after the results before it")
def in_turn(case: ExecutorCase) -> None:
    for executor in case.each:
        got, _ = _spoilt(executor, ValueError("spoilt"))
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


@contextmanager
def _ctrl_c() -> Iterator[Callable[[], None]]:
    """A function that interrupts the main thread as Ctrl-C does, by a signal of our own that nobody else heeds."""

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGUSR1, interrupt)
    try:
        yield lambda: signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)
    finally:
        signal.signal(signal.SIGUSR1, before)


@expects("executor", "let Ctrl-C through while blocks run, and begin no block after it")
def interrupted(case: ExecutorCase) -> None:
    if not hasattr(signal, "pthread_kill") or threading.current_thread() is not threading.main_thread():
        return  # signals come to the main thread alone
    for executor in case.each:
        begun: list[int] = []

        def work(k: int, begun: list[int] = begun) -> None:
            begun.append(k)
            time.sleep(0.005)
            if k == 4:
                press()

        with _ctrl_c() as press:
            ended = True
            with suppress(KeyboardInterrupt):
                list(executor.map(work, range(60)))
                ended = False
        before = len(begun)
        time.sleep(0.05)
        ensure(ended and len(begun) < 60, f"{len(begun)} of 60 blocks are run" + " to the end" * (not ended))
        ensure(before == len(begun), f"{len(begun) - before} blocks are begun afterwards")


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
