"""Integration against DIALS on a simulated scan, both sides from one run and the same refined models.

    python tests/benchmarks/bench_integrate.py REFINED_FOLDER TRUTH_FOLDER [--work DIR] [--ours-only] [--nproc N]

REFINED_FOLDER holds refined.expt and refined.refl. Prints CPU seconds and peak memory of both steps and what the
scorer says of their intensities.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

TOOLS = Path(__file__).resolve().parents[3] / "shared" / "tools"


def measured(command: list[str], folder: Path) -> tuple[float, float]:
    """CPU seconds and peak resident memory (MB) of a command."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed with {process.returncode}")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("refined", type=Path)
    parser.add_argument("truth", type=Path)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--ours-only", action="store_true")
    parser.add_argument("--nproc", default="1")
    args = parser.parse_args()
    work = args.work or Path(tempfile.mkdtemp(prefix="bench-integrate-"))
    inputs = [str((args.refined / name).resolve()) for name in ("refined.expt", "refined.refl")]
    xtal = str(Path(sys.executable).parent / "xtal")
    sides = {"xtal": [xtal, "run", "integrate", *inputs, f"nproc={args.nproc}"]}
    if not args.ours_only:
        sides["dials"] = ["dials.integrate", *inputs, f"nproc={args.nproc}"]
    for name, command in sides.items():
        folder = work / name
        folder.mkdir(parents=True, exist_ok=True)
        if name == "xtal":
            measured(command, folder)  # compiles
        seconds, memory = measured(command, folder)
        print(f"\n=== {name}: {seconds:.1f} CPU s, {memory:.0f} MB", flush=True)
        files = [str(folder / "integrated.expt"), str(folder / "integrated.refl")]
        subprocess.run([sys.executable, str(TOOLS / "compare_truth.py"), str(args.truth), *files], check=True)


if __name__ == "__main__":
    main()
