"""Asymmetric units, Laue groups and space groups, on intensities drawn with known symmetry."""

from __future__ import annotations

import gemmi
import numpy as np
import pytest

from xtal.physics.merging import merge
from xtal.physics.symmetry import (
    basis_for_space_group,
    basis_of,
    ccp4_asu,
    centric,
    epsilon,
    find_laue_group,
    lattice_rotations,
    on_axes,
    pack,
    reduced_basis,
    representatives,
    score_space_groups,
    subgroups,
    to_reference,
    unpack,
)
from xtal.physics.symmetry.groups import as_matrix, closure
from xtal.physics.symmetry.settings import conventional_setting

CASES = {
    "P 1": (21, 25, 31, 75, 82, 83),
    "P 1 21 1": (21, 25, 31, 90, 101, 90),
    "C 1 2 1": (45, 22, 31, 90, 103, 90),
    "I 1 2 1": (40, 22, 31, 90, 94, 90),
    "P 21 21 21": (21, 25, 31, 90, 90, 90),
    "P 2 21 21": (21, 25, 31, 90, 90, 90),
    "C 2 2 21": (32, 45, 27, 90, 90, 90),
    "F 2 2 2": (35, 45, 57, 90, 90, 90),
    "I 21 21 21": (35, 42, 27, 90, 90, 90),
    "P 41": (25, 25, 33, 90, 90, 90),
    "P 43 21 2": (25, 25, 33, 90, 90, 90),
    "I 4": (33, 33, 24, 90, 90, 90),
    "P 31 2 1": (25, 25, 33, 90, 90, 120),
    "P 31 1 2": (25, 25, 33, 90, 90, 120),
    "R 3:H": (40, 40, 25, 90, 90, 120),
    "R 3 2:H": (40, 40, 25, 90, 90, 120),
    "P 61 2 2": (25, 25, 40, 90, 90, 120),
    "P 63": (25, 25, 40, 90, 90, 120),
    "I 21 3": (42, 42, 42, 90, 90, 90),
    "P 41 3 2": (36, 36, 36, 90, 90, 90),
    "F 4 3 2": (57, 57, 57, 90, 90, 90),
}


def observed(name: str, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray, gemmi.UnitCell, gemmi.SpaceGroup]:
    """Indices in the true setting, intensities with 3 % error, sigmas, cell, group."""
    group, cell = gemmi.SpaceGroup(name), gemmi.UnitCell(*CASES[name])
    unique = gemmi.make_miller_array(cell, group, 2.2)
    rng = np.random.default_rng(seed)
    wilson = np.where(centric(unique, group), rng.normal(size=len(unique)) ** 2, rng.exponential(size=len(unique)))
    true = dict(zip(representatives(unique, group)[0].tolist(), wilson * epsilon(unique, group), strict=True))
    all_of = np.array(list(np.ndindex(61, 61, 61)), dtype=np.int32) - 30
    d = np.asarray(cell.calculate_d_array(all_of[np.any(all_of != 0, axis=1)]))
    hkl = all_of[np.any(all_of != 0, axis=1)][d > 2.2]
    hkl = hkl[~np.asarray(group.operations().derive_symmorphic().systematic_absences(hkl))]
    mean = np.array([true.get(k, 0.0) for k in representatives(hkl, group)[0].tolist()])
    sigma = 0.02 + 0.03 * mean
    return hkl, mean + rng.normal(size=len(mean)) * sigma, sigma, cell, group


def triclinic(hkl: np.ndarray, cell: gemmi.UnitCell, group: gemmi.SpaceGroup) -> tuple[np.ndarray, gemmi.UnitCell]:
    """The same reflections on an oblique primitive basis that shows nothing of the symmetry."""
    basis = reduced_basis(cell, group.centring_type()) @ np.array([[1, 0, 0], [1, 1, 0], [0, -1, 1.0]])
    a, b, c = (np.array(cell.orth.mat.tolist()) @ basis).T
    la, lb, lc = (np.linalg.norm(v) for v in (a, b, c))
    angles = np.degrees(np.arccos([b @ c / lb / lc, a @ c / la / lc, a @ b / la / lb]))
    return np.rint(hkl @ basis).astype(np.int64), gemmi.UnitCell(la, lb, lc, *angles)


