"""A change of basis, for all centrings and notations."""

from __future__ import annotations

import itertools

import gemmi
import numpy as np
import pytest

from xtal.errors import OptionError
from xtal.models import Crystal, rotation_matrix
from xtal.physics.symmetry import ChangeOfBasis, ambiguities, indexing_ways, smallest_turn

CENTRED = {  # centring -> space groups and the primitive axes of the centred cell
    "P": (["P 1", "P 21 21 21", "P 43 21 2", "P 1 21 1", "P 63 2 2"], "a,b,c"),
    "A": (["A 1 2 1", "A 2 2 2"], "a,1/2b+1/2c,-1/2b+1/2c"),
    "B": (["B 1 1 2", "B 2 2 2"], "1/2a-1/2c,b,1/2a+1/2c"),
    "C": (["C 1 2 1", "C 2 2 21"], "1/2a-1/2b,1/2a+1/2b,c"),
    "I": (["I 1 2 1", "I 2 2 2", "I 41 2 2", "I 2 3"], "-1/2a+1/2b+1/2c,1/2a-1/2b+1/2c,1/2a+1/2b-1/2c"),
    "F": (["F 2 2 2", "F 4 3 2"], "1/2b+1/2c,1/2a+1/2c,1/2a+1/2b"),
    "R": (["R 3 :H", "R 3 2 :H"], "2/3a+1/3b+1/3c,-1/3a+1/3b+1/3c,-1/3a-2/3b+1/3c"),
}
CELLS = {
    "cubic": (50, 50, 50, 90, 90, 90),
    "hexagonal": (50, 50, 70, 90, 90, 120),
    "trigonal": (50, 50, 70, 90, 90, 120),
    "tetragonal": (50, 50, 70, 90, 90, 90),
    "orthorhombic": (40, 50, 70, 90, 90, 90),
    "triclinic": (40, 50, 70, 80, 95, 105),
}
GRID = np.array(list(itertools.product(range(-4, 5), repeat=3)))[1:]
CASES = [(letter, name, to) for letter, (names, to) in CENTRED.items() for name in names]


def cell_of(group: gemmi.SpaceGroup) -> gemmi.UnitCell:
    system = group.crystal_system_str()
    if system == "monoclinic":
        unique_c = group.xhm() == "B 1 1 2"
        return gemmi.UnitCell(40, 50, 70, 90, 90, 101) if unique_c else gemmi.UnitCell(40, 50, 70, 90, 101, 90)
    return gemmi.UnitCell(*CELLS[system])


@pytest.mark.parametrize(("letter", "name", "to_primitive"), CASES)
def test_centred_and_primitive_axes_describe_the_same_crystal(letter, name, to_primitive):
    group = gemmi.SpaceGroup(name)
    assert group.centring_type() == letter
    change = ChangeOfBasis.parse(to_primitive)
    crystal = Crystal.from_gemmi(cell_of(group), group, rotation_matrix((1, 2, 3), 0.4))
    points = {"P": 1, "A": 2, "B": 2, "C": 2, "I": 2, "F": 4, "R": 3}[letter]
    assert abs(np.linalg.det(change.basis)) == pytest.approx(1 / points)

    primitive = change.crystal(crystal)
    assert primitive.cell.volume == pytest.approx(crystal.cell.volume / points)
    present = GRID[~np.asarray(group.operations().systematic_absences(GRID.astype(np.int32)))]
    hkl, whole = change.hkl(present)
    assert whole.all(), "a reflection that is not extinct has whole indices on primitive axes"
    np.testing.assert_allclose(hkl @ primitive.A.T, present @ crystal.A.T, atol=1e-12)

    # every reflection that has none on primitive axes is extinct by centring
    gone = GRID[~change.hkl(GRID)[1]]
    assert np.asarray(group.operations().systematic_absences(gone.astype(np.int32))).all()

    back = change.inverse().crystal(primitive)
    np.testing.assert_allclose(back.A, crystal.A, atol=1e-14)
    assert back.hall == crystal.hall
    again, whole = change.inverse().hkl(hkl)
    assert whole.all()
    np.testing.assert_array_equal(again, present)


