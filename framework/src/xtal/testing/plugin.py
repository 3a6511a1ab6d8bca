"""The pytest plugin: fixtures for the tests of xtal and of third parties' plugins."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def conformance() -> Callable[..., None]:
    """``conformance(kind, name, **data)`` checks an installed plugin against the contract of its kind."""
    from xtal.testing.conformance import check

    return check


@pytest.fixture
def run_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """``run_step(name, *words)`` runs a step as the command does, in a temporary folder; gives its `Outcome`."""
    from xtal.options import split_tokens
    from xtal.plugins import default_plugins
    from xtal.run import run_step as run

    monkeypatch.chdir(tmp_path)

    def call(name: str, *words: str) -> Any:
        assignments, files = split_tokens(map(str, words))
        return run(default_plugins(), name, assignments, files, verbosity=0)

    return call


@pytest.fixture(scope="session")
def tiny_scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the image files and the truth of a tiny scan that xtal's own ``simulate`` wrote, or skip."""
    from xtal.options import Assignment
    from xtal.plugins import default_plugins
    from xtal.run import run_step as run

    plugins = default_plugins()
    if "simulate" not in plugins.names("step"):
        pytest.skip("the step simulate (xtal-steps-simulate) is not installed")
    folder = tmp_path_factory.mktemp("tiny") / "images"
    settings = {"preset": "small", "output.directory": str(folder)}
    run(plugins, "simulate", [Assignment(k, v) for k, v in settings.items()], verbosity=0)
    return folder
