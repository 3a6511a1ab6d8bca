"""The scaling engine, error model and outliers, on observations drawn with known errors."""

from __future__ import annotations

from typing import Any

import gemmi
import numpy as np
import pytest
from scipy.sparse import csr_matrix

from xtal.physics.merging import Intensities, Segments, merge
from xtal.physics.scaling import (
    ErrorModel,
    ScalingSettings,
    fit_error_model,
    leave_one_out,
    reject_outliers,
    scale_intensities,
    scaling_data,
)
from xtal.physics.scaling.kernels import accumulate_normal
from xtal.physics.scaling.outliers import improbable
from xtal.physics.scaling.target import anomalous_ratio

CELL, GROUP = gemmi.UnitCell(30, 40, 50, 90, 90, 90), gemmi.SpaceGroup("P 21 21 21")


class Batches:
    """A scaling model of one factor per batch."""

    def __init__(self, batch: np.ndarray) -> None:
        self.batch, self.n_parameters = batch, int(batch.max()) + 1
        self.names = [f"scale {k}" for k in range(self.n_parameters)]

    def prepare(self, experiment: Any, table: Any) -> None: ...

    def initial(self) -> np.ndarray:
        return np.ones(self.n_parameters)

    def scales_and_jacobian(self, parameters: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, Any]:
        batch = self.batch[rows]
        ones = np.ones(len(rows))
        return parameters[batch], csr_matrix((ones, batch, np.arange(len(rows) + 1)), (len(rows), self.n_parameters))

    def restraints(self, parameters: np.ndarray) -> tuple[np.ndarray, Any]:
        return np.zeros(0), csr_matrix((0, self.n_parameters))

    def to_json(self, parameters: np.ndarray, esds: np.ndarray) -> dict[str, Any]:
        return {}


def drawn(
    n: int, multiplicity: float, b: float = 0.0, seed: int = 0, quoted: float = 1.0
) -> tuple[Intensities, np.ndarray, np.ndarray, np.ndarray]:
    """Observations in 6 batches of known scale with errors of counting and a share b of the intensity.

    ``quoted`` is what the stated background variance is multiplied by.
    """
    rng = np.random.default_rng(seed)
    hkl = gemmi.make_miller_array(CELL, GROUP, 1.6)[: int(n / multiplicity)]
    wilson = 300 * rng.exponential(size=len(hkl))
    at = rng.integers(0, len(hkl), n)
    signs = np.array([[1, 1, 1], [-1, -1, 1], [1, -1, -1], [-1, 1, -1]])[rng.integers(0, 4, n)]
    signs = signs * np.where(rng.random(n) < 0.5, 1, -1)[:, None]
    batch, scales = rng.integers(0, 6, n), np.array([1.0, 1.2, 0.8, 1.1, 0.9, 1.3])
    expected, background = wilson[at] * scales[batch], rng.uniform(20.0, 80.0, n)
    counts = rng.poisson(expected + background) - background + b * expected * rng.normal(size=n)
    variance = np.maximum(counts, 0) + quoted * background
    ones = np.ones(n)
    data = Intensities(np.arange(n), (hkl[at] * signs).astype(np.int32), counts, variance, counts, ones, ones)
    return data, batch, scales, wilson[at]


@pytest.mark.parametrize("multiplicity", [2.5, 6.0])
def test_scales_and_honest_sigmas_come_back(multiplicity: float) -> None:
    observed, batch, scales, true = drawn(12000, multiplicity, b=0.03, quoted=2.5)
    data = scaling_data([observed], CELL, GROUP)
    result = scale_intensities([Batches(batch)], data, ScalingSettings())
    found = result.parameters[0] / result.parameters[0].mean() * scales.mean()
    np.testing.assert_allclose(found, scales, rtol=0.01)
    assert result.error_model.background == pytest.approx(1 / 2.5, rel=0.2)
    assert np.sqrt(result.error_model.square) == pytest.approx(0.03, abs=0.006)
    level = scales.mean() / result.parameters[0].mean()
    merged = merge(observed.hkl, data.value / result.scale / level, result.variance / result.scale**2 / level**2, GROUP)
    keyed = merge(observed.hkl, true, np.ones(len(true)), GROUP)
    for kind in ("mean", "plus", "minus"):
        pull = (getattr(merged, kind) - getattr(keyed, kind)) / getattr(
            merged, "sigma" if kind == "mean" else f"sigma_{kind}"
        )
        assert np.nanstd(pull) == pytest.approx(1.0, abs=0.1)
        assert abs(np.nanmean(pull)) < 0.12


