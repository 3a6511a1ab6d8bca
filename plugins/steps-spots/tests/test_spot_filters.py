"""Which spots are kept: by size, separation, slope, crowding, warm pixels; pairs of electrons."""

from __future__ import annotations

import numpy as np
import pytest
from spots_in_memory import SIZE, Frames, equal, run, spotty

from xtal.errors import AlgorithmFailed
from xtal.physics.spots import StrongPixels, find_spots
from xtal.testing import tiny_experiment
from xtal_steps_spots import filters
from xtal_steps_spots import find_spots as step
from xtal_steps_spots.options import BackgroundGradientOptions, FilterOptions, SpotDensityOptions


def test_sizes_and_separation_filter():
    assert len(run(filter=FilterOptions(min_spot_size=12)).table) < len(run().table)
    with pytest.raises(AlgorithmFailed, match="No spot was found on 10 images"):
        run(filter=FilterOptions(max_spot_size=3))
    sizes = run().table["n_signal"]
    limits = (int(sizes.min()), int(sizes.max()) - 1)
    assert limits[0] < limits[1]
    kept = run(filter=FilterOptions(max_spot_size=limits[1])).table["n_signal"]
    assert len(kept) == np.count_nonzero(sizes < sizes.max())
    assert len(run(filter=FilterOptions(max_spot_size=limits[0])).table) == np.count_nonzero(sizes == sizes.min())

    def comet(z, panel, shape):
        image = np.full(shape, 10, np.int32)
        if z != 4:
            return image
        image[20, 10:30] = 50
        image[20, 10] = 60
        image[30:32, 10:12] = 40
        return image

    assert len(run(Frames(comet)).table) == 1
    assert len(run(Frames(comet), filter=FilterOptions(max_separation=20)).table) == 2


def test_image_plates_need_larger_spots():
    def small(z, panel, shape):
        image = np.full(shape, 10, np.int32)
        image[20, 10:14] = 50 if z == 4 else 10
        image[30, 10:17] = 50 if z == 4 else 10
        return image

    plate = tiny_experiment(size=SIZE)
    plate.detector[0].type = "SENSOR_IMAGE_PLATE"
    options = {"filter": FilterOptions(max_separation=9)}
    assert len(run(Frames(small), **options).table) == 2
    assert len(run(Frames(small), experiment=plate, **options).table) == 1


def test_spots_on_a_slope_are_dropped_on_request():
    def slope(z, panel, shape):
        image = spotty(z, panel, shape)
        image[:, 30:] += (np.arange(30) * 0.3).astype(np.int32)
        image[:, 40:50] = 12 * np.arange(1, 11) % 20
        return image

    steep = BackgroundGradientOptions(filter=True, gradient_cutoff=0.5)
    everything = run(Frames(slope)).table["xyzobs.px.value"]
    flat = run(Frames(slope), filter=FilterOptions(background_gradient=steep)).table["xyzobs.px.value"]
    assert (flat[:, 0] < 25).sum() > 0.6 * (everything[:, 0] < 25).sum()
    assert (flat[:, 0] > 36).sum() < 0.6 * (everything[:, 0] > 36).sum()


SLOPES = ((2.0, 0.5), (0.5, -3.0))
"""Along x and y, of each of two panels."""


