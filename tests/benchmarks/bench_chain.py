"""The whole chain against DIALS on simulated scans, both sides from one run.

    python tests/benchmarks/bench_chain.py [sim_tetragonal:P43212 sim_orthorhombic:P212121] [--work DIR] [--ours-only]

Prints CPU seconds and peak memory of both chains and, side by side, what the scorers in
../shared/tools say of the spots, the indexing, the refinement, the integration and the merged
intensities. xtal is given the images alone; DIALS its space group, as in the baseline file.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import time
from pathlib import Path

TOOLS = Path(__file__).resolve().parents[3] / "shared" / "tools"
SCORERS = {
    "compare_spots.py": ["strong.refl"],
    "compare_index.py": ["refined.expt", "refined.refl"],
    "compare_truth.py": ["integrated.expt", "integrated.refl"],
    "compare_merged.py": ["merged.mtz"],
}


MEASURE = (
    "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, stdout=sys.stderr); "
    "r = resource.getrusage(resource.RUSAGE_CHILDREN); print(r.ru_utime + r.ru_stime, r.ru_maxrss / 1024)"
)


def run(command: list[str], folder: Path) -> tuple[float, float]:
    """CPU seconds and peak resident MiB of a command; it gets a parent of its own, so that peaks are not mixed."""
    with open(folder / "bench.out", "a") as log:
        done = subprocess.run(
            [sys.executable, "-c", MEASURE, *command],
            cwd=folder,
            check=True,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    seconds, peak = map(float, done.stdout.split())
    return seconds, peak


def ours(data: Path, folder: Path, xtal: str) -> None:
    """Our chain, with nothing but the images."""
    images = sorted(map(str, data.glob("*.cbf"))) or sorted(map(str, data.glob("*_master.h5")))
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    run([xtal, "warmup"], folder)
    start_up, _ = run([xtal, "run"], folder)
    wall = time.perf_counter()
    cpu, memory = run([xtal, "process", *images], folder)
    wall = time.perf_counter() - wall
    print(f"  xtal : {cpu:6.1f} CPU s, {wall:.1f} s wall, peak {memory:.0f} MiB (listing the steps: {start_up:.2f} s)")


def peer(data: Path, folder: Path, group: str) -> None:
    """DIALS's chain by the shared script; its times stand in times.txt."""
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(
        [str(TOOLS / "run_dials_chain.sh"), str(data), str(folder), group], check=True, stdout=subprocess.DEVNULL
    )
    rows = [line.split() for line in (folder / "times.txt").read_text().splitlines()]
    total = sum(float(user) + float(system) for _, user, system, _ in rows)
    steps = ", ".join(f"{name} {float(user) + float(system):.1f}" for name, user, system, _ in rows)
    print(f"  DIALS: {total:6.1f} CPU s, peak {max(int(r[3]) for r in rows) / 1024:.0f} MiB ({steps})")


def scores(data: Path, folder: Path, python: str) -> None:
    for scorer, files in SCORERS.items():
        if all((folder / name).exists() for name in files):
            command = [python, str(TOOLS / scorer), str(data), *(str(folder / name) for name in files)]
            print(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("presets", nargs="*", default=["sim_tetragonal:P43212", "sim_orthorhombic:P212121"])
    parser.add_argument("--work", type=Path, default=Path("bench_chain"))
    parser.add_argument("--ours-only", action="store_true", help="leave the peer's chain out")
    parser.add_argument("--peer-only", action="store_true", help="leave our chain out")
    arguments = parser.parse_args()
    if not TOOLS.is_dir():
        sys.exit(f"The scorers are not at {TOOLS}: nothing can be measured.")
    xtal = str(Path(sys.executable).parent / "xtal")
    for preset in arguments.presets:
        name, _, group = preset.partition(":")
        made = subprocess.run(
            [sys.executable, str(TOOLS / "simulate_truth.py"), name], capture_output=True, text=True, check=True
        )
        data = Path(made.stdout.strip().splitlines()[-1])
        print(f"== {name}", flush=True)
        for side in ("xtal", "dials"):
            folder = (arguments.work / f"{side}_{name}").resolve()
            if side == "xtal" and not arguments.peer_only:
                ours(data, folder, xtal)
            elif side == "dials" and not arguments.ours_only:
                peer(data, folder, group)
        for side in ("xtal", "dials"):
            folder = (arguments.work / f"{side}_{name}").resolve()
            if folder.exists():
                print(f"-- {side}")
                scores(data, folder, sys.executable)


if __name__ == "__main__":
    main()
