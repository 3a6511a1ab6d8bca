"""Refinement: gradients against finite differences, recovery of known models, outliers, symmetry."""

from __future__ import annotations

import copy
import sys
from pathlib import Path

import gemmi
import numpy as np
import pytest

from xtal.errors import AlgorithmFailed
from xtal.models import Experiment, ExperimentList, rotation_matrix
from xtal.models.crystal import b_matrix
from xtal.physics.lattice import cell_esds
from xtal.physics.prediction import predict_all, predict_reflections
from xtal.physics.refinement import RefinementSettings, refine
from xtal.physics.refinement.bravais import choose_lattice, compare_lattices, reindexed
from xtal.physics.refinement.gradients import evaluate, normal_equations, residuals
from xtal.physics.refinement.metric import metric_constraints
from xtal.physics.refinement.outliers import calibrated_variance, mcd_outliers, robust_outliers, tukey_outliers
from xtal.physics.refinement.parameters import b_from_metric, metric_of
from xtal.physics.refinement.problem import Models, blocks_of
from xtal.physics.refinement.selection import select
from xtal.physics.refinement.smoother import Smoother
from xtal.table import Flag, ReflectionTable

sys.path.insert(0, str(Path(__file__).parent))
from geometry_cases import perfect_spots, rotation_experiment

FREE = RefinementSettings(beam_fix=(), goniometer_fix=())


def several(n_panels: int = 1) -> tuple[ExperimentList, ReflectionTable]:
    """Two scans that share beam and detector, the second with its own triclinic crystal."""
    first = rotation_experiment((60, 60, 45, 90, 90, 90), "P 41 21 2", n_panels)
    second = rotation_experiment((30, 41, 52, 85, 95, 103), "P 1", n_panels)
    second = Experiment(first.beam, first.detector, second.goniometer, second.scan, second.crystal)
    tables = [perfect_spots(first, 3.0), perfect_spots(second, 3.0)]
    tables[1]["id"] = np.ones(len(tables[1]), np.int32)
    return ExperimentList([first, second]), ReflectionTable.concatenate(tables)


@pytest.mark.parametrize(("n_panels", "level", "intervals"), [(1, 0, 0), (4, 0, 3), (4, 1, 0), (1, 0, 2)])
def test_gradients_against_finite_differences(n_panels: int, level: int, intervals: int) -> None:
    experiments, table = several(n_panels)
    from attrs import evolve

    settings = evolve(FREE, hierarchy_level=level)
    selection = select(table, experiments, settings)
    rows = np.linspace(0, len(selection.rows) - 1, 150).astype(int)
    obs = selection.obs.select(rows)
    models = Models.build(experiments, settings, [intervals, intervals])
    rng = np.random.default_rng(3)
    models.x = models.x + rng.normal(size=models.n_free) * 0.2 * (np.abs(models.x) < 100)
    blocks = blocks_of(models, obs)
    x0 = models.x
    exact = np.zeros((len(obs), 3, models.n_free))
    for block in blocks:
        _, jacobian, columns = evaluate(block, obs, True)
        exact[block.rows[:, None, None], np.arange(3)[None, :, None], columns] = np.moveaxis(jacobian, 0, 1)
    for k in range(models.n_free):
        step = 1e-4 * max(1.0, abs(x0[k]) * 0.1)
        sides = []
        for sign in (1, -1):
            x = x0.copy()
            x[k] += sign * step
            models.x = x
            sides.append(residuals(models, obs, blocks))
        numeric = (sides[0] - sides[1]) / (2 * step)
        good = np.all(np.isfinite(numeric), axis=1)
        scale = np.abs(numeric[good]).max() + 1e-12
        # Reflections near the spindle curve strongly: their finite differences are the worse ones.
        error = np.abs(exact[good, :, k] - numeric[good]) / scale
        assert np.quantile(error, 0.98) < 1e-5 and error.max() < 1e-2, f"parameter {k}"