def test_slopes_are_those_of_the_ring_around_a_spot_over_its_images():
    """Whatever stands within the ring, and in pixels of it that are bad on one image."""
    spots = [
        (0, (10, 12, 20, 23), 0, 3),
        (0, (44, 47, 5, 7), 1, 2),
        (1, (8, 11, 40, 42), 4, 6),
        (1, (20, 22, 5, 8), 6, 7),
    ]
    read = []

    def make(z, panel, shape):
        read.append(z)
        y, x = np.indices(shape)
        image = 500 + SLOPES[panel][0] * x + SLOPES[panel][1] * y
        for p, (x0, x1, y0, y1), _, _ in spots:
            if p == panel:
                image[y0 - 2 : y1 + 2, x0 - 2 : x1 + 2] = 9999
        if z == 1 and panel == 0:
            image[17, 8] = -1e6  # of the ring around the first spot
        return image

    reader = Frames(make, z1=9, shapes=((40, 50), (60, 30)), dtype=np.float64)
    table = {
        "panel": np.array([p for p, *_ in spots]),
        "bbox": np.array([[*box, first, last] for _, box, first, last in spots]),
    }
    steepest = [3 * 2.0, 2.0, 2 * 3.0, 3.0]
    for cutoff in (1.9, 2.1, 2.9, 3.1, 5.9, 6.1):
        kept = filters.gradient_filter(table, reader, 2, cutoff)
        assert kept.tolist() == [s < cutoff for s in steepest]
    assert set(read) == {0, 1, 2, 4, 5, 6}


def test_crowded_places_are_dropped_on_request():
    rng = np.random.default_rng(1)
    xy = np.concatenate([rng.uniform(0, 1000, (4000, 2)), rng.uniform(505, 515, (400, 2))])
    keep = filters.density_filter(xy)
    assert keep[:4000].mean() > 0.9
    assert not keep[4000:].any()
    assert filters.density_filter(xy[:1]).all()


def test_places_are_crowded_beyond_the_flat_part_of_the_histogram_alone():
    """Few cells hold three spots, but a hundred hold four: there it is not yet flat."""
    counts = np.repeat([1, 2, 3, 4, 20, 0], [1000, 200, 1, 100, 1, 2500 - 1302])
    counts = np.random.default_rng(3).permutation(counts).reshape(50, 50)
    counts[0, 0] = counts[-1, -1] = 1
    cells = np.repeat(np.argwhere(counts >= 0), counts.ravel(), axis=0)
    xy = np.concatenate([[[0, 0], [500, 1000]], cells * (10, 20) + (5, 10)])
    keep = filters.density_filter(xy)
    assert (~keep).sum() == 20
    assert keep[2:][counts[tuple(cells.T)] < 20].all()


def test_warm_pixels_hold_spots_of_one_pixel_of_their_panel():
    spots = [
        (0, (10, 11, 20, 21)), (0, (10, 11, 20, 21)), (0, (9, 12, 19, 22)),  # warm, and a large spot upon it
        (1, (10, 11, 20, 21)), (0, (20, 21, 10, 11)),  # elsewhere
        (0, (30, 31, 40, 43)), (0, (30, 31, 40, 43)),  # high
        (0, (40, 43, 40, 41)), (0, (40, 43, 40, 41)),  # wide
    ]  # fmt: skip
    box = np.array([b for _, b in spots])
    table = {
        "panel": np.array([p for p, _ in spots]),
        "bbox": np.c_[box, np.zeros_like(box[:, :2])],
        "xyzobs.px.value": np.c_[(box[:, ::2] + box[:, 1::2]) / 2, np.zeros(len(spots))],
    }
    assert filters.warm_filter(table, 10**6, 1).tolist() == [False] * 3 + [True] * 6


def warm(z, panel, shape):
    """Spots, and a pixel that is strong on images 1 to 3 and 6 to 9, beside one that is on 3 to 5 alone."""
    image = spotty(z, panel, shape)
    image[30, 38:48] = image[40, 38:48] = 10
    image[30, 42] = 30 * (z in (0, 1, 2, 5, 6, 7, 8))
    image[40, 42] = 30 * (z in (2, 3, 4))
    return image


