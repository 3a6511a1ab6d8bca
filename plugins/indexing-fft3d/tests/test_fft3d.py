"""The Fourier search: its contract, its transform against a slow sum, its peaks."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from xtal.errors import AlgorithmFailed
from xtal.models import ExperimentList
from xtal_indexing_fft3d.fft3d import Fft3d, find_peaks, transform


def test_contract(conformance: Callable[..., None]) -> None:
    conformance("indexing", "fft3d")


def test_transform_is_the_squared_cosine_sum() -> None:
    rng = np.random.default_rng(1)
    d_min, n = 4.0, 64
    step = 2 / (d_min * n)
    cells = rng.integers(-n // 2 + 1, n // 2, (40, 3))
    cells = cells[np.linalg.norm(cells * step, axis=1) < 1 / d_min]
    rlp = cells * step
    power = transform(rlp, d_min, n)
    weight = np.exp(np.log(0.05) * np.sum(rlp**2, axis=1) * d_min**2)
    for site in [(0, 0, 0), (3, 5, 7), (60, 2, 31), (1, 63, 32)]:
        slow = np.sum(weight * np.cos(2 * np.pi * (rlp @ (np.array(site) * d_min / 2))))
        assert power[site] == pytest.approx(slow**2, rel=1e-3, abs=1e-4)


def test_peaks_lie_between_grid_points_and_come_once() -> None:
    n = 32
    site = np.array([5.3, -4.2, 2.4])
    x, y, z = np.meshgrid(*[np.arange(n)] * 2, np.arange(n // 2 + 1), indexing="ij")
    power = np.zeros((n, n, n // 2 + 1), np.float32)
    for sign in (1, -1):
        d = [(v - sign * s + n / 2) % n - n / 2 for v, s in zip((x, y, z), site, strict=True)]
        power += np.exp(-0.3 * sum(v**2 for v in d)).astype(np.float32)
    sites, heights = find_peaks(power, 0.5)
    assert len(sites) == 1 and heights[0] > 0.8
    np.testing.assert_allclose(sites[0], site, atol=0.15)


def test_noise_alone_is_refused() -> None:
    rlp = np.random.default_rng(4).uniform(-0.2, 0.2, (30, 3))
    method = Fft3d()
    method.options = type(method.options)(sigma_cutoff=60.0)
    with pytest.raises(AlgorithmFailed, match="lattice vectors"):
        method.candidates(rlp, ExperimentList(), 60.0, 4.0)
