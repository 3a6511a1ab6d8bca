"""Prediction: completeness, turns, scan-varying crystals, stills, DIALS."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from xtal.errors import DataError
from xtal.files import read_reflections, write_experiments
from xtal.models import Beam, Crystal, Experiment, ExperimentList, Images, Scan, rotation_matrix
from xtal.physics.prediction import indices_within, predict_all, predict_reflections, setting_at, still_rays

sys.path.insert(0, str(Path(__file__).parent))
from geometry_cases import flat_detector, perfect_spots, rotation_experiment

B = np.array([[0.02, 0, 0], [0.005358983849, 0.017254603007, 0], [0.000919724786, -0.002743312225, 0.014520398201]])


def drifting(experiment: Experiment, degrees: float = 0.1) -> Experiment:
    """The experiment with a crystal that turns and swells over the scan."""
    t = np.linspace(0, 1, experiment.scan.n_images + 1)
    experiment.crystal.A_at_scan_points = np.array([
        rotation_matrix([1, 1, 0], np.radians(degrees) * np.sin(5 * u)) @ experiment.crystal.A * (1 - 1e-3 * u)
        for u in t
    ])  # fmt: skip
    return experiment


def test_indices_by_counting() -> None:
    crystal = rotation_experiment(group="C 2 2 21").crystal
    ours = {tuple(h) for slab in indices_within(crystal, 6.0) for h in slab.tolist()}
    slow = set()
    for h in np.ndindex(41, 41, 41):
        hkl = np.array(h) - 20
        d2 = np.sum((crystal.A @ hkl) ** 2)
        if 0 < d2 <= 1 / 36 and (hkl[0] + hkl[1]) % 2 == 0:
            slow.add(tuple(hkl.tolist()))
    assert ours == slow


def test_every_ray_is_on_the_sphere_and_in_the_scan() -> None:
    experiment = drifting(rotation_experiment(n_panels=4))
    table = predict_all(experiment, 3.0)
    z = table["xyzcal.px"][:, 2]
    assert len(table) > 2000 and z.min() >= 0 and z.max() <= 120
    np.testing.assert_allclose(np.linalg.norm(table["s1"], axis=1), 1 / experiment.beam.wavelength, rtol=1e-12)
    # Slow twin: turn A(z) h by its own angle and add s0.
    g = experiment.goniometer
    for row in range(0, len(table), 397):
        a = setting_at(experiment.crystal, experiment.scan, z[row : row + 1])[0]
        turn = g.setting_rotation @ rotation_matrix(g.axis_datum, table["xyzcal.mm"][row, 2]) @ g.fixed_rotation
        s1 = experiment.beam.s0 + turn @ a @ table["miller_index"][row]
        np.testing.assert_allclose(table["s1"][row], s1, atol=2e-8)


def test_prediction_of_given_rows_agrees() -> None:
    experiment = drifting(rotation_experiment(n_panels=4))
    table = predict_all(experiment, 3.5)
    expected = table["xyzcal.px"].copy()
    table["xyzobs.px.value"] = expected + 0.3
    table["xyzobs.mm.value"] = table["xyzcal.mm"] + 0.01
    table["xyzcal.px"][:] = 0
    predict_reflections(table, ExperimentList([experiment]))
    np.testing.assert_allclose(table["xyzcal.px"], expected, atol=1e-6)


def test_every_turn_gives_a_row() -> None:
    experiment = rotation_experiment(width=1.0, n=360)
    once = predict_all(experiment, 6.0)
    experiment.scan = Scan((1, 720), (10.0, 1.0))
    twice = predict_all(experiment, 6.0)
    assert len(twice) == 2 * len(once)
    experiment.scan = Scan((1, 355), (10.0, 1.0))
    assert len(predict_all(experiment, 6.0, padding=2.5)) == len(once)


def test_too_high_resolution() -> None:
    with pytest.raises(DataError, match="half the wavelength"):
        predict_all(rotation_experiment(), 0.3)


def test_still_check_values() -> None:
    experiment = Experiment(Beam(0.97625), flat_detector(), None, None, Crystal(B))
    s1, delta_psi, ok = still_rays(experiment, np.array([[3.0, -4.0, 5.0]]))
    assert ok[0] and delta_psi[0] == pytest.approx(0.765862720467, rel=1e-8)
    np.testing.assert_allclose(s1[0], [0.088119882, -0.077753253, -1.017564115], atol=1e-8)


@pytest.mark.peer
@pytest.mark.parametrize("varying", [False, True])
def test_against_dials(tmp_path: Path, varying: bool) -> None:
    """The same indices at the same places. DIALS takes drifting crystals along chords: near the spindle 0.1 px off."""
    python = shutil.which("dxtbx.python")
    if python is None or shutil.which("dials.predict") is None:
        pytest.skip("DIALS is not installed")
    experiment = rotation_experiment()
    if varying:
        experiment = drifting(experiment)
    experiment.identifier = "x"
    experiment.images = Images(template=str(tmp_path / "none_####.cbf"))
    write_experiments(ExperimentList([experiment]), tmp_path / "in.expt")
    script = (
        "import sys; from dxtbx.model.experiment_list import ExperimentList as L; from dials.array_family import flex;"
        "e=L.from_file(sys.argv[1], check_format=False)[0];"
        "flex.reflection_table.from_predictions(e, dmin=3.0).as_file(sys.argv[2])"
    )
    command = [python, "-c", script, str(tmp_path / "in.expt"), str(tmp_path / "out.refl")]
    subprocess.run(command, check=True, capture_output=True)
    theirs, ours = read_reflections(tmp_path / "out.refl"), predict_all(experiment, 3.0)
    places = [
        {(*h, e): k for k, (h, e) in enumerate(zip(t["miller_index"].tolist(), t["entering"].tolist(), strict=True))}
        for t in (ours, theirs)
    ]
    both = np.array([(places[0][key], places[1][key]) for key in places[0].keys() & places[1].keys()])
    assert len(both) >= 0.999 * max(len(p) for p in places)
    off = np.abs(ours["xyzcal.px"][both[:, 0]] - theirs["xyzcal.px"][both[:, 1]])
    if varying:
        assert np.percentile(off, 95) < 3e-3 and off.max() < 0.2
    else:
        assert off.max() < 1e-6


def test_perfect_spots_lie_within() -> None:
    """The helper of these tests leaves out spots cut by the scan's ends."""
    z = perfect_spots(rotation_experiment(), 5.0)["xyzobs.px.value"][:, 2]
    assert z.min() > 0.5 and z.max() < 119.5