def test_several_experiments_are_scaled_together() -> None:
    observed, batch, scales, _ = drawn(6000, 5.0)
    half = np.arange(len(observed)) < 3000
    parts = [observed.select(half), observed.select(~half)]
    data = scaling_data(parts, CELL, GROUP)
    result = scale_intensities([Batches(batch[half]), Batches(batch[~half])], data)
    together = np.concatenate(result.parameters)
    np.testing.assert_allclose(together / together.mean(), np.tile(scales, 2) / scales.mean(), rtol=0.02)


def test_friedel_mates_kept_apart_still_tell_the_scales() -> None:
    """Each hand in batches of its own: only the near equality of the hands relates the halves of the scan."""
    observed, batch, scales, _ = drawn(8000, 4.0, seed=4)
    data = scaling_data([observed], CELL, GROUP)
    plus = data.apart.keys[data.apart.group] % 2 == 1
    rows = np.flatnonzero(plus == (batch < 3))
    rng = np.random.default_rng(1)
    delta = (0.06 * rng.normal(size=len(data.laue)))[data.laue.group]
    few = observed.select(rows)
    few.value *= np.where(plus, 1 + delta / 2, 1 - delta / 2)[rows]
    result = scale_intensities([Batches(batch[rows])], scaling_data([few], CELL, GROUP))
    found = result.parameters[0] / result.parameters[0].mean() * scales.mean()
    np.testing.assert_allclose(found, scales, rtol=0.015)
    assert result.anomalous == pytest.approx(0.06, abs=0.015)
    together = scale_intensities([Batches(batch[rows])], scaling_data([few], CELL, GROUP, anomalous=False))
    assert together.anomalous == 0.0


def test_anomalous_ratio_sees_through_errors() -> None:
    rng = np.random.default_rng(7)
    mean, variance = rng.exponential(300.0, 20000), rng.uniform(10.0, 400.0, 20000)
    noise = np.sqrt(variance) * rng.normal(size=20000)
    assert anomalous_ratio(0.04 * mean * rng.normal(size=20000) + noise, variance, mean) == pytest.approx(
        0.04, rel=0.05
    )
    assert anomalous_ratio(noise, variance, mean) < 0.006
    assert anomalous_ratio(np.zeros(0), np.zeros(0), np.zeros(0)) == 0.0


def test_results_do_not_depend_on_chance() -> None:
    observed, batch, _, _ = drawn(4000, 5.0)
    runs = [
        scale_intensities(
            [Batches(batch)], scaling_data([observed], CELL, GROUP), ScalingSettings(max_observations=2000)
        )
        for _ in range(2)
    ]
    np.testing.assert_array_equal(runs[0].scale, runs[1].scale)
    np.testing.assert_array_equal(runs[0].variance, runs[1].variance)


def test_where_nothing_is_observed_twice_scales_stay() -> None:
    observed, _batch, _, _ = drawn(4000, 5.0)
    _, first = np.unique(observed.hkl, axis=0, return_index=True)
    few = observed.select(np.sort(first)[:1])
    result = scale_intensities([Batches(np.zeros(1, int))], scaling_data([few], CELL, GROUP))
    assert result.history == [] and not result.outlier.any()
    assert np.all(result.scale == 1.0) and np.all(result.variance > 0)


def test_outliers_go_and_their_mates_stay() -> None:
    observed, batch, _, _ = drawn(8000, 6.0)
    rng = np.random.default_rng(3)
    bad = rng.choice(len(observed), 40, replace=False)
    observed.value[bad] += 4000.0
    result = scale_intensities([Batches(batch)], scaling_data([observed], CELL, GROUP))
    counts = Segments(scaling_data([observed], CELL, GROUP).laue.group).counts
    testable = counts[scaling_data([observed], CELL, GROUP).laue.group[bad]] > 2
    assert result.outlier[bad][testable].mean() > 0.9
    others = np.ones(len(observed), dtype=bool)
    others[bad] = False
    assert result.outlier[others].mean() < 0.005


