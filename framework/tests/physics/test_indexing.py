"""Indexing: largest cell, lattices from vectors, assignment, wrong origins."""

from __future__ import annotations

import numpy as np
import pytest

from xtal.errors import AlgorithmFailed
from xtal.models import ExperimentList, rotation_matrix
from xtal.models.crystal import b_matrix
from xtal.physics.indexing import (
    assign_indices,
    best_lattices,
    coherent_shifts,
    estimate_max_cell,
    fit_setting,
    fit_with_shift,
    log_evidence,
    neighbour_differences,
    offset_classes,
    same_lattice,
    score_lattice,
    share_on_plane,
    shift_derivatives,
    shift_for_offset,
    shifted,
    sublattices,
)
from xtal.physics.rays import map_to_reciprocal

TURN = rotation_matrix((3, -1, 2), 0.7)


def points(cell: tuple[float, ...], d_min: float, n: int = 1500, noise: float = 3e-4, seed: int = 3) -> tuple:  # type: ignore[type-arg]
    """Setting matrix, indices and noisy reciprocal-lattice points."""
    rng = np.random.default_rng(seed)
    a_matrix = TURN @ b_matrix(cell)
    limit = int(np.ceil(max(cell[:3]) / d_min))
    hkl = rng.integers(-limit, limit + 1, (40 * n, 3))
    hkl = np.unique(hkl[np.any(hkl != 0, axis=1)], axis=0)
    hkl = hkl[np.linalg.norm(hkl @ a_matrix.T, axis=1) < 1 / d_min]
    hkl = hkl[np.sort(rng.permutation(len(hkl))[:n])]
    return a_matrix, hkl, hkl @ a_matrix.T + noise * rng.normal(size=(len(hkl), 3))


def lattice_vectors(a_matrix: np.ndarray, extra: bool = True) -> np.ndarray:
    """Short vectors of a lattice, their multiples and a stray one, a little off."""
    rng = np.random.default_rng(1)
    whole = np.array([v for v in np.ndindex(5, 5, 5) if any(np.array(v) - 2)]) - 2
    vectors = whole @ np.linalg.inv(a_matrix)
    vectors = vectors[np.argsort(np.linalg.norm(vectors, axis=1), kind="stable")][:24:2]
    return np.concatenate([vectors, [[11.0, 27.0, 41.0]]]) + 0.3 * rng.normal(size=(13, 3))


@pytest.mark.parametrize(
    "cell", [(40, 55, 70, 90, 90, 90), (79, 79, 38, 90, 90, 90), (30, 40, 52, 82, 95, 107), (70, 70, 70, 109, 109, 110)]
)
def test_best_lattice_is_the_one_that_made_the_points(cell: tuple[float, ...]) -> None:
    a_matrix, _, rlp = points(cell, 3.0)
    found = best_lattices(lattice_vectors(a_matrix), rlp)
    assert same_lattice(found[0].A, a_matrix)
    assert found[0].score.fraction > 0.99
    assert found[0].score.log_likelihood > found[1].score.log_likelihood + 0.3


@pytest.mark.parametrize("factor", [2, 3])
def test_super_and_sub_cells_are_corrected(factor: int) -> None:
    a_matrix, _, rlp = points((40, 55, 70, 90, 90, 90), 3.0)
    real = np.linalg.inv(a_matrix)
    larger = np.diag([1.0, factor, 1.0]) @ real
    smaller = np.diag([1.0, 1.0 / factor, 1.0]) @ real
    assert same_lattice(best_lattices(larger, rlp)[0].A, a_matrix)
    assert same_lattice(best_lattices(smaller, rlp)[0].A, a_matrix)


def test_stray_spots_do_not_matter_much() -> None:
    a_matrix, _, rlp = points((40, 55, 70, 90, 90, 90), 3.0)
    stray = np.random.default_rng(5).uniform(-0.3, 0.3, (1500, 3))
    both = np.concatenate([rlp, stray])
    assert same_lattice(best_lattices(lattice_vectors(a_matrix), both)[0].A, a_matrix)


def test_score_agrees_with_a_slow_sum() -> None:
    a_matrix, _, rlp = points((40, 55, 70, 80, 95, 100), 4.0, n=60)
    score = score_lattice(a_matrix, rlp)
    distances, inside = [], 0
    for r in rlp:
        h = np.linalg.solve(a_matrix, r)
        delta = h - np.round(h)
        if delta @ delta < 0.09:
            inside += 1
            distances.append(np.sum((a_matrix @ delta) ** 2))
    assert score.fraction == pytest.approx(inside / len(rlp))
    assert score.rmsd == pytest.approx(np.sqrt(np.mean(distances)))
    assert score.sigma == pytest.approx(3e-4, rel=0.3)


