"""Lattices: Bravais types found, settings kept, metrics constrained."""

from __future__ import annotations

import gemmi
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xtal.models import Crystal, rotation_matrix
from xtal.models.crystal import b_matrix, cell_of
from xtal.physics.lattice import (
    apply_known_symmetry,
    best_lattice,
    bravais_of,
    cell_esds,
    constrain,
    lattice_candidates,
    niggli_basis,
    reduced,
    with_esd,
)
from xtal.physics.lattice.groups import two_folds

TURN = rotation_matrix((1, 2, 3), 1.1)

CASES = [
    ("aP", (50, 60, 70, 80, 95, 105), "P 1"),
    ("mP", (40, 50, 60, 90, 105, 90), "P 1 21 1"),
    ("mP", (40, 50, 60, 90, 90, 105), "P 1 1 21"),
    ("mC", (80, 50, 60, 90, 105, 90), "C 1 2 1"),
    ("mC", (60, 50, 80, 90, 98, 90), "I 1 2 1"),
    ("oP", (50, 60, 70, 90, 90, 90), "P 21 21 21"),
    ("oC", (50, 61, 70, 90, 90, 90), "C 2 2 21"),
    ("oC", (50, 70, 61, 90, 90, 90), "A m m 2"),
    ("oI", (50, 61, 70, 90, 90, 90), "I 2 2 2"),
    ("oF", (50, 61, 70, 90, 90, 90), "F 2 2 2"),
    ("tP", (79, 79, 37, 90, 90, 90), "P 43 21 2"),
    ("tI", (70, 70, 40, 90, 90, 90), "I 41"),
    ("hP", (50, 50, 70, 90, 90, 120), "P 61 2 2"),
    ("hR", (80, 80, 60, 90, 90, 120), "R 3 2:H"),
    ("hR", (80, 80, 260, 90, 90, 120), "R 3:H"),
    ("hR", (50, 50, 50, 80, 80, 80), "R 3:R"),
    ("cP", (80, 80, 80, 90, 90, 90), "P 2 3"),
    ("cI", (80, 80, 80, 90, 90, 90), "I 2 3"),
    ("cF", (80, 80, 80, 90, 90, 90), "F 2 3"),
]


def crystal_of(cell: tuple[float, ...], group: str) -> Crystal:
    crystal = Crystal(TURN @ b_matrix(cell))
    crystal.space_group = group
    return crystal


@pytest.mark.parametrize(("bravais", "cell", "group"), CASES)
def test_bravais_lattice_is_found_from_the_reduced_cell(bravais: str, cell: tuple[float, ...], group: str) -> None:
    crystal = crystal_of(cell, group)
    assert bravais_of(crystal.space_group) == bravais
    primitive, basis = reduced(crystal)
    np.testing.assert_allclose(crystal.change_basis(basis).A, primitive.A, atol=1e-12)
    found = best_lattice(primitive, bravais)
    assert found is not None and found.delta_deg < 1e-4
    np.testing.assert_allclose(primitive.change_basis(found.basis).A, found.crystal.A, atol=1e-9)
    assert np.linalg.det(found.basis) > 0
    assert lattice_candidates(primitive)[-1].bravais == "aP"


@pytest.mark.parametrize(("bravais", "cell", "group"), CASES)
def test_known_setting_and_cell_are_kept(bravais: str, cell: tuple[float, ...], group: str) -> None:
    primitive, _ = reduced(crystal_of(cell, group))
    placed = apply_known_symmetry(primitive, group, cell)
    assert placed is not None
    crystal, basis = placed
    np.testing.assert_allclose(crystal.cell.parameters, cell, atol=1e-6)
    np.testing.assert_allclose(primitive.change_basis(basis).A, crystal.A, atol=1e-9)
    # Indices of the known setting obey its centring.
    hkl = np.array([[1, 2, 3], [2, 0, 1], [-3, 4, 5]]) @ basis
    np.testing.assert_allclose(hkl, np.round(hkl), atol=1e-9)
    absent = crystal.space_group.operations().derive_symmorphic().systematic_absences(hkl.round().astype(np.int32))
    assert not np.any(absent)
    assert apply_known_symmetry(primitive, group) is not None


