"""Refinement against DIALS, both sides from one run.

    python tests/benchmarks/bench_refine.py DATA_DIR INDEXED_EXPT INDEXED_REFL [--ours-only]

Prints CPU seconds of both and what ../shared/tools/compare_index.py says of the refined models.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

TOOLS = Path(__file__).resolve().parents[3] / "shared" / "tools"


def timed(command: list[str], folder: Path) -> float:
    """CPU seconds of a command, one thread for linear algebra."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL, env=environment)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("expt", type=Path)
    parser.add_argument("refl", type=Path)
    parser.add_argument("--ours-only", action="store_true")
    parser.add_argument("--scorer-python", default=sys.executable, help="a Python with what the scorers need")
    arguments = parser.parse_args()
    inputs = [str(arguments.expt.resolve()), str(arguments.refl.resolve())]
    xtal = str(Path(sys.executable).with_name("xtal"))
    sides = {"xtal": [xtal, "run", "refine", *inputs]}
    if not arguments.ours_only:
        sides["DIALS"] = ["dials.refine", *inputs]
    for name, command in sides.items():
        with tempfile.TemporaryDirectory() as folder:
            seconds = timed(command, Path(folder))
            print(f"{name}: {seconds:.1f} CPU s", flush=True)
            files = [f"{folder}/refined.expt", f"{folder}/refined.refl"]
            scorer = [arguments.scorer_python, "-B", str(TOOLS / "compare_index.py"), str(arguments.data.resolve())]
            subprocess.run([*scorer, *files], check=True)


if __name__ == "__main__":
    main()
