"""Spot finding against DIALS and the truth on simulated scans, both sides from one run.

    python tests/benchmarks/bench_find_spots.py [sim_tetragonal ...] [--work DIR] [--thresholds a b] [--ours-only]

For each threshold it prints the CPU seconds of both steps with one thread, with and without start-up (the
same step on one image), what the scorer says of both tables, and how many spots of DIALS are ours with the same
pixels once both filter alike (`warm_pixels=False`) and with our defaults: all, and those off the halo of
`dispersion_extended` of 3.12.
For NXmx it prints what h5py's ``dataset[i]`` alone takes.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
from spot_matching import compare

from xtal.files import read_experiments
from xtal.testing import simulated
from xtal.testing.data import shared_dir, truth_python

XTAL = str(Path(sys.executable).parent / "xtal")
PLAIN = """
import sys, h5py, hdf5plugin
data = h5py.File(sys.argv[1])["entry/data"]
names = sorted(n for n in data if n.startswith("data"))
n = 0
for name in names:
    for i in range(len(data[name])):
        if n < int(sys.argv[2]):
            data[name][i]
        n += 1
"""


def environment() -> dict[str, str]:
    """One thread everywhere; byte code is kept, as users have it; filters of HDF5 for the peer."""
    import hdf5plugin

    kept = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "OMP_NUM_THREADS": "1", "HDF5_PLUGIN_PATH": hdf5plugin.PLUGIN_PATH}


def cpu(command: list[str], folder: Path) -> float:
    """CPU seconds of a command and its children."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment(), check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stdout[-1500:]}\n{done.stderr[-1500:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def score(data: Path, table: Path) -> str:
    """What the scorer says: found, false, and errors and pulls of the centroids by bins of photons."""
    command = [truth_python(), str(shared_dir() / "tools" / "compare_spots.py"), str(data), str(table), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    lines = [f"{100 * found['found_fraction']:.2f} % found, {found['false_per_image']:.2f} false per image"]
    for b in found["bins"]:
        error, pull = (" ".join(f"{v:.4f}" for v in b.get(k, [])) for k in ("error", "pull_width"))
        lines.append(
            f"      from {b['low']:4.0f} photons: {100 * b['found_fraction']:6.2f} %, errors {error}, pulls {pull}"
        )
    return "\n".join(lines)


def measure(side: str, command: list[str], folder: Path, megapixels: float, n_images: int) -> float:
    """Print the CPU time of a step, and without start-up; return the former."""
    first = [*command, "spotfinder.scan_range=1,1", "output.reflections=one.refl"]
    one = min(cpu(first, folder) for _ in range(2))  # the first of all fills caches
    whole = cpu(command, folder)
    own = (whole - one) * n_images / (n_images - 1)
    rate = 1000 * own / megapixels
    print(f"  {side:5}: {whole:7.2f} CPU s, one image {one:5.2f}, without start-up {rate:6.2f} ms/Mpixel")
    return whole


def plain(master: Path, n_images: int, megapixels: float) -> None:
    """Print what the plain way to read takes."""
    one, whole = (cpu([sys.executable, "-c", PLAIN, str(master), str(n)], master.parent) for n in (1, n_images))
    own = (whole - one) * n_images / (n_images - 1)
    print(f"  h5py's dataset[i] alone, without start-up: {1000 * own / megapixels:.2f} ms/Mpixel")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("presets", nargs="*", default=["sim_tetragonal"])
    parser.add_argument("--work", type=Path, default=Path("bench_find_spots"))
    parser.add_argument("--thresholds", nargs="+", default=["dispersion_extended", "dispersion"])
    parser.add_argument("--ours-only", action="store_true", help="leave the peer out")
    arguments = parser.parse_args()
    peer = not arguments.ours_only and shutil.which("dials.find_spots") is not None
    for name in arguments.presets:
        data = simulated(name)
        masters = sorted(data.glob("*_master.h5"))
        images = list(map(str, masters or sorted(data.glob("*.cbf"))))
        ours, theirs = (arguments.work.resolve() / name / side for side in ("xtal", "dials"))
        for folder in (ours, theirs):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
        cpu([XTAL, "run", "import", *images], ours)
        if peer:
            cpu(["dials.import", *images], theirs)
        (experiment,) = read_experiments(ours / "imported.expt")
        n_images = experiment.scan.n_images
        megapixels = n_images * sum(np.prod(p.image_size) for p in experiment.detector) / 1e6
        print(f"== {name}: {n_images} images, {megapixels:.0f} Mpixel", flush=True)
        if masters:
            plain(masters[0], n_images, megapixels)
        for threshold in arguments.thresholds:
            print(f"  {threshold}", flush=True)
            words = ["imported.expt", "nproc=1", f"spotfinder.threshold.algorithm={threshold}"]
            own_words = ["imported.expt", "nproc=1", f"threshold={threshold}", f"output.reflections={threshold}.refl"]
            mine = measure("xtal", [XTAL, "run", "find_spots", *own_words], ours, megapixels, n_images)
            print(f"    truth: {score(data, ours / f'{threshold}.refl')}", flush=True)
            if not peer:
                continue
            words.append(f"output.reflections={threshold}.refl")
            other = measure("DIALS", ["dials.find_spots", *words], theirs, megapixels, n_images)
            print(f"    truth: {score(data, theirs / f'{threshold}.refl')}")
            print(f"    {other / mine:.1f} times less CPU time")
            same = [*own_words[:-1], "output.reflections=same.refl", "warm_pixels=False"]
            cpu([XTAL, "run", "find_spots", *same], ours)
            for what, table in (("same filters", "same.refl"), ("our defaults", f"{threshold}.refl")):
                for line in compare(ours / table, theirs / f"{threshold}.refl", ours / "imported.expt"):
                    print(f"    {what}, {line}", flush=True)


if __name__ == "__main__":
    main()
