"""DIALS 3.12 and xtal each go on from the other's files, step by step (60 small frames)."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from xtal.files import read_experiments, read_reflections
from xtal.table import Flag
from xtal.testing import simulated

pytestmark = [
    pytest.mark.peer,
    pytest.mark.skipif(shutil.which("dials.index") is None, reason="DIALS 3.12 is not installed: no peer to ask"),
]

READ = (read_experiments, read_reflections)
XTAL = str(Path(sys.executable).parent / "xtal")
# step -> (files of the step before, files that it writes)
STEPS = {
    "index": (("imported.expt", "strong.refl"), ("indexed.expt", "indexed.refl")),
    "refine": (("indexed.expt", "indexed.refl"), ("refined.expt", "refined.refl")),
    "integrate": (("refined.expt", "refined.refl"), ("integrated.expt", "integrated.refl")),
    "symmetry": (("integrated.expt", "integrated.refl"), ("symmetrized.expt", "symmetrized.refl")),
    "scale": (("symmetrized.expt", "symmetrized.refl"), ("scaled.expt", "scaled.refl")),
}
CELL = (31.2, 38.7, 46.1, 90, 90, 90)
# step -> (flag of the rows that it made use of, least fraction of the rows that it writes)
USED = {
    "index": (Flag.INDEXED, 0.95),
    "refine": (Flag.USED_IN_REFINEMENT, 0.5),
    "integrate": (Flag.INTEGRATED_PRF, 0.85),
    "symmetry": (Flag.INTEGRATED_PRF, 0.85),
    "scale": (Flag.SCALED, 0.85),
}
DIALS_OPTIONS = {"index": ["nproc=1"], "integrate": ["nproc=1"]}


def run(command: list[str], folder: Path) -> str:
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


def check(step: str, folder: Path) -> None:
    """The step made use of what it was given, and found the lattice that was there."""
    experiments, table = (read(folder / name) for read, name in zip(READ, STEPS[step][1], strict=True))
    flag, least = USED[step]
    assert len(table) > 1000 and table.has_flags(flag).mean() > least, (len(table), table.has_flags(flag).mean())
    crystal = experiments[0].crystal
    if step in ("symmetry", "scale"):
        assert crystal.space_group.point_group_hm() == "222"  # few axial reflections: screw axes are another matter
    np.testing.assert_allclose(sorted(crystal.cell.parameters), sorted(CELL), rtol=5e-3)


@pytest.fixture(scope="module")
def images() -> list[str]:
    return sorted(str(p) for p in simulated("sim_small").glob("*.cbf"))


@pytest.fixture(scope="module")
def ours(images, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("ours")
    run([XTAL, "process", *images], folder)
    return folder


@pytest.fixture(scope="module")
def theirs(images, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("theirs")
    run(["dials.import", *images], folder)
    run(["dials.find_spots", "imported.expt", "nproc=1"], folder)
    for step, (inputs, _) in STEPS.items():
        group = ["space_group=P212121"] if step == "index" else []
        run([f"dials.{step}", *inputs, *DIALS_OPTIONS.get(step, []), *group], folder)
    return folder


@pytest.mark.parametrize(
    "step", [pytest.param(s, marks=[pytest.mark.slow] * (s in ("index", "refine"))) for s in STEPS]
)  # those that take the peer longest; that it reads what they read is told by its reports, too
def test_dials_goes_on_from_our_files(step, ours, tmp_path):
    inputs, _ = STEPS[step]
    run([f"dials.{step}", *(str(ours / name) for name in inputs), *DIALS_OPTIONS.get(step, [])], tmp_path)
    check(step, tmp_path)


@pytest.mark.parametrize("step", STEPS)
def test_we_go_on_from_dials_files(step, theirs, tmp_path):
    inputs, _ = STEPS[step]
    run([XTAL, "run", step, *(str(theirs / name) for name in inputs)], tmp_path)
    check(step, tmp_path)


def test_we_find_spots_from_their_import(theirs, tmp_path):
    run([XTAL, "run", "find_spots", str(theirs / "imported.expt")], tmp_path)
    assert (tmp_path / "strong.refl").exists()


def test_dials_merges_what_we_scaled(ours, tmp_path):
    run(["dials.merge", str(ours / "scaled.expt"), str(ours / "scaled.refl"), "anomalous=True"], tmp_path)
    assert (tmp_path / "merged.mtz").exists()


@pytest.mark.parametrize("stem", ["indexed", "scaled"])
def test_dials_shows_and_reports_on_our_files(stem, ours, tmp_path):
    files = [str(ours / f"{stem}.expt"), str(ours / f"{stem}.refl")]
    shown = run(["dials.show", *files], tmp_path)
    assert "Crystal:" in shown and "miller_index" in shown
    run(["dials.report", *files], tmp_path)
    assert "</body>" in (tmp_path / "dials.report.html").read_text()
