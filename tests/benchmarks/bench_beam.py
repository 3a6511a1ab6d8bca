"""Indexing with a beam centre that is moved in the header, against DIALS.

    python tests/benchmarks/bench_beam.py [sim_small | FOLDER] [--images=29] [--shifts=0,8,16,24] [--directions=30,140]

Prints, for each shift (px) and direction (degree), CPU seconds with one thread, the share of spots indexed right, how
far the refined beam centre is off, and what was told. Right is what compare_index.py says of a simulated set; of a
FOLDER with imported.expt and strong.refl, the indices that xtal gives all spots from the header as it is. The spots are
ours. DIALS is run as it is and after ``dials.search_beam_position``.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from xtal.files import read_experiments, read_reflections, write_experiments, write_reflections
from xtal.models import Experiment, ExperimentList
from xtal.testing.data import shared_dir, simulated, truth_python

XTAL = [sys.executable, "-m", "xtal.cli", "run"]
FILES = ["imported.expt", "strong.refl"]
SIDES = {
    "xtal": [[*XTAL, "index", *FILES]],
    "dials.index": [["dials.index", *FILES, "nproc=1"]],
    "after search": [
        ["dials.search_beam_position", *FILES, "nproc=1"],
        ["dials.index", "optimised.expt", "strong.refl", "nproc=1"],
    ],
}


def run(command: list[str], folder: Path) -> tuple[float, str]:
    """CPU seconds of a command, and what it told: its failure or warnings."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    lines = (done.stdout + done.stderr).splitlines()
    told = [line for line in lines if "warning" in line.lower()] if done.returncode == 0 else ["failed"]
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, " ".join(told)


def centre(experiment: Experiment) -> np.ndarray:
    """Pixel of the first panel's plane that the beam meets."""
    panel = experiment.detector[0]
    x, y, scale = np.linalg.solve(np.column_stack([panel.fast_axis, panel.slow_axis, panel.origin]), experiment.beam.s0)
    return np.array([x, y]) / scale / panel.pixel_size


def share_right(folder: Path, truth: Path, known: Path) -> float:
    """Share of the true spots, or else of those that are known, whose index is right."""
    if (truth / "truth.json").exists():
        command = [truth_python(), str(shared_dir() / "tools" / "compare_index.py"), str(truth)]
        command += ["indexed.expt", "indexed.refl", "--json"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
        return float(json.loads(done.stdout)["correct_fraction"])
    right, found = (read_experiments(path / "indexed.expt")[0].crystal for path in (known, folder))
    assert right is not None and found is not None
    tables = [read_reflections(path / "indexed.refl") for path in (known, folder)]
    tables[0] = tables[0].select(np.arange(len(tables[1])))  # spots are in order of images there, in any order here
    a, b = (t.select(np.lexsort(np.asarray(t["xyzobs.px.value"]).T)) for t in tables)
    ours = np.asarray(b["miller_index"]) @ np.rint(6 * np.linalg.inv(right.A) @ found.A).T / 6
    same = np.all(np.abs(np.asarray(a["miller_index"]) - ours) < 1e-6, axis=1)
    indexed = np.asarray(a["id"]) >= 0
    return float((same & indexed & (np.asarray(b["id"]) >= 0)).sum() / indexed.sum())


def prepare(data: Path, known: Path) -> Path:
    """Models and spots, sorted by image, and what the header as it is leads to."""
    known.mkdir()
    if (data / "imported.expt").exists():
        for file in FILES:
            shutil.copy(data / file, known / file)
    else:
        run([*XTAL, "import", *map(str, sorted(data.glob("*.cbf")))], known)
        run([*XTAL, "find_spots", "imported.expt"], known)
    spots = read_reflections(known / "strong.refl")
    order = np.argsort(np.asarray(spots["xyzobs.px.value"])[:, 2], kind="stable")
    write_reflections(spots.select(order), known / "strong.refl")
    run(SIDES["xtal"][0], known)
    return known


def displaced(experiments: ExperimentList, shift: float, angle: float) -> ExperimentList:
    """Experiments with the detector of the first moved by pixels in its plane, degrees from fast to slow."""
    moved = copy.deepcopy(experiments)
    for panel in moved[0].detector:
        along = np.cos(np.radians(angle)) * panel.fast_axis + np.sin(np.radians(angle)) * panel.slow_axis
        panel.origin = panel.origin + shift * panel.pixel_size[0] * along
    return moved


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", default="sim_small")
    parser.add_argument("--images", type=int, default=29)
    parser.add_argument("--shifts", default="0,8,16,24")
    parser.add_argument("--directions", default="30,140")
    parser.add_argument("--ours-only", action="store_true")
    arguments = parser.parse_args()
    data = simulated(arguments.data) if arguments.data.startswith("sim_") else Path(arguments.data)
    with tempfile.TemporaryDirectory() as name:
        known = prepare(data, Path(name) / "known")
        experiments, spots = (
            read(known / f) for read, f in zip((read_experiments, read_reflections), FILES, strict=True)
        )
        first = experiments[0].scan.array_range[0] if experiments[0].scan is not None else 0
        some = np.flatnonzero(np.asarray(spots["xyzobs.px.value"])[:, 2] < first + arguments.images)
        right = centre(read_experiments(known / "indexed.expt")[0])
        for shift in map(float, arguments.shifts.split(",")):
            for angle in map(float, arguments.directions.split(",") if shift else ["0"]):
                moved = displaced(experiments, shift, angle)
                for side in ("xtal",) if arguments.ours_only or shutil.which("dials.index") is None else SIDES:
                    folder = Path(name) / f"{side} {shift} {angle}"
                    folder.mkdir()
                    write_experiments(moved, folder / FILES[0])
                    write_reflections(spots.select(some), folder / FILES[1])
                    ran = [run(command, folder) for command in SIDES[side]]
                    share, off = 0.0, float("nan")
                    if (folder / "indexed.expt").exists():
                        share = share_right(folder, data, known)
                        off = float(np.linalg.norm(centre(read_experiments(folder / "indexed.expt")[0]) - right))
                    print(f"{shift:5.0f} {angle:4.0f}  {side:13} {sum(r[0] for r in ran):6.1f} CPU s", end="")
                    print(f"{100 * share:8.2f} % {off:8.3f} px ", *(r[1] for r in ran), flush=True)


if __name__ == "__main__":
    main()
