"""Help must not wait: what listing and help may cost and import, with every plugin installed."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest

XTAL = str(Path(sys.executable).parent / "xtal")
HEAVY = ("numpy", "numba", "scipy", "gemmi", "h5py", "fabio")


def cpu_seconds(*words: str) -> float:
    """Least CPU time of three runs."""
    times = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([XTAL, *words], check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(times)


@pytest.mark.parametrize(
    ("words", "limit"),
    [
        (("--help",), 0.2),
        (("run",), 0.4),
        (("plugins", "list"), 0.4),
        (("formats",), 0.4),
        (("run", "integrate", "--help"), 0.5),
        (("run", "scale", "--help", "-v"), 0.5),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_help_is_quick(words, limit):
    assert cpu_seconds(*words) < limit


@pytest.mark.parametrize(
    "words", [("--help",), ("run",), ("run", "integrate", "--help"), ("plugins", "list")], ids=" ".join
)
def test_help_imports_nothing_heavy(words):
    heavy = f"(m for m in {HEAVY!r} if m in sys.modules)"
    code = f"import sys, xtal.cli; xtal.cli.main({list(words)!r}); sys.stderr.write(' '.join({heavy}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == ""