def cell_on(cell: gemmi.UnitCell, basis: np.ndarray) -> gemmi.UnitCell:
    orth = np.array(cell.orth.mat.tolist()) @ basis
    g = orth.T @ orth
    size = np.sqrt(np.diag(g))
    angles = np.degrees(
        np.arccos([g[1, 2] / size[1] / size[2], g[0, 2] / size[0] / size[2], g[0, 1] / size[0] / size[1]])
    )
    return gemmi.UnitCell(*size, *angles)


@pytest.mark.parametrize("name", CASES)
def test_finds_laue_and_space_group_from_an_oblique_primitive_cell(name: str) -> None:
    hkl, value, sigma, cell, group = observed(name)
    hkl, oblique = triclinic(hkl, cell, group)
    reduced = reduced_basis(oblique, "P")
    laue = find_laue_group(np.rint(hkl @ reduced).astype(np.int64), value, sigma, cell_on(oblique, reduced))
    assert laue.best.probability > 0.8
    symmorphic = laue.best.setting.symmorphic
    assert symmorphic.point_group_hm() == group.point_group_hm()
    basis = basis_of(laue.best, reduced, "P")
    conventional = cell_on(oblique, basis)
    merged = merge(np.rint(hkl @ basis), value, sigma**2, symmorphic, keep_absent=True)
    best = score_space_groups(merged.hkl, merged.mean, merged.sigma, conventional, symmorphic)[0]
    assert best.probability > 0.9
    order, found = to_reference(best.group)
    numbers = {found.number, *(g.number for g in (best.enantiomorph, *best.twins) if g is not None)}
    assert group.number in numbers
    new = cell_on(conventional, order)
    assert new.volume == pytest.approx(cell.volume, rel=1e-6)
    np.testing.assert_allclose(sorted(new.parameters[:3]), sorted(cell.parameters[:3]), rtol=0.15)
    if "1 2 1" not in name:
        np.testing.assert_allclose(sorted(new.parameters), sorted(cell.parameters), rtol=1e-6)


def test_a_conventional_setting_is_kept() -> None:
    hkl, value, sigma, cell, group = observed("P 43 21 2")
    reduced = reduced_basis(cell, "P")
    laue = find_laue_group(np.rint(hkl @ reduced).astype(np.int64), value, sigma, cell_on(cell, reduced))
    np.testing.assert_array_equal(basis_of(laue.best, reduced, "P"), np.eye(3))
    np.testing.assert_array_equal(basis_for_space_group(group, cell, "P", reduced, laue), np.eye(3))


@pytest.mark.parametrize("name", ["P 43 21 2", "C 2 2 21", "R 3:H", "C 1 2 1", "P 2 21 21", "I 21 3"])
def test_a_given_space_group_is_reached_from_an_oblique_cell(name: str) -> None:
    hkl, value, sigma, cell, group = observed(name)
    hkl, oblique = triclinic(hkl, cell, group)
    reduced = reduced_basis(oblique, "P")
    laue = find_laue_group(np.rint(hkl @ reduced).astype(np.int64), value, sigma, cell_on(oblique, reduced))
    basis = basis_for_space_group(group, oblique, "P", reduced, laue)
    assert basis is not None
    keys, _ = representatives(np.rint(hkl @ basis), group)
    _, inverse = np.unique(keys, return_inverse=True)
    mean = np.bincount(inverse, value) / np.bincount(inverse)
    assert np.corrcoef(mean[inverse], value)[0, 1] > 0.98
    cubic = gemmi.SpaceGroup("P 4 3 2")
    assert name == "I 21 3" or basis_for_space_group(cubic, oblique, "P", reduced, laue) is None


def test_weak_or_absent_axial_data_leave_the_space_group_open() -> None:
    hkl, value, sigma, cell, _ = observed("P 21 21 21")
    general = np.count_nonzero(hkl, axis=1) > 1
    symmorphic = gemmi.SpaceGroup("P 2 2 2")
    merged = merge(hkl[general], value[general], sigma[general] ** 2, symmorphic, keep_absent=True)
    scores = score_space_groups(merged.hkl, merged.mean, merged.sigma, cell, symmorphic)
    assert len(scores) == 8
    assert scores[0].probability == pytest.approx(1 / 8)
    assert scores[0].group.xhm() == "P 21 21 21"


