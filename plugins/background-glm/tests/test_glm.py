from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import fsolve
from scipy.stats import poisson

from xtal.table import MaskBit, Shoeboxes
from xtal_background_glm.glm import Glm
from xtal_background_glm.kernels import TRUST
from xtal_background_glm.options import GlmOptions, ModelOptions

USABLE = int(MaskBit.VALID | MaskBit.BACKGROUND)


def boxes_of(counts: np.ndarray) -> Shoeboxes:
    """One box of shape (nz, ny, nx) per entry of ``counts``."""
    n, nz, ny, nx = counts.shape
    bbox = np.tile(np.array([0, nx, 0, ny, 0, nz], np.int32), (n, 1))
    boxes = Shoeboxes.allocate(np.zeros(n, np.uint32), bbox)
    boxes.data[:] = counts.reshape(-1)
    boxes.mask[:] = USABLE
    return boxes


def slow_root(counts: np.ndarray, c: float = 1.345) -> float:
    """The robust mean by bisection, with the expectation summed over all counts."""
    j = np.arange(0, int(counts.max() * 3) + 200)

    def equation(mu: float) -> float:
        cut = lambda y: np.clip((y - mu) / np.sqrt(mu), -c, c)
        return float(cut(counts).mean() - (cut(j) * poisson.pmf(j, mu)).sum())

    low, high = 0.3 * counts.mean(), 2.0 * counts.mean() + 0.1
    for _ in range(80):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if equation(middle) > 0 else (low, middle)
    return 0.5 * (low + high)


def test_agrees_with_slow_root() -> None:
    rng = np.random.default_rng(1)
    for mean in (0.15, 0.8, 3.0, 40.0, 900.0, 3000.0):
        counts = rng.poisson(mean, (3, 2, 9, 9)).astype(float)
        counts[:, 0, :2] += 3 * mean + 5
        boxes = boxes_of(counts)
        result = Glm().fit(boxes)
        assert result.ok.all()
        for k in range(3):
            expected = slow_root(counts[k].ravel())
            sigma = np.sqrt(mean / counts[k].size)
            assert abs(boxes.box(k)[2][0, 0, 0] - expected) < 0.02 * sigma + 1e-6 * expected


def test_unbiased_and_variance_honest() -> None:
    rng = np.random.default_rng(2)
    for mean in (0.2, 1.0, 6.0, 60.0):
        boxes = boxes_of(rng.poisson(mean, (2000, 1, 12, 12)).astype(float))
        result = Glm().fit(boxes)
        level = boxes.background[boxes.offsets[:-1]]
        assert abs(level.mean() / mean - 1) < 4 / np.sqrt(2000 * 144 * mean)
        assert 0.9 < level.var() / result.variance.mean() < 1.1


def test_outliers_hardly_matter() -> None:
    rng = np.random.default_rng(3)
    counts = rng.poisson(1.0, (1, 2, 15, 15)).astype(float)
    counts[0, 0, 0, :10] = 500
    boxes = boxes_of(counts)
    Glm().fit(boxes)
    assert 0.85 < boxes.background[0] < 1.25


def test_empty_and_failing_boxes() -> None:
    counts = np.zeros((3, 1, 6, 6))
    counts[1] = -1
    boxes = boxes_of(counts)
    boxes.mask[boxes.offsets[2] :] = int(MaskBit.BACKGROUND)
    result = Glm().fit(boxes)
    assert result.ok.tolist() == [True, False, False]
    assert (boxes.background == 0).all()
    assert result.variance[0] > 0


def test_overlapped_pixels_are_not_used() -> None:
    counts = np.ones((1, 1, 8, 8))
    counts[0, 0, :, 4:] = 100
    boxes = boxes_of(counts)
    boxes.mask.reshape(8, 8)[:, 4:] |= int(MaskBit.OVERLAPPED)
    Glm().fit(boxes)
    assert boxes.background[0] < 2
    assert ((boxes.mask & int(MaskBit.BACKGROUND_USED)) != 0).sum() == 32


def test_constant2d_follows_frames() -> None:
    counts = np.ones((1, 2, 10, 10))
    counts[0, 1] = 5
    boxes = boxes_of(counts)
    Glm(GlmOptions(model=ModelOptions(algorithm="constant2d"))).fit(boxes)
    assert boxes.box(0)[2][1].mean() > 3 * boxes.box(0)[2][0].mean()


