"""Rays, reciprocal space, resolution."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from xtal.models import Beam, ExperimentList, Goniometer, Panel, rotation_matrix
from xtal.physics.rays import centroids_to_mm, diffracting, is_entering, map_to_reciprocal, spindle_frame
from xtal.physics.resolution import d_at, d_of_hkl, d_of_panel, highest_resolution

sys.path.insert(0, str(Path(__file__).parent))
from geometry_cases import perfect_spots, rotation_experiment

B = np.array([[0.02, 0, 0], [0.005358983849, 0.017254603007, 0], [0.000919724786, -0.002743312225, 0.014520398201]])


def test_static_rays_check_values() -> None:
    """The reflection (3, -4, 5) worked out in the reference (there from DIALS)."""
    beam, goniometer = Beam(0.97625), Goniometer()
    frame = spindle_frame(beam, goniometer)
    y = np.tile(np.array([3.0, -4.0, 5.0]) @ (frame.from_crystal @ B).T, (2, 1))
    r, phi, ok = diffracting(y, frame.s0, np.array([1.0, -1.0]))
    s1 = (frame.s0 + r) @ frame.to_lab.T
    assert ok.all()
    np.testing.assert_allclose(phi % (2 * np.pi), [4.229145582618685, 0.953881785942066], rtol=1e-9)
    np.testing.assert_allclose(s1[0], [0.06, 0.101047919812934, -1.017564115327147], rtol=1e-9)
    np.testing.assert_allclose(s1[1], [0.06, -0.101047919812934, -1.017564115327147], rtol=1e-9)
    assert is_entering(s1, beam, goniometer).tolist() == [True, False]


def test_diffracting_against_search_over_angles() -> None:
    """The slow way: scan phi for sign changes of |s0 + r| - |s0|."""
    experiment = rotation_experiment()
    beam, goniometer = experiment.beam, experiment.goniometer
    frame = spindle_frame(beam, goniometer)
    a_h = np.array([3.0, 5.0, -7.0]) @ experiment.crystal.A.T
    angles = np.linspace(0, 2 * np.pi, 200_001)

    def excess(phi: float) -> float:
        turned = rotation_matrix(goniometer.axis_datum, phi) @ goniometer.fixed_rotation @ a_h
        s1 = beam.s0 + goniometer.setting_rotation @ turned
        return float(np.linalg.norm(s1) - np.linalg.norm(beam.s0))

    coarse = angles[::1000]
    values = np.array([excess(p) for p in coarse])
    found = []
    for k in np.flatnonzero(values[1:] * values[:-1] < 0):
        low, high = coarse[k], coarse[k + 1]
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (middle, high) if excess(middle) * values[k] > 0 else (low, middle)
        found.append((low, values[k] > 0))
    assert len(found) == 2
    for phi, entering in found:
        y = (frame.from_crystal @ a_h)[None]
        _, ours, ok = diffracting(y, frame.s0, 1.0 if entering else -1.0)
        assert ok[0] and abs((ours[0] - phi + np.pi) % (2 * np.pi) - np.pi) < 1e-9


def test_beam_along_axis() -> None:
    with pytest.raises(ValueError, match="along the rotation axis"):
        spindle_frame(Beam(1.0), Goniometer([0, 0, 1]))


def test_parallax_check_values() -> None:
    panel = Panel(
        [1, 0, 0],
        [0, -1, 0],
        [-200, 210, -190],
        (2463, 2527),
        (0.172, 0.172),
        thickness=0.32,
        mu=3.92204,
        parallax=True,
    )
    mm = panel.px_to_mm(np.array([[100.5, 2000.5]]))
    np.testing.assert_allclose(mm[0], [17.377564242307, 344.018804913723], rtol=1e-12)
    assert d_at(panel, Beam(0.97625), [[100.5, 2000.5]])[0] == pytest.approx(1.154764379202, rel=1e-9)


def test_mapping_gives_back_the_lattice() -> None:
    experiment = rotation_experiment(n_panels=4)
    experiments = ExperimentList([experiment])
    spots = perfect_spots(experiment, 4.0)
    map_to_reciprocal(spots, experiments)
    expected = spots["miller_index"] @ experiment.crystal.A.T
    np.testing.assert_allclose(spots["rlp"], expected, atol=1e-9)
    np.testing.assert_allclose(np.linalg.norm(spots["s1"], axis=1), 1 / 0.98, rtol=1e-12)
    assert spots["xyzobs.mm.variance"][0, 0] == pytest.approx(0.01 * 0.172**2)


def test_unindexed_spots_use_their_images() -> None:
    experiment = rotation_experiment()
    spots = perfect_spots(experiment, 6.0)
    reference = spots.copy()
    spots["id"] = np.full(len(spots), -1, np.int32)
    spots["imageset_id"] = np.zeros(len(spots), np.int32)
    for table in (spots, reference):
        centroids_to_mm(table, ExperimentList([experiment]))
    np.testing.assert_array_equal(spots["s1"], reference["s1"])


def test_resolution() -> None:
    experiment = rotation_experiment()
    panel, beam = experiment.detector[0], experiment.beam
    image = d_of_panel(panel, beam)
    assert image.shape == (1000, 1000)
    assert image[20, 700] == pytest.approx(d_at(panel, beam, [700.5, 20.5]))
    assert highest_resolution(experiment.detector, beam) <= image.min()
    assert d_of_hkl([[1, 0, 0], [0, 0, 2]], experiment.crystal.A) == pytest.approx([40.0, 35.0])
