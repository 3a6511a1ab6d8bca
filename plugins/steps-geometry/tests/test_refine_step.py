"""The steps refine and predict on a small synthetic scan."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from xtal.errors import AlgorithmFailed, DataError
from xtal.files import read_experiments, read_reflections, write_experiments, write_reflections
from xtal.models import Beam, Crystal, Detector, Experiment, ExperimentList, Goniometer, Panel, Scan, rotation_matrix
from xtal.models.crystal import b_matrix
from xtal.physics.prediction import predict_all
from xtal.table import Flag, ReflectionTable
from xtal.testing import check_step


def write_scan(folder: Path, wavelength: float = 1.0, distance: float = 100.0) -> None:
    """A tetragonal crystal given as triclinic, a little misset, and its spots."""
    panel = Panel((1, 0, 0), (0, -1, 0), (-60.0, 60.0, -distance), (600, 600), (0.2, 0.2))
    crystal = Crystal(rotation_matrix([1, 2, 3], 0.7) @ b_matrix((50, 50, 38, 90, 90, 90)))
    experiment = Experiment(
        Beam(wavelength), Detector([panel]), Goniometer(), Scan((1, 60), (0.0, 1.0)), crystal, identifier="one"
    )
    table = predict_all(experiment, 2.5)
    n, rng = len(table), np.random.default_rng(1)
    table["xyzobs.px.value"] = table["xyzcal.px"] + 0.1 * rng.normal(size=(n, 3))
    table["xyzobs.px.variance"] = np.full((n, 3), 0.01)
    table["flags"] = np.full(n, int(Flag.INDEXED | Flag.STRONG), np.uint64)
    table.identifiers = {0: "one"}
    crystal.A = rotation_matrix([1, 0, 1], 1e-3) @ crystal.A
    write_experiments(ExperimentList([experiment]), folder / "indexed.expt")
    write_reflections(table, folder / "indexed.refl")


def test_refine_chooses_the_lattice(tmp_path: Path, run_step: Any) -> None:
    write_scan(tmp_path)
    run_step("refine", tmp_path / "indexed.expt", tmp_path / "indexed.refl")
    crystal = read_experiments(tmp_path / "refined.expt")[0].crystal
    assert crystal.space_group.hm == "P 4" and crystal.cell.a == pytest.approx(50, abs=0.02)
    assert crystal.A_at_scan_points.shape == (61, 3, 3)
    table = read_reflections(tmp_path / "refined.refl")
    off = np.asarray(table["xyzcal.px"]) - np.asarray(table["xyzobs.px.value"])
    assert np.all(np.median(np.abs(off), axis=0) < 0.1)


def test_a_table_of_another_setting_is_refused(tmp_path: Path, run_step: Any) -> None:
    write_scan(tmp_path)
    table = read_reflections(tmp_path / "indexed.refl")
    table["miller_index"] = np.asarray(table["miller_index"]) * np.array([-1, -1, 1], np.int32)
    write_reflections(table, tmp_path / "indexed.refl")
    with pytest.raises(DataError, match=r"for \d+ of \d+ spots only.*Give the \.expt and the \.refl that one step"):
        run_step("refine", tmp_path / "indexed.expt", tmp_path / "indexed.refl")


def test_a_space_group_that_was_given_is_no_lattice(tmp_path: Path, run_step: Any) -> None:
    write_scan(tmp_path)
    done = run_step("refine", tmp_path / "indexed.expt", tmp_path / "indexed.refl", "space_group=P43212")
    assert done.summary[1].startswith("space group P 43 21 2, cell 50.0")


def test_none_keeps_the_lattice_and_frees_the_goniometer(tmp_path: Path, run_step: Any) -> None:
    write_scan(tmp_path)
    run_step("refine", tmp_path / "indexed.expt", tmp_path / "indexed.refl", "lattice=none", "goniometer.fix=none")
    experiment = read_experiments(tmp_path / "refined.expt")[0]
    assert experiment.crystal.space_group.hm == "P 1"
    assert not np.array_equal(experiment.goniometer.setting_rotation, np.eye(3))


def test_what_is_held_for_electrons_is_told_with_the_reason(tmp_path: Path, run_step: Any) -> None:
    write_scan(tmp_path, wavelength=0.025, distance=1200.0)
    files = (tmp_path / "indexed.expt", tmp_path / "indexed.refl")
    told = "distance held fixed: of electrons it cannot be told from the cell"
    assert told in " ".join(run_step("refine", *files, "lattice=tP").summary)
    held = read_experiments(tmp_path / "refined.expt")[0].detector[0].distance
    assert held == pytest.approx(1200.0, abs=0.1)  # along the normal, whose tilts are free
    assert told not in " ".join(run_step("refine", *files, "lattice=tP", "detector.fix=none").summary)
    assert read_experiments(tmp_path / "refined.expt")[0].detector[0].distance != pytest.approx(1200.0, abs=1.0)


def test_crystals_of_different_kinds_are_told_apart(tmp_path: Path, run_step: Any) -> None:
    write_scan(tmp_path)
    (first,), table = read_experiments(tmp_path / "indexed.expt"), read_reflections(tmp_path / "indexed.refl")
    other = copy.deepcopy(first)
    other.identifier = "two"
    other.crystal = Crystal(rotation_matrix([3, 1, 2], 0.4) @ b_matrix((40, 60, 75, 90, 90, 90)))
    few = table.select(np.arange(len(table) // 2))
    few["id"] = np.ones(len(few), np.int32)
    both = ReflectionTable.concatenate([table, few])
    both.identifiers = {0: "one", 1: "two"}
    write_experiments(ExperimentList([first, other]), tmp_path / "indexed.expt")
    write_reflections(both, tmp_path / "indexed.refl")
    with pytest.raises(AlgorithmFailed, match="experiment 1 has no lattice tP") as told:
        run_step("refine", tmp_path / "indexed.expt", tmp_path / "indexed.refl")
    assert "It is the lattice of experiment 0: process crystals of different kinds apart" in told.value.advice


def test_experiments_without_a_crystal_are_told(tmp_path: Path, run_step: Any) -> None:
    write_scan(tmp_path)
    (experiment,) = read_experiments(tmp_path / "indexed.expt")
    experiment.crystal = None
    write_experiments(ExperimentList([experiment]), tmp_path / "imported.expt")
    with pytest.raises(DataError, match=r"Experiment 0 has no crystal.*Run index first"):
        run_step("refine", tmp_path / "imported.expt", tmp_path / "indexed.refl")


@pytest.mark.parametrize("step", ["refine", "predict"])
def test_conformance(step: str) -> None:
    check_step(step)
