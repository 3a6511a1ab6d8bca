"""What find_spots tells of the images: statistics, histogram, plot."""

from __future__ import annotations

import numpy as np
from spots_in_memory import SIZE, Context, Frames, spotty

from xtal.testing import tiny_experiment
from xtal_steps_spots import find_spots as step
from xtal_steps_spots import report
from xtal_steps_spots.histogram import histogram
from xtal_steps_spots.options import SpotfinderOptions


def test_trusted_limit_background_statistics_and_plot(tmp_path):
    experiment = tiny_experiment(size=SIZE)
    experiment.detector[0].trusted_range = (-1.0, 60000.0)
    more = {"maximum_trusted_value": 50.0, "per_image_statistics": True, "plot": "spots.png"}
    options = SpotfinderOptions(compute_mean_background=True, exclude_images=("2:4",))
    context = Context([experiment], [], options, directory=tmp_path, **more)
    limits = []
    context.frames = lambda e: limits.append(e.detector[0].trusted_range) or Frames(spotty)
    context.table = lambda *table: context.tables.append(table)
    context.write_reflections = lambda table: setattr(context, "found", table)
    step.run(context)
    assert limits[0] == (-1.0, 50.0)
    assert experiment.detector[0].trusted_range == (-1.0, 60000.0)
    assert (tmp_path / "spots.png").read_bytes()[1:4] == b"PNG"
    _, columns, rows = context.tables[0]
    assert columns[1] == "#spots"
    assert [r[0] for r in rows] == [str(n) for n in range(1, 11) if n not in (2, 3, 4)]
    assert sum(int(r[1]) for r in rows) == len(context.found)
    assert "Mean background: 10.000 ADU per pixel" in context.said


def test_histogram():
    spots = np.zeros(30, int)
    spots[[0, 1, 29]] = 10, 30, 20
    lines = histogram(np.arange(1, 31), spots).splitlines()
    assert lines[0].split() == ["images", "spots", "per", "image"]
    assert len(lines) <= 13
    assert lines[1].split()[0] == "1-3"
    assert lines[1].split()[1] == "13.3"
    assert lines[1].count("#") == 40
    assert len(histogram(np.array([4]), np.array([1])).splitlines()) == 2
    left_out = histogram(np.r_[1:4, 10:31], np.full(24, 7)).splitlines()  # not counted as empty
    assert [line.split()[:2] for line in left_out[1:3]] == [["1-3", "7.0"], ["10-12", "7.0"]]


def test_images_of_several_experiments_are_counted_on():
    experiments = [tiny_experiment(n, SIZE) for n in (3, 2)]
    frames = [Frames(spotty, z1=n) for n in (3, 2)]
    context = Context(experiments, frames)
    step.run(context)
    numbers, spots = report.spots_per_image(context.table, {0: range(3), 1: [1]})
    z, which = np.floor(context.table["xyzobs.px.value"][:, 2]), context.table["id"]
    expected = [((which == e) & (z == k)).sum() for e, k in ((0, 0), (0, 1), (0, 2), (1, 1))]
    assert numbers.tolist() == [1, 2, 3, 4]
    assert spots.tolist() == expected
    assert max(expected) > 2
    assert "spots per image, counted over all experiments" in context.said[-1]
    assert report.spots_per_image(context.table, {0: [1, 2]})[0].tolist() == [2, 3]


def test_numbers_of_one_agree_with_their_nouns():
    """One spot and one group that is too small, on one image."""
    image = np.full(SIZE[::-1], 10, np.int32)
    image[20:23, 20:23] = 99
    image[40, 40] = 99
    context = Context([tiny_experiment(1, SIZE)], [Frames(lambda z, panel, shape: image, z1=1)])
    step.run(context)
    assert context.lines[0].startswith("1 spot on 1 image (1.0 per image)")
    assert context.lines[1:] == [
        "kept of 2 groups of strong pixels; dropped: 1 too small, 0 too large, 0 with the highest pixel off the centre",
        "threshold dispersion_extended: 10 strong pixels",
    ]
