"""A change of basis: its inverse undoes it, and one after the other is one."""

from __future__ import annotations

from fractions import Fraction

import gemmi
import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from xtal.errors import OptionError
from xtal.models import Crystal, rotation_matrix
from xtal.physics.symmetry import ChangeOfBasis

ELEMENT = st.sampled_from([0, 1, -1, 0, 1, -1, 2, Fraction(1, 2), Fraction(-1, 2), Fraction(1, 3), Fraction(2, 3)])


@st.composite
def changes(draw: st.DrawFn) -> ChangeOfBasis:
    matrix = np.array([[float(draw(ELEMENT)) for _ in range(3)] for _ in range(3)])
    assume(abs(np.linalg.det(matrix)) > 0.05)
    return ChangeOfBasis.from_matrix(matrix)


@st.composite
def crystals(draw: st.DrawFn) -> Crystal:
    lengths = [draw(st.floats(20, 200)) for _ in range(3)]
    angles = [draw(st.floats(75, 110)) for _ in range(3)]
    axis = draw(st.tuples(*[st.floats(-1, 1)] * 3).filter(lambda v: np.linalg.norm(v) > 0.1))
    turn = rotation_matrix(axis, draw(st.floats(-3, 3)))
    return Crystal.from_gemmi(gemmi.UnitCell(*lengths, *angles), "P 1", turn)


HKL = st.lists(st.tuples(*[st.integers(-300, 300)] * 3), min_size=1, max_size=30)


@settings(max_examples=150, deadline=None)
@given(changes())
def test_the_inverse_undoes_and_words_say_the_same(change):
    assert change.then(change.inverse()).is_identity
    assert change.inverse().inverse() == change
    for letters in ("abc", "hkl", "xyz"):
        assert ChangeOfBasis.parse(change.on(letters)) == change
    np.testing.assert_allclose(change.basis @ change.inverse().basis, np.eye(3), atol=1e-12)


@settings(max_examples=150, deadline=None)
@given(changes(), HKL)
def test_whole_indices_come_back(change, hkl):
    moved, whole = change.hkl(hkl)
    back, again = change.inverse().hkl(moved)
    assert again[whole].all()
    np.testing.assert_array_equal(back[whole], np.array(hkl)[whole])
    exact = np.array(hkl) @ change.basis
    np.testing.assert_array_equal(whole, np.all(np.abs(exact - np.rint(exact)) < 1e-6, axis=1))


@settings(max_examples=100, deadline=None)
@given(changes(), changes(), HKL, crystals())
def test_one_after_the_other_is_one(first, second, hkl, crystal):
    both = first.then(second)
    np.testing.assert_allclose(both.basis, first.basis @ second.basis, atol=1e-12)
    np.testing.assert_allclose(
        crystal.change_basis(first.basis).change_basis(second.basis).A, crystal.change_basis(both.basis).A, atol=1e-9
    )
    moved, whole = first.hkl(hkl)
    twice, still = second.hkl(moved)
    at_once, _ = both.hkl(hkl)
    np.testing.assert_array_equal(twice[whole & still], at_once[whole & still])


@settings(max_examples=100, deadline=None)
@given(changes(), HKL, crystals())
def test_reciprocal_vectors_do_not_move(change, hkl, crystal):
    moved, whole = change.hkl(hkl)
    new = crystal.change_basis(change.basis)
    np.testing.assert_allclose((moved @ new.A.T)[whole], (np.array(hkl) @ crystal.A.T)[whole], atol=1e-9)


@settings(max_examples=200, deadline=None)
@given(st.text("abchklxyz,+-*/0123456789. ", max_size=30))
def test_any_text_is_a_change_of_basis_or_told(text):
    try:
        change = ChangeOfBasis.parse(text)
    except OptionError:
        return
    assert change.then(change.inverse()).is_identity
