"""The executor ``serial`` keeps the contract."""

from __future__ import annotations

import threading

from xtal.testing import check_executor
from xtal_executor_serial.serial import SerialExecutor


def test_contract() -> None:
    check_executor("serial")


def test_blocks_run_in_the_calling_thread_when_asked_for() -> None:
    seen = []
    results = SerialExecutor().map(lambda k: seen.append((k, threading.current_thread())), range(3))
    assert not seen
    next(results)
    assert seen == [(0, threading.main_thread())]