def test_evidence_is_for_the_lattice_that_made_the_points_and_against_one_fitted_to_noise() -> None:
    a_matrix, hkl, rlp = points((40, 55, 70, 80, 95, 100), 4.0, n=25)
    assert log_evidence(a_matrix, rlp) > 50
    rng = np.random.default_rng(4)
    for n in (12, 40, 200):
        noise = rng.uniform(-0.2, 0.2, (n, 3))
        vectors = np.concatenate([np.linalg.inv(a_matrix), rng.uniform(-60, 60, (25, 3))])
        best = best_lattices(vectors, noise)[0]
        assert log_evidence(best.A, noise) < 0
    assert log_evidence(a_matrix, rlp, known=2 / 3) > log_evidence(a_matrix, rlp)
    assert share_on_plane(hkl) < 0.5
    assert share_on_plane(hkl * [1, 0, 1]) == 1.0


def test_fit_takes_a_setting_that_is_off_to_the_right_one() -> None:
    a_matrix, _, rlp = points((40, 55, 70, 90, 90, 90), 2.5)
    start = rotation_matrix((1, 1, 0), 0.01) @ a_matrix * 1.004
    np.testing.assert_allclose(fit_setting(start, rlp), a_matrix, atol=3e-5)


def test_number_of_sublattices() -> None:
    assert [len(sublattices(n)) for n in (2, 3, 4)] == [7, 13, 35]
    assert all(round(np.linalg.det(m)) == 4 for m in sublattices(4))


@pytest.mark.parametrize("cell", [(40, 55, 70, 90, 90, 90), (20, 25, 140, 90, 90, 90)])
def test_longest_edge_is_not_missed(cell: tuple[float, ...]) -> None:
    a_matrix = TURN @ b_matrix(cell)
    rng = np.random.default_rng(2)
    hkl = np.array(list(np.ndindex(12, 12, 40))) - np.array([6, 6, 20])
    rlp = (hkl @ a_matrix.T)[rng.random(len(hkl)) < 0.7]
    split = rlp[:40] + 2e-4
    both = np.concatenate([rlp, split])
    groups, phi = np.zeros(len(both), np.int64), np.zeros(len(both))
    found = estimate_max_cell(both, phi, groups)
    assert max(cell[:3]) <= found <= 3 * 1.3 * max(cell[:3])
    with pytest.raises(AlgorithmFailed, match="too few"):
        estimate_max_cell(rlp[:5], phi[:5], groups[:5])


def test_assignment_of_two_lattices_and_duplicates() -> None:
    a1, h1, r1 = points((40, 55, 70, 90, 90, 90), 4.0, n=400)
    a2 = rotation_matrix((1, 0, 1), 0.6) @ a1
    _, h2, _ = points((40, 55, 70, 90, 90, 90), 4.0, n=400, seed=9)
    rlp = np.concatenate([r1, h2 @ a2.T, r1[:1] + 2e-3, r1[1:2] + 2e-3])
    phi = np.zeros(len(rlp))
    phi[-1] = 2.0
    found = assign_indices([a1, a2], rlp, phi, np.zeros(len(rlp), np.int64))
    both_near = np.array([np.linalg.norm(np.linalg.inv(a1) @ r - np.round(np.linalg.inv(a1) @ r)) < 0.3 for r in rlp])
    assert np.mean(found.lattice[:400] == 0) > 0.99
    np.testing.assert_array_equal(found.hkl[:400][found.lattice[:400] == 0], h1[found.lattice[:400] == 0])
    mine = (found.lattice[400:800] == 1) | both_near[400:800]
    assert np.all(mine)
    assert found.lattice[-2] == -1 and np.all(found.hkl[-2] == 0), "the farther of two spots of one index loses it"
    assert found.lattice[-1] == 0, "at another angle it is another reflection"


