"""The kernels against a slow twin that follows the definition."""

from __future__ import annotations

import numpy as np
import pytest

from xtal.testing import check_threshold
from xtal_threshold_dispersion.dispersion import elbow_threshold
from xtal_threshold_dispersion.kernels import TILE
from xtal_threshold_dispersion_extended.extended import DispersionExtended
from xtal_threshold_dispersion_extended.kernels import ROWS, SIGNAL, shrink_rows
from xtal_threshold_dispersion_extended.options import DispersionExtendedOptions


def window(array, j, i, half_slow, half_fast):
    return array[max(0, j - half_slow) : j + half_slow + 1, max(0, i - half_fast) : i + half_fast + 1]


def twin(image, mask, o: DispersionExtendedOptions):
    """Strong pixels by the definition (four steps of Winter et al. 2018)."""
    (ky, kx), gain, used = o.kernel_size, o.gain or 1.0, mask & (image < 2**24)
    dispersed = np.zeros(image.shape, bool) if o.masked_is_background else ~mask
    for j, i in np.argwhere(mask):
        v = window(image, j, i, ky, kx)[window(used, j, i, ky, kx)].astype(float)
        if len(v) >= 2 and v.sum() > 0:
            limit = gain * (1 + o.sigma_background * np.sqrt(2 / (len(v) - 1)))
            dispersed[j, i] = v.var(ddof=1) / v.mean() > limit + 1e-9
    reach = min(ky, kx) - 1
    signal = np.array([[window(dispersed, j, i, reach, reach).all() for i in range(image.shape[1])]
                       for j in range(image.shape[0])])  # fmt: skip
    strong = np.zeros(image.shape, bool)
    for j, i in np.argwhere(signal & mask):
        v = window(image, j, i, ky + 2, kx + 2)[window(used & ~signal, j, i, ky + 2, kx + 2)].astype(float)
        mean = v.mean() if len(v) >= 2 else 0.0
        strong[j, i] = image[j, i] > o.global_threshold and image[j, i] >= mean + o.sigma_strong * np.sqrt(gain * mean)
    return strong


