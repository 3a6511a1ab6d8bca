"""The executor ``local`` keeps the contract and runs blocks at the same time."""

from __future__ import annotations

import threading

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


def test_threads_end_with_the_iterator() -> None:
    before = threading.active_count()
    results = LocalExecutor(LocalOptions(nproc=4)).map(lambda k: k, range(50))
    next(results)
    results.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before
