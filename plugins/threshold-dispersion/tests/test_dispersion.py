"""The kernel against a slow twin that follows the definition pixel by pixel."""

from __future__ import annotations

import attrs
import numpy as np
import pytest

from xtal.errors import OptionError
from xtal.testing import check_threshold
from xtal_threshold_dispersion.dispersion import Dispersion, elbow_threshold
from xtal_threshold_dispersion.kernels import TILE
from xtal_threshold_dispersion.options import DispersionOptions


def window_values(image, good, j, i, half_slow, half_fast):
    part = (slice(max(0, j - half_slow), j + half_slow + 1), slice(max(0, i - half_fast), i + half_fast + 1))
    return image[part][good[part]].astype(float)


def twin(image, mask, o: DispersionOptions):
    """Strong pixels by the definition."""
    (ky, kx), gain = o.kernel_size, o.gain or 1.0
    least = o.min_local if o.min_local > 0 else (2 * ky + 1) * (2 * kx + 1)
    strong = np.zeros(image.shape, bool)
    for j, i in np.argwhere(mask):
        v = window_values(image, mask & (image < 2**24), j, i, ky, kx)
        m, x = len(v), v.sum()
        if m < max(least, 2) or x <= 0:
            continue
        dispersion = v.var(ddof=1) / v.mean()
        dispersed = dispersion > gain * (1 + o.sigma_background * np.sqrt(2 / (m - 1))) + 1e-9
        mean = x / m
        stands_out = image[j, i] > mean + o.sigma_strong * np.sqrt(gain * mean) + 1e-9
        strong[j, i] = dispersed and stands_out and image[j, i] > o.global_threshold
    return strong