def frame(rng, shape=(41, 53)):
    """Background with spots, some of them at a gap and at the edges, and pixels that are too bright to count."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    expected = 1.0 + 0.03 * y
    for cy, cx in [*rng.uniform(0, 1, (10, 2)) * shape, (15, 18), (0, 30), (39, 51)]:
        expected = expected + 60 * np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / 3)
    image = rng.poisson(expected).astype(np.int32)
    image[rng.integers(0, shape[0], 9), rng.integers(0, shape[1], 9)] = 2**24 + 5
    image[:, 20:23] = -1
    return image, image >= 0


CASES = {
    "defaults": {},
    "gain": {"gain": 1.3, "sigma_strong": 2.5},
    "window": {"kernel_size": (2, 4), "sigma_background": 4.0},
    "smallest": {"kernel_size": (1, 1)},
    "gaps": {"masked_is_background": False},
    "threshold": {"global_threshold": 30.0},
}


@pytest.mark.parametrize("case", CASES)
def test_agrees_with_the_definition(case):
    options = DispersionExtendedOptions(**CASES[case])
    image, mask = frame(np.random.default_rng(8))
    strong = np.empty(image.shape, bool)
    kernel = DispersionExtended(options).prepare(None, 0, mask)
    for _ in range(2):  # buffers are used again
        kernel(image, mask, strong, 0)
        expected = twin(image, mask, options)
        assert expected.sum() > 20
        np.testing.assert_array_equal(strong, expected)


@pytest.mark.parametrize("kernel_size", [(3, 3), (1, 6), (7, 2)])
@pytest.mark.parametrize("height", [1, 4, ROWS - 1, ROWS, ROWS + 1, 3 * ROWS + 5])
def test_the_rows_looked_at_together_do_not_matter(height, kernel_size):
    options = DispersionExtendedOptions(kernel_size=kernel_size)
    image, mask = frame(np.random.default_rng(height), (height, 53))
    strong = np.ones(image.shape, bool)
    kernel = DispersionExtended(options).prepare(None, 0, mask)
    for _ in range(2):
        kernel(image, mask, strong, 0)
        np.testing.assert_array_equal(strong, twin(image, mask, options))
    assert not kernel.signal.any()


@pytest.mark.parametrize("kernel_size", [(1, 1), (5, 3), (15, 15)])
@pytest.mark.parametrize("height", [20, 3 * ROWS])
def test_signals_are_kept_as_long_as_they_are_needed(height, kernel_size):
    """Signals and background side by side everywhere; at the end of whole `ROWS` of them no row of the ring is free."""
    rng, reach = np.random.default_rng(height), max(kernel_size)
    y, x = np.mgrid[:height, :150]
    crowded = (x + y) % (5 * reach + 5) < 2 * reach + 2
    image = np.where(crowded, rng.integers(0, 41, x.shape), rng.poisson(5.0, x.shape)).astype(np.int32)
    mask = rng.random(image.shape) < 0.98
    options = DispersionExtendedOptions(kernel_size=kernel_size)
    expected = twin(image, mask, options)
    assert 0.2 < expected.mean() < 0.5
    strong = np.empty(image.shape, bool)
    kernel = DispersionExtended(options).prepare(None, 0, mask)
    for _ in range(2):
        kernel(image, mask, strong, 0)
        np.testing.assert_array_equal(strong, expected)
        assert not kernel.signal.any()


def test_spots_across_tiles():
    """Wide images: runs of signal pixels from one tile into the next, over a whole one, and to the last column."""
    rng = np.random.default_rng(5)
    image, mask = frame(rng, (41, 3 * TILE + 9))
    for rows, columns in [
        ((9, 16), (TILE - 9, TILE + 5)),
        ((18, 27), (TILE - 9, 2 * TILE + 9)),
        ((30, 38), (-8, None)),
    ]:
        part = image[slice(*rows), slice(*columns)]
        part[...] = rng.choice([50, 150], part.shape)
    mask[rng.integers(0, 18, 15), rng.integers(0, image.shape[1], 15)] = False
    strong = np.empty(image.shape, bool)
    DispersionExtended().prepare(None, 0, mask)(image, mask, strong, 0)
    assert strong[22, TILE - 1 : 2 * TILE + 1].all()
    assert strong[33, -2:].all()
    np.testing.assert_array_equal(strong, twin(image, mask, DispersionExtendedOptions()))


def test_nothing_stands_out_of_a_negative_background():
    """Whose standard deviation is no number."""
    found = []
    for level in (0, -1):
        image = np.full((30, 30), level, np.int32)
        image[14:17, 14:17] = 40
        strong = np.empty(image.shape, bool)
        DispersionExtended().prepare(None, 0, image < 99)(image, image < 99, strong, 0)
        found.append(strong.sum())
    assert found == [9, 0]


def test_spots_at_a_gap_are_kept_on_request():
    image, mask = frame(np.random.default_rng(8))
    found = []
    for masked_is_background in (True, False):
        strong = np.empty(image.shape, bool)
        options = DispersionExtendedOptions(masked_is_background=masked_is_background)
        DispersionExtended(options).prepare(None, 0, mask)(image, mask, strong, 0)
        found.append(strong[12:19, 15:20].sum())
    assert found[0] < found[1]


@pytest.mark.parametrize("masked_counts", [False, True])
@pytest.mark.parametrize("reach", [0, 1, 2, 3])
def test_shrinking_counts_the_outside_as_marked(reach, masked_counts):
    rng = np.random.default_rng(1)
    mask = rng.random((17, 150)) < 0.95
    marked = mask & (rng.random(mask.shape) < 0.95)
    marked[5:9] = False
    tiles = np.ones((17, 3), np.uint8)
    tiles[5:9] = 0
    signal = np.zeros(marked.shape, np.uint8)
    shrink_rows(0, 17, marked, mask, masked_counts, reach, np.empty(TILE + 2 * reach, np.uint8), tiles, signal)
    counted = marked | ~mask if masked_counts else marked
    expected = np.array([[window(counted, j, i, reach, reach).all() for i in range(150)] for j in range(17)]) & marked
    np.testing.assert_array_equal(signal, expected)
    held = [[expected[j, t * TILE : (t + 1) * TILE].any() for t in range(3)] for j in range(17)]
    np.testing.assert_array_equal(tiles & SIGNAL > 0, held)


def test_global_threshold_from_the_first_image():
    image, mask = frame(np.random.default_rng(8))
    found = DispersionExtended(DispersionExtendedOptions(global_threshold="auto"))
    found.learn(image)
    strong = np.empty(image.shape, bool)
    found.prepare(None, 0, mask)(image, mask, strong, 0)
    limit = found.window.global_threshold
    assert limit == elbow_threshold(image) > 5
    np.testing.assert_array_equal(strong, twin(image, mask, DispersionExtendedOptions(global_threshold=limit)))


def test_conformance():
    check_threshold("dispersion_extended")
