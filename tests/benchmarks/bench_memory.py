"""Peak memory against the number of frames: 180 and 2,000 frames of 1 Mpixel through the whole chain.

    python tests/benchmarks/bench_memory.py [--frames 180 2000] [--work DIR]

The images (0.18 degrees each, written by `xtal run simulate`) take 1 MB a frame and are removed afterwards. The
peer has no part in this one: its chain on 2,000 frames takes an hour.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import subprocess
import sys
from pathlib import Path

XTAL = str(Path(sys.executable).parent / "xtal")


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, nargs="+", default=[180, 2000])
    parser.add_argument("--work", type=Path, default=Path("bench_memory"))
    arguments = parser.parse_args()
    for n in arguments.frames:
        folder = (arguments.work / str(n)).resolve()
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        size = ["preset=pilatus_1m", f"n_images={n}", "width=0.18", "output.directory=images"]
        cpu, peak = measured(folder, "run", "simulate", *size)
        print(f"{n:5d} frames: simulate {cpu:6.1f} CPU s, peak {peak:5.0f} MiB", flush=True)
        cpu, peak = measured(folder, "process", *map(str, sorted((folder / "images").glob("*.cbf"))))
        print(f"              process  {cpu:6.1f} CPU s, peak {peak:5.0f} MiB", flush=True)
        shutil.rmtree(folder / "images")
    print(f"(this program itself: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB)")


if __name__ == "__main__":
    main()
