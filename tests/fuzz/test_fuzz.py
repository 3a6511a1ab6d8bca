"""Damaged files end in data or in a typed error; see README.md here."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HARNESS = Path(__file__).with_name("harness.py")
pytestmark = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is bounded by Linux's means")
FEW, MANY = 500, 20_000
"""Files of each target in CI, and in the slow suite."""


def _harness() -> Any:
    spec = importlib.util.spec_from_file_location("fuzz_harness", HARNESS)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


NAMES = sorted(_harness().load_targets())


def fuzz(target: str, count: int, first: int, folder: Path) -> dict[str, Any]:
    """Read so many files in a process of its own."""
    progress = folder / "number"
    command = [sys.executable, str(HARNESS), target, str(count), str(first), "--progress", str(progress)]
    done = subprocess.run(command, capture_output=True, text=True)
    at = progress.read_text() if progress.exists() else "none"
    assert done.returncode == 0, (
        f"{target}: the reader died (status {done.returncode}) at file {at}\n{done.stderr[-3000:]}"
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    lines = [f"{target} {f['number']}: {f['message']}" for f in found["failures"]]
    assert not lines, f"{found['failed']} of {count} files are no data and no typed error\n" + "\n".join(lines)
    assert found["refused"] > count // 20, "hardly any file is damaged"
    return found


@pytest.mark.parametrize("target", NAMES)
def test_damaged_files_are_data_or_typed_errors(target, tmp_path):
    fuzz(target, FEW, 0, tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("target", NAMES)
def test_many_damaged_files_are_data_or_typed_errors(target, tmp_path):
    fuzz(target, MANY, FEW, tmp_path)


def test_the_harness_sees_failures(tmp_path, monkeypatch):
    """A reader that hangs, one that wants all memory and one that trips are told from good ones."""
    harness = _harness()
    target = harness.load_targets()["refl"]()
    harness.SECONDS = 0.2
    harness.signal.signal(harness.signal.SIGALRM, harness._ring)
    path = tmp_path / "a.refl"
    path.write_bytes(target.seeds[0])

    class Reader:
        def __init__(self, read: Any) -> None:
            self.read = read

    def hang(_path: Path) -> None:
        while True:
            pass

    def greedy(_path: Path) -> None:
        raise MemoryError

    assert harness.read_one(target, path) == ("data", "")
    assert "more than" in harness.read_one(Reader(hang), path)[1]
    assert "memory" in harness.read_one(Reader(greedy), path)[1]
    assert "ZeroDivisionError" in harness.read_one(Reader(lambda _: 1 / 0), path)[1]
