"""Crystals to and from gemmi, tables to pandas."""

from __future__ import annotations

import builtins

import gemmi
import numpy as np
import pytest

from xtal.errors import DataError, UsageError
from xtal.models import Crystal, rotation_matrix
from xtal.table import ReflectionTable, Shoeboxes

CELLS = [
    ((10.0, 12.4, 15.2, 83, 97, 108), "P 1"),
    ((79.1, 79.1, 38.4, 90, 90, 90), "P 43 21 2"),
    ((40.0, 60.0, 70.0, 90, 102, 90), "I 1 2 1"),
    ((54.0, 54.0, 110.0, 90, 90, 120), "R 3 :H"),
]


@pytest.mark.parametrize(("parameters", "group"), CELLS)
def test_a_crystal_goes_to_gemmi_and_comes_back(parameters, group):
    u = rotation_matrix((1, 2, 3), 0.7)
    crystal = Crystal.from_gemmi(gemmi.UnitCell(*parameters), gemmi.SpaceGroup(group), u)
    np.testing.assert_allclose(crystal.cell.parameters, parameters)
    np.testing.assert_allclose(crystal.U, u, atol=1e-12)
    assert crystal.space_group == gemmi.SpaceGroup(group)
    again = Crystal.from_gemmi(*crystal.to_gemmi())
    np.testing.assert_allclose(again.A, crystal.A, atol=1e-14)
    assert again.hall == crystal.hall


def test_the_orientation_turns_gemmis_frame():
    """U takes gemmi's orthogonal coordinates of a fractional point to the laboratory, and reciprocal points alike."""
    cell = gemmi.UnitCell(10.0, 12.4, 15.2, 83, 97, 108)
    u = rotation_matrix((0.3, -1, 0.2), 1.1)
    crystal = Crystal.from_gemmi(cell, "P 1", gemmi.Mat33(u.tolist()))
    real = np.linalg.inv(crystal.A)  # rows a, b, c
    point = (0.1, 0.2, 0.3)
    np.testing.assert_allclose(
        np.array(point) @ real, u @ np.array(cell.orthogonalize(gemmi.Fractional(*point)).tolist())
    )
    hkl = (1, -2, 3)
    np.testing.assert_allclose(np.linalg.norm(crystal.A @ hkl), 1 / cell.calculate_d(hkl))
    unturned = Crystal.from_gemmi(cell, "P 1")
    a = np.linalg.inv(unturned.A)[0]
    np.testing.assert_allclose(a, [10, 0, 0], atol=1e-12)


def test_what_is_no_rotation_is_refused():
    with pytest.raises(ValueError, match="not a rotation"):
        Crystal.from_gemmi(gemmi.UnitCell(1, 2, 3, 90, 90, 90), "P 1", -np.eye(3))


def test_a_setting_without_a_name_says_what_to_do():
    with pytest.raises(DataError, match="reindex"):
        Crystal(np.eye(3), " C 2y (x,y,-1/2*x+1/2*z)").space_group  # noqa: B018 (reading raises)


def table() -> ReflectionTable:
    n = 4
    return ReflectionTable(
        {
            "miller_index": np.arange(12, dtype=np.int32).reshape(n, 3),
            "d": np.arange(4.0),
            "bbox": np.zeros((n, 6), np.int32),
            "xyzobs.px.value": np.ones((n, 3)),
            "pair": np.ones((n, 2)),
            "ub_matrix": np.ones((n, 9)),
            "shoebox": Shoeboxes.allocate(np.zeros(n, np.uint32), np.zeros((n, 6), np.int32)),
        },
        {0: "abc"},
    )


def test_a_table_becomes_a_frame():
    pytest.importorskip("pandas")
    frame = table().to_pandas()
    assert list(frame)[:5] == ["h", "k", "l", "d", "bbox.x0"]
    assert "xyzobs.px.value.z" in frame
    assert "ub_matrix.8" in frame
    assert "shoebox" not in frame
    assert frame["k"].tolist() == [1, 4, 7, 10]
    assert frame["h"].dtype == np.int32
    assert frame.attrs["identifiers"] == {0: "abc"}
    assert list(table().to_pandas(["d", "pair"])) == ["d", "pair.x", "pair.y"]


def test_frames_read_the_columns_asked_for_only():
    pytest.importorskip("pandas")
    lazy = ReflectionTable({"d": lambda: np.ones(2), "x": lambda: 1 / 0}, n_rows=2)
    assert lazy.to_pandas(["d"])["d"].tolist() == [1.0, 1.0]


def test_shoeboxes_do_not_fit_a_frame():
    pytest.importorskip("pandas")
    with pytest.raises(DataError, match="shoeboxes"):
        table().to_pandas(["shoebox"])


def test_without_pandas_it_says_so(monkeypatch):
    real = builtins.__import__

    def refuse(name, *rest, **named):
        if name == "pandas":
            raise ImportError
        return real(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(UsageError, match="pip install pandas"):
        table().to_pandas()