def test_what_has_no_common_level_fails_and_noise_beyond_counting_does_not() -> None:
    rng = np.random.default_rng(5)
    y, x = np.mgrid[:18, :18]
    halo = rng.poisson(9000 * np.exp(-np.hypot(x + 2, y + 2) / 6), (1, 2, 18, 18)).astype(float)
    slope = rng.poisson(100 + 3.0 * (x - 8.5), (1, 2, 18, 18)).astype(float)
    noisy = np.rint(np.maximum(rng.normal(100, np.sqrt(500), (1, 2, 18, 18)), 0))
    assert not Glm().fit(boxes_of(halo)).ok.any()
    for counts in (slope, noisy):
        assert Glm().fit(boxes_of(counts)).ok.all()


def ring_boxes(contrast: float, n: int = 500, level: float = 0.8) -> tuple[Shoeboxes, np.ndarray]:
    """Boxes with a slanted ring through the spot, of so many times the expected contrast, and the true level.

    What is expected is told in other units.
    """
    y, x = np.mgrid[:15, :15] - 7.0
    ring = np.exp(-0.5 * ((0.8 * x + 0.6 * y - 1.0) / 1.4) ** 2)
    true = level * (1 + contrast * 2.0 * ring)
    boxes = boxes_of(np.random.default_rng(6).poisson(true, (n, 4, 15, 15)).astype(float))
    boxes.mask[:] = np.tile(np.where(x**2 + y**2 < 14, MaskBit.VALID | MaskBit.FOREGROUND, USABLE).ravel(), 4 * n)
    boxes.background[:] = np.tile((7.0 * (1 + 2.0 * ring)).ravel(), 4 * n)
    return boxes, true


@pytest.mark.parametrize("contrast", [0.0, 0.5, 1.0, 1.7])
def test_follows_an_expected_ring_as_far_as_the_counts_do(contrast: float) -> None:
    boxes, true = ring_boxes(contrast)
    result = Glm().fit(boxes)
    assert result.ok.all()
    under = (boxes.mask[: true.size] & int(MaskBit.FOREGROUND) != 0).reshape(true.shape)
    found = boxes.background.reshape(-1, 4, *true.shape)
    error = found[:, 0, under].mean(axis=1) - true[under].mean()
    assert abs(error.mean()) < 0.35 * np.sqrt(result.variance.mean())  # held softly at what is expected
    assert 0.8 < error.std() / np.sqrt(result.variance.mean()) < 1.15  # less where the contrast stops at 0
    assert np.abs(found.mean(axis=(0, 1)) - true).max() < 0.15 * true.max()
    np.testing.assert_array_equal(found[:, 0], found[:, 3])


def test_without_an_expectation_the_level_is_flat_and_wrong_on_a_ring() -> None:
    boxes, true = ring_boxes(1.0)
    boxes.background[:] = 1.0
    result = Glm().fit(boxes)
    under = boxes.mask[: true.size] & int(MaskBit.FOREGROUND) != 0
    error = true.ravel()[under].mean() - boxes.background[boxes.offsets[:-1]]
    assert error.mean() > 5 * np.sqrt(result.variance.mean())
    assert (np.ptp(boxes.background.reshape(len(boxes), -1), axis=1) == 0).all()


def test_expected_ring_agrees_with_a_slow_solution() -> None:
    levels = np.linspace(1.0, 3.0, 12)  # as many as there are steps
    boxes, _ = ring_boxes(1.0, n=3)
    shape = levels[np.random.default_rng(7).integers(0, 12, (15, 15))]
    boxes.data[:] = np.random.default_rng(8).poisson(0.5 * np.tile(shape.ravel(), 12))
    boxes.background[:] = np.tile(shape.ravel(), 12)
    masks = (boxes.mask == USABLE).reshape(3, -1)
    Glm().fit(boxes)
    j, c = np.arange(200), 1.345
    for k in range(3):
        x = np.tile(shape.ravel(), 4)[masks[k]]
        middle, y = x.mean(), boxes.box(k)[0].ravel()[masks[k]]
        x = x / middle - 1

        def equations(p: np.ndarray, x: np.ndarray = x, y: np.ndarray = y) -> list[float]:
            mean = p[0] * (1 + p[1] * x)
            table = np.clip((j - mean[:, None]) / np.sqrt(mean)[:, None], -c, c) * poisson.pmf(j, mean[:, None])
            part = (np.clip((y - mean) / np.sqrt(mean), -c, c) - table.sum(axis=1)) / np.sqrt(mean)
            return [part @ (1 + p[1] * x), part @ (p[0] * x) + (1 - p[1]) / TRUST**2]

        mu, contrast = fsolve(equations, [y.mean(), 1.0])
        expected = mu * (1 + contrast * (shape / middle - 1))
        np.testing.assert_allclose(boxes.box(k)[2][0], expected, rtol=2e-3)
