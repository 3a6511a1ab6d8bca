"""Simulated scans as others see them: the scorers of the truth tools, and DIALS."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import gemmi
import numpy as np
import pytest

from xtal.testing import shared_dir
from xtal.testing.data import truth_python
from xtal_steps_simulate.model import preset
from xtal_steps_simulate.simulate import simulate

needs_dials = pytest.mark.skipif(shutil.which("dials.index") is None, reason="DIALS 3.12 is not installed: no peer")


def score(name: str, *arguments: Path) -> dict:
    script = shared_dir() / "tools" / f"compare_{name}.py"
    done = subprocess.run(
        [truth_python(), str(script), *map(str, arguments), "--json"],
        capture_output=True, text=True, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def scan(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("scan")
    simulate(preset("small"), folder)
    return folder


def test_merged_truth_agrees_with_itself_by_the_scorer(scan, tmp_path):
    """An MTZ file of our true intensities: the scorer finds every reflection and no error."""
    with np.load(scan / "truth.npz") as truth:
        hkl, plus, minus = (truth[f"merged_{k}"] for k in ("hkl", "i_plus", "i_minus"))
    meta = json.loads((scan / "truth.json").read_text())
    mtz = gemmi.Mtz(with_base=True)
    mtz.spacegroup = gemmi.SpaceGroup(meta["space_group"])
    mtz.set_cell_for_all(gemmi.UnitCell(*meta["cell"]))
    mtz.add_dataset("data")
    for label, kind in (("I(+)", "K"), ("SIGI(+)", "M"), ("I(-)", "K"), ("SIGI(-)", "M")):
        mtz.add_column(label, kind)
    sigma = 0.01 * plus + 1e-3
    mtz.set_data(np.column_stack([hkl, plus, sigma, minus, sigma]).astype(np.float32))
    mtz.write_to_file(str(tmp_path / "merged.mtz"))
    result = score("merged", scan, tmp_path / "merged.mtz")
    assert result["unmatched"] == 0
    assert result["scale"] == pytest.approx(1.0, rel=1e-4)
    assert result["all"]["r"] < 1e-4
    assert result["all"]["completeness"] == pytest.approx(1.0)


def run(folder: Path, *command: str) -> None:
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"


@pytest.mark.slow
@pytest.mark.peer
@needs_dials
def test_dials_processes_our_images(scan, tmp_path):
    """Import to integration by DIALS with default options, scored against our truth."""
    run(tmp_path, "dials.import", *sorted(map(str, scan.glob("*.cbf"))))
    run(tmp_path, "dials.find_spots", "imported.expt", "nproc=1")
    run(tmp_path, "dials.index", "imported.expt", "strong.refl", "space_group=P212121", "nproc=1")
    run(tmp_path, "dials.refine", "indexed.expt", "indexed.refl")
    run(tmp_path, "dials.integrate", "refined.expt", "refined.refl", "nproc=1")
    spots = score("spots", scan, tmp_path / "strong.refl")
    assert spots["found_fraction"] > 0.97
    assert spots["false"] < 20
    geometry = score("index", scan, tmp_path / "refined.expt", tmp_path / "refined.refl")
    assert geometry["crystals"][0]["lattice"] == 0
    assert max(geometry["rmsd_truth"][axis] for axis in ("x_px", "y_px")) < 0.04
    photons = score("truth", scan, tmp_path / "integrated.expt", tmp_path / "integrated.refl")["prf"]
    assert photons["scale"] == pytest.approx(1.0, abs=0.01)
    assert photons["bins"]["all"]["error_over_limit"] < 1.12


@pytest.mark.slow
@pytest.mark.peer
@needs_dials
def test_dials_reads_our_nexus_files(tmp_path):
    hdf5plugin = pytest.importorskip("hdf5plugin")
    simulate(preset("small"), tmp_path / "scan", "nxmx")
    work = tmp_path / "work"
    work.mkdir()
    environment = {**os.environ, "HDF5_PLUGIN_PATH": hdf5plugin.PLUGINS_PATH}
    for command in (
        ["dials.import", str(tmp_path / "scan/small_master.h5")],
        ["dials.find_spots", "imported.expt", "nproc=1"],
    ):
        done = subprocess.run(command, cwd=work, capture_output=True, text=True, env=environment)
        assert done.returncode == 0, done.stderr[-2000:]
    assert score("spots", tmp_path / "scan", work / "strong.refl")["found_fraction"] > 0.97
