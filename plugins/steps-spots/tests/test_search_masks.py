"""Where spots are sought: resolution, ice, borders, regions."""

from __future__ import annotations

import re

import attrs
import numpy as np
import pytest
from spots_in_memory import SIZE, run

from xtal.errors import AlgorithmFailed, OptionError
from xtal.models import Detector
from xtal.physics.resolution import d_of_panel
from xtal.testing import tiny_experiment
from xtal_steps_spots.mask_options import IceRingOptions, UntrustedOptions
from xtal_steps_spots.masks import search_masks
from xtal_steps_spots.options import FilterOptions, SpotfinderOptions


def test_masks_by_option():
    experiment = tiny_experiment(size=SIZE)
    assert search_masks(experiment, SpotfinderOptions()) is None
    (region,) = search_masks(
        experiment, SpotfinderOptions(region_of_interest=(5, 20, 5, 45), filter=FilterOptions(border=8))
    )
    expected = np.zeros((50, 60), bool)
    expected[8:42, 8:20] = True
    np.testing.assert_array_equal(region, expected)
    d = d_of_panel(experiment.detector[0], experiment.beam)
    limits = FilterOptions(d_min=8.0, d_max=40.0, resolution_range=((15.0, 10.0),))
    (mask,) = search_masks(experiment, SpotfinderOptions(filter=limits))
    np.testing.assert_array_equal(mask, (d > 8) & (d < 40) & ~((d >= 10) & (d <= 15)))


def test_ice_rings_are_masked():
    experiment = tiny_experiment(size=(400, 400))
    rings = FilterOptions(ice_rings=IceRingOptions(filter=True))
    (mask,) = search_masks(experiment, SpotfinderOptions(filter=rings))
    q = d_of_panel(experiment.detector[0], experiment.beam) ** -2
    assert not mask[np.abs(q - 3.4406**-2) < 0.0009].any()
    assert mask[q < 0.06].all()
    coarse = FilterOptions(ice_rings=IceRingOptions(filter=True, d_min=3.0))
    (mask,) = search_masks(experiment, SpotfinderOptions(filter=coarse))
    assert not mask[np.abs(q - 3.4406**-2) < 0.0009].any()
    assert mask[q > 3.0**-2 + 0.001].all()


def test_the_depth_of_absorption_is_left_out_on_request():
    experiment = tiny_experiment(size=(400, 400))
    panel = attrs.evolve(experiment.detector[0], material="Si", mu=1.4, thickness=0.5, parallax=True)
    experiment.detector = Detector([panel])
    masks = [
        search_masks(experiment, SpotfinderOptions(filter=FilterOptions(d_min=4.0, disable_parallax_correction=off)))[0]
        for off in (False, True)
    ]
    flat = d_of_panel(attrs.evolve(panel, parallax=False), experiment.beam)
    np.testing.assert_array_equal(masks[1], flat > 4.0)
    assert (masks[0] != masks[1]).any()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (SpotfinderOptions(filter=FilterOptions(d_min=3.0, d_max=2.0)), "d_min=3 must be smaller than d_max=2"),
        (SpotfinderOptions(filter=FilterOptions(min_spot_size=9, max_spot_size=3)), "is larger than max_spot_size=3"),
        (SpotfinderOptions(region_of_interest=(100, 200, 0, 50)), "Change resolution_range, border"),
        (SpotfinderOptions(filter=FilterOptions(d_max=0.5)), "Change d_max=0.5: the pixels of the detector are at {}"),
        (
            SpotfinderOptions(filter=FilterOptions(d_min=5.0, resolution_range=((5.0, 9e9),))),
            "Change d_min=5, resolution_range=5,9e+09: the pixels of the detector are at {}",
        ),
    ],
)
def test_limits_that_leave_nothing(options, told):
    experiment = tiny_experiment(size=SIZE)
    d = d_of_panel(experiment.detector[0], experiment.beam)
    with pytest.raises(OptionError, match=re.escape(told.format(f"{d.min():.2f} to {d.max():.4g} Å."))):
        search_masks(experiment, options)


def test_limits_that_leave_pixels_about_the_beam_alone():
    """Where no spot is found they are blamed, not the images."""
    with pytest.raises(AlgorithmFailed) as caught:
        run(filter=FilterOptions(d_min=150.0))
    experiment = tiny_experiment(size=SIZE)
    d = d_of_panel(experiment.detector[0], experiment.beam)
    left, least = (d > 150).sum(), f"{d.min():.2f}"
    assert 0 < left < 0.01 * d.size
    assert f"limits of the search leave {left} pixels of the detector. Change d_min=150: " in caught.value.advice
    assert f"are at {least} to " in caught.value.advice


@pytest.mark.parametrize(
    ("ice", "told"),
    [
        (IceRingOptions(filter=True, space_group="foo"), "'foo' is not a space group"),
        (IceRingOptions(filter=True, space_group="999"), "'999' is not a space group"),
        (IceRingOptions(filter=True, unit_cell=(4.0, 4.0, 7.0, 90.0, 90.0, 0.0)), "4 4 7 90 90 0 is no unit cell"),
    ],
)
def test_a_powder_that_there_is_not_is_told(ice, told):
    with pytest.raises(OptionError, match=told) as caught:
        search_masks(tiny_experiment(size=SIZE), SpotfinderOptions(filter=FilterOptions(ice_rings=ice)))
    assert "ice_rings.unit_cell=" in caught.value.advice


def test_masked_pixels_hold_no_spot():
    table = run(region_of_interest=(10, 40, 10, 40)).table
    bbox = table["bbox"]
    assert (bbox[:, 0] >= 10).all()
    assert (bbox[:, 1] <= 40).all()


def test_regions_are_masked():
    two = Detector(tiny_experiment(size=SIZE).detector.panels * 2)
    experiment = tiny_experiment(size=SIZE)
    experiment.detector = two
    regions = (
        UntrustedOptions(rectangle=(5, 9, 3, 60)),
        UntrustedOptions(circle=(30, 20, 4), pixel=(7, 40)),
        UntrustedOptions(polygon=(50, 40, 58, 40, 58, 48, 50, 48)),
        UntrustedOptions(panel=1),
    )
    first, second = search_masks(experiment, SpotfinderOptions(filter=FilterOptions(untrusted=regions)))
    expected = np.ones((50, 60), bool)
    expected[3:, 5:9] = False
    y, x = np.mgrid[:50, :60]
    expected[(x - 30) ** 2 + (y - 20) ** 2 < 16] = False
    expected[7, 40] = False
    expected[40:48, 50:58] = False
    np.testing.assert_array_equal(first, expected)
    assert not second.any()


@pytest.mark.parametrize(
    "region", [UntrustedOptions(panel=1), UntrustedOptions(pixel=(50, 0)), UntrustedOptions(polygon=(1, 2, 3, 4))]
)
def test_regions_off_the_detector_are_errors(region):
    with pytest.raises(OptionError, match="untrusted"):
        search_masks(tiny_experiment(size=SIZE), SpotfinderOptions(filter=FilterOptions(untrusted=(region,))))
