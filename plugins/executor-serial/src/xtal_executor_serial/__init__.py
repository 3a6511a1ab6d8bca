"""Manifest: the executor ``serial``."""

from __future__ import annotations

from xtal.hooks import Executor, hookimpl


@hookimpl
def xtal_executors() -> list[Executor]:
    return [
        Executor(
            name="serial",
            summary="One block after another in the calling thread",
            factory="xtal_executor_serial.serial:SerialExecutor",
        )
    ]
