"""Every filter of find_spots that works in DIALS 3.12 leaves the same spots, on a scan and on a real image."""

from __future__ import annotations

import bz2
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from xtal.files import read_reflections
from xtal.testing import shared_dir, simulated

pytestmark = [
    pytest.mark.peer,
    pytest.mark.skipif(shutil.which("dials.find_spots") is None, reason="DIALS 3.12 is not installed: no peer"),
]
FILTERS = [
    ("ice_rings.filter=True", "ice_rings.width=0.004", "min_spot_size=5", "max_spot_size=20"),
    ("border=40", "d_min=2", "d_max=12", "resolution_range=3,4", "max_separation=1"),
    ("untrusted.circle=100,100,80", "untrusted.rectangle=200,300,200,300", "gain=1.5", "global_threshold=12"),
]
SCAN = [
    ("threshold.algorithm=dispersion", "region_of_interest=50,300,100,350", "scan_range=5,10", "scan_range=20,30"),
    ("threshold.algorithm=radial_profile", "n_iqr=5", "n_bins=60"),
]
"""Of a single threshold, or of several images."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Lists of a scan and of a real image, made by DIALS."""
    folder = tmp_path_factory.mktemp("filters")
    plain = folder / "thau_3_2_0007.cbf"
    plain.write_bytes(bz2.decompress((shared_dir() / f"data/images/{plain.name}.bz2").read_bytes()))
    for name, images in (("real", [plain]), ("scan", sorted(simulated("sim_small").glob("*.cbf")))):
        command = ["dials.import", *map(str, images), f"output.experiments={name}.expt"]
        subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return folder


@pytest.mark.parametrize(
    ("name", "words"),
    [*(("scan", words) for words in FILTERS + SCAN), *(("real", words) for words in FILTERS)],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else value,
)
def test_the_same_spots_are_left(
    folder: Path, run_step: Any, tmp_path: Path, name: str, words: tuple[str, ...]
) -> None:
    command = ["dials.find_spots", str(folder / f"{name}.expt"), *words, "nproc=1", "output.reflections=theirs.refl"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    as_312 = [] if "algorithm" in words[0] else ["masked_is_background=True"]
    run_step("find_spots", folder / f"{name}.expt", *words, *as_312, "warm_pixels=False")
    theirs, ours = (read_reflections(tmp_path / f"{n}.refl") for n in ("theirs", "strong"))
    columns = ("panel", "bbox", "n_signal", "intensity.sum.value")
    rows = [sorted(map(tuple, np.column_stack([t[c] for c in columns]))) for t in (ours, theirs)]
    assert rows[0] == rows[1]
    assert len(theirs) > 100
