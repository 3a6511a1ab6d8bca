"""Spot finding against DIALS on a simulated scan, both sides from one run.

    python tests/benchmarks/bench_find_spots.py [sim_tetragonal] [--work DIR] [--ours-only]

Prints CPU seconds of both steps with one thread (and of our step's own work: reading, threshold, joining,
writing), the number of spots and whether the tables are the same, and what the scorer says of the positions.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

TOOLS = Path(__file__).resolve().parents[3] / "shared" / "tools"


def cpu(command: list[str], folder: Path) -> float:
    """CPU seconds of a command and its children."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    subprocess.run(command, cwd=folder, check=True, capture_output=True, env=environment)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def parts(experiments: Path) -> None:
    """CPU seconds of each part of our work, in this process, one thread."""
    from xtal.files import read_experiments, write_reflections
    from xtal.physics.spots import StrongPixels, find_spots
    from xtal.plugins import default_plugins
    from xtal.run.images import open_images
    from xtal_threshold_dispersion_extended.extended import DispersionExtended

    experiment = read_experiments(experiments)[0]
    reader = open_images(experiment, default_plugins())
    images, masks = reader.allocate(), reader.allocate_masks()
    strong = np.empty(reader.shapes[0], bool)
    kernel = DispersionExtended().prepare(experiment, 0, reader.static_mask()[0])
    spent = dict.fromkeys(["read and decode", "mask", "threshold", "collect", "join and measure", "write"], 0.0)

    def timed(name: str, function: Callable[..., Any], *given: Any, **named: Any) -> Any:
        start = time.process_time()
        result = function(*given, **named)
        spent[name] += time.process_time() - start
        return result

    frames = []
    for z in (reader.z0, *range(reader.z0, reader.z1)):
        warm = z == reader.z0 and not frames
        timed("read and decode", reader.read, z, out=images)
        timed("mask", reader.mask, z, images, out=masks)
        timed("threshold", kernel, images[0], masks[0], strong, z)
        frame = timed("collect", StrongPixels.of_frame, images[0], strong)
        if warm:  # kernels are loaded or compiled: not counted
            find_spots(frame, link_frames=True).table(0, 0, 0)
            spent = dict.fromkeys(spent, 0.0)
        frames.append(frame)
    table = timed(
        "join and measure",
        lambda: find_spots(StrongPixels.concatenate(frames[1:]), link_frames=True).table(0, 0, reader.z0),
    )
    timed("write", write_reflections, table, experiments.parent / "parts.refl")
    megapixels = (reader.z1 - reader.z0) * strong.size / 1e6
    print(f"  our parts, {megapixels:.0f} Mpixel:")
    for name, seconds in spent.items():
        print(f"    {name:18} {seconds:6.2f} s  {1000 * seconds / megapixels:5.2f} ms/Mpixel")
    print(f"    {'sum':18} {sum(spent.values()):6.2f} s")


def same(ours: Path, theirs: Path) -> str:
    """Whether two tables hold the same spots, in words."""
    from xtal.files import read_reflections

    a, b = read_reflections(ours), read_reflections(theirs)
    if len(a) != len(b):
        return f"{len(a)} and {len(b)} spots"
    exact = all(np.array_equal(a[n], b[n]) for n in ("bbox", "n_signal", "intensity.sum.value", "panel", "flags"))
    off = np.abs(a["xyzobs.px.value"] - b["xyzobs.px.value"]).max()
    return f"{len(a)} spots each, {'the same' if exact else 'not the same'} pixels, centroids within {off:.1g} px"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("presets", nargs="*", default=["sim_tetragonal"])
    parser.add_argument("--work", type=Path, default=Path("bench_find_spots"))
    parser.add_argument("--ours-only", action="store_true", help="leave the peer out")
    arguments = parser.parse_args()
    if not TOOLS.is_dir():
        sys.exit(f"The scorers are not at {TOOLS}: nothing can be measured.")
    xtal = str(Path(sys.executable).parent / "xtal")
    for name in arguments.presets:
        made = [sys.executable, str(TOOLS / "simulate_truth.py"), name]
        data = Path(subprocess.run(made, capture_output=True, text=True, check=True).stdout.strip().splitlines()[-1])
        images = sorted(map(str, data.glob("*.cbf")))
        print(f"== {name}: {len(images)} images", flush=True)
        ours, theirs = (arguments.work.resolve() / name / side for side in ("xtal", "dials"))
        for folder in (ours, theirs):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
        cpu([xtal, "run", "import", *images], ours)
        cpu([xtal, "run", "find_spots", "imported.expt", "nproc=1", "scan_range=1,1", "max_separation=9"], ours)
        print(f"  start-up (help): {cpu([xtal, 'run', 'find_spots', '--help'], ours):.2f} CPU s")
        print(f"  xtal : {cpu([xtal, 'run', 'find_spots', 'imported.expt', 'nproc=1'], ours):.2f} CPU s, one thread")
        parts(ours / "imported.expt")
        if not arguments.ours_only and shutil.which("dials.find_spots"):
            cpu(["dials.import", *images], theirs)
            print(f"  DIALS: {cpu(['dials.find_spots', 'imported.expt', 'nproc=1'], theirs):.2f} CPU s, one process")
            print(f"  {same(ours / 'strong.refl', theirs / 'strong.refl')}")
        scorer = [sys.executable, str(TOOLS / "compare_spots.py"), str(data), str(ours / "strong.refl")]
        print(subprocess.run(scorer, capture_output=True, text=True, check=False).stdout)


if __name__ == "__main__":
    main()