def test_spots_on_warm_pixels_are_dropped():
    everything = run(Frames(warm), filter=FilterOptions(warm_pixels=False)).table
    kept = run(Frames(warm))
    at = everything["xyzobs.px.value"][:, :2]
    expected = everything.select(~(at == (42.5, 30.5)).all(axis=1))
    assert len(everything) - len(expected) == 2
    equal(kept.table, expected)
    assert "2 on warm pixels" in kept.lines[1]
    twice_round, still = tiny_experiment(size=SIZE), tiny_experiment(size=SIZE)
    twice_round.scan.oscillation_deg = (0.0, -72.0)
    equal(run(Frames(warm), twice_round).table, everything)
    still.scan.oscillation_deg = (0.0, 0.0)
    small = {"min_spot_size": 1}
    both = [
        run(Frames(warm), still, filter=FilterOptions(warm_pixels=w, **small)).table["xyzobs.px.value"]
        for w in (True, False)
    ]
    np.testing.assert_array_equal(*both)


def pairs(z, panel, shape):
    """A pair by itself on image 4, two within 5 pixels of each other on image 6, one pixel on images 8 and 9."""
    image = np.full(shape, 10, np.int32)
    if z == 3:
        image[20, 20:22] = 60
    if z == 5:
        image[40, 10:12] = image[44:46, 14] = 60
    if z in (7, 8):
        image[30, 40] = 60
    return image


def electrons():
    experiment = tiny_experiment(size=SIZE)
    experiment.beam.probe = "electron"
    return experiment


def test_a_lone_pair_is_a_spot_of_electrons_unless_told_how_small_spots_are():
    table = run(Frames(pairs), electrons()).table
    np.testing.assert_array_equal(table["bbox"], [[20, 22, 20, 21, 3, 4]])
    assert len(run(Frames(pairs), electrons(), filter=FilterOptions(min_spot_size=2)).table) == 4
    camera = electrons()
    camera.detector[0].type = "SENSOR_CCD"
    for experiment, smallest in ((electrons(), 3), (camera, None), (tiny_experiment(size=SIZE), None)):
        with pytest.raises(AlgorithmFailed, match="No spot was found"):
            run(Frames(pairs), experiment, filter=FilterOptions(min_spot_size=smallest))


def test_a_pair_needs_counts_that_are_known_to_three_sigma():
    image = np.zeros(SIZE, np.int32)
    image[10:12, 10], image[10:12, 30] = (5, 4), (5, 3)
    spots = find_spots(StrongPixels.of_frame(image, image > 0), link_frames=False)
    kept = step.passed(spots, electrons(), FilterOptions(), step.Counts())
    np.testing.assert_array_equal(kept, [True, False])


def test_reflections_that_come_back_with_each_turn_are_no_warm_pixels():
    table = run(Frames(warm), filter=FilterOptions(warm_pixels=False)).table
    assert (~filters.warm_filter(table, 3000, 1)).sum() == 2
    assert filters.warm_filter(table, 3000, 2).all()


@pytest.mark.parametrize(
    ("n", "places", "least"), [(0, 10**6, 2), (100, 10**6, 2), (1000, 10**6, 3), (10**5, 10**6, 6)]
)
def test_how_many_spots_of_one_pixel_are_no_chance(n, places, least):
    assert filters.more_than_chance(n, places) == least
    rng = np.random.default_rng(4)
    most = [np.bincount(rng.integers(0, places, n), minlength=places).max() for _ in range(5)]
    assert max(most) < least


def test_crowded_places_are_left_out_on_request_only(monkeypatch):
    """What is crowded is `density_filter`'s; here, that it is asked about the centroids and obeyed."""
    every, asked = run().table, []
    monkeypatch.setattr(step, "density_filter", lambda xy: asked.append(xy) or np.arange(len(xy)) % 2 == 0)
    assert len(run().table) == len(every)
    context = run(filter=FilterOptions(spot_density=SpotDensityOptions(filter=True)))
    np.testing.assert_array_equal(asked, [every["xyzobs.px.value"][:, :2]])
    np.testing.assert_array_equal(context.table["xyzobs.px.value"], every["xyzobs.px.value"][::2])
    assert f"{len(every) // 2} in crowded places" in context.lines[1]