@pytest.mark.parametrize(("letter", "name", "_to"), CASES)
@pytest.mark.parametrize("move", ["b,c,a", "-a,c,b", "c,-b,a"])
def test_extinct_and_equivalent_reflections_stay_so_on_other_axes(letter, name, _to, move):
    group, change = gemmi.SpaceGroup(name), ChangeOfBasis.parse(move)
    hall = change.hall(group.hall)
    old, new = group.operations(), gemmi.symops_from_hall(hall)
    hkl, whole = change.hkl(GRID)
    assert whole.all()
    np.testing.assert_array_equal(
        old.systematic_absences(GRID.astype(np.int32)), new.systematic_absences(hkl.astype(np.int32))
    )
    np.testing.assert_array_equal(
        old.epsilon_factor_array(GRID.astype(np.int32)), new.epsilon_factor_array(hkl.astype(np.int32))
    )
    assert change.inverse().hall(hall) == group.hall


@pytest.mark.parametrize(
    ("old", "change", "new"),
    [
        ("C 1 2 1", "-a-c,b,a", "A 1 2 1"),
        ("C 1 2 1", "a+c,b,c", "I 1 2 1"),
        ("I 1 2 1", "a-c,b,c", "C 1 2 1"),
        ("P 21 21 2", "b,c,a", "P 21 2 21"),
        ("P 2 2 21", "b,c,a", "P 2 21 2"),
        ("P 21 21 21", "a,-c,b", "P 21 21 21"),
        ("P 43 21 2", "b,-a,c", "P 43 21 2"),
        ("P 41 21 2", "-a,b,-c", "P 41 21 2"),
        ("I 41 2 2", "b,-a,c", "I 41 2 2"),
        ("R 3 :H", "2/3a+1/3b+1/3c,-1/3a+1/3b+1/3c,-1/3a-2/3b+1/3c", "R 3 :R"),
        ("C 2 2 21", "-b,a,c", "C 2 2 21"),
    ],
)
def test_space_groups_on_other_axes(old, change, new):
    """As cctbx has them (`space_group_info.change_basis`), up to the origin."""
    hall = ChangeOfBasis.parse(change).hall(gemmi.SpaceGroup(old).hall)
    assert Crystal(np.eye(3), hall).space_group.xhm() == gemmi.SpaceGroup(new).xhm()


def test_a_setting_without_a_name_keeps_its_operations():
    """P 21 21 21 on diagonal axes is in no table; cctbx writes ' P 2ac 2ab (1/2*y-1/2*z,1/2*y+1/2*z,x)' or alike."""
    change = ChangeOfBasis.parse("a-b,a+b,c")
    hall = change.hall(" P 2ac 2ab")
    assert "(" in hall
    old, new = gemmi.SpaceGroup("P 21 21 21").operations(), gemmi.symops_from_hall(hall)
    hkl, whole = change.hkl(GRID)
    assert whole.all()
    old_absent = old.systematic_absences(GRID.astype(np.int32))
    np.testing.assert_array_equal(new.systematic_absences(hkl.astype(np.int32)), old_absent)
    assert change.inverse().hall(hall) == "P 2ac 2ab"
    assert "(" in change.hall(hall)


def test_symmetry_that_a_supercell_breaks_is_told():
    with pytest.raises(OptionError, match="does not hold"):
        ChangeOfBasis.parse("2a,b,c").hall(gemmi.SpaceGroup("P 4").hall)


@pytest.mark.parametrize(
    ("texts", "basis"),
    [
        (("b,c,a", "k,l,h", "y,z,x"), [[0, 0, 1], [1, 0, 0], [0, 1, 0]]),
        (("a-b,a+b,c", "h-k,h+k,l", "1/2x-1/2y,x/2+y/2,z"), [[1, 1, 0], [-1, 1, 0], [0, 0, 1]]),
        (("-a, b ,-C", "-h,k,-l", "-x,y,-z"), [[-1, 0, 0], [0, 1, 0], [0, 0, -1]]),
        (("1/2*a+1/2*b,-1/2*a+0.5b,c",), [[0.5, -0.5, 0], [0.5, 0.5, 0], [0, 0, 1]]),
        (("2a,b,c",), [[2, 0, 0], [0, 1, 0], [0, 0, 1]]),
    ],
)
def test_notations(texts, basis):
    for text in texts:
        change = ChangeOfBasis.parse(text)
        np.testing.assert_array_equal(change.basis, basis)
        for letters in ("abc", "hkl", "xyz"):
            assert ChangeOfBasis.parse(change.on(letters)) == change


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a,b",
        "a,b,c,a",
        "a,b,h",
        "a,b,q",
        "a b,c,a",
        "a+,b,c",
        "a,b,1",
        "a/0,b,c",
        "a,b,a+b",
        "a,a,c",
        "a,b,c+1/4",
        "__,b,c",
    ],
)
def test_what_is_no_change_of_basis_is_refused(text):
    with pytest.raises(OptionError, match="change of basis"):
        ChangeOfBasis.parse(text)


