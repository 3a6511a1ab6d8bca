"""How the background runs with the scattering angle, against the pattern that frames were drawn from."""

from __future__ import annotations

import numpy as np
import pytest
from attrs import evolve

from xtal.models import Beam, Detector, Panel
from xtal.physics.integration import expect_levels, expected_levels
from xtal.physics.resolution import d_of_panel
from xtal.table import Shoeboxes

TILT = np.radians(12.0)
PANEL = Panel([np.cos(TILT), 0, np.sin(TILT)], [0, -1, 0], [-16, 20, -70], (210, 190), (0.172, 0.172), (0, 1e6))
BEAM = Beam(0.98)


def pattern(panel: Panel) -> np.ndarray:
    """Air scatter and a narrow ring."""
    s = 1 / d_of_panel(panel, BEAM)
    return 0.5 + 0.4 * np.exp(-((s / 0.15) ** 2)) + 1.5 * np.exp(-0.5 * ((s - 0.19) / 0.003) ** 2)


def drawn(panel: Panel, n: int) -> list[tuple[list[np.ndarray], list[np.ndarray]]]:
    """Frames with spots of 200 counts in a hundredth of the pixels, and a bad corner full of counts."""
    rng = np.random.default_rng(4)
    good = np.ones((190, 210), bool)
    good[:40, :40] = False
    frames = []
    for _ in range(n):
        counts = rng.poisson(pattern(panel)) + rng.poisson(200, good.shape) * (rng.random(good.shape) < 0.01)
        counts[~good] = 50
        frames.append(([(panel.gain * counts + panel.pedestal).astype(np.int32)], [good]))
    return frames


@pytest.mark.parametrize("changes", [{}, {"gain": 3.0, "pedestal": 40.0}])
def test_level_of_each_pixel_is_that_of_its_angle(changes: dict[str, float]) -> None:
    panel = evolve(PANEL, **changes)
    (levels,) = expected_levels(Detector([panel]), BEAM, drawn(panel, 40))
    ratio = levels / pattern(panel)
    assert levels.dtype == np.float32
    assert abs(np.median(ratio) - 1) < 0.03
    assert np.quantile(np.abs(ratio - 1), 0.99) < 0.1
    on_ring = pattern(panel) > 1.7
    assert on_ring.sum() > 300 and abs(ratio[on_ring].mean() - 1) < 0.04


def test_nothing_is_told_from_few_photons() -> None:
    frames = [([np.zeros((190, 210), np.int32)], [np.ones((190, 210), bool)])]
    (levels,) = expected_levels(Detector([PANEL]), BEAM, frames)
    assert (levels == 1).all()
    (levels,) = expected_levels(Detector([PANEL]), BEAM, [])
    assert (levels == 1).all()


def test_boxes_get_the_levels_of_their_pixels() -> None:
    levels = [np.arange(20.0, dtype=np.float32).reshape(4, 5) + 100 * p + 1 for p in range(2)]
    bbox = np.array([[1, 3, 0, 2, 5, 8], [3, 7, -1, 2, 0, 1]], np.int32)
    boxes = Shoeboxes.allocate(np.array([1, 0], np.uint32), bbox)
    expect_levels(boxes, levels)
    for k, (x0, x1, y0, y1, z0, z1) in enumerate(bbox):
        for z in range(z1 - z0):
            for y in range(y0, y1):
                for x in range(x0, x1):
                    inside = 0 <= y < 4 and 0 <= x < 5
                    wanted = levels[boxes.panel[k]][y, x] if inside else 0
                    assert boxes.box(k)[2][z, y - y0, x - x0] == wanted
    expect_levels(boxes, None)
    assert (boxes.background == 1).all()
