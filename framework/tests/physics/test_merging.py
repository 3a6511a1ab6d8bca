"""Merging, statistics, amplitudes and free sets against slow computations."""

from __future__ import annotations

import gemmi
import numpy as np
import pytest

from xtal.errors import DataError
from xtal.physics.merging import (
    Segments,
    amplitudes,
    free_flags,
    integrated_intensities,
    merge,
    merged_columns,
    merging_statistics,
    resolution_limit,
    scaled_intensities,
    wilson_mean,
)
from xtal.physics.merging.statistics import ShellStatistics
from xtal.physics.symmetry import centric, epsilon, representatives
from xtal.table import Flag, ReflectionTable

CELL, GROUP = gemmi.UnitCell(30, 40, 50, 90, 90, 90), gemmi.SpaceGroup("P 21 21 21")


def drawn(n: int = 3000, seed: int = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Indices of equivalents of both hands, observed, variance and true intensity."""
    rng = np.random.default_rng(seed)
    unique = gemmi.make_miller_array(CELL, GROUP, 2.5)
    wilson = 100 * np.where(
        centric(unique, GROUP), rng.normal(size=len(unique)) ** 2, rng.exponential(size=len(unique))
    )
    at = rng.integers(0, len(unique), n)
    signs = np.array([[1, 1, 1], [-1, -1, 1], [1, -1, -1], [-1, 1, -1]])[rng.integers(0, 4, n)]
    hand = np.where(rng.random(n) < 0.5, 1, -1)[:, None]
    true = (wilson * epsilon(unique, GROUP))[at]
    variance = true + rng.uniform(20, 60, n)
    return (unique[at] * signs * hand).astype(np.int32), true + rng.normal(size=n) * np.sqrt(variance), variance, true


def test_merge_agrees_with_a_loop() -> None:
    hkl, value, variance, _ = drawn()
    merged = merge(hkl, value, variance, GROUP)
    asu, operations = gemmi.ReciprocalAsu(GROUP), GROUP.operations()
    slow: dict[tuple[int, ...], list[tuple[float, float, bool]]] = {}
    for h, x, v in zip(hkl.tolist(), value, variance, strict=True):
        index, isym = asu.to_asu(h, operations)
        plus = isym % 2 == 1 or operations.is_reflection_centric(h)
        slow.setdefault(tuple(index), []).append((x, v, plus))
    assert [tuple(h) for h in merged.hkl.tolist()] == sorted(slow)
    for k, h in enumerate(sorted(slow)):
        for choose, mean, sigma, n in (
            ((True, False), merged.mean, merged.sigma, merged.n),
            ((True,), merged.plus, merged.sigma_plus, merged.n_plus),
            ((False,), merged.minus, merged.sigma_minus, merged.n_minus),
        ):
            rows = [(x, v) for x, v, plus in slow[h] if plus in choose]
            assert n[k] == len(rows)
            if not rows:
                assert np.isnan(mean[k]) and np.isnan(sigma[k])
                continue
            w = sum(1 / v for _, v in rows)
            assert mean[k] == pytest.approx(sum(x / v for x, v in rows) / w)
            assert sigma[k] == pytest.approx(w**-0.5)


def test_absent_reflections_are_dropped_unless_asked_for() -> None:
    hkl = np.array([[3, 0, 0], [4, 0, 0]])
    assert merge(hkl, np.ones(2), np.ones(2), GROUP).hkl.tolist() == [[4, 0, 0]]
    assert len(merge(hkl, np.ones(2), np.ones(2), GROUP, keep_absent=True).hkl) == 2


def test_internal_variance_raises_the_sigma_of_equivalents_that_disagree() -> None:
    hkl = np.array([[1, 2, 3], [-1, -2, 3], [2, 2, 2], [-2, -2, 2]])
    value = np.array([10.0, 20.0, 10.0, 10.1])
    plain = merge(hkl, value, np.ones(4), GROUP)
    wide = merge(hkl, value, np.ones(4), GROUP, internal_variance=True)
    assert wide.sigma[0] == pytest.approx(np.sqrt(50 / 2)) and plain.sigma[0] == pytest.approx(np.sqrt(0.5))
    assert wide.sigma[1] == plain.sigma[1]


def test_statistics_agree_with_a_loop() -> None:
    hkl, value, variance, _ = drawn()
    shells, overall = merging_statistics(hkl, value, variance, CELL, GROUP, 5)
    keys, _ = representatives(hkl, GROUP)
    spread = {1.0: 0.0, 2.0: 0.0, 3.0: 0.0}
    total = 0.0
    for key in np.unique(keys):
        x, w = value[keys == key], 1 / variance[keys == key]
        if len(x) < 2:
            continue
        deviation = np.abs(x - (w * x).sum() / w.sum()).sum()
        total += x.sum()
        spread[1.0] += deviation
        spread[2.0] += deviation * np.sqrt(len(x) / (len(x) - 1))
        spread[3.0] += deviation * np.sqrt(1 / (len(x) - 1))
    assert overall.r_merge == pytest.approx(spread[1.0] / total)
    assert overall.r_meas == pytest.approx(spread[2.0] / total)
    assert overall.r_pim == pytest.approx(spread[3.0] / total)
    assert overall.n_unique == len(np.unique(keys)) and overall.n_observations == len(hkl)
    assert sum(s.n_unique for s in shells) == overall.n_unique
    assert sum(s.n_possible for s in shells) == overall.n_possible
    assert overall.completeness == pytest.approx(overall.n_unique / overall.n_possible)


def test_cc_half_matches_random_halves() -> None:
    hkl, value, variance, _ = drawn(20000)
    _, overall = merging_statistics(hkl, value, variance, CELL, GROUP, 5)
    keys, _ = representatives(hkl, GROUP)
    rng = np.random.default_rng(0)
    found = []
    for _ in range(20):
        order = rng.permutation(len(keys))
        segments = Segments(keys[order])
        rank = np.empty(len(keys), dtype=int)
        rank[segments.order] = np.arange(len(keys)) - np.repeat(segments.starts[:-1], segments.counts)
        first = rank % 2 == 0
        means = [
            segments.sum(np.where(half, value[order], 0)) / np.maximum(segments.sum(half), 1)
            for half in (first, ~first)
        ]
        good = segments.counts > 1
        found.append(np.corrcoef(means[0][good], means[1][good])[0, 1])
    assert overall.cc_half == pytest.approx(np.mean(found), abs=0.003)


def test_wilson_mean_and_amplitudes_reproduce_the_truth_on_average() -> None:
    hkl, value, variance, true = drawn(6000)
    merged = merge(hkl, value, variance, GROUP)
    order = dict(zip(representatives(hkl, GROUP)[0].tolist(), true.tolist(), strict=True))
    truth = np.array([order[k] for k in representatives(merged.hkl, GROUP)[0].tolist()])
    mean = wilson_mean(merged.hkl, merged.mean, CELL, GROUP)
    assert np.mean(mean / epsilon(merged.hkl, GROUP)) == pytest.approx(100, rel=0.1)
    found = amplitudes(merged.mean, merged.sigma, mean, merged.centric)
    pull = (found.f - np.sqrt(truth)) / found.sigma_f
    assert abs(pull.mean()) < 0.1 and 0.85 < pull.std() < 1.15
    assert np.all(found.f > 0)


@pytest.mark.parametrize("centric_reflection", [False, True])
@pytest.mark.parametrize("h", [-30.0, -8.0, -3.7, 0.0, 1.3, 4.0, 8.0, 11.5, 30.0])
def test_french_wilson_moments_are_integrals(h: float, centric_reflection: bool) -> None:
    found = amplitudes(np.array([h + 1e-9]), np.ones(1), np.array([1e9]), np.array([centric_reflection]))
    root = np.linspace(0, np.sqrt(max(h, 0) + 12), 400_001)[1:]
    log = -0.5 * (root**2 - h) ** 2 + (0 if centric_reflection else np.log(root))
    weight = np.exp(log - log.max())
    weight /= weight.sum()
    j, f = (weight * root**2).sum(), (weight * root).sum()
    assert found.j[0] == pytest.approx(j, rel=3e-3)
    assert found.f[0] == pytest.approx(f, rel=3e-3)
    assert found.sigma_f[0] == pytest.approx(np.sqrt(j - f**2), rel=0.02)


def test_columns_leave_out_what_is_absent() -> None:
    hkl, value, variance, _ = drawn()
    merged = merge(hkl, value, variance, GROUP)
    columns = {c.label: c for c in merged_columns(merged, CELL, GROUP)}
    assert np.all(np.isnan(columns["I(-)"].values[merged.centric]))
    assert np.all(np.isnan(columns["DANO"].values[merged.centric]))
    np.testing.assert_array_equal(np.isnan(columns["I(+)"].values), np.isnan(columns["F(+)"].values))
    assert "F" not in {c.label for c in merged_columns(merged, CELL, GROUP, truncate=False)}


def test_free_flags_are_shared_by_what_the_lattice_makes_equivalent() -> None:
    cell = gemmi.UnitCell(40, 40, 50, 90, 90, 90)
    group = gemmi.SpaceGroup("P 4")
    hkl = gemmi.make_miller_array(cell, group, 2.0)
    flags = free_flags(hkl, cell, group)
    np.testing.assert_array_equal(flags, free_flags(hkl[:, [1, 0, 2]], cell, group))
    np.testing.assert_array_equal(flags, free_flags(-hkl, cell, gemmi.SpaceGroup("P 1")))
    assert set(np.unique(flags)) == set(range(20))
    assert np.mean(flags == 0) == pytest.approx(0.05, abs=0.01)
    assert np.any(flags != free_flags(hkl, cell, group, seed=1))


def table(**columns: np.ndarray) -> ReflectionTable:
    n = 4
    base = {
        "id": np.zeros(n, np.int32), "miller_index": np.arange(12, dtype=np.int32).reshape(n, 3),
        "flags": np.full(n, int(Flag.INTEGRATED), np.uint64), "d": np.array([4.0, 3.0, 2.0, 1.5]),
        "intensity.prf.value": np.array([10.0, 20, 30, 40]), "intensity.prf.variance": np.array([4.0, 4, 4, 4]),
        "intensity.sum.value": np.array([8.0, 18, 28, 38]), "intensity.sum.variance": np.array([9.0, 9, 9, 9]),
        "partiality": np.array([1.0, 1.0, 0.5, 0.3]), "lp": np.full(n, 0.5), "qe": np.full(n, 0.8),
    }  # fmt: skip
    return ReflectionTable({**base, **columns})


def test_integrated_intensities_choose_and_correct() -> None:
    flags = np.array([int(Flag.INTEGRATED), int(Flag.INTEGRATED_SUM), int(Flag.INTEGRATED_SUM), int(Flag.INTEGRATED)])
    found = integrated_intensities(table(flags=flags.astype(np.uint64)))
    assert found.rows.tolist() == [0, 1, 2]
    np.testing.assert_allclose(found.counts, [10, 18, 56])
    np.testing.assert_allclose(found.value, np.array([10, 18, 56]) * 0.5 / 0.8)
    np.testing.assert_allclose(found.variance, np.array([4, 9, 36]) * (0.5 / 0.8) ** 2)
    np.testing.assert_allclose(integrated_intensities(table(), "sum").counts, [8, 18, 56])
    # What is unknown of 1 / p goes with the sum that was recorded, and alike into a fit of the whole.
    unsure = table(**{"partiality.inv.variance": np.array([0.0, 0.0, 0.04, 0.04])})
    np.testing.assert_allclose(
        integrated_intensities(unsure, "sum").variance, np.array([9, 9, 36 + 28**2 * 0.04]) * (0.5 / 0.8) ** 2
    )
    np.testing.assert_allclose(
        integrated_intensities(unsure).variance, np.array([4, 4, 4 + (30 * 0.5) ** 2 * 0.04]) * (0.5 / 0.8) ** 2
    )
    mixed = integrated_intensities(table(), "combine", middle=18.0)
    assert mixed.counts[1] == pytest.approx(19.0)
    with pytest.raises(DataError, match="not integrated"):
        integrated_intensities(table(flags=np.zeros(4, np.uint64)))
    with pytest.raises(DataError, match="No integrated intensity"):
        integrated_intensities(table(), min_i_over_sigma=1e9)


def test_scaled_intensities_divide_by_the_scale_and_skip_outliers() -> None:
    flags = np.array([0, int(Flag.OUTLIER_IN_SCALING), 0, 0], np.uint64)
    scaled = table(
        flags=flags, inverse_scale_factor=np.array([2.0, 2, 2, 2]),
        **{"intensity.scale.value": np.array([10.0, 20, 30, 40]), "intensity.scale.variance": np.array([4.0, 4, 4, 4])},
    )  # fmt: skip
    found = scaled_intensities(scaled, d_min=1.8)
    assert found.rows.tolist() == [0, 2]
    np.testing.assert_allclose(found.value, [5, 15])
    np.testing.assert_allclose(found.variance, [1, 1])


def test_resolution_limit_finds_the_fall_of_cc_half() -> None:
    edges = np.linspace(0.05, 0.45, 21)
    x = 0.5 * (edges[1:] + edges[:-1])
    curve = 0.5 * (1 - np.tanh((x - 0.3) / 0.08))
    blank = dict.fromkeys((a.name for a in ShellStatistics.__attrs_attrs__), 0.0)
    shells = [
        ShellStatistics(**{**blank, "d_max": a**-0.5, "d_min": b**-0.5, "cc_half": c, "cc_half_n": 200})
        for a, b, c in zip(edges[:-1], edges[1:], curve, strict=True)
    ]
    expected = (0.3 + 0.08 * np.arctanh(0.4)) ** -0.5
    assert resolution_limit(shells) == pytest.approx(expected, rel=0.01)
    assert resolution_limit(shells[:8]) is None
