"""Masks between DIALS 3.12 and xtal: each reads the other's, and finds the same spots under it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from xtal.files import read_experiments, read_mask, read_reflections, write_mask
from xtal.testing import shared_dir, simulated

pytestmark = [
    pytest.mark.peer,
    pytest.mark.skipif(shutil.which("dials.generate_mask") is None, reason="DIALS 3.12 is not installed: no peer"),
]
XTAL = str(Path(sys.executable).parent / "xtal")


def run(folder: Path, *command: object) -> str:
    done = subprocess.run(
        [str(word) for word in command],
        cwd=folder, capture_output=True, text=True, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five images imported by both, and a mask of DIALS: a circle over much of the pattern."""
    folder = tmp_path_factory.mktemp("masks")
    images = sorted(simulated("sim_small").glob("*.cbf"))[:5]
    run(folder, "dials.import", *images, "output.experiments=theirs.expt")
    run(folder, XTAL, "run", "import", *images, "output.experiments=ours.expt")
    run(folder, "dials.generate_mask", "theirs.expt", "untrusted.circle=240,200,100", "border=5")
    return folder


def spots(path: Path) -> np.ndarray:
    return np.asarray(read_reflections(path)["xyzobs.px.value"])


def test_a_mask_of_dials_is_obeyed(folder: Path) -> None:
    run(folder, XTAL, "run", "import", "ours.expt", "mask=pixels.mask", "output.experiments=masked.expt")
    (e,) = read_experiments(folder / "masked.expt")
    assert e.images.mask == str(folder / "pixels.mask")
    run(folder, XTAL, "run", "find_spots", "masked.expt", "output.reflections=imported.refl")
    run(folder, XTAL, "run", "find_spots", "ours.expt", "lookup.mask=pixels.mask", "output.reflections=given.refl")
    run(folder, XTAL, "run", "find_spots", "ours.expt", "output.reflections=all.refl")
    for name in ("imported", "given"):
        found = spots(folder / f"{name}.refl")
        assert 50 < len(found) < len(spots(folder / "all.refl"))
        assert np.hypot(found[:, 0] - 240, found[:, 1] - 200).min() > 99
        assert found[:, :2].min() > 5


def test_a_list_of_dials_with_a_mask_is_obeyed(folder: Path) -> None:
    run(folder, "dials.apply_mask", "theirs.expt", "mask=pixels.mask", "output.experiments=theirs_masked.expt")
    run(folder, XTAL, "run", "find_spots", "theirs_masked.expt", "output.reflections=of_theirs.refl")
    found = spots(folder / "of_theirs.refl")
    assert np.hypot(found[:, 0] - 240, found[:, 1] - 200).min() > 99


def test_dials_obeys_a_mask_of_ours(folder: Path) -> None:
    size = read_experiments(folder / "ours.expt")[0].detector[0].image_size
    theirs = read_mask(folder / "pixels.mask", [size[::-1]])
    write_mask(folder / "ours.mask", theirs)
    for name in ("pixels", "ours"):
        words = (f"lookup.mask={name}.mask", f"output.reflections={name}.refl", "nproc=1")
        run(folder, "dials.find_spots", "theirs.expt", *words)
    assert np.array_equal(spots(folder / "pixels.refl"), spots(folder / "ours.refl"))
    run(folder, XTAL, "run", "import", "ours.expt", "mask=ours.mask", "output.experiments=masked.expt")
    run(folder, "dials.find_spots", "masked.expt", "output.reflections=listed.refl", "nproc=1")
    assert len(spots(folder / "listed.refl")) == len(spots(folder / "ours.refl"))


def test_a_mask_of_several_panels(tmp_path: Path) -> None:
    image = shared_dir() / "data/images/TIMEPIX_SU_512-stdgoni_0001.img"
    run(tmp_path, "dials.import", image)
    run(tmp_path, "dials.generate_mask", "imported.expt", "untrusted.circle=100,50,20", "untrusted.panel=2", "border=3")
    masks = read_mask(tmp_path / "pixels.mask", [(254, 254)] * 4)
    assert not masks[2][50, 100]
    assert masks[1][50, 100]
    assert all(not m[:3].any() and not m[:, -3:].any() for m in masks)
    write_mask(tmp_path / "again.mask", masks)
    run(tmp_path, "dials.find_spots", "imported.expt", "lookup.mask=again.mask", "nproc=1")
