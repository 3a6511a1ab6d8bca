"""The very first run: kernels are compiled once, which is said, and takes little."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

XTAL = str(Path(sys.executable).parent / "xtal")
SAID = "kernels are compiled once"
LIMIT = 15.0
"""CPU seconds that all kernels of the chain may take to compile."""


def cpu(*words: str | Path, cache: Path) -> tuple[float, str]:
    """CPU seconds of a command, and what it said."""
    kept = {k: v for k, v in os.environ.items() if k != "NUMBA_CACHE_DIR"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [XTAL, *words], cwd=cache, env={**kept, "XTAL_CACHE": str(cache)}, capture_output=True, text=True, check=False
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, done.stdout + done.stderr


def test_compilation_is_announced_once(tiny_scan: Path, tmp_path: Path) -> None:
    image = next(iter(sorted(tiny_scan.glob("*.cbf"))))
    assert cpu("run", "show", image, cache=tmp_path)[1].count(SAID) == 1
    assert list(tmp_path.rglob("*.nbi")), "nothing was cached"
    assert SAID not in cpu("run", "show", image, cache=tmp_path)[1]


def test_compilation_is_announced_where_it_happens(tiny_scan: Path, tmp_path: Path) -> None:
    """A user goes step by step: importing compiles nothing, the search for spots does."""
    said = [
        cpu("run", *words, cache=tmp_path)[1]
        for words in (("import", *sorted(tiny_scan.glob("*.cbf"))), *2 * [("find_spots", "imported.expt")])
    ]
    assert [text.count(SAID) for text in said] == [0, 1, 0]


@pytest.mark.slow
def test_all_kernels_of_the_chain_compile_in_little_time(tiny_scan: Path, tmp_path: Path) -> None:
    """What the chain takes with an empty cache, less what it takes with the one that this leaves."""
    chain = ("process", *sorted(tiny_scan.glob("*.cbf")), "resume=False")
    cold, said = cpu(*chain, cache=tmp_path)
    assert said.count(SAID) == 1
    compiled = set(tmp_path.rglob("*.nbc"))
    warm = min(cpu(*chain, cache=tmp_path)[0] for _ in range(2))
    print(
        f"{len(compiled)} compiled kernels: {cold:.1f} CPU s, {warm:.1f} with the cache, {cold - warm:.1f} to compile"
    )
    assert set(tmp_path.rglob("*.nbc")) == compiled, "the second run compiled more"
    assert cold - warm < LIMIT
