"""import_xds beside DIALS 3.12, on what dials.export and the formulas of XDS write."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from xtal.files import read_experiments, read_reflections
from xtal.testing import load_module, shared_dir, simulated

pytestmark = [
    pytest.mark.peer,
    pytest.mark.skipif(shutil.which("dials.show") is None, reason="DIALS 3.12 is not installed: no peer to ask"),
]

DIALS_NEEDS = (
    "\n!OUTPUT_FILE=XDS_ASCII.HKL\n!BEAM_DIVERGENCE_E.S.D.= 0.058\n!REFLECTING_RANGE_E.S.D.= 0.157\n!MINPK= 75.0\n"
)
XTAL = str(Path(sys.executable).parent / "xtal")
xds_run = load_module(Path(__file__).parents[2] / "plugins" / "steps-tables" / "tests" / "xds_run.py")


def run(command: list[str], folder: Path, *words: object) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*command, *map(str, words)], cwd=folder, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, f"{command} {words}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    return done.stdout


def same_models(theirs: Path, ours: Path) -> None:
    (a,), (b,) = read_experiments(theirs), read_experiments(ours)
    np.testing.assert_allclose(a.beam.s0, b.beam.s0, atol=1e-9)
    np.testing.assert_allclose(a.goniometer.axis, b.goniometer.axis, atol=1e-9)
    np.testing.assert_allclose(a.crystal.A, b.crystal.A, atol=1e-9)
    assert a.crystal.hall.strip() == b.crystal.hall.strip()
    assert a.crystal.mosaicity_deg == b.crystal.mosaicity_deg
    assert a.beam.sigma_divergence == pytest.approx(b.beam.sigma_divergence)
    # DIALS 3.12 takes 0.999 whatever XDS.INP says
    assert a.beam.polarization_fraction == 0.999
    assert a.scan.image_range == b.scan.image_range
    np.testing.assert_allclose(a.scan.oscillation_deg, b.scan.oscillation_deg)
    assert len(a.detector) == len(b.detector)
    for p, q in zip(a.detector, b.detector, strict=True):
        np.testing.assert_allclose(p.d_matrix, q.d_matrix, atol=1e-9)
        assert (p.image_size, p.pixel_size) == (q.image_size, q.pixel_size)
    assert Path(a.images.template).name == Path(b.images.template).name


@pytest.mark.parametrize("source", ["xparm", *(pytest.param(s, marks=pytest.mark.slow) for s in ("old", "ascii"))])
def test_models_are_the_same(tmp_path, source):
    made = xds_run.XdsRun(xds_run.experiment())
    texts = {"xparm": {"xparm": made.xparm()}, "old": {"xparm": made.xparm(1)}, "ascii": {"ascii": made.xds_ascii()}}
    if source == "ascii":  # DIALS 3.12 tells XDS_ASCII.HKL by its second line and stops without the others
        texts["ascii"]["ascii"] = made.xds_ascii().replace("\n", DIALS_NEEDS, 1)
    folder = made.write(tmp_path / "xds", inp=made.xds_inp(), **texts[source])
    run(["dials.import_xds"], tmp_path / "dials", folder)
    run([XTAL, "run", "import_xds"], tmp_path / "xtal", folder)
    same_models(tmp_path / "dials" / "xds_models.expt", tmp_path / "xtal" / "xds_models.expt")


def test_integrate_hkl_is_the_same(tmp_path):
    made = xds_run.XdsRun(xds_run.experiment())
    text = made.integrate_hkl(xds_run.integrate_rows(made))
    # DIALS 3.12 opens the images, so there must be some
    inp = made.xds_inp().replace("../img/x_????.cbf", str(simulated("sim_small") / "sim_small_?????.cbf"))
    folder = made.write(tmp_path / "xds", inp=inp, integrate=text)
    run(["dials.import_xds"], tmp_path / "dials", folder)
    run(["dials.import_xds"], tmp_path / "dials", folder / "INTEGRATE.HKL", "xds_models.expt", "method=reflections")
    run([XTAL, "run", "import_xds"], tmp_path / "xtal", folder)
    same_models(tmp_path / "dials" / "xds_models.expt", tmp_path / "xtal" / "xds_models.expt")
    a, b = (read_reflections(tmp_path / name / "integrate_hkl.refl") for name in ("dials", "xtal"))
    corrected = ("intensity.cor.value", "intensity.cor.variance", "intensity.prf.value")
    for column in ("id", "panel", "miller_index", *corrected):
        np.testing.assert_allclose(a[column], b[column], rtol=1e-12, err_msg=column)
    np.testing.assert_allclose(a["d"], b["d"], rtol=1e-7)
    # half a pixel: DIALS 3.12 takes XDS's coordinates, which count pixels from 1 at their centres, for its own
    np.testing.assert_allclose(a["xyzcal.px"] - (0.5, 0.5, 0), b["xyzcal.px"], atol=1e-9)
    seen = np.any(a["xyzobs.px.value"] != 0, axis=1)
    np.testing.assert_allclose((a["xyzobs.px.value"] - (0.5, 0.5, 0))[seen], b["xyzobs.px.value"][seen], atol=1e-9)


@pytest.mark.slow
def test_what_dials_exports_is_imported_alike(tmp_path):
    folder = shared_dir() / "data" / "processed_dials" / "l_cysteine_4_sweeps_scaled"
    files = [folder / f"scaled_30.{kind}" for kind in ("expt", "refl")]
    run(["dials.export"], tmp_path, *files, "format=xds", "intensity=sum")
    run(["dials.import_xds"], tmp_path / "dials", tmp_path / "xds")
    run(
        ["dials.import_xds"], tmp_path / "dials", tmp_path / "xds" / "SPOT.XDS", "xds_models.expt", "method=reflections"
    )
    run([XTAL, "run", "import_xds"], tmp_path / "xtal", tmp_path / "xds")
    same_models(tmp_path / "dials" / "xds_models.expt", tmp_path / "xtal" / "xds_models.expt")
    a, b = (read_reflections(tmp_path / name / "spot_xds.refl") for name in ("dials", "xtal"))
    np.testing.assert_allclose(a["xyzobs.px.value"] - (0.5, 0.5, 0), b["xyzobs.px.value"], atol=1e-9)
    for column in ("id", "panel", "miller_index", "intensity.sum.value"):
        np.testing.assert_array_equal(a[column], b[column])


@pytest.mark.slow
def test_dials_reads_what_was_imported(tmp_path):
    made = xds_run.XdsRun(xds_run.experiment())
    text = made.integrate_hkl(xds_run.integrate_rows(made))
    folder = made.write(tmp_path / "xds", inp=made.xds_inp(), integrate=text)
    run([XTAL, "run", "import_xds"], tmp_path, folder)
    shown = run(["dials.show"], tmp_path, "xds_models.expt", "integrate_hkl.refl")
    assert "P 21 21 21" in shown
    assert "intensity.prf.value" in shown
