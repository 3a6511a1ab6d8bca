"""The physical model: harmonics, smoother, derivatives, JSON."""

from __future__ import annotations

import json

import numpy as np
import pytest

from xtal.models import Scan, rotation_matrix
from xtal.table import ReflectionTable
from xtal.testing import check_scaling, tiny_experiment
from xtal_scaling_physical.harmonics import n_harmonics, real_harmonics
from xtal_scaling_physical.model import Physical
from xtal_scaling_physical.options import PhysicalOptions
from xtal_scaling_physical.smoother import Smoother, automatic_intervals


def test_conformance() -> None:
    check_scaling("physical")


def test_harmonics_are_orthonormal() -> None:
    nodes, weights = np.polynomial.legendre.leggauss(12)
    phi = 2 * np.pi * np.arange(24) / 24
    z, angle = (a.ravel() for a in np.meshgrid(nodes, phi, indexing="ij"))
    across = np.sqrt(1 - z**2)
    y = real_harmonics(np.stack([across * np.cos(angle), across * np.sin(angle), z], axis=1), 4)
    w = np.repeat(weights, 24) * 2 * np.pi / 24
    assert y.shape[1] == n_harmonics(4) == 24
    np.testing.assert_allclose((y * w[:, None]).T @ y, np.eye(24), atol=1e-12)


def test_first_harmonics_are_the_coordinates() -> None:
    directions = np.eye(3)
    expected = np.sqrt(3 / (4 * np.pi)) * directions[:, [1, 2, 0]]
    np.testing.assert_allclose(real_harmonics(directions, 1), expected, atol=1e-15)


@pytest.mark.parametrize(
    ("width", "n_scale", "n_decay"),
    [(0.5, 2, 2), (1.5, 3, 2), (20.0, 7, 6), (90.0, 8, 7), (180.0, 14, 11), (360.0, 26, 20)],
)
def test_numbers_of_parameters(width: float, n_scale: int, n_decay: int) -> None:
    scale, decay = automatic_intervals(width)
    assert Smoother.over(width, 0.5, scale).n_parameters == n_scale
    assert Smoother.over(width, 0.5, decay).n_parameters == n_decay


def test_smoother_gives_back_a_constant_and_a_slope() -> None:
    smoother = Smoother.over(90, 0.5, 15)
    indices, weights = smoother.weights(np.linspace(0, 180, 500))
    np.testing.assert_allclose(weights.sum(axis=1), 1)
    assert indices.min() == 0 and indices.max() == smoother.n_parameters - 1
    line = (weights * smoother.positions[indices]).sum(axis=1)
    np.testing.assert_allclose(line, np.linspace(0, 180, 500) * smoother.norm, atol=0.1)


def prepared(**options: object) -> tuple[Physical, ReflectionTable]:
    experiment = tiny_experiment()
    experiment.scan = Scan((1, 180), (0.0, 0.5))
    rng = np.random.default_rng(0)
    s1 = rng.normal(size=(300, 3)) - (0, 0, 2)
    s1 /= np.linalg.norm(s1, axis=1, keepdims=True)
    position = np.column_stack([np.zeros((300, 2)), rng.uniform(0, 180, 300)])
    table = ReflectionTable({"s1": s1, "d": rng.uniform(1.5, 20, 300), "xyzobs.px.value": position})
    model = Physical(PhysicalOptions(**options))  # type: ignore[arg-type]
    model.prepare(experiment, table)
    return model, table


def test_absorption_follows_the_crystal() -> None:
    """A surface is read at the same place when crystal and rays turn together."""
    model, table = prepared()
    parameters = model.initial()
    parameters[model.n_scale + model.n_decay :] = np.random.default_rng(1).normal(scale=0.1, size=24)
    direction = model.experiment.beam.direction
    k, axis = 7, model.experiment.goniometer.axis  # type: ignore[union-attr]
    phi = model.experiment.scan.phi(table["xyzobs.px.value"][k, 2])  # type: ignore[union-attr]
    back = rotation_matrix(axis, -phi)
    rays = np.array([back @ direction, back @ table["s1"][k]])
    poled = np.stack([-rays[:, 2], rays[:, 1], rays[:, 0]], axis=1)
    surface = real_harmonics(poled, 4).mean(axis=0)
    scale, _ = model.scales_and_jacobian(parameters, np.array([k]))
    assert scale[0] == pytest.approx(np.exp(surface @ parameters[-24:]))


def test_components_can_be_left_out() -> None:
    model, _ = prepared(decay_correction=False, absorption_correction=False)
    assert model.n_parameters == model.n_scale == 8
    assert set(model.to_json(model.initial(), np.zeros(8))) == {"__id__", "scale", "configuration_parameters"}


def test_json_is_laid_out_as_the_peer_reads_it() -> None:
    model, _ = prepared()
    record = json.loads(json.dumps(model.to_json(model.initial(), np.zeros(model.n_parameters))))
    assert record["__id__"] == "physical"
    assert [record[c]["n_parameters"] for c in ("scale", "decay", "absorption")] == [8, 7, 24]
    configuration = record["configuration_parameters"]
    assert configuration["corrections"] == ["scale", "decay", "absorption"]
    assert configuration["s_norm_fac"] == pytest.approx(0.0333)
    assert configuration["d_norm_fac"] == pytest.approx(0.02775)
    assert configuration["valid_osc_range"] == [0.0, 90.0]
