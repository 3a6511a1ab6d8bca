"""find_spots with one and two workers, and its memory against the number of frames.

    python tests/benchmarks/bench_find_spots_scale.py [--rounds 3] [--work DIR]

Wall time on sim_eiger_link_1000 (1,000 frames of 4.5 Mpixel), one worker and two in turn, so that other work on the
machine meets both alike. Memory: the peak of the sum over all processes, looked at every
0.02 s, for 200 and for 2,000 frames, beside the table that is written.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

from xtal.files import read_reflections
from xtal.testing import simulated

XTAL = str(Path(sys.executable).parent / "xtal")
PAGE = os.sysconf("SC_PAGE_SIZE")
VOXEL = 12
"""Bytes of a voxel in memory: value, mask and background."""


def resident(root: int) -> int:
    """Bytes of a process and of all below it."""
    total, todo = 0, [root]
    while todo:
        pid = todo.pop()
        try:
            total += int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE
            for task in Path(f"/proc/{pid}/task").iterdir():
                todo += map(int, (task / "children").read_text().split())
        except OSError:
            pass  # it has ended
    return total


def measured(folder: Path, *words: str) -> float:
    """Peak MiB of a command and all below it."""
    peak = 0
    process = subprocess.Popen([XTAL, *words], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None:
        peak = max(peak, resident(process.pid))
        time.sleep(0.02)
    if process.returncode:
        sys.exit(f"xtal {' '.join(words)} ended with {process.returncode}")
    return peak / 2**20


def timed(folder: Path, *words: str) -> float:
    """Wall seconds of a command; nothing else is looked at meanwhile."""
    begin = time.monotonic()
    subprocess.run([XTAL, *words], cwd=folder, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.monotonic() - begin


def imported(name: str, work: Path) -> Path:
    """A folder with the imported.expt of a simulated scan."""
    folder = (work / name).resolve()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (master,) = simulated(name).glob("*_master.h5")
    subprocess.run([XTAL, "run", "import", master], cwd=folder, check=True, capture_output=True)
    return folder


def workers(folder: Path, rounds: int) -> None:
    """Print the wall times of one worker and of two."""
    find = ("run", "find_spots", "imported.expt")
    timed(folder, *find, "scan_range=1,1")
    times: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(rounds):
        for n, found in times.items():
            found.append(timed(folder, *find, f"nproc={n}"))
            print(f"  {n} worker{'s' * (n > 1)}: {found[-1]:6.2f} s (load {os.getloadavg()[0]:.1f})", flush=True)
    one, two = times.values()
    print(
        f"  two over one: {' '.join(f'{b / a:.3f}' for a, b in zip(one, two, strict=True))}; "
        f"best {min(two) / min(one):.3f}, median {median(two) / median(one):.3f}"
    )


def memory(folder: Path, name: str) -> None:
    """Print the peak of the step, and the size of its table."""
    for n in (1, 2):
        peak = measured(folder, "run", "find_spots", "imported.expt", f"nproc={n}")
        table = read_reflections(folder / "strong.refl")
        boxes = table["shoebox"]
        size = sum(table[c].nbytes for c in table if c != "shoebox") + VOXEL * int(boxes.offsets[-1])
        print(
            f"  {name}, {n} worker{'s' * (n > 1)}: peak {peak:5.0f} MiB; {len(table)} spots, {size / 2**20:.0f} MiB",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--work", type=Path, default=Path("bench_find_spots_scale"))
    arguments = parser.parse_args()
    print("sim_eiger_link_1000, wall time")
    workers(imported("sim_eiger_link_1000", arguments.work), arguments.rounds)
    print("memory of all processes")
    for name in ("sim_eiger_200", "sim_eiger_link_2000"):
        memory(imported(name, arguments.work), name)


if __name__ == "__main__":
    main()
