"""Spots on every real set and image of the reference data, beside DIALS's.

    python tests/benchmarks/bench_find_spots_real.py [NAME ...] [--work DIR]

Both search the images as DIALS imports them, with the defaults and (ours) also with the filters that both have
(`warm_pixels=False`); matched are the spots of DIALS that we find within 0.05 px with as many pixels.
"""

from __future__ import annotations

import argparse
import bz2
import os
import shutil
import subprocess
import sys
from pathlib import Path

from spot_matching import compare

from xtal.files import read_reflections
from xtal.testing.data import shared_dir

XTAL = str(Path(sys.executable).parent / "xtal")
AXIS = "geometry.goniometer.axis=-0.6204,-0.7843,0.0000"
SETS: dict[str, tuple[str, list[str], list[str]]] = {
    "l_cysteine": ("real_l_cysteine/*.cbf.bz2", [], []),
    "lysozyme_14": ("real_cred_lysozyme/experiment_14/*.img.bz2", [AXIS], []),
    "lysozyme_24": ("real_cred_lysozyme/experiment_24/*.img.bz2", [AXIS], []),
    **{
        name.partition(".")[0]: (f"images/{name}", [], [])
        for name in (
            "run2_1_00148.cbf.bz2", "thau_3_2_0007.cbf.bz2", "thau_3_2_0019.cbf.bz2", "thaum_0500.cbf.gz",
            "DLS_I23_P12M_thau_00001.cbf.gz", "dlsnxs2cbf_therm_0001.cbf.gz", "s01f0001.cbf.bz2",
            "DLS_I03_smargon_0001.cbf.gz", "phi_scan_001.cbf", "omega_scan_001.cbf", "hit-20181213155134902.cbf",
            "adsc_001.img.bz2", "TIMEPIX_SU_512-stdgoni_0001.img", "TIMEPIX_SU_516-stdgoni_0001.img",
            "simtbx_FormatSMVJHSim_001.img.gz",
        )
    },
    "idx-20130301060858401": (
        "images/idx-20130301060858401.cbf", [], ["min_spot_size=2", "dispersion.gain=25", "global_threshold=100"]
    ),
}  # fmt: skip
"""Name to the files, how they are imported and how they are searched."""


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """A command, one thread."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(words, cwd=folder, capture_output=True, text=True, env=environment, check=False)


def unpacked(paths: list[Path], folder: Path) -> list[str]:
    """Files as both read them."""
    out = []
    for path in paths:
        target = folder / path.name
        if path.suffix == ".bz2":
            target = folder / path.stem
            target.write_bytes(bz2.decompress(path.read_bytes()))
        else:
            shutil.copy(path, target)
        out.append(str(target))
    return out


def count(path: Path) -> int:
    """Rows of a table; none where it was not written."""
    return len(read_reflections(path)) if path.exists() else 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=list(SETS))
    parser.add_argument("--work", type=Path, default=Path("bench_find_spots_real"))
    arguments = parser.parse_args()
    for name in arguments.names:
        pattern, importing, searching = SETS[name]
        folder = (arguments.work / name).resolve()
        shutil.rmtree(folder, ignore_errors=True)
        (folder / "images").mkdir(parents=True)
        images = unpacked(sorted((shared_dir() / "data").glob(pattern)), folder / "images")
        run(folder, "dials.import", *images, *importing)
        words = ["imported.expt", "nproc=1", *searching]
        run(folder, "dials.find_spots", *words, "output.reflections=dials.refl")
        find = (XTAL, "run", "find_spots", *words)
        run(folder, *find, "output.reflections=xtal.refl")
        run(folder, *find, "output.reflections=same.refl", "warm_pixels=False")
        counts = {side: count(folder / f"{side}.refl") for side in ("xtal", "dials")}
        print(f"{name}: xtal {counts['xtal']} spots, DIALS {counts['dials']}", flush=True)
        if all(counts.values()):
            for what, table in (("same filters", "same.refl"), ("our defaults", "xtal.refl")):
                for line in compare(folder / table, folder / "dials.refl", folder / "imported.expt"):
                    print(f"    {what}, {line}", flush=True)


if __name__ == "__main__":
    main()
