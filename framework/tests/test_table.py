"""The reflection table and its shoeboxes."""

from __future__ import annotations

import numpy as np
import pytest

from xtal.errors import DataError
from xtal.table import Flag, ReflectionTable, Shoeboxes


def boxes() -> Shoeboxes:
    bbox = np.array([[0, 2, 0, 1, 0, 1], [0, 3, 0, 2, 0, 2], [5, 6, 5, 6, 0, 4]], np.int32)
    b = Shoeboxes.allocate(np.arange(3), bbox)
    b.data[:] = np.arange(len(b.data))
    return b


def test_selected_boxes_keep_their_voxels():
    original = boxes()
    chosen = original.select(np.array([2, 0]))
    for new, old in enumerate((2, 0)):
        np.testing.assert_array_equal(chosen.box(new)[0], original.box(old)[0])
    joined = Shoeboxes.concatenate([chosen, original])
    np.testing.assert_array_equal(joined.box(3)[0], original.box(1)[0])


def test_flags():
    table = ReflectionTable({"flags": np.array([0, 4, 12], np.uint64)})
    table.set_flags(np.array([True, False, False]), Flag.INDEXED | Flag.STRONG)
    table.clear_flags(np.array([2]), Flag.USED_IN_REFINEMENT)
    assert table["flags"].tolist() == [36, 4, 4]
    assert table.has_flags(Flag.INDEXED | Flag.STRONG).tolist() == [True, False, False]
    assert table.has_flags(Flag.INDEXED | Flag.STRONG, any_of=True).all()


def test_lazy_columns_are_read_once():
    calls = []
    table = ReflectionTable({"d": lambda: calls.append(1) or np.ones(3)}, n_rows=3)
    assert "d" in table
    assert not calls
    assert table["d"] is table["d"]
    assert len(calls) == 1


def test_columns_must_fit():
    table = ReflectionTable({"d": np.ones(3)})
    with pytest.raises(ValueError, match="2 rows"):
        table["e"] = np.ones(2)
    with pytest.raises(DataError, match="no column 'f'"):
        table["f"]


def test_concatenation_keeps_common_columns():
    a = ReflectionTable({"d": np.ones(2), "x": np.ones(2), "shoebox": boxes().select(np.array([0, 1]))}, {0: "a"})
    b = ReflectionTable({"d": np.zeros(1), "shoebox": boxes().select(np.array([2]))}, {1: "b"})
    both = ReflectionTable.concatenate([a, b])
    assert both.columns() == ["d", "shoebox"]
    assert both["d"].tolist() == [1, 1, 0]
    assert both.identifiers == {0: "a", 1: "b"}
    assert len(both.select(both["d"] > 0)) == 2