def test_what_wilson_does_not_allow_goes_unless_an_equivalent_agrees() -> None:
    observed, batch, _, truth = drawn(4000, 2.0)
    data = scaling_data([observed], CELL, GROUP)
    clean = scale_intensities([Batches(batch)], data).outlier
    counts = data.laue.counts[data.laue.group]
    single, pair = (np.flatnonzero((counts == n) & (truth < 300.0)) for n in (1, 2))
    bad = np.concatenate([single[:5], pair[:1]])
    mates = np.flatnonzero(data.laue.group == data.laue.group[pair[-1]])
    observed.value[bad] += 90_000.0
    observed.value[mates] += 90_000.0
    data = scaling_data([observed], CELL, GROUP)
    found = scale_intensities([Batches(batch)], data).outlier
    assert found[bad].all() and not found[mates].any()
    assert found.sum() - len(bad) <= clean.sum() + 2


def test_noise_is_not_improbable() -> None:
    rng = np.random.default_rng(11)
    value, shell = rng.normal(0.0, 3.0, 20_000), np.arange(20_000) // 500
    value -= shell % 3  # shells that hold nothing, some with too high a background
    assert not improbable(value, np.full(20_000, 9.0), shell, Segments(np.arange(20_000))).any()


def test_reject_outliers_agrees_with_a_loop() -> None:
    rng = np.random.default_rng(5)
    keys = rng.integers(0, 60, 400)
    value, variance = rng.normal(size=400) * 3, rng.uniform(0.5, 2, 400)
    kept = reject_outliers(value, variance, Segments(keys), np.ones(400, bool), z_max=2.5)
    for key in range(60):
        rows = list(np.flatnonzero(keys == key))
        while len(rows) > 2:
            z = []
            for i in rows:
                others = [j for j in rows if j != i]
                w = 1 / variance[others]
                z.append(abs(value[i] - (w * value[others]).sum() / w.sum()) / np.sqrt(variance[i] + 1 / w.sum()))
            if max(z) <= 2.5:
                break
            rows.pop(int(np.argmax(z)))
        assert sorted(rows) == np.flatnonzero((keys == key) & kept).tolist()


def test_error_model_keeps_its_start_without_equivalents() -> None:
    observed, _, _, _ = drawn(50, 1.0)
    data = scaling_data([observed], CELL, GROUP)
    start = ErrorModel(2.0, 1.5, 1e-4)
    use = np.ones(len(data), dtype=bool)
    assert fit_error_model(data, np.ones(len(data)), np.maximum(data.value, 1), use, start) is start
    assert start.a == pytest.approx(np.sqrt(1.5)) and start.i_over_sigma_limit == pytest.approx(100)


def test_leave_one_out_needs_two_others() -> None:
    z = leave_one_out(np.array([0.0, 9.0]), np.ones(2), Segments(np.zeros(2, int)), np.ones(2, bool))
    np.testing.assert_array_equal(z, 0)


def test_normal_equations_agree_with_their_slow_twin() -> None:
    """The kernel against finite differences of the objective and the projected Jacobian."""
    rng = np.random.default_rng(2)
    n, p = 60, 5
    groups = Segments(rng.integers(0, 12, n))
    jacobian = rng.normal(size=(n, p)) * (rng.random((n, p)) < 0.6)
    scale, value, weight = rng.uniform(0.5, 2, n), rng.normal(10, 2, n), rng.uniform(0.1, 1, n)
    sparse = csr_matrix(jacobian)
    normal, gradient = np.zeros((p, p)), np.zeros(p)
    objective = accumulate_normal(
        groups.starts, groups.order, sparse.indptr.astype(np.int64), sparse.indices.astype(np.int32), sparse.data,
        np.zeros(n, np.int64), weight, scale, value, normal, gradient,
    )  # fmt: skip
    slow, slow_gradient, total = np.zeros((p, p)), np.zeros(p), 0.0
    for k in range(len(groups)):
        i = groups.order[groups.starts[k] : groups.starts[k + 1]]
        mean = (weight[i] * scale[i] * value[i]).sum() / (weight[i] * scale[i] ** 2).sum()
        root = np.sqrt(weight[i])
        along = root * scale[i] / np.linalg.norm(root * scale[i])
        j = mean * root[:, None] * jacobian[i]
        j -= np.outer(along, along @ j)
        r = root * (value[i] - scale[i] * mean)
        slow, slow_gradient, total = slow + j.T @ j, slow_gradient + j.T @ r, total + r @ r
    np.testing.assert_allclose(np.tril(normal), np.tril(slow), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(gradient, slow_gradient, rtol=1e-9)
    assert objective == pytest.approx(total)
