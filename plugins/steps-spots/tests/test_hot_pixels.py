"""Pixels that are strong on almost every image, or on half of them."""

from __future__ import annotations

import numpy as np
import pytest
from spots_in_memory import SIZE, Context, Frames, run, spotty

from xtal.models import Scan
from xtal.testing import tiny_experiment
from xtal_steps_spots import find_spots as step
from xtal_steps_spots.options import FindSpotsOutput, SpotfinderOptions


def hot(z, panel, shape):
    image = spotty(z, panel, shape)
    image[30, 40:43] = 99
    image[10, 5] = 99 * (z != 3)
    return image


def test_hot_pixels_are_told_and_masked_on_request(tmp_path):
    from xtal.files import read_mask

    assert "4 hot pixels" in run(Frames(hot)).lines[2]
    experiment = tiny_experiment(size=SIZE)
    options = SpotfinderOptions(write_hot_mask=True, hot_mask_prefix="warm")
    frames, gap = Frames(hot), np.ones((SIZE[1], SIZE[0]), bool)
    gap[7, 9] = False
    frames.static_mask = lambda: [gap]
    context = Context(
        [tiny_experiment(9, SIZE), experiment],
        [Frames(spotty, z1=9), frames],
        options,
        directory=tmp_path,
        output=FindSpotsOutput(experiments="hot.expt"),
    )
    used = []
    context.use_mask = lambda path, experiments: used.append((path.name, [e.scan.n_images for e in experiments]))
    step.run(context)
    few, mask = (read_mask(tmp_path / f"warm_{k}.h5", [(SIZE[1], SIZE[0])])[0] for k in range(2))
    assert few.all()
    np.testing.assert_array_equal(np.argwhere(~mask), [[7, 9], [10, 5], [30, 40], [30, 41], [30, 42]])
    assert used == [("warm_0.h5", [9]), ("warm_1.h5", [10])]
    assert (tmp_path / "hot.expt").is_file()
    assert "hot pixel" not in run(Frames(hot, z1=9), tiny_experiment(9, SIZE)).lines[2]


def test_a_table_without_hot_pixels_says_where_all_strong_ones_are_counted(run_step, tiny_scan, tmp_path):
    run_step("import", *sorted(tiny_scan.glob("*.cbf")))
    run_step("find_spots", "imported.expt", "max_spot_size=9")
    outcome = run_step("find_hot_pixels", "imported.expt", "strong.refl", "hot_fraction=1")
    assert "0 hot pixels" in outcome.summary[0]
    assert "write_hot_mask=True counts all strong pixels" in (tmp_path / "xtal.find_hot_pixels.log").read_text()


def flickering(z, panel, shape):
    """Patches of nine pixels that are bright on every other image, more than a crystal gives spots."""
    image = np.full(shape, 10, np.int32)
    for y, x in np.ndindex(5, 6):
        image[10 * y + 3 : 10 * y + 6, 10 * x + 3 : 10 * x + 6] = 90 * ((z + x) % 2)
    return image


@pytest.mark.parametrize(("width", "told"), [(1.0, True), (0.1, False)])
def test_pixels_that_are_strong_on_half_of_the_images_are_told(width, told):
    """Not where a reflection may last as long."""
    experiment = tiny_experiment(30, SIZE)
    experiment.scan = Scan((1, 30), (0.0, width))
    said = " ".join(run(Frames(flickering, z1=30), experiment).warnings)
    assert ("270 pixels are strong on half of the images or more" in said) == told
    assert ("hot_fraction=0.5" in said) == told
    assert "spots per image are more than crystals give" in said
