"""Damaged files end in data or in a typed error; see README.md here."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from xtal.errors import DataError

HARNESS = Path(__file__).with_name("harness.py")
pytestmark = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is bounded by Linux's means")
FEW, MANY = 340, 12_500
"""Files of each target in CI, and in the slow suite."""

SLOW = {"diamond_p12m": 12, "nxmx": 2, "nxmx_data": 3, "packed": 2}
"""Targets whose files take longer: they are read so many times less often in CI."""


def _harness() -> Any:
    spec = importlib.util.spec_from_file_location("fuzz_harness", HARNESS)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


harness = _harness()
NAMES = sorted(harness.load_targets())


def fuzz(targets: list[str], count: int, first: int) -> dict[str, dict[str, Any]]:
    """Read so many files of each target in processes of their own, which one makes; how they ended."""
    command = [sys.executable, str(HARNESS), *targets, f"--count={count}", f"--first={first}"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    found = {one["target"]: one for one in map(json.loads, done.stdout.splitlines())}
    for one in found.values():
        if "died" in one:
            one["trace"] = done.stderr[-3000:]
    return found


def check(found: dict[str, Any], count: int) -> None:
    name = found["target"]
    assert "died" not in found, f"{name}: the reader died ({found['died']}) at file {found['at']}\n{found.get('trace')}"
    lines = [f"{name} {f['number']}: {f['message']}" for f in found["failures"]]
    assert not lines, f"{found['failed']} of {count} files are no data and no typed error\n" + "\n".join(lines)
    assert found["data"] + found["refused"] == count
    assert found["refused"] > count // 20, "hardly any file is damaged"


@pytest.fixture(scope="module")
def few(request: pytest.FixtureRequest) -> dict[str, dict[str, Any]]:
    """What became of the files of all targets whose test is asked for: their modules are imported once."""
    asked = {item.callspec.params["target"] for item in request.session.items if "few" in item.fixturenames}
    counts = {FEW // SLOW.get(name, 1) for name in asked}
    found: dict[str, dict[str, Any]] = {}
    for count in counts:
        found |= fuzz(sorted(name for name in asked if FEW // SLOW.get(name, 1) == count), count, 0)
    return found


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("target", NAMES)
def test_damaged_files_are_data_or_typed_errors(target, few):
    check(few[target], FEW // SLOW.get(target, 1))


def test_ci_reads_enough_files():
    assert sum(FEW // SLOW.get(name, 1) for name in NAMES) >= 5000
    assert len(NAMES) * MANY >= 200_000


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("target", NAMES)
def test_many_damaged_files_are_data_or_typed_errors(target):
    count = MANY // 50 if target == "diamond_p12m" else MANY  # 25 MB each
    check(fuzz([target], count, FEW)[target], count)


def target(read: Callable[[Path], object]) -> Any:
    """A target whose files are of one byte."""
    reader = harness.load_targets()["lock"]().__class__
    return reader("toy", ".toy", (b"0",), read, mutate=lambda seed, rng: rng.randbytes(1))


def hang(_path: Path) -> None:
    while True:
        pass


def greedy(_path: Path) -> None:
    raise MemoryError


def large(path: Path) -> None:
    """Takes much, and gives it back."""
    if path.read_bytes() != b"0":
        assert len(bytearray(b"1") * (harness.MEMORY + (1 << 27))) > 0


def crash(path: Path) -> None:
    if path.read_bytes() != b"0":
        os.kill(os.getpid(), signal.SIGKILL)


def stray(path: Path) -> None:
    """Opens a file beside the folder."""
    (path.parent / "../outside/a").write_text("")


def silent(path: Path) -> None:
    if path.read_bytes() != b"0":
        raise DataError("Something is wrong.")


@pytest.mark.parametrize(
    ("read", "says"),
    [(greedy, "memory"), (lambda _: 1 / 0, "ZeroDivisionError"), (hang, "more than")],
    ids=["greedy", "wrong", "hang"],
)
def test_failures_are_told_from_errors(tmp_path, monkeypatch, read, says):
    monkeypatch.setattr(harness, "SECONDS", 0.2)
    harness.signal.signal(harness.signal.SIGPROF, harness._ring)
    end, message = harness.read_one(target(read), tmp_path / "a")
    assert end == "failed"
    assert says in message


@pytest.mark.parametrize(
    ("read", "says"),
    [(large, "it takes 11"), (stray, "outside of its folder is opened"), (silent, "names no file")],
    ids=["large", "stray", "silent"],
)
def test_failures_are_seen_from_outside(read, says):
    found = harness.run_apart(target(read), 2, 0)
    assert found["failed"] == 2
    assert says in found["failures"][0]["message"]


def test_a_crash_is_told_with_its_number():
    assert harness.run_apart(target(crash), 5, 3) == {"died": signal.SIGKILL, "at": 3}


def test_another_that_lists_the_folder_opens_no_file_in_it(tmp_path):
    (tmp_path / "a").touch()
    outside = harness.Outside(tmp_path)
    outside.begin()
    assert os.listdir(tmp_path) == ["a"]
    assert not outside.end()
    (tmp_path / "a").read_bytes()
    assert outside.end()
