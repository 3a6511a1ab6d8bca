"""Contracts of executors and steps."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

from xtal.hooks import Descriptor, Step
from xtal.hooks.protocols import BlockExecutor
from xtal.options import entries
from xtal.plugins import default_plugins
from xtal.plugins.manager import resolve
from xtal.run.help import help_of
from xtal.run.settings import step_classes
from xtal.testing.conformance import check_descriptor, check_methods, describe

ROLES = {"images", "experiments", "reflections"}


def check_executor(plugin: str | Descriptor) -> None:
    """Order, laziness, errors that name their block, cancelling."""
    descriptor, construct = describe("executor", plugin)
    executor = construct()
    check_methods(executor, BlockExecutor)
    assert executor.n_workers >= 1, f"{descriptor.name}: n_workers is at least 1"
    _check_order(executor)
    if descriptor.options:
        cls = resolve(descriptor.options, descriptor.name)
        if any(e.path == "nproc" for e in entries(cls)):
            parallel = construct(nproc=3)
            assert parallel.n_workers == 3, "n_workers is not the nproc of the options"
            _check_order(parallel)
            _check_bounded(parallel)
    _check_bounded(executor)
    _check_errors(executor)
    _check_cancel(executor)


def _check_order(executor: Any) -> None:
    def work(k: int) -> int:
        time.sleep(0.001 * (k % 3))
        return k * k

    assert list(executor.map(work, range(20))) == [k * k for k in range(20)], "results are not in the order of blocks"
    assert list(executor.map(work, [])) == [], "no blocks should give no results"


def _check_bounded(executor: Any) -> None:
    taken = 0

    def blocks() -> Iterator[int]:
        nonlocal taken
        for k in range(200):
            taken += 1
            yield k

    results = executor.map(lambda k: k, blocks())
    next(iter(results))
    limit = 2 * executor.n_workers + 2
    assert taken <= limit, f"{taken} blocks were taken before one result was used; at most {limit} may be in flight"
    getattr(results, "close", lambda: None)()


def _check_errors(executor: Any) -> None:
    def work(name: str) -> str:
        if name == "frames 3-4":
            raise ValueError("spoilt")
        return name

    got = []
    try:
        for result in executor.map(work, ["frames 1-2", "frames 3-4", "frames 5-6"]):
            got.append(result)
    except ValueError as error:
        told = str(error) + " ".join(getattr(error, "__notes__", ()))
        assert "frames 3-4" in told, "an error does not name its block"
        assert got == ["frames 1-2"], "results before the failing block are lost"
        return
    raise AssertionError("the exception of a block was swallowed")


def _check_cancel(executor: Any) -> None:
    done: list[int] = []
    lock = threading.Lock()

    def work(k: int) -> int:
        time.sleep(0.002)
        with lock:
            done.append(k)
        return k

    results = executor.map(work, range(1000))
    next(iter(results))
    results.close()
    after = len(done)
    time.sleep(0.02)
    assert len(done) <= after, "work goes on after the iterator was closed"
    assert after < 100, "closing the iterator does not cancel the blocks that wait"


def check_step(plugin: str | Descriptor) -> None:
    """Roles, names of outputs, options that do not collide with the runner's, help."""
    step = default_plugins().find("step", plugin) if isinstance(plugin, str) else plugin
    assert isinstance(step, Step)
    check_descriptor("step", step)
    for role in step.inputs:
        assert role.rstrip("?") in ROLES, f"{step.name}: unknown role {role!r} of an input"
    assert not step.imports or "experiments" in step.inputs, f"{step.name}: it imports, but reads no experiments"
    for role, name in step.outputs.items():
        assert role.isidentifier() and role not in ("log", "directory"), f"{step.name}: bad role {role!r} of an output"
        assert name and "/" not in name, f"{step.name}: bad default name {name!r} of an output"
    own = resolve(step.options, step.name) if step.options else None
    paths = [e.path for cls in step_classes(step, own) for e in entries(cls, default_plugins())]
    twice = {p for p in paths if paths.count(p) > 1}
    assert not twice, f"{step.name}: its options {sorted(twice)} are the runner's too"
    common = [line for line in help_of(default_plugins(), step, 0).split("\n") if " = " in line]
    assert len(common) <= 16, f"{step.name}: {len(common)} options in --help; level=1 keeps the rarer ones for -v"
