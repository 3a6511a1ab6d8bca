"""Manifest: the executor ``template``."""

from __future__ import annotations

from xtal.hooks import Executor, hookimpl


@hookimpl
def xtal_executors() -> list[Executor]:
    """Offer it."""
    return [
        Executor(
            name="template",
            summary="Threads of this machine",
            factory="xtal_executor_template.algorithm:TemplateExecutor",
            options="xtal_executor_template.options:TemplateOptions",
        )
    ]
