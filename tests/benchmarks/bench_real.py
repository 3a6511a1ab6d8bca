"""Real images against DIALS, both sides from one run.

    python tests/benchmarks/bench_real.py [--work DIR] [--d-min 2.66]

1. experiment_14 (49 electron frames of lysozyme): indexing with nothing given and as P4, then the whole chain;
   CC1/2 and completeness of both sides to the same resolution. DIALS masks nothing of the detector's cross,
   xtal masks it: how many of DIALS's indexed spots lie on the cross is printed beside, and what DIALS indexes when
   it is given the mask with our imported.expt.
   DIALS keeps reflections in the halo of the direct beam, which dominate its overall CC1/2; so both sides are also
   scaled without them.
2. run2_1_00148 (one X-ray frame): spots indexed.
3. L-cysteine (four wedges of 1.5 degrees): spots indexed jointly, reflections integrated (DIALS with its needs of a
   profile model relaxed, and of those reflections the ones of which 5 % or more was on the images).
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np

from xtal.files import read_reflections

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
XTAL = str(Path(sys.executable).parent / "xtal")
AXIS = "geometry.goniometer.axis=-0.6204,-0.7843,0"
HALO = 17.9  # angstrom: reflections of lower resolution lie in the halo of the direct beam
CROSS = (255, 261)  # pixels of the Timepix quad's cross, fast and slow, half open


def run(*words: str, folder: Path) -> str:
    """Standard output of a command in a folder; its end is shown where it fails."""
    folder.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    done = subprocess.run(list(words), cwd=folder, capture_output=True, text=True, env=environment)
    if done.returncode:
        print(f"  failed: {' '.join(words[:3])} ...\n{(done.stdout + done.stderr)[-600:]}")
    return done.stdout


def indexed(folder: Path) -> str:
    """How many spots were indexed, and how many of them lie on the cross."""
    if not (folder / "indexed.refl").exists():
        return "not indexed"
    table = read_reflections(folder / "indexed.refl")
    ok = np.asarray(table["id"]) >= 0
    xy = np.asarray(table["xyzobs.px.value"])[:, :2]
    on_cross = np.any((xy >= CROSS[0]) & (xy < CROSS[1]), axis=1)
    return f"{ok.sum()} of {len(table)} spots indexed, {(ok & on_cross).sum()} of those on the cross"


def statistics(text: str) -> str:
    """CC1/2 and completeness of DIALS's or our summary (the first number of DIALS's line is the cut data)."""
    found = []
    for name in ("High resolution limit", "CC half", "Completeness", "Multiplicity"):
        line = re.search(rf"^\s*{name}[ %]*([-\d. ]+)$", text, re.MULTILINE)
        found.append(f"{name} {line.group(1).split()[0] if line else '-'}")
    return ", ".join(found)


def lysozyme(work: Path, d_min: float) -> None:
    images = sorted(map(str, (DATA / "real_cred_lysozyme" / "experiment_14").glob("*.img.bz2")))
    for name, group in (("nothing given", []), ("P4", ["space_group=P4"])):
        ours, theirs = work / f"xtal_{name.split()[0]}", work / f"dials_{name.split()[0]}"
        run(XTAL, "process", *images, AXIS, *group, "resume=False", folder=ours)
        print(f"  {name}\n    xtal : {indexed(ours)}")
        scaled = run(
            XTAL, "run", "scale", "../symmetrized.expt", "../symmetrized.refl", f"d_min={d_min}", folder=ours / "cut"
        )
        print(f"           {statistics(scaled)}")
        without = f"d_max={HALO}"
        files = ("../symmetrized.expt", "../symmetrized.refl", f"d_min={d_min}", without)
        print(f"           below {HALO} Å: {statistics(run(XTAL, 'run', 'scale', *files, folder=ours / 'halo'))}")
        run("dials.import", *images, AXIS, folder=theirs)
        run("dials.find_spots", "imported.expt", "nproc=1", folder=theirs)
        fix = ["detector.fix=distance"] if group else []
        run("dials.index", "imported.expt", "strong.refl", *group, *fix, folder=theirs)
        print(f"    DIALS: {indexed(theirs)}")
        if not group:
            masked, imported = work / "dials_masked", str(ours / "imported.expt")
            run("dials.find_spots", imported, "nproc=1", folder=masked)
            run("dials.index", imported, "strong.refl", folder=masked)
            print(f"    DIALS, the cross masked: {indexed(masked)}")
        if group:
            run("dials.refine", "indexed.expt", "indexed.refl", *fix, folder=theirs)
            run("dials.integrate", "refined.expt", "refined.refl", "nproc=1", folder=theirs)
            text = run("dials.scale", "integrated.expt", "integrated.refl", f"d_min={d_min}", folder=theirs)
            print(f"           {statistics(text)}")
            files = ("../integrated.expt", "../integrated.refl", f"d_min={d_min}", without)
            print(f"           below {HALO} Å: {statistics(run('dials.scale', *files, folder=theirs / 'halo'))}")


def single_frame(work: Path) -> None:
    image = str(DATA / "images" / "run2_1_00148.cbf.bz2")
    for name, command in (("xtal ", [XTAL, "run"]), ("DIALS", ["dials."])):
        folder = work / f"run2_{name.strip()}"
        for step, files in (
            ("import", [image]),
            ("find_spots", ["imported.expt"]),
            ("index", ["imported.expt", "strong.refl"]),
        ):
            words = [*command, step] if len(command) > 1 else [command[0] + step]
            run(*words, *files, "nproc=1" if step != "import" else "output.experiments=imported.expt", folder=folder)
        cell = json.loads((folder / "indexed.expt").read_text())["crystal"][0]
        lengths = [round(float(np.linalg.norm(cell[f"real_space_{axis}"])), 1) for axis in "abc"]
        table = read_reflections(folder / "indexed.refl")
        print(f"    {name}: {(np.asarray(table['id']) >= 0).sum()} of {len(table)} spots, cell edges {lengths}")


def l_cysteine(work: Path) -> None:
    images = sorted(map(str, (DATA / "real_l_cysteine").glob("*.cbf.bz2")))
    ours, theirs = work / "xtal_l_cysteine", work / "dials_l_cysteine"
    run(XTAL, "process", *images, "space_group=P212121", "resume=False", folder=ours)
    run("dials.import", *images, folder=theirs)
    run("dials.find_spots", "imported.expt", "nproc=1", folder=theirs)
    run("dials.index", "imported.expt", "strong.refl", "space_group=P212121", "joint=True", folder=theirs)
    run("dials.refine", "indexed.expt", "indexed.refl", folder=theirs)
    print("  integrate of DIALS with its defaults:")
    run("dials.integrate", "refined.expt", "refined.refl", "nproc=1", folder=theirs)
    relaxed = [f"profile.gaussian_rs.min_spots.{what}=0" for what in ("per_degree", "overall")]
    run("dials.integrate", "refined.expt", "refined.refl", "nproc=1", *relaxed, folder=theirs)
    for name, folder in (("xtal ", ours), ("DIALS", theirs)):
        there = (folder / "integrated.refl").exists()
        table = read_reflections(folder / "integrated.refl") if there else None
        n = 0 if table is None else len(table)
        seen = 0 if table is None else int((np.asarray(table["partiality"]) > 0.05).sum())
        merged = (folder / "merged.mtz").exists()
        print(f"    {name}: {indexed(folder)}; {n} reflections integrated, {seen} of them seen to 5 %")
        print(f"           merged.mtz {'written' if merged else 'not written'}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("bench_real"))
    parser.add_argument("--d-min", type=float, default=2.66)
    arguments = parser.parse_args()
    if not DATA.is_dir():
        sys.exit(f"The images are not at {DATA}: nothing can be measured.")
    print(f"== experiment_14 of lysozyme (electrons), statistics to {arguments.d_min} Å")
    lysozyme(arguments.work.resolve(), arguments.d_min)
    print("== run2_1_00148, one frame")
    single_frame(arguments.work.resolve())
    print("== L-cysteine, four wedges, indexed jointly")
    l_cysteine(arguments.work.resolve())


if __name__ == "__main__":
    main()
