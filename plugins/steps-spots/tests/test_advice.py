"""What is said where spots are absurdly many or few."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import numpy as np
import pytest
from spots_in_memory import Frames, run

from xtal.errors import AlgorithmFailed
from xtal.physics.resolution import d_of_panel
from xtal.testing import tiny_experiment
from xtal_steps_spots import advice
from xtal_steps_spots.options import FilterOptions, FindSpotsOptions


def test_no_spot_is_an_error_with_advice():
    with pytest.raises(AlgorithmFailed, match="No spot was found") as caught:
        run(Frames(lambda z, p, shape: np.zeros(shape)))
    assert "blank" in caught.value.advice


def test_rings_of_a_powder_are_no_weak_spots():
    def ring(z, panel, shape):
        slow, fast = np.indices(shape)
        radius = np.hypot(slow - 25, fast - 30)
        return np.where(abs(radius - 15) < 3, 50, 0) + np.where((slow % 12 == 0) & (fast % 12 == z), 30, 0)

    with pytest.raises(AlgorithmFailed, match="No spot was found") as caught:
        run(Frames(ring, z1=1), filter=FilterOptions(max_spot_size=100))
    assert "rings of a powder" in caught.value.advice


def test_lone_pixels_advise_smaller_spots():
    def lone(z, panel, shape):
        slow, fast = np.indices(shape)
        return np.where((slow % 12 == 0) & (fast % 12 == z), 30, 0)

    with pytest.raises(AlgorithmFailed, match="No spot was found") as caught:
        run(Frames(lone))
    assert caught.value.advice.startswith("Lower min_spot_size=")


def test_few_spots_are_a_warning():
    def one(z, panel, shape):
        image = np.zeros(shape, np.int32)
        image[20:22, 30:32] = 50 if z == 4 else 0
        return image

    context = run(Frames(one))
    assert "Only 1 spot found" in context.warnings[0]


def test_too_many_strong_pixels_name_the_image():
    def bright(z, panel, shape):
        return np.full(shape, 50 if z == 6 else 0)

    with pytest.raises(AlgorithmFailed, match=r"On image 7 there are 3000 strong pixels, more than the 750") as caught:
        run(Frames(bright))
    assert "max_strong_pixel_fraction" in caught.value.advice
    run(Frames(bright), filter=FilterOptions(max_strong_pixel_fraction=1.0, max_spot_size=5000, max_separation=99))


def test_blank_images_advise_to_look_at_the_beam():
    with pytest.raises(AlgorithmFailed) as caught:
        run(Frames(lambda z, p, shape: np.zeros(shape)))
    assert caught.value.advice == "The images are blank, or nearly: check the shutter and the beam."


def test_causes_of_many():
    rng = np.random.default_rng(2)
    experiment = tiny_experiment(size=(400, 400))
    d = d_of_panel(experiment.detector[0], experiment.beam)
    ring = np.argwhere(np.abs(d**-2 - 3.4406**-2) < 0.0008)[:, ::-1] + 0.5
    on_ring = np.c_[ring[rng.integers(0, len(ring), 300)], np.zeros(300)]
    noisy = advice.Background(0.1, 12.0, 4.0)
    sentences = " ".join(advice.causes_of_many(experiment, on_ring, np.zeros(300), noisy, 7, 0))
    for wanted in ("threshold.gain=4", "ice_rings.filter", "7 pixels are strong"):
        assert wanted in sentences
    assert "beam centre" not in sentences
    corner = rng.uniform(0, 100, (300, 3))
    assert "beam centre is 200, 200" in " ".join(advice.causes_of_many(experiment, corner, np.zeros(300), None, 0, 0))


def test_background_of_an_image():
    rng = np.random.default_rng(2)
    image, mask = 4 * rng.poisson(3, (400, 401)), np.ones((400, 401), bool)
    mask[:, :100] = False
    found = advice.background_of(image, mask)
    assert abs(found.masked - 100 / 401) < 1e-9
    assert abs(found.level - 12) < 0.3
    assert abs(found.dispersion - 4) < 0.3
    assert "threshold.gain=" in advice.gain_advice(found)
    assert not advice.gain_advice(advice.background_of(image // 4, mask))
    assert advice.background_of(image, mask & False).dispersion is None


def test_causes_of_few():
    experiment = tiny_experiment(size=(400, 400))
    mask = np.zeros((400, 400), bool)
    mask[:150] = True
    background = advice.background_of(np.full((400, 400), 900), mask)
    sentences = " ".join(advice.causes_of_few(experiment, np.empty((0, 3)), np.empty(0), background))
    for wanted in ("62 % of the pixels are masked", "background is high (900 ADU)"):
        assert wanted in sentences
    assert "sigma_" not in sentences
    (alone,) = advice.causes_of_few(experiment, np.empty((0, 3)), np.empty(0), None)
    assert "threshold.sigma_background=" in alone


NAMED = re.compile(r"\b([a-z][a-z_]*(?:\.[a-z_]+)*)=")
"""An option in a sentence."""


def test_every_option_that_is_advised_can_be_given_as_it_is_named():
    """In all that find_spots says: a user types it as it stands there."""
    from xtal.options.match import match
    from xtal.options.tree import entries
    from xtal.plugins import default_plugins

    folder = Path(advice.__file__).parent
    texts = [
        (path.name, node.value)
        for path in (folder / name for name in ("advice.py", "find_spots.py", "search.py", "masks.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    named = {name for _, text in texts for name in NAMED.findall(text)} - {"output.png", "untrusted.pixel"}
    assert len(named) > 8
    known = list(entries(FindSpotsOptions, default_plugins(), {}))
    for name in named:
        match(name, known)