def test_normal_equations_against_dense_jacobian() -> None:
    experiments, table = several()
    selection = select(table, experiments, FREE)
    obs = selection.obs.select(np.arange(0, len(selection.rows), 23))
    models = Models.build(experiments, FREE, [2, 0])
    models.x = models.x + 0.01
    blocks = blocks_of(models, obs)
    dense, r = np.zeros((3, len(obs), models.n_free)), np.zeros((3, len(obs)))
    for block in blocks:
        residual, jacobian, columns = evaluate(block, obs, True)
        r[:, block.rows] = residual
        for c, column in enumerate(columns):
            dense[:, block.rows, column] += jacobian[:, :, c]
    weight = obs.weight.T
    matrix, vector, chi2, lost = normal_equations(models, obs, blocks)
    assert lost == 0
    np.testing.assert_allclose(matrix, np.einsum("rni,rn,rnj->ij", dense, weight, dense), rtol=1e-9, atol=1e-6)
    np.testing.assert_allclose(vector, np.einsum("rni,rn->i", dense, weight * r), rtol=1e-7, atol=1e-5)
    assert chi2 == pytest.approx(float((weight * r * r).sum()))


def disturb(experiment: Experiment) -> Experiment:
    """Models a little off, as indexing leaves them."""
    off = copy.deepcopy(experiment)
    off.beam.s0 = rotation_matrix(off.goniometer.axis, 5e-4) @ off.beam.s0
    off.crystal.A = rotation_matrix([1, 2, 3], 2e-3) @ off.crystal.A * 1.001
    for panel in off.detector:
        panel.origin = panel.origin + np.array([0.15, -0.1, 0.3])
    return off


@pytest.mark.parametrize("n_panels", [1, 4])
def test_static_models_are_recovered(n_panels: int) -> None:
    experiment = rotation_experiment((60, 60, 45, 90, 90, 90), "P 41 21 2", n_panels)
    spots = perfect_spots(experiment, 3.0)
    result = refine(ExperimentList([disturb(experiment)]), spots, RefinementSettings(weights="statistical"))
    assert np.all(result.rmsd[0] < 1e-3)
    np.testing.assert_allclose(result.experiments[0].crystal.cell.parameters, (60, 60, 45, 90, 90, 90), rtol=1e-4)
    assert result.experiments[0].crystal.cell.a == pytest.approx(result.experiments[0].crystal.cell.b, abs=1e-9)
    assert result.history[-1].n_iterations < 10


def test_varying_crystal_is_recovered() -> None:
    """A drift that the smoother can follow comes back, and the inputs stay as they were."""
    experiment = rotation_experiment((40, 55, 70, 90, 90, 90), "P 21 21 21")
    t = np.linspace(0, 1, 121)
    true = copy.deepcopy(experiment)
    true.crystal.A_at_scan_points = np.array(
        [rotation_matrix([1, 1, 0], 2e-3 * np.sin(4 * u)) @ experiment.crystal.A * (1 - 1e-3 * u) for u in t]
    )
    spots = perfect_spots(true, 2.5)
    start, before = disturb(experiment), spots["xyzcal.px"].copy()
    a_before = start.crystal.A.copy()
    result = refine(
        ExperimentList([start]), spots, RefinementSettings(scan_varying=True, weights="statistical", interval_deg=15)
    )
    assert np.all(result.rmsd[0] < 0.01)
    assert result.experiments[0].crystal.A_at_scan_points.shape == (121, 3, 3)
    np.testing.assert_array_equal(start.crystal.A, a_before)
    np.testing.assert_array_equal(spots["xyzcal.px"], before)
    volumes = [1 / np.linalg.det(a) for a in result.experiments[0].crystal.A_at_scan_points]
    assert volumes[-1] / volumes[0] == pytest.approx(1.003, abs=3e-4)


