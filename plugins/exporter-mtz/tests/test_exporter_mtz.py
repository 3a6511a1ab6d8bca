"""Batches and the Cambridge frame."""

from __future__ import annotations

import numpy as np
import pytest

from xtal.models import ExperimentList, Scan
from xtal.testing import check_exporter, tiny_experiment
from xtal_exporter_mtz.batches import batch_headers, batch_offsets, cambridge_rotation


def test_conformance() -> None:
    check_exporter("mtz")


@pytest.mark.parametrize(
    ("ranges", "offsets"),
    [
        ([(1, 100)], [0]),
        ([(0, 9)], [1]),
        ([(1, 100), (201, 300)], [0, 0]),
        ([(1, 100), (101, 200)], [0, 100]),
        ([(1, 99), (1, 50), (1, 50)], [0, 100, 200]),
    ],
)
def test_batches_never_meet(ranges: list[tuple[int, int]], offsets: list[int]) -> None:
    experiments = ExperimentList()
    for image_range in ranges:
        experiments.append(tiny_experiment())
        experiments[-1].scan = Scan(image_range, (0, 1))
    assert batch_offsets(experiments) == offsets


def test_axis_goes_to_z_and_beam_to_x() -> None:
    experiment = tiny_experiment()
    turn = cambridge_rotation(experiment)
    np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-14)
    np.testing.assert_allclose(turn @ experiment.goniometer.axis, [0, 0, 1], atol=1e-14)  # type: ignore[union-attr]
    np.testing.assert_allclose(turn @ experiment.beam.s0 * experiment.beam.wavelength, [1, 0, 0], atol=1e-14)


def test_orientation_puts_reflections_where_the_crystal_does() -> None:
    experiment = tiny_experiment()
    header = batch_headers(experiment, 0, 1, False)[4]
    u = np.array(list(header.floats)[6:15]).reshape(3, 3).T
    assert experiment.crystal is not None
    b = np.linalg.cholesky(experiment.crystal.B.T @ experiment.crystal.B).T
    np.testing.assert_allclose(u @ b, cambridge_rotation(experiment) @ experiment.crystal.A, atol=1e-6)
    assert header.floats[36] == pytest.approx(2.0) and header.floats[47] == pytest.approx(0.5)