def frame(rng, shape=(41, 53)):
    """Background with spots, a gap and some bad pixels."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    expected = 2.0 + 0.05 * x
    for cy, cx in rng.uniform(0, 1, (12, 2)) * shape:
        expected = expected + 60 * np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / 3)
    image = rng.poisson(expected).astype(np.int32)
    image[:, 20:23] = -1
    image[rng.integers(0, shape[0], 9), rng.integers(0, shape[1], 9)] = 2**24 + 5
    return image, image >= 0


CASES = {
    "defaults": {},
    "gain": {"gain": 1.7},
    "window": {"kernel_size": (2, 5), "sigma_background": 3.0, "sigma_strong": 2.0},
    "full window": {"min_local": 0},
    "threshold": {"min_local": 30, "global_threshold": 12.0},
}


@pytest.mark.parametrize("case", CASES)
def test_agrees_with_the_definition(case):
    options = DispersionOptions(**CASES[case])
    image, mask = frame(np.random.default_rng(3))
    strong = np.empty(image.shape, bool)
    Dispersion(options).prepare(None, 0, mask)(image, mask, strong, 0)
    expected = twin(image, mask, options)
    assert expected.sum() > 20
    np.testing.assert_array_equal(strong, expected)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("level", [0.02, 0.4])
def test_passing_over_empty_tiles_changes_nothing(case, level):
    """Wide images of few counts, some of them negative, with lone bright pixels, edges and gaps."""
    rng = np.random.default_rng(7)
    image = rng.poisson(level, (40, 300)).astype(np.int32)
    for y, x in [(0, 0), (39, 299), (12, 63), (13, 64), (20, 127), (30, 190), *rng.integers(0, 40, (9, 2))]:
        image[y, x] += 25
    image[5, 200:210] = -2
    mask = np.ones(image.shape, bool)
    mask[:, 150:154], mask[17:19] = False, False
    mask[rng.integers(0, 40, 30), rng.integers(0, 300, 30)] = False
    options = attrs.evolve(DispersionOptions(**CASES[case]), global_threshold=1.0)
    strong = np.empty(image.shape, bool)
    kernel = Dispersion(options).prepare(None, 0, mask)
    for turn in (image, image[::-1].copy(), image):
        kernel(turn, mask, strong, 0)
    np.testing.assert_array_equal(strong, twin(image, mask, options))


@pytest.mark.parametrize("sigma_background", [2.0, 6.0, 9.0])
@pytest.mark.parametrize("gain", [1.0, 1.9])
def test_the_faintest_pixel_that_makes_its_window_dispersed_is_not_passed_over(sigma_background, gain):
    options = DispersionOptions(sigma_background=sigma_background, gain=gain)
    found = []
    for value in range(1, 9):
        image, mask, strong = np.zeros((15, 20), np.int32), np.ones((15, 20), bool), np.empty((15, 20), bool)
        image[7, 9] = value
        Dispersion(options).prepare(None, 0, mask)(image, mask, strong, 0)
        np.testing.assert_array_equal(strong, twin(image, mask, options))
        found.append(strong[7, 9])
    assert 0 < sum(found) < 8


@pytest.mark.parametrize("column", [TILE - 1, TILE])
def test_a_bad_pixel_counts_in_the_windows_of_the_next_tile(column):
    options = DispersionOptions(min_local=0, sigma_background=0.0, sigma_strong=0.1)
    image = np.random.default_rng(2).poisson(4.0, (30, 2 * TILE)).astype(np.int32)
    mask = np.ones(image.shape, bool)
    mask[15, column] = False
    strong = np.empty(image.shape, bool)
    Dispersion(options).prepare(None, 0, mask)(image, mask, strong, 0)
    np.testing.assert_array_equal(strong, twin(image, mask, options))


def test_global_threshold_from_the_first_image():
    image = np.random.default_rng(2).poisson(4.0, (100, 100)).astype(np.int32)
    image[30:33, 30:33] += 200
    found = Dispersion(DispersionOptions(global_threshold="auto"))
    found.learn(image)
    first = found.window.global_threshold
    assert first == elbow_threshold(image) == slow_elbow(image)
    found.learn(image * 50)
    assert found.window.global_threshold == first
    fixed = Dispersion(DispersionOptions(global_threshold=2.0))
    assert fixed.window.global_threshold == 2.0
    assert not hasattr(fixed, "learn")


def slow_elbow(image):
    """The same by the definition, point by point."""
    levels = [int(1.5**i) for i in range(1, 20)]
    above = [int((image > level).sum()) for level in levels]
    slopes = [(above[-1] - n) / (levels[-1] - g) for n, g in zip(above[:-1], levels[:-1], strict=True)]
    start = slopes.index(min(slopes))
    foot, end = np.array([levels[start], above[start]]), np.array([levels[-1], above[-1]])
    along = (end - foot) / np.linalg.norm(end - foot)
    points = [np.array(p) - foot for p in zip(levels[start:], above[start:], strict=True)]
    gaps = [np.linalg.norm(p - (p @ along) * along) for p in points]
    return levels[start + int(np.argmax(gaps)) - 2]


@pytest.mark.parametrize("dtype", [np.uint16, np.uint32, np.float32, np.float64])
def test_the_type_of_pixels_does_not_matter(dtype):
    image, mask = frame(np.random.default_rng(4))
    results = []
    for kind in (np.int32, dtype):
        strong = np.empty(image.shape, bool)
        Dispersion().prepare(None, 0, mask)(np.where(mask & (image < 60000), image, 0).astype(kind), mask, strong, 0)
        results.append(strong)
    np.testing.assert_array_equal(*results)


def test_rounding_of_bright_floats_stays_in_their_windows():
    """Running sums of floats would leave an error of 1e-3 below a pixel of 1e7, more than this background."""
    rng = np.random.default_rng(5)
    image = rng.poisson(1.0, (60, 40)) * 1e-4
    bright = image.copy()
    bright[5, 20] = 1e7
    results = []
    for frame_ in (image, bright):
        strong = np.empty(image.shape, bool)
        Dispersion(DispersionOptions(gain=1e-4)).prepare(None, 0, image >= 0)(frame_, image >= 0, strong, 0)
        results.append(strong[9:])
    np.testing.assert_array_equal(*results)


@pytest.mark.parametrize("min_local", [1, 50])
def test_min_local_must_fit_the_window(min_local):
    with pytest.raises(OptionError, match="between 2 and 49"):
        Dispersion(DispersionOptions(min_local=min_local))


def test_blank_frame_has_no_strong_pixel():
    image = np.zeros((20, 20), np.int32)
    strong = np.ones(image.shape, bool)
    Dispersion().prepare(None, 0, image >= 0)(image, image >= 0, strong, 0)
    assert not strong.any()


def test_conformance():
    check_threshold("dispersion")