def test_uncertainties_of_the_cell() -> None:
    """Over repeats with noise, the cell scatters as its uncertainties say."""
    experiment = rotation_experiment((40, 55, 70, 90, 97, 90), "P 1 21 1", n=60)
    found, stated = [], []
    for seed in range(12):
        spots = perfect_spots(experiment, 3.5, noise=0.2, seed=seed)
        settings = RefinementSettings(macrocycles=1, outlier_algorithm="null")
        result = refine(ExperimentList([experiment]), spots, settings)
        crystal = result.experiments[0].crystal
        found.append(crystal.cell.parameters)
        stated.append(cell_esds(crystal))
    stated_mean = np.mean(stated, axis=0)
    ratio = np.std(found, axis=0, ddof=1)[[0, 1, 2, 4]] / stated_mean[[0, 1, 2, 4]]
    assert np.all((ratio > 0.5) & (ratio < 1.7)), ratio
    assert stated_mean[3] < 1e-8


def test_flags_and_outliers() -> None:
    experiment = rotation_experiment()
    spots = perfect_spots(experiment, 3.0, noise=0.1)
    wrong = np.arange(0, len(spots), 40)
    spots["xyzobs.px.value"][wrong, 0] += 3.0
    spots["miller_index"][5] = 0
    result = refine(ExperimentList([disturb(experiment)]), spots, RefinementSettings())
    outlier = result.table.has_flags(Flag.CENTROID_OUTLIER)
    assert outlier[wrong].mean() > 0.99
    assert outlier.mean() < 0.035
    used = result.table.has_flags(Flag.USED_IN_REFINEMENT)
    assert not np.any(used & outlier) and not used[5]
    assert result.table.has_flags(Flag.EXCLUDED_FOR_REFINEMENT)[5]
    assert np.all(result.rmsd[0] < 0.12)


