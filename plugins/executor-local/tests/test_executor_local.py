"""The executor ``local`` keeps the contract and runs blocks at the same time."""

from __future__ import annotations

import threading

import pytest

from xtal.testing import check_executor
from xtal_executor_local.local import LocalExecutor
from xtal_executor_local.options import LocalOptions


def test_contract() -> None:
    check_executor("local")


def test_blocks_run_at_the_same_time() -> None:
    barrier = threading.Barrier(3, timeout=10)
    executor = LocalExecutor(LocalOptions(nproc=3))
    # each block waits until three of them have begun
    assert list(executor.map(lambda k: (barrier.wait(), k)[1], range(6))) == list(range(6))


def test_one_worker_is_the_callers_thread() -> None:
    executor = LocalExecutor(LocalOptions(nproc=1))
    assert set(executor.map(lambda _: threading.get_ident(), range(5))) == {threading.get_ident()}


def test_the_callers_thread_is_one_of_the_workers() -> None:
    barrier = threading.Barrier(3, timeout=10)

    def work(_: int) -> int:
        barrier.wait()
        return threading.get_ident()

    used = set(LocalExecutor(LocalOptions(nproc=3)).map(work, range(9)))
    assert len(used) == 3 and threading.get_ident() in used


def test_blocks_that_the_caller_did_raise_their_errors_in_turn() -> None:
    def work(k: int) -> int:
        if k == 0:
            begun.wait(2)
        elif threading.current_thread() is threading.main_thread():
            begun.set()
            raise ValueError(f"spoilt {k}")
        return k

    begun = threading.Event()
    results = LocalExecutor(LocalOptions(nproc=2)).map(work, range(8))
    assert next(results) == 0
    with pytest.raises(ValueError, match="spoilt") as caught:
        list(results)
    assert "in block" in caught.value.__notes__[0]


def test_threads_end_with_the_iterator() -> None:
    before = threading.active_count()
    results = LocalExecutor(LocalOptions(nproc=4)).map(lambda k: k, range(50))
    next(results)
    results.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before
