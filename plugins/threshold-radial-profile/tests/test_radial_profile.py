"""The threshold against a slow twin that follows the definition."""

from __future__ import annotations

import attrs
import numpy as np
import pytest
from scipy import ndimage

from xtal.physics.resolution import two_theta_at
from xtal.testing import check_threshold, tiny_experiment
from xtal_threshold_radial_profile.options import RadialProfileOptions
from xtal_threshold_radial_profile.radial_profile import NARROW, WIDE, RadialProfile, shells_of_panel

SIZE = (150, 130)


def frame(level=8.0, dtype=np.int32):
    """Background that falls off from the beam, spots, a gap and hot pixels that are masked."""
    rng = np.random.default_rng(4)
    y, x = np.mgrid[: SIZE[1], : SIZE[0]]
    expected = 1 + level * np.exp(-np.hypot(x - 75, y - 65) / 30)
    for cy, cx in rng.uniform(0, 1, (15, 2)) * (SIZE[1], SIZE[0]):
        expected = expected + 9 * level * np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / 3)
    image = rng.poisson(expected).astype(np.int32)
    mask = np.ones(image.shape, bool)
    mask[:, 60:66] = False
    image[~mask] = 1_000_000
    return image.astype(dtype), mask


def twin(image, mask, experiment, o):
    """Strong pixels by the definition, shell by shell."""
    panel = experiment.detector[0]
    y, x = np.mgrid[: SIZE[1], : SIZE[0]]
    angle = two_theta_at(panel, experiment.beam, np.stack([x, y], -1).astype(float))
    angle = angle - angle.min()
    shell = np.floor(angle * o.n_bins / (angle + 1e-10).max()).astype(int)
    image = image.astype(float)
    if o.blur:
        weights = NARROW if o.blur == "narrow" else WIDE
        used = ndimage.correlate(mask.astype(float), weights, mode="nearest")
        total = ndimage.correlate(np.where(mask, image, 0.0), weights, mode="nearest")
        whole = weights.sum()
        partly = (used > 0) & (used < whole)
        image = np.where(partly, np.rint(total * whole / np.maximum(used, 1)), total) / whole
    strong = np.zeros(image.shape, bool)
    for k in range(o.n_bins):
        here = mask & (shell == k)
        if not here.any():
            continue
        q1, median, q3 = np.percentile(image[here], [25, 50, 75])
        add = o.n_iqr * (q3 - q1)
        add = 2 / panel.gain if add <= 1 / panel.gain else add
        strong[here] = image[here] > median + add + 1e-9
    return strong


@pytest.mark.parametrize("gain", [1.0, 2.5])
@pytest.mark.parametrize(
    ("options", "level", "dtype"),
    [
        ({}, 8.0, np.int32),
        ({}, 0.0, np.uint16),
        ({"n_iqr": 3.0, "n_bins": 17}, 2000.0, np.int32),
        ({"n_bins": 5000}, 8.0, np.int32),
        ({"blur": "narrow"}, 8.0, np.int32),
        ({"blur": "wide"}, 100.0, np.uint32),
        ({}, 8.0, np.float64),
        ({"blur": "narrow"}, 8.0, np.float64),
    ],
)
def test_agrees_with_the_definition(options, level, dtype, gain):
    image, mask = frame(level)
    if dtype is np.uint16:
        image = np.minimum(image, 60000)
    experiment = tiny_experiment(size=SIZE)
    experiment.detector[0].gain = gain
    o = RadialProfileOptions(**options)
    kernel = RadialProfile(o).prepare(experiment, 0, mask)
    strong = np.empty(image.shape, bool)
    for _ in range(2):
        kernel(image.astype(dtype), mask, strong, 0)
        np.testing.assert_array_equal(strong, twin(image, mask, experiment, o))
    assert strong.any() or level == 0


def test_negative_values_are_sorted():
    image, mask = frame()
    experiment = tiny_experiment(size=SIZE)
    image = image - 5000
    strong = np.empty(image.shape, bool)
    RadialProfile().prepare(experiment, 0, mask)(image, mask, strong, 0)
    np.testing.assert_array_equal(strong, twin(image, mask, experiment, RadialProfileOptions()))


def test_masked_values_do_not_leak_through_the_blur():
    experiment = tiny_experiment(size=SIZE)
    found = []
    for value in (0, 10**9):
        image, mask = frame()
        image[~mask] = value
        strong = np.empty(image.shape, bool)
        RadialProfile(RadialProfileOptions(blur="wide")).prepare(experiment, 0, mask)(image, mask, strong, 0)
        found.append(strong)
    np.testing.assert_array_equal(*found)


def test_shells_cover_the_panel():
    experiment = tiny_experiment(size=SIZE)
    shells = shells_of_panel(experiment.detector[0], experiment.beam, 40)
    assert (shells.min(), shells.max()) == (0, 39)
    assert attrs.asdict(RadialProfileOptions())["n_bins"] == 100


def test_conformance():
    check_threshold("radial_profile")