def test_no_index_zero_and_none_beyond_the_limit() -> None:
    a_matrix, _, rlp = points((40, 55, 70, 90, 90, 90), 3.0, n=200)
    rlp = np.concatenate([rlp, [[1e-4, 0, 0]]])
    n = np.zeros(len(rlp))
    found = assign_indices([a_matrix], rlp, n, n.astype(np.int64), d_min=5.0)
    fine = np.linalg.norm(rlp, axis=1) > 0.2
    assert np.all(found.lattice[fine] == -1) and found.lattice[-1] == -1


def test_detector_shift_and_wrong_origin_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys
    from pathlib import Path

    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    sys.modules.pop("geometry_cases", None)
    from geometry_cases import perfect_spots, rotation_experiment

    experiment = rotation_experiment(n=4)
    table = perfect_spots(experiment, 3.0)
    assert experiment.crystal is not None
    a_matrix = experiment.crystal.A
    images = shifted(ExperimentList([experiment]), np.array([0.3, -0.2, 0.0]))
    map_to_reciprocal(table, images)
    slopes = shift_derivatives(table, images)
    step = 1e-3
    moved = shifted(images, np.array([0.0, step, 0.0]))
    other = table.copy()
    map_to_reciprocal(other, moved)
    np.testing.assert_allclose((other["rlp"] - table["rlp"]) / step, slopes[:, :, 1], atol=2e-7)
    _, shift = fit_with_shift(a_matrix, np.asarray(table["rlp"]), slopes, np.array([3.0, 3.0, 0.0]))
    np.testing.assert_allclose(shift, [-0.3, 0.2, 0.0], atol=0.03)

    hkl = np.asarray(table["miller_index"])
    even = hkl[hkl.sum(axis=1) % 2 == 0]
    assert offset_classes(even) == []
    found = offset_classes(even + np.array([1, 0, 0], dtype=np.int32))
    assert len(found) == 1 and found[0].modulus == 2 and found[0].remainder == 1
    _, offset = shift_for_offset(found, a_matrix, slopes, np.zeros(3))
    assert (offset.sum() + 1) % 2 == 0


def test_differences_are_vectors_of_the_lattice_whatever_its_origin() -> None:
    """Also where half of the spots are of another lattice: of those across most are dropped."""
    a_matrix, _, rlp = points((40, 55, 70, 90, 90, 90), 4.0, noise=0.0)
    other = points((40, 55, 70, 90, 90, 90), 4.0, noise=0.0, seed=5)[2] @ rotation_matrix((1, 2, 3), 0.5).T
    spots = np.concatenate([rlp, other])
    phi, groups = np.zeros(len(spots)), np.zeros(len(spots), np.int64)
    for moved in (spots, spots + np.array([0.004, -0.013, 0.02])):
        steps = neighbour_differences(moved, phi, groups)
        across = [
            score_lattice(turn @ a_matrix, steps, 0.01).fraction
            for turn in (np.eye(3), rotation_matrix((1, 2, 3), 0.5))
        ]
        assert min(across) > 0.3 and sum(across) > 0.9
    assert len(neighbour_differences(rlp, np.arange(len(rlp)) * 1.0, groups[: len(rlp)])) == 0
    assert len(neighbour_differences(rlp[:1], phi[:1], groups[:1])) == 0


def test_coherent_shifts_are_peaks_of_a_slow_sum() -> None:
    a_matrix, _, rlp = points((40, 55, 70, 90, 90, 90), 4.0, n=300)
    rng = np.random.default_rng(2)
    slopes = np.eye(3) / 150.0 + 0.002 * rng.normal(size=(len(rlp), 3, 3))
    true = np.array([1.9, -3.1, 0.0])
    moved = rlp - slopes @ true
    found = coherent_shifts(a_matrix, moved, slopes, 2.0, 6.0, 5)

    def slow(shift: np.ndarray) -> float:
        h = (moved + slopes @ shift) @ np.linalg.inv(a_matrix).T
        return float(np.cos(2 * np.pi * h).sum())

    np.testing.assert_allclose(found[0], true, atol=0.11)
    values = [slow(shift) for shift in found]
    assert values == sorted(values, reverse=True)
    for step in ([0.2, 0, 0], [-0.2, 0, 0], [0, 0.2, 0], [0, -0.2, 0]):
        assert slow(found[1] + np.array(step)) <= values[1] or np.abs(found[1][:2]).max() > 5.9


def test_too_few_vectors_span_no_lattice() -> None:
    rlp = np.random.default_rng(2).normal(scale=0.1, size=(50, 3))
    for n in range(3):
        assert best_lattices(40.0 * np.eye(3)[:n], rlp) == []
