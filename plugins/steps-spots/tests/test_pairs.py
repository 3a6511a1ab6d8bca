"""Which spots of two pixels are no work of chance."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import poisson

from xtal.testing import tiny_experiment
from xtal_steps_spots.filters import PAIRS_BY_CHANCE, ROUND, pair_filter

SHAPE = (200, 200)
PLACES = [(20 + 15 * i, 20 + 15 * j) for i in range(11) for j in range(11)]


class Reader:
    """One image; pixels below -1000 are bad."""

    shapes = (SHAPE,)

    def __init__(self, image):
        self.image = image

    def allocate(self):
        return [np.empty(SHAPE)]

    def allocate_masks(self):
        return [np.empty(SHAPE, bool)]

    def read(self, z, out):
        assert z == 4
        out[0][:] = self.image
        return out

    def mask(self, z, images, out):
        np.greater(images[0], -1000, out=out[0])
        return out


def kept(image, n_signal=2, pedestal=0.0):
    """Whether the spots of two pixels at `PLACES` (y, x) stay."""
    detector = tiny_experiment(size=SHAPE).detector
    detector[0].pedestal = pedestal
    n = len(PLACES)
    bbox = np.array([[x, x + 2, y, y + 1, 4, 5] for y, x in PLACES], np.int32)
    table = {"panel": np.zeros(n, np.uint64), "bbox": bbox, "n_signal": np.full(n, n_signal, np.int32)}

    class Table(dict):
        __len__ = lambda self: n

    return pair_filter(Table(table), Reader(image), detector)  # type: ignore[arg-type]  # as a table


def with_pairs(background, totals):
    """An image of so much background everywhere, with pairs of these totals."""
    image = np.full(SHAPE, float(background))
    for (y, x), total in zip(PLACES, totals, strict=True):
        image[y, x], image[y, x + 1] = total // 2, total - total // 2
    return image


@pytest.mark.parametrize("background", [0, 1, 7, 40])
def test_pairs_stay_that_chance_makes_less_often_than_once_on_ten_images(background):
    totals = np.arange(len(PLACES)) + 2 * background
    size = 2 * ROUND + 2
    around = size * (size - 1) - 4 * 3
    expected = 2 * SHAPE[0] * SHAPE[1] * poisson.sf(totals - 1, 2 * (background + 1 / around)) < PAIRS_BY_CHANCE
    assert 2 < np.argmax(expected) < 90
    np.testing.assert_array_equal(kept(with_pairs(background, totals)), expected)


def test_the_unit_of_counts_and_the_pedestal_do_not_matter():
    rng = np.random.default_rng(5)
    image = rng.poisson(3.0, SHAPE).astype(float)
    totals = rng.integers(6, 60, len(PLACES))
    y, x = np.transpose(PLACES)
    image[y, x], image[y, x + 1] = totals, 0
    plain, scaled = kept(image), kept(16 * image + 100, pedestal=100.0)
    assert 20 < plain.sum() < 110
    assert (plain != scaled).sum() <= 5  # one count more or less of the background


def test_bad_pixels_round_a_pair_do_not_count():
    image = with_pairs(1, [30] * len(PLACES))
    image[::15] = 10_000
    assert not kept(image).any()
    image[::15] = -5_000
    assert kept(image).all()


def test_chance_leaves_next_to_none_and_larger_spots_all():
    rng = np.random.default_rng(6)
    image = rng.poisson(2.0, SHAPE).astype(float)
    assert not kept(image).any()
    assert kept(image, n_signal=3).all()
