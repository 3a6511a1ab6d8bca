"""Images that are damaged, masked throughout or left out on request."""

from __future__ import annotations

import numpy as np
import pytest
from spots_in_memory import SIZE, Above, Context, Frames, run, spotty

from xtal.errors import DataError, OptionError
from xtal.testing import tiny_experiment
from xtal_steps_spots import find_spots as step
from xtal_steps_spots.frames import excluded_frames
from xtal_steps_spots.options import SpotfinderOptions


def damaged(*bad):
    def make(z, panel, shape):
        if z in bad:
            raise DataError(f"Image {z + 1} is truncated.", advice="Copy it again.")
        return spotty(z, panel, shape)

    return make


def test_bad_images_stop_the_step_and_nothing_is_written():
    experiment = tiny_experiment(size=SIZE)
    context = Context([experiment], [Frames(damaged(4))])
    with pytest.raises(DataError, match="Image 5 is truncated") as caught:
        step.run(context)
    assert "skip_bad_images" in caught.value.advice
    assert context.table is None


def test_bad_images_are_named_and_passed_over_on_request():
    def masked(z, panel, shape):
        return np.full(shape, -1) if z == 7 else damaged(4)(z, panel, shape)

    context = run(Frames(masked), skip_bad_images=True)
    z = context.table["bbox"][:, 4:]
    assert not (z == [4, 5]).all(axis=1).any()
    assert "2 images passed over: image 5: Image 5 is truncated; image 8: Image 8 holds no good" in context.warnings[0]
    with pytest.raises(DataError, match="Image 8 holds no good pixel"):
        run(Frames(lambda z, p, shape: np.full(shape, -1) if z == 7 else spotty(z, p, shape)))


def test_a_threshold_learns_from_the_counts_of_the_first_image_that_is_searched():
    seen = []

    class Learning(Above):
        def learn(self, image):
            seen.append(image.copy())

    experiment = tiny_experiment(size=SIZE)
    experiment.detector[0].pedestal = 5.0
    frames = Frames(lambda z, panel, shape: damaged(2)(z, panel, shape) + 5)
    options = SpotfinderOptions(exclude_images=("1:2",), skip_bad_images=True)
    context = Context([experiment], [frames], options)
    context.plugin = lambda choice: Learning()
    step.run(context)
    np.testing.assert_array_equal(seen, [spotty(3, 0, SIZE[::-1])])


def test_excluded_images():
    experiment = tiny_experiment(size=SIZE)
    read = []

    def make(z, panel, shape):
        read.append(z)
        return spotty(z, panel, shape)

    bbox = run(Frames(make, z1=9), experiment, exclude_images=("4:6",), exclude_images_multiple=9).table["bbox"]
    assert not {3, 4, 5, 8} & set(read)
    assert not ((bbox[:, 4] < 6) & (bbox[:, 5] > 3)).any()
    context = run(Frames(spotty, z1=9), tiny_experiment(9, SIZE), exclude_images=("4:6",), exclude_images_multiple=9)
    assert "on 5 images" in context.lines[0]
    outside = SpotfinderOptions(exclude_images=("1:5", "9:99"))
    assert excluded_frames(0, 1, 3, 10, outside) == {3, 4, 8, 9}
    two = SpotfinderOptions(exclude_images=("1:2:3",))
    assert excluded_frames(0, 2, 0, 10, two) == set()
    assert excluded_frames(1, 2, 0, 10, two) == {1, 2}
    for bad in ("1:2", "2:1:5", "a:b:c"):
        with pytest.raises(OptionError, match="experiment:first:last"):
            excluded_frames(0, 2, 0, 10, SpotfinderOptions(exclude_images=(bad,)))
