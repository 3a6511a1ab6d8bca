"""Indexing against DIALS on a simulated scan, both sides from one run and the same spots.

    python tests/benchmarks/bench_index.py [sim_tetragonal] [space_group=...] [--ours-only]

Prints CPU seconds of both index steps with one thread and what the scorer says of them. The spots are ours.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from xtal.testing.data import shared_dir, simulated, truth_python


def cpu(command: list[str], folder: Path) -> float:
    """CPU seconds of a command and its children, run with one thread."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    subprocess.run(command, cwd=folder, check=True, capture_output=True, env=environment)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def score(data: Path, folder: Path) -> str:
    """The scorer's report on ``indexed.expt`` and ``indexed.refl``."""
    script = str(shared_dir() / "tools" / "compare_index.py")
    command = [truth_python(), script, str(data), "indexed.expt", "indexed.refl"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", nargs="?", default="sim_tetragonal")
    parser.add_argument("options", nargs="*", help="name=value, given to both sides")
    parser.add_argument("--ours-only", action="store_true")
    arguments = parser.parse_args()
    data = simulated(arguments.name)
    xtal = [sys.executable, "-m", "xtal.cli", "run"]
    with tempfile.TemporaryDirectory() as name:
        ours, theirs = Path(name) / "xtal", Path(name) / "dials"
        ours.mkdir(), theirs.mkdir()
        cpu([*xtal, "import", *map(str, sorted(data.glob("*.cbf")))], ours)
        cpu([*xtal, "find_spots", "imported.expt"], ours)
        cpu([*xtal, "index", "imported.expt", "strong.refl", *arguments.options], ours)
        seconds = cpu([*xtal, "index", "imported.expt", "strong.refl", *arguments.options], ours)
        print(f"xtal   {seconds:6.1f} CPU s\n{score(data, ours)}")
        if arguments.ours_only or shutil.which("dials.index") is None:
            return
        for file in ("imported.expt", "strong.refl"):
            shutil.copy(ours / file, theirs / file)
        seconds = cpu(["dials.index", "imported.expt", "strong.refl", "nproc=1", *arguments.options], theirs)
        print(f"DIALS  {seconds:6.1f} CPU s\n{score(data, theirs)}")


if __name__ == "__main__":
    main()
