"""The search of images of several panels: what thresholds are given, and what is said of an image."""

from __future__ import annotations

import numpy as np
import pytest
from spots_in_memory import Above, Frames, spotty

from xtal.errors import AlgorithmFailed, DataError
from xtal.models import Detector
from xtal.testing import tiny_experiment
from xtal_steps_spots.search import Search

SMALL, LARGE = (20, 24), (50, 60)


def search(make, masks=None, threshold=None, **options):
    """Over ten images of a small and a large panel, whose pedestal is 5."""
    small, large = (tiny_experiment(size=shape[::-1]).detector[0] for shape in (SMALL, LARGE))
    large.pedestal = 5.0
    experiment = tiny_experiment()
    experiment.detector = Detector([small, large])
    return Search(experiment, Frames(make, shapes=[SMALL, LARGE]), threshold or Above(), masks, 0.25, **options)


def test_an_image_is_bad_where_all_of_its_panels_are_masked():
    made = search(lambda z, panel, shape: np.full(shape, -1) if z == 2 or panel == 0 else spotty(z, panel, shape))
    assert [len(p) > 0 for p in made.block(range(0, 1))] == [False, True]
    with pytest.raises(DataError, match="Image 3 holds no good pixel"):
        made.block(range(2, 3))


def test_kernels_are_made_once_for_the_pixels_that_can_be_good():
    masks = []

    class Recording(Above):
        def prepare(self, experiment, panel, mask):
            masks.append(mask.copy())
            return super().prepare(experiment, panel, mask)

    rng = np.random.default_rng(3)
    regions, static = ([rng.random(shape) < 0.7 for shape in (SMALL, LARGE)] for _ in range(2))
    made = search(spotty, regions, Recording())
    made.reader.static_mask = lambda: static
    made.block(range(0, 2))
    made.block(range(2, 4))
    assert len(masks) == 2
    for mask, region, whole in zip(masks, regions, static, strict=True):
        np.testing.assert_array_equal(mask, region & whole)


def test_background_is_sampled_on_the_largest_panel_of_an_image_in_the_middle():
    def levels(z, panel, shape):
        if z == 9:
            raise DataError("Image 10 is truncated.")
        return np.full(shape, 10 * z + 105 * panel)

    assert search(levels, excluded={4, 5, 6}).sample_background().level == 10 * 3 + 100
    assert search(levels, excluded=set(range(9))).sample_background() is None
    assert search(levels, excluded=set(range(10))).sample_background() is None


def test_pixels_outside_of_the_region_that_is_searched_are_not_masked_ones():
    region = [np.ones(SMALL, bool), np.zeros(LARGE, bool)]
    background = search(lambda z, panel, shape: np.full(shape, 7), region).sample_background()
    assert (background.masked, background.level) == (0.0, 2.0)


def test_images_that_were_searched_are_not_bad_afterwards():
    made = search(spotty, skip_bad=True)
    assert made.sample_background() is not None
    made.reader.make = lambda z, panel, shape: np.full(shape, -1)
    assert made.sample_background() is None and made.bad == {}


def test_too_many_strong_pixels_are_explained_by_the_panel_that_holds_them():
    noise = 16 * np.random.default_rng(4).poisson(4, LARGE) + 5
    made = search(lambda z, panel, shape: noise if panel else np.zeros(shape))
    with pytest.raises(AlgorithmFailed, match="On image 1 there are") as caught:
        made.block(range(0, 1))
    assert "times as much as counted photons do" in caught.value.advice