def test_settings_follow_their_axes() -> None:
    order, reference = to_reference(gemmi.SpaceGroup("P 2 21 21"))
    assert reference.xhm() == "P 21 21 2"
    assert on_axes(gemmi.SpaceGroup("P 2 21 21"), order) == reference
    assert on_axes(gemmi.SpaceGroup("P 21 2 2"), order).xhm() == "P 2 2 21"
    assert on_axes(gemmi.SpaceGroup("P 21 21 21"), order).xhm() == "P 21 21 21"


def test_one_intense_absence_does_not_overturn_many_absent_ones() -> None:
    hkl, value, sigma, cell, group = observed("P 21 21 21")
    value = value.copy()
    value[np.all(hkl == (3, 0, 0), axis=1)] = 0.5
    value[np.all(hkl == (-3, 0, 0), axis=1)] = 0.5
    symmorphic = gemmi.SpaceGroup("P 2 2 2")
    merged = merge(hkl, value, sigma**2, symmorphic, keep_absent=True)
    assert score_space_groups(merged.hkl, merged.mean, merged.sigma, cell, symmorphic)[0].group.number == group.number


@pytest.mark.parametrize("name", ["P 43 21 2", "C 1 2 1", "R 3 2:H", "F 4 3 2"])
def test_representatives_agree_with_gemmi(name: str) -> None:
    group = gemmi.SpaceGroup(name)
    rng = np.random.default_rng(1)
    hkl = rng.integers(-12, 13, (500, 3))
    key, plus = representatives(hkl, group)
    asu, operations = gemmi.ReciprocalAsu(group), group.operations()
    theirs = [asu.to_asu(h, operations) for h in hkl.tolist()]
    rep, same = ccp4_asu(key, group)
    assert rep.tolist() == [t[0] for t in theirs]
    hand = np.array([t[1] % 2 == 1 for t in theirs]) | centric(hkl, group)
    np.testing.assert_array_equal((plus == same) | centric(hkl, group), hand)


def test_pack_keeps_order_and_comes_back() -> None:
    hkl = np.array([[-500, 3, 2], [0, 0, 0], [1, -2, 400], [1, -2, 399]])
    np.testing.assert_array_equal(unpack(pack(hkl)), hkl)
    assert np.argsort(pack(hkl)).tolist() == [0, 1, 3, 2]


def test_subgroups_of_the_cubic_group() -> None:
    rotations, delta = lattice_rotations(gemmi.UnitCell(30, 30, 30, 90, 90, 90))
    found = subgroups(rotations)
    assert len(rotations) == 24 and delta.max() < 1e-5
    assert len(found) == 30
    for group in found:
        keys = frozenset(np.ascontiguousarray(r).tobytes() for r in group)
        assert closure(keys) == keys
        assert all(np.linalg.det(as_matrix(k)) > 0 for k in keys)


def test_a_lattice_off_by_half_a_degree_counts_within_the_tolerance_only() -> None:
    cell = gemmi.UnitCell(25, 33, 41, 90, 90.5, 90)
    assert len(lattice_rotations(cell, 2.0)[0]) == 4
    assert len(lattice_rotations(cell, 0.1)[0]) == 2


def test_round_off_is_not_the_smallest_mesh() -> None:
    """A vector and its opposite span nothing, but their area is not quite 0 in floating point."""
    metric = np.diag([29.398133923803066, 66.1545393118318, 144.5673676711828])
    metric[0, 1] = metric[1, 0] = 2.228473767554605e-14
    metric[0, 2] = metric[2, 0] = -1.0483690410226999e-14
    setting = conventional_setting(np.array([np.eye(3), np.diag([-1, -1, 1])], dtype=np.int64), metric)
    assert setting.centring == "P" and abs(np.linalg.det(setting.basis)) == pytest.approx(1.0)
