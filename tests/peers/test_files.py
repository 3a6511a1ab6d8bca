"""Files that we read and wrote again are accepted by DIALS 3.12 and lead it to the same results."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from xtal.files import read_experiments, read_reflections, write_experiments, write_reflections
from xtal.testing import shared_dir

pytestmark = [
    pytest.mark.peer,
    pytest.mark.skipif(shutil.which("dials.show") is None, reason="DIALS 3.12 is not installed: no peer to ask"),
]

PAIRS = [
    "quartz_processed/integrated",
    "quartz_processed/scaled",
    "l_cysteine_4_sweeps_scaled/scaled_30",
    "ssx_CuNiR_test_data/indexed",
]


def run(command: str, folder: Path, *words: object) -> str:
    folder.mkdir(exist_ok=True)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([command, *map(str, words)], cwd=folder, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, f"{command} {words}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    return done.stdout


def rewritten(name: str, folder: Path) -> list[Path]:
    """A pair of DIALS's files, read and written by us."""
    folder.mkdir(exist_ok=True)
    source = shared_dir() / "data" / "processed_dials"
    write_experiments(read_experiments(source / f"{name}.expt"), folder / "a.expt")
    write_reflections(read_reflections(source / f"{name}.refl"), folder / "a.refl")
    return [folder / "a.expt", folder / "a.refl"]


def told(text: str) -> str:
    """What dials.show says below the list of its inputs."""
    return text[text.index("Experiment 0") :]


@pytest.mark.parametrize("name", [PAIRS[1], *(pytest.param(n, marks=pytest.mark.slow) for n in (PAIRS[0], *PAIRS[2:]))])
def test_dials_shows_the_same_of_our_files(name, tmp_path):
    source = shared_dir() / "data" / "processed_dials"
    theirs = run("dials.show", tmp_path, source / f"{name}.expt", source / f"{name}.refl")
    ours = run("dials.show", tmp_path, *rewritten(name, tmp_path / "ours"))
    keep = lambda text: [line for line in told(text).splitlines() if "template" not in line.lower()]
    assert keep(theirs) == keep(ours)


@pytest.mark.parametrize("name", [PAIRS[0], pytest.param(PAIRS[2], marks=pytest.mark.slow)])
def test_dials_reports_on_our_files(name, tmp_path):
    run("dials.report", tmp_path, *rewritten(name, tmp_path / "ours"))
    assert (tmp_path / "dials.report.html").stat().st_size > 10_000


@pytest.mark.slow
def test_dials_indexes_our_files_as_its_own(tmp_path):
    source = shared_dir() / "data" / "processed_dials" / "quartz_processed"
    ours = tmp_path / "ours"
    ours.mkdir()
    write_experiments(read_experiments(source / "imported.expt"), ours / "a.expt")
    write_reflections(read_reflections(source / "strong.refl"), ours / "a.refl")
    cell = ["unit_cell=4.91,4.91,5.40,90,90,120", "space_group=P3221", "detector.fix=distance", "nproc=1"]
    run("dials.index", tmp_path / "1", source / "imported.expt", source / "strong.refl", *cell)
    run("dials.index", tmp_path / "2", ours / "a.expt", ours / "a.refl", *cell)
    (a,), (b,) = (read_experiments(tmp_path / n / "indexed.expt") for n in "12")
    np.testing.assert_allclose(a.crystal.A, b.crystal.A, atol=1e-9)
    c, d = (read_reflections(tmp_path / n / "indexed.refl")["miller_index"] for n in "12")
    np.testing.assert_array_equal(c, d)