def test_wrong_symmetry_or_cell_is_refused() -> None:
    primitive, _ = reduced(crystal_of((50, 60, 70, 90, 90, 90), "P 21 21 21"))
    assert apply_known_symmetry(primitive, "P 4") is None
    assert apply_known_symmetry(primitive, "P 2 2 2", (50, 60, 90, 90, 90, 90)) is None


def test_pseudo_symmetry_is_offered_with_its_obliquity() -> None:
    found = lattice_candidates(Crystal(TURN @ b_matrix((38.16, 77.33, 78.82, 89.17, 89.18, 89.56))))
    assert found[0].bravais == "tP"
    assert 1.0 < found[0].delta_deg < 2.0
    a, b, c, alpha, beta, gamma = found[0].cell.parameters
    assert a == pytest.approx(b) and c == pytest.approx(38.16, abs=0.01)
    assert (alpha, beta, gamma) == pytest.approx((90, 90, 90))


def test_two_folds_are_those_of_le_page() -> None:
    assert len(two_folds()) == 81


@given(st.tuples(*[st.floats(-0.03, 0.03)] * 9), st.sampled_from([c for c in CASES if c[0] != "aP"]))
@settings(max_examples=40, deadline=None)
def test_constrain_gives_a_cell_of_the_group_near_the_old_one(noise: tuple[float, ...], case: tuple) -> None:  # type: ignore[type-arg]
    crystal = crystal_of(case[1], case[2])
    bent = Crystal((np.eye(3) + np.array(noise).reshape(3, 3)) @ crystal.A, crystal.hall)
    fixed = constrain(bent)
    assert fixed.cell.is_compatible_with_spacegroup(fixed.space_group, 1e-6)
    np.testing.assert_allclose(constrain(fixed).A, fixed.A, atol=1e-10)
    assert np.linalg.norm(fixed.A - bent.A) <= 2 * np.linalg.norm(crystal.A - bent.A) + 1e-9


@given(st.lists(st.integers(-2, 2), min_size=9, max_size=9))
@settings(max_examples=60, deadline=None)
def test_reduction_does_not_depend_on_the_basis(elements: list[int]) -> None:
    move = np.array(elements, dtype=float).reshape(3, 3)
    if round(abs(np.linalg.det(move))) != 1:
        return
    crystal = Crystal(TURN @ b_matrix((41.3, 52.7, 68.9, 83.1, 97.7, 71.3)))
    wanted = cell_of(crystal.change_basis(niggli_basis(crystal.cell)).A)
    moved = crystal.change_basis(move * np.sign(np.linalg.det(move)))
    found = cell_of(moved.change_basis(niggli_basis(moved.cell)).A)
    np.testing.assert_allclose(found.parameters, wanted.parameters, atol=1e-6)


def test_uncertainties_of_a_cell_follow_those_of_b() -> None:
    crystal = Crystal(b_matrix((50, 60, 70, 90, 90, 90)))
    assert cell_esds(crystal) is None
    covariance = np.zeros((9, 9))
    covariance[0, 0] = 1e-6**2
    crystal.B_covariance = covariance
    esds = cell_esds(crystal)
    assert esds is not None
    # a = 1 / B11, so s(a) = a^2 s(B11).
    np.testing.assert_allclose(esds[0], 50**2 * 1e-6, rtol=1e-4)
    assert np.all(esds[1:3] < 1e-9)
    assert [with_esd(78.12345, 0.0042), with_esd(90.0, 0.0), with_esd(81.0, 3.4)] == ["78.123(4)", "90", "81(3)"]


def test_space_group_of_every_setting_keeps_its_cell() -> None:
    """Every orthorhombic and monoclinic setting that gemmi knows of a few groups."""
    for group in gemmi.spacegroup_table():
        if group.number not in (4, 5, 18, 20, 24) or group.qualifier not in ("", "H"):
            continue
        cell = gemmi.UnitCell(41, 52, 63, *[101.0 if "monoclinic" in group.crystal_system_str() else 90.0] * 3)
        crystal = constrain(Crystal(TURN @ b_matrix(cell), str(group.hall)))
        primitive, _ = reduced(crystal)
        placed = apply_known_symmetry(primitive, group, crystal.cell.parameters)
        assert placed is not None, group.xhm()
        np.testing.assert_allclose(placed[0].cell.parameters, crystal.cell.parameters, atol=1e-6)
