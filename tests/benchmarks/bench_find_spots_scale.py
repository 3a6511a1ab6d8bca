"""find_spots with one and two workers, and its memory against the number of frames.

    python tests/benchmarks/bench_find_spots_scale.py [--rounds 3] [--work DIR]

Wall time on sim_eiger_link_1000 (1,000 frames of 4.5 Mpixel), one worker and two in turn, so that other work on the
machine meets both alike. Beside each pair stands what the processor does by itself: the time of a loop of arithmetic in
the first cache in two threads over that in one. It is 1 where both cores keep the clock that one has alone, and up to
1.4 where one alone is clocked higher, or somebody else has a part of the second.

Memory: the peak of the sum over all processes, looked at every 0.02 s, for 200 and for 2,000 frames, beside the table
that is written.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median

import numpy as np

from xtal.files import read_reflections
from xtal.jit import jit
from xtal.testing import simulated

XTAL = str(Path(sys.executable).parent / "xtal")
PAGE = os.sysconf("SC_PAGE_SIZE")
WHOLE = 1.05
"""Two cores are whole where arithmetic in both takes less than so many times that in one."""
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


@jit
def arithmetic(a, b, n):
    """``n`` times over arrays that stay in the first cache."""
    for _ in range(n):
        for i in range(a.size):
            a[i] = a[i] * b[i] + b[i]


def second_core() -> float:
    """Time of arithmetic in two threads over that in one."""
    arithmetic(np.ones(1), np.ones(1), 1)
    times = []
    for n in (1, 2):
        with ThreadPoolExecutor(n) as pool:
            begin = time.monotonic()
            list(pool.map(lambda _: arithmetic(np.ones(1024), np.ones(1024), 4_000_000), range(n)))
            times.append(time.monotonic() - begin)
    return times[1] / times[0]


def workers(folder: Path, rounds: int) -> None:
    """Print the wall times of one worker and of two."""
    find = ("run", "find_spots", "imported.expt")
    timed(folder, *find, "scan_range=1,1")
    pairs, cores = [], []
    for _ in range(rounds):
        before = second_core()
        one, two = (timed(folder, *find, f"nproc={n}") for n in (1, 2))
        pairs.append((one, two))
        cores.append((before + second_core()) / 2)
        print(f"  1 worker {one:5.2f} s, 2 workers {two:5.2f} s: {two / one:.3f}; cores {cores[-1]:.2f}", flush=True)
    whole = [two / one for (one, two), core in zip(pairs, cores, strict=True) if core < WHOLE]
    ones, twos = zip(*pairs, strict=True)
    print(f"  all: best {min(twos) / min(ones):.3f}, median {median(two / one for one, two in pairs):.3f}")
    if whole:
        print(f"  the {len(whole)} where both cores are whole: median {median(whole):.3f}, worst {max(whole):.3f}")


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
