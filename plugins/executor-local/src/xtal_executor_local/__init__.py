"""Manifest: the executor ``local``."""

from __future__ import annotations

from xtal.hooks import Executor, hookimpl


@hookimpl
def xtal_executors() -> list[Executor]:
    return [
        Executor(
            name="local",
            summary="Threads of this machine, all cores by default",
            factory="xtal_executor_local.local:LocalExecutor",
            options="xtal_executor_local.options:LocalOptions",
        )
    ]
