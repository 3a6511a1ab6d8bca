"""Peak memory against the number of frames, of 1 Mpixel each, through the whole chain and where mosaicity is broad.

    python tests/benchmarks/bench_memory.py [--frames 180 2000] [--broad 45 180] [--work DIR]

First frames of 0.18 degrees, then frames of 0.5 degrees on which a mosaicity of 1.2 degrees (full width at half
maximum) makes reflections last for ten: of these, integrate alone is told as well. The images (written by
`xtal run simulate`) take 1 MB a frame and are removed afterwards. The peer has no part in this one: its chain on 2,000
frames takes an hour.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import subprocess
import sys
from pathlib import Path

XTAL = str(Path(sys.executable).parent / "xtal")
BROAD = 0.51
"""Degrees, standard deviation of the angles of mosaic blocks: 1.2 degrees full width."""


def measured(folder: Path, *words: str) -> tuple[float, float]:
    """CPU seconds and peak MiB of one xtal command, run in a child of its own so that peaks are not mixed."""
    code = (
        "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL); "
        "r = resource.getrusage(resource.RUSAGE_CHILDREN); print(r.ru_utime + r.ru_stime, r.ru_maxrss / 1024)"
    )
    out = subprocess.run(
        [sys.executable, "-c", code, XTAL, *words], cwd=folder, capture_output=True, text=True, check=True
    )
    seconds, peak = map(float, out.stdout.split())
    return seconds, peak


def chain(folder: Path, n: int, *options: str) -> None:
    """Simulate a scan and process it in a folder; prints what both take."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    size = ["preset=pilatus_1m", f"n_images={n}", *options, "output.directory=images"]
    told(f"{n:5d} frames: simulate ", measured(folder, "run", "simulate", *size))
    told("              process  ", measured(folder, "process", *map(str, sorted((folder / "images").glob("*.cbf")))))


def told(name: str, cost: tuple[float, float]) -> None:
    print(f"{name}{cost[0]:6.1f} CPU s, peak {cost[1]:5.0f} MiB", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, nargs="*", default=[180, 2000])
    parser.add_argument("--broad", type=int, nargs="*", default=[45, 180])
    parser.add_argument("--work", type=Path, default=Path("bench_memory"))
    arguments = parser.parse_args()
    work = arguments.work.resolve()
    for n in arguments.frames:
        chain(work / str(n), n, "width=0.18")
        shutil.rmtree(work / str(n) / "images")
    for n in arguments.broad:
        folder = work / f"broad_{n}"
        chain(folder, n, "width=0.5", f"mosaicity={BROAD}")
        told("              integrate", measured(folder, "run", "integrate", "refined.expt", "refined.refl"))
        shutil.rmtree(folder / "images")
    print(f"(this program itself: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB)")


if __name__ == "__main__":
    main()
