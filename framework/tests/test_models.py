"""Geometry of the models against values that DIALS gives (dxtbx 3.11) and against plain identities."""

from __future__ import annotations

import gemmi
import numpy as np
import pytest

from xtal.models import Beam, Crystal, Goniometer, Panel, Scan, rotation_matrix
from xtal.models.crystal import b_matrix, cell_of, space_group_of
from xtal.models.detector import Detector


def test_b_matrix_is_the_pdb_convention():
    expected = [[0.02, 0, 0], [0.005358983849, 0.017254603007, 0], [0.000919724786, -0.002743312225, 0.014520398201]]
    np.testing.assert_allclose(b_matrix((50, 60, 70, 80, 95, 105)), expected, atol=1e-12)


def test_cell_and_orientation_come_back():
    rotation = rotation_matrix((1, 2, 3), 0.7)
    crystal = Crystal(rotation @ b_matrix((50, 60, 70, 80, 95, 105)))
    np.testing.assert_allclose(crystal.cell.parameters, (50, 60, 70, 80, 95, 105), rtol=1e-12)
    np.testing.assert_allclose(crystal.U, rotation, atol=1e-12)


def test_change_of_basis_keeps_reciprocal_vectors():
    crystal = Crystal(b_matrix((50, 60, 70, 80, 95, 105)))
    basis = np.array([[1, 1, 0], [-1, 1, 0], [0, 0, 1]])  # a-b, a+b, c
    changed = crystal.change_basis(basis)
    np.testing.assert_array_equal(np.array([1, 2, 3]) @ basis, [-1, 3, 3])
    np.testing.assert_allclose(changed.A @ [-1, 3, 3], crystal.A @ [1, 2, 3], atol=1e-14)


def test_parallax_as_in_dials():
    panel = Panel(
        (1, 0, 0),
        (0, -1, 0),
        (-200, 210, -190),
        (2463, 2527),
        (0.172, 0.172),
        thickness=0.32,
        mu=3.92204,
        parallax=True,
    )
    mm = panel.px_to_mm(np.array([[100.5, 2000.5]]))
    np.testing.assert_allclose(mm, [[17.377564242307, 344.018804913723]], atol=1e-9)
    np.testing.assert_allclose(panel.mm_to_px(mm), [[100.500255960399, 2000.499812161597]], atol=1e-9)


def test_rays_hit_the_panel_where_dials_says():
    panel = Panel((1, 0, 0), (0, -1, 0), (-200, 210, -190), (2463, 2527), (0.172, 0.172))
    xy, hit = panel.intersect(np.array([[0.06, 0.101047919812934, -1.017564115327147], [0.0, 0.0, 1.0]]))
    np.testing.assert_allclose(xy[0], (211.203225259506, 191.132289872187), atol=1e-9)
    assert hit.tolist() == [True, False]


def test_the_nearest_panel_is_hit():
    size = {"image_size": (100, 100), "pixel_size": (0.1, 0.1)}
    far = Panel((1, 0, 0), (0, -1, 0), (-5, 5, -200), **size)
    near = Panel((1, 0, 0), (0, -1, 0), (-5, 5, -100), **size)
    number, _ = Detector([far, near]).intersect(np.array([[0.0, 0.0, -1.0], [1.0, 0.0, 0.0]]))
    assert number.tolist() == [1, -1]


def test_multi_axis_goniometer_splits_at_the_scan_axis():
    axes = [(1, 0, 0), (0, 0, 1), (0, 1, 0)]
    g = Goniometer.from_axes(axes, (10, 20, 30), ["PHI", "CHI", "OMEGA"], 1)
    np.testing.assert_allclose(g.fixed_rotation, rotation_matrix(axes[0], np.radians(10)), atol=1e-15)
    np.testing.assert_allclose(g.setting_rotation, rotation_matrix(axes[2], np.radians(30)), atol=1e-15)
    np.testing.assert_allclose(g.axis, g.setting_rotation @ axes[1], atol=1e-15)


def test_scan_angles():
    scan = Scan((11, 20), (5.0, 0.5))
    assert scan.array_range == (10, 20)
    assert scan.phi(12.0) == pytest.approx(np.radians(6.0))
    assert scan.z(scan.phi(13.25)) == pytest.approx(13.25)


def test_beam_vector_and_back():
    beam = Beam(0.5, (0, 0, 2))
    np.testing.assert_allclose(beam.s0, (0, 0, -2))
    beam.s0 = np.array([0.0, 0.1, -1.0])
    assert beam.wavelength == pytest.approx(1 / np.hypot(0.1, 1))
    assert not beam.is_electron
    assert Beam(0.0251).is_electron


@pytest.mark.parametrize(("text", "number"), [("P43212", 96), ("19", 19), (" P 2ac 2ab", 19), ("C2", 5), ("R3:H", 146)])
def test_space_groups_by_any_name(text, number):
    assert space_group_of(text).number == number


def test_a_crystal_keeps_its_space_group_whatever_it_is():
    """The Hall symbol of P 4 2 2 reads P 4 2, which is a name of P 42."""
    for group in gemmi.spacegroup_table():
        crystal = Crystal(np.eye(3))
        crystal.space_group = group
        assert crystal.space_group.operations() == group.operations(), group.xhm()


@pytest.mark.parametrize("text", ["nonsense", "9" * 40, "231", "²"])
def test_unknown_space_group(text):
    with pytest.raises(ValueError, match="is not a space group"):
        space_group_of(text)


def test_cell_of_a_setting_matrix():
    np.testing.assert_allclose(cell_of(np.diag([0.1, 0.05, 0.02])).parameters, (10, 20, 50, 90, 90, 90), rtol=1e-12)