def test_few_reflections() -> None:
    experiment = rotation_experiment()
    spots = perfect_spots(experiment, 8.0)
    few = refine(ExperimentList([experiment]), spots.select(np.arange(0, len(spots), len(spots) // 30)), FREE)
    assert few.warnings and "held" in few.warnings[0]
    with pytest.raises(AlgorithmFailed, match="Only 4 indexed"):
        refine(ExperimentList([experiment]), spots.select(np.arange(4)), FREE)


def test_what_few_spots_cannot_tell_stays_as_it_was_given() -> None:
    """Three images turn detector, beam and crystal together freely; none of them runs off."""
    truth = rotation_experiment((60, 60, 45, 90, 90, 90), "P 1", n=3)
    spots = perfect_spots(truth, 2.0, noise=0.3)
    spots["xyzobs.px.value"][:, 2] = np.clip(spots["xyzobs.px.value"][:, 2], 0, 3)
    result = refine(ExperimentList([truth]), spots.select(np.arange(0, len(spots), len(spots) // 90)), FREE)
    refined = result.experiments[0]
    assert np.linalg.norm(refined.detector[0].fast_axis - truth.detector[0].fast_axis) < 5e-3
    assert np.linalg.norm(refined.beam.s0 - truth.beam.s0) * truth.beam.wavelength < 2e-3
    assert abs(refined.detector[0].distance - truth.detector[0].distance) < 1.0
    np.testing.assert_allclose(refined.crystal.cell.parameters, truth.crystal.cell.parameters, rtol=5e-3)


def still_case() -> tuple[ExperimentList, ReflectionTable]:
    """A still and its perfect spots on the sphere's neighbourhood."""
    experiment = rotation_experiment((60, 60, 45, 90, 90, 90), "P 41 21 2")
    experiment.scan = None
    table = predict_all(experiment, 2.0)
    table["xyzobs.px.value"] = np.array(table["xyzcal.px"])
    table["xyzobs.px.variance"] = np.full((len(table), 3), 0.01)
    return ExperimentList([experiment]), table


def test_still_gradients_against_finite_differences() -> None:
    experiments, table = still_case()
    obs = select(table, experiments, FREE).obs
    models = Models.build(experiments, FREE, [0])
    block = blocks_of(models, obs)[0]
    _, jacobian, columns = evaluate(block, obs, True)
    assert jacobian is not None and len(columns) == models.n_free
    x0 = models.x
    for place, k in enumerate(columns):
        step = 1e-4 * max(1.0, abs(x0[k]) * 0.1)
        sides = []
        for sign in (1, -1):
            x = x0.copy()
            x[k] += sign * step
            models.x = x
            sides.append(evaluate(block, obs, False)[0])
        numeric = (sides[0] - sides[1]) / (2 * step)
        for exact, finite in zip(jacobian[:, :, place], numeric, strict=True):
            # Round-off of 100 mm over the step is 1e-10.
            assert np.abs(exact - finite).max() < 1e-5 * np.abs(finite).max() + 1e-9, f"parameter {k}"


def test_still_is_recovered() -> None:
    experiments, table = still_case()
    truth = experiments[0].crystal
    assert truth is not None
    moved = copy.deepcopy(experiments)
    assert moved[0].crystal is not None
    moved[0].crystal.A = rotation_matrix(np.array([0.0, 0.6, 0.8]), 2e-3) @ truth.A
    result = refine(moved, table, RefinementSettings(detector_fix=("all",), beam_fix=("all",)))
    assert np.all(result.rmsd[0, :2] < 0.2) and result.n_used[0] > 0.8 * len(table)
    psi = result.table["delpsical.rad"][result.table.has_flags(Flag.USED_IN_REFINEMENT)]
    assert result.rmsd[0, 2] == pytest.approx(np.degrees(np.sqrt(np.mean(psi**2)))) and result.rmsd[0, 2] > 0.05
    assert result.experiments[0].crystal is not None
    turn = result.experiments[0].crystal.U @ truth.U.T
    assert np.abs(turn - np.eye(3)).max() < 3e-4


def test_shared_models_stay_shared() -> None:
    experiments, table = several()
    result = refine(experiments, table, RefinementSettings(macrocycles=1))
    a, b = result.experiments
    assert a.beam is b.beam and a.detector is b.detector and a.crystal is not b.crystal
    assert result.n_used.sum() > 0 and a.beam is not experiments[0].beam


@pytest.mark.parametrize(
    ("group", "n"), [("P 1", 6), ("P 1 2 1", 4), ("P 2 2 2", 3), ("P 4", 2), ("P 3", 2), ("R 3 :R", 2), ("F 4 3 2", 1)]
)
def test_metric_constraints(group: str, n: int) -> None:
    """The metric they span is that of a cell that has the symmetry, and no more."""
    operations = gemmi.SpaceGroup(group).operations()
    expand = metric_constraints(operations)
    assert expand.shape == (6, n)
    g = expand @ np.arange(1, n + 1)
    matrix = np.array([[g[0], g[3], g[4]], [g[3], g[1], g[5]], [g[4], g[5], g[2]]])
    for op in operations.sym_ops:
        w = np.array(op.rot) / op.DEN
        np.testing.assert_allclose(w @ matrix @ w.T, matrix, atol=1e-12)


def test_b_from_metric() -> None:
    b = b_matrix((50, 60, 70, 80, 95, 105))
    (ax, ay, by, az, bz, cz), _ = b_from_metric(list(metric_of(b)[:, None]), [np.zeros((1, 1))] * 6)
    np.testing.assert_allclose([[ax[0], 0, 0], [ay[0], by[0], 0], [az[0], bz[0], cz[0]]], b, atol=1e-15)
    with pytest.raises(AlgorithmFailed, match="no cell"):
        b_from_metric(list(np.array([[1.0], [1.0], [1.0], [2.0], [0.0], [0.0]])), [np.zeros((1, 1))] * 6)


def test_smoother_reproduces_straight_lines() -> None:
    smoother = Smoother(0.0, 100.0, 5)
    centres = (np.arange(7) - 0.5)[:, None] * 20
    z = np.linspace(0, 100, 41)
    np.testing.assert_allclose(smoother.value(z, centres)[:, 0], z, atol=1e-12)
    assert smoother.n_samples == 7 and Smoother(0, 1, 0).value(z, np.array([[4.0]])).max() == 4.0


def test_outliers_of_gaussian_data() -> None:
    rng = np.random.default_rng(5)
    x = rng.normal(size=(4000, 3)) * [0.1, 0.2, 0.05]
    x[:40] += 2.0
    variance = np.tile([0.01, 0.04, 0.0025], (4000, 1))
    for found, most in (
        (robust_outliers(x, variance, 0.999), 0.004),
        (mcd_outliers(x), 0.045),
        (tukey_outliers(x), 0.04),
    ):
        assert found[:40].all() and found[40:].mean() < most


def test_calibrated_variance() -> None:
    rng = np.random.default_rng(6)
    true = rng.uniform(0.01, 1.0, size=(5000, 3)) ** 2
    learnt = calibrated_variance(rng.normal(size=(5000, 3)) * np.sqrt(true), 0.3 * true + 1 / 12)
    assert np.median(np.abs(np.log(learnt / true))) < 0.15


def test_lattice_is_recognised_and_pseudo_symmetry_refused() -> None:
    """A tetragonal crystal given as triclinic on other axes; and one whose b differs from a by half a percent."""
    change = np.array([[0, 1, 0], [0, 0, 1], [1, 0, 0]])
    for cell, expected in (((60, 60, 45, 90, 90, 90), "tP"), ((60, 60.3, 45, 90, 90, 90), "oP")):
        experiment = rotation_experiment(cell, "P 1")
        spots = perfect_spots(experiment, 3.0, noise=0.1)
        experiment.crystal = experiment.crystal.change_basis(change)
        spots["miller_index"] = reindexed(spots["miller_index"], change)
        chosen = choose_lattice(compare_lattices(ExperimentList([experiment]), spots))
        assert chosen.candidate.bravais == expected
        moved = spots.copy()
        moved["miller_index"] = reindexed(moved["miller_index"], chosen.candidate.basis)
        experiment.crystal = chosen.candidate.crystal
        predict_reflections(moved, ExperimentList([experiment]))
        assert np.abs(moved["xyzcal.px"] - moved["xyzobs.px.value"]).mean() < 1.0


def test_truncated_spots_have_no_say_on_the_angle() -> None:
    experiment = rotation_experiment()
    spots = perfect_spots(experiment, 4.0)
    x, y, z = np.floor(spots["xyzobs.px.value"]).astype(int).T
    spots["bbox"] = np.column_stack([x - 2, x + 3, y - 2, y + 3, np.maximum(z - 1, 0), z + 2]).astype(np.int32)
    selection = select(spots, ExperimentList([experiment]), RefinementSettings())
    z = z[selection.rows]
    np.testing.assert_array_equal(selection.phi_weight == 0, (z <= 1) | (z >= 118))
    assert len(predict_all(experiment, 4.0)) >= len(spots)


def test_truncated_spots_have_a_say_where_hardly_one_was_seen_whole() -> None:
    experiment = rotation_experiment(n=6)
    spots = perfect_spots(experiment, 3.0)
    n = len(spots)
    for whole in (4, 5):
        z = np.where(np.arange(n)[:, None] < whole, (2, 4), (0, 3))
        spots["bbox"] = np.column_stack([np.zeros((n, 4)), z]).astype(np.int32)
        selection = select(spots, ExperimentList([experiment]), RefinementSettings())
        assert (selection.phi_weight == 0).sum() == (0 if whole == 4 else len(selection.rows) - 5)
