"""The local frame, partiality and corrections against direct computations."""

from __future__ import annotations

import numpy as np
from scipy.stats import norm

from xtal.models import Beam, Detector, Experiment, Goniometer, Panel, Scan
from xtal.physics.corrections import lorentz_polarization, quantum_efficiency
from xtal.physics.kabsch import corner_directions, fraction_between, kabsch_axes, zeta


def experiment(**beam: object) -> Experiment:
    panel = Panel([1, 0, 0], [0, -1, 0], [-50, 50, -150], (600, 600), (0.172, 0.172), thickness=0.32, mu=3.9)
    return Experiment(
        Beam(1.0, **beam),
        Detector([panel]),
        Goniometer([1, 0, 0]),
        Scan((1, 10), (0.0, 0.5)),  # type: ignore[arg-type]
    )


def rays(n: int = 50) -> np.ndarray:
    rng = np.random.default_rng(3)
    v = np.column_stack([rng.uniform(-0.4, 0.4, n), rng.uniform(-0.4, 0.4, n), -np.ones(n)])
    return v / np.linalg.norm(v, axis=1, keepdims=True)


def test_frame_is_orthogonal_and_zeta_is_its_share_of_the_axis() -> None:
    s1, s0 = rays(), np.array([0.0, 0, -1])
    e1, e2 = kabsch_axes(s1, s0)
    for a, b in ((e1, e2), (e1, s1), (e2, s1)):
        np.testing.assert_allclose(np.sum(a * b, axis=1), 0, atol=1e-12)
    np.testing.assert_allclose(e1 @ s0, 0, atol=1e-12)
    np.testing.assert_allclose(zeta(s1, s0, np.array([1.0, 0, 0])), e1[:, 0])


def test_corners_have_the_coordinates_asked_for() -> None:
    s1, s0 = rays(), np.array([0.0, 0, -1])
    e1, e2 = kabsch_axes(s1, s0)
    corners = corner_directions(s1, s0, np.tile([0.02, 0.01], (len(s1), 1)))
    np.testing.assert_allclose(np.linalg.norm(corners, axis=2), 1)
    for k, (c1, c2) in enumerate(((-1, -1), (1, -1), (-1, 1), (1, 1))):
        np.testing.assert_allclose(np.sum(e1 * (corners[:, k] - s1), axis=1), 0.02 * c1, atol=1e-12)
        np.testing.assert_allclose(np.sum(e2 * (corners[:, k] - s1), axis=1), 0.01 * c2, atol=1e-12)


def test_partiality_is_the_integral_of_a_gaussian() -> None:
    phi, z = np.array([0.01, 0.2]), np.array([-0.5, 0.9])
    a, b = np.array([0.0, 0.19]), np.array([0.02, 0.5])
    got = fraction_between(phi, z, 0.004, a, b)
    c = norm(0, 0.004)
    np.testing.assert_allclose(got, c.cdf(np.abs(z) * (b - phi)) - c.cdf(np.abs(z) * (a - phi)))


def test_polarization_limits() -> None:
    s1 = rays()
    cos2 = s1 @ np.array([0.0, 0, -1])
    lorentz = np.abs(s1 @ np.cross([1.0, 0, 0], [0, 0, -1.0]))
    half = lorentz_polarization(experiment(polarization_fraction=0.5), s1)
    np.testing.assert_allclose(half, lorentz / (0.5 * (1 + cos2**2)))
    # Fully polarised along x (normal y): intensity goes with 1 - (u.x)^2 of the electric vector.
    full = lorentz_polarization(experiment(polarization_fraction=1.0), s1)
    np.testing.assert_allclose(full, lorentz / (1 - s1[:, 0] ** 2), rtol=1e-12)
    electrons = Experiment(Beam(0.0251), experiment().detector, Goniometer([1, 0, 0]), Scan((1, 10), (0.0, 0.5)))
    np.testing.assert_allclose(lorentz_polarization(electrons, s1), lorentz)


def test_efficiency_grows_with_the_path() -> None:
    e, s1 = experiment(), rays()
    qe = quantum_efficiency(e, s1, np.zeros(len(s1), np.int64))
    assert qe is not None
    np.testing.assert_allclose(qe, 1 - np.exp(-3.9 * 0.32 / -s1[:, 2]))
    e.detector[0].mu = 0.0
    assert quantum_efficiency(e, s1, np.zeros(len(s1), np.int64)) is None
