"""symmetry, scale and merge against DIALS on the same integrated files, both sides from one run.

    python tests/benchmarks/bench_reduce.py DATA_DIR INTEGRATED_EXPT INTEGRATED_REFL [--work DIR] [--ours-only]

DATA_DIR holds the truth of a simulated scan (../shared/tools/simulate_truth.py). Prints CPU seconds of
each step and what compare_merged.py says of both merged files.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
from pathlib import Path

TOOLS = Path(__file__).resolve().parents[3] / "shared" / "tools"
STEPS = {"symmetry": "", "scale": "symmetrized", "merge": "scaled"}


def cpu_seconds(command: list[str], folder: Path) -> float:
    """User and system seconds of a command and its children, one thread."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    with open(folder / "bench.out", "a") as out:
        subprocess.run(command, cwd=folder, check=True, stdout=out, stderr=out, env=environment)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def chain(side: str, folder: Path, integrated: list[str]) -> None:
    """Run the three steps of one side and print their seconds."""
    folder.mkdir(parents=True, exist_ok=True)
    seconds = []
    for step, stem in STEPS.items():
        files = [f"{stem}.expt", f"{stem}.refl"] if stem else integrated
        if side == "xtal":
            command = [str(Path(sys.executable).with_name("xtal")), "run", step, *files]
        else:
            command = [f"dials.{step}", *files, *(["anomalous=True"] if step != "symmetry" else [])]
        seconds.append(f"{step} {cpu_seconds(command, folder):.1f}")
    print(f"{side}: CPU s: {', '.join(seconds)}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("experiments", type=Path)
    parser.add_argument("reflections", type=Path)
    parser.add_argument("--work", type=Path, default=Path("bench_reduce"))
    parser.add_argument("--ours-only", action="store_true")
    arguments = parser.parse_args()
    integrated = [str(p.resolve()) for p in (arguments.experiments, arguments.reflections)]
    for side in ("xtal",) if arguments.ours_only else ("xtal", "dials"):
        folder = (arguments.work / side).resolve()
        chain(side, folder, integrated)
        scorer = [os.environ.get("XTAL_TRUTH_PYTHON", sys.executable), str(TOOLS / "compare_merged.py")]
        environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
        subprocess.run([*scorer, str(arguments.data), str(folder / "merged.mtz")], check=True, env=environment)


if __name__ == "__main__":
    main()
