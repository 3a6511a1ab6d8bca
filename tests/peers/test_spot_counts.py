"""Counts and resolution per image are DIALS 3.12's own, from one table of spots."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from xtal.testing import shared_dir, simulated

pytestmark = [
    pytest.mark.peer,
    pytest.mark.skipif(shutil.which("dials.spot_counts_per_image") is None, reason="DIALS 3.12 is not installed"),
]


def same(run_step):
    run_step("spot_counts_per_image", "imported.expt", "strong.refl", "json=ours.json")
    command = ["dials.spot_counts_per_image", "imported.expt", "strong.refl", "json=theirs.json"]
    subprocess.run(command, check=True, capture_output=True)
    ours, theirs = (json.loads(Path(f"{name}.json").read_text()) for name in ("ours", "theirs"))
    assert set(ours) == set(theirs)
    for key in ours:
        assert ours[key] == pytest.approx(theirs[key], rel=1e-6), key


def test_scan(run_step):
    run_step("import", *sorted(simulated("sim_small").glob("*.cbf")))
    run_step("find_spots", "imported.expt")
    same(run_step)


@pytest.mark.parametrize("name", ["thau_3_2_0007.cbf.bz2", "run2_1_00148.cbf.bz2"])
def test_real_images(run_step, name):
    run_step("import", shared_dir() / "data" / "images" / name)
    run_step("find_spots", "imported.expt")
    same(run_step)