def test_indices_that_are_not_whole_are_marked():
    hkl, whole = ChangeOfBasis.parse("1/2a+1/2b,-1/2a+1/2b,c").hkl([[1, 1, 5], [1, 0, 5], [-1, -1, 2]])
    assert whole.tolist() == [True, False, True]
    assert hkl.tolist() == [[1, 0, 5], [0, 0, 0], [-1, 0, 2]]


def test_the_smallest_turn_is_found_among_equivalent_ones():
    group = gemmi.SpaceGroup("P 4 3 2")
    first = Crystal.from_gemmi(gemmi.UnitCell(50, 50, 50, 90, 90, 90), group, rotation_matrix((1, 1, 3), 0.3))
    small = rotation_matrix((0, 1, 1), np.radians(2.5))
    for move in ("b,c,a", "-b,a,c", "a,b,c", "-a,-c,-b"):
        second = ChangeOfBasis.parse(move).crystal(Crystal(small @ first.A, group.hall))
        turn = smallest_turn(first, second)
        assert turn.angle_deg == pytest.approx(2.5, abs=1e-6)
        np.testing.assert_allclose(turn.rotation, small, atol=1e-9)
        np.testing.assert_allclose(turn.axis, np.array([0, 1, 1]) / 2**0.5, atol=1e-6)
        np.testing.assert_allclose(turn.change.crystal(second).A, small @ first.A, atol=1e-12)


@pytest.mark.parametrize(
    ("group", "n"),
    [
        ("P 4", 1),
        ("P 43 21 2", 0),
        ("P 3", 3),
        ("P 3 2 1", 1),
        ("R 3 :H", 1),
        ("P 2 3", 1),
        ("P 21 21 21", 0),
        ("P 6", 1),
        ("I 4", 1),
        ("F 2 3", 1),
    ],
)
def test_ambiguities(group, n):
    found = ambiguities(cell_of(gemmi.SpaceGroup(group)), gemmi.SpaceGroup(group))
    assert len(found) == n


def test_a_lattice_that_happens_to_be_higher_has_ambiguities():
    assert len(ambiguities(gemmi.UnitCell(50, 50, 70, 90, 90, 90), gemmi.SpaceGroup("P 21 21 21"))) == 1
    assert len(ambiguities(gemmi.UnitCell(50, 53, 70, 90, 90, 90), gemmi.SpaceGroup("P 21 21 21"))) == 0


@pytest.mark.parametrize(
    ("group", "cell", "n"),
    [
        ("P 4", (50, 50, 70, 90, 90, 90), 2),
        ("P 43 21 2", (50, 50, 70, 90, 90, 90), 1),
        ("P 3", (50, 50, 70, 90, 90, 120), 4),
        ("P 1 2 1", (50, 70, 50, 90, 90, 90), 4),
        ("P 1 2 1", (70, 50, 50, 90, 90, 90), 2),  # turns about a move the two-fold axis: they are none
        ("P 21 21 21", (50, 50, 50, 90, 90, 90), 6),
    ],
)
def test_ways_to_index_keep_the_axes_of_the_group(group, cell, n):
    assert indexing_ways(gemmi.UnitCell(*cell), gemmi.SpaceGroup(group)) == n


@pytest.mark.parametrize(
    ("hall", "name"),
    [
        (' P 31 2" (x,y,z+1/6)', "P 31 2 1"),
        (' P 31 2" (x-y,x,z)', "P 31 2 1"),
        (" C 2c 2 (-y,x,z)", "C 2 2 21"),
        (" P 2ac 2ab (x-1/4,y,z)", "P 21 21 21"),
        (" P 4nw 2abw", "P 43 21 2"),
        (" P 4abw 2nw (x+1/2,y,z)", "P 41 21 2"),
        ("P 1", "P 1"),
    ],
)
def test_hall_symbols_with_another_origin_are_known(hall, name):
    """cctbx writes such after a change of basis."""
    assert Crystal(np.eye(3), hall).space_group.xhm() == name
