"""Joining, centroids and boxes against slow computations."""

from __future__ import annotations

from itertools import pairwise

import gemmi
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from xtal.physics.resolution import d_of_panel
from xtal.physics.spots import (
    Gathering,
    SpotStream,
    StrongPixels,
    circle_mask,
    find_spots,
    ice_rings,
    polygon_mask,
    resolution_mask,
)
from xtal.table import Flag, ReflectionTable, Shoeboxes
from xtal.testing import tiny_experiment


def volume(seed, shape=(7, 19, 23), fraction=0.25):
    rng = np.random.default_rng(seed)
    return rng.poisson(20, shape).astype(np.int32) + 1, rng.random(shape) < fraction


def pixels(image, strong):
    return StrongPixels.concatenate([StrongPixels.of_frame(i, s) for i, s in zip(image, strong, strict=True)])


def boxes_of(spots, first_frame=0):
    table = spots.table(0, 0, first_frame)
    boxes = Shoeboxes.allocate(table["panel"], table["bbox"])
    spots.fill(boxes, np.arange(len(spots)), first_frame)
    return boxes


@given(seed=st.integers(0, 2**31), fraction=st.floats(0.0, 0.9), link=st.booleans())
@settings(max_examples=40, deadline=None)
def test_labels_are_connected_components(seed, fraction, link):
    image, strong = volume(seed, fraction=fraction)
    spots = find_spots(pixels(image, strong), link_frames=link)
    structure = ndimage.generate_binary_structure(3, 1)
    if not link:
        structure[[0, 2]] = False
    labels, n = ndimage.label(strong, structure)
    assert len(spots) == n
    # scipy numbers components in the order of their first voxel, as we do
    np.testing.assert_array_equal(spots.labels + 1, labels[strong])


@given(seed=st.integers(0, 2**31), size=st.integers(1, 7), link=st.booleans(), fraction=st.floats(0.0, 0.5))
@settings(max_examples=25, deadline=None)
def test_a_stream_gives_the_same_spots_however_it_is_cut(seed, size, link, fraction):
    image, strong = volume(seed, fraction=fraction)
    strong[3] &= seed % 2 == 0  # spots end between frames 2 and 4
    whole = find_spots(pixels(image, strong), link_frames=link)
    expected = whole.table(0, 0, 5)
    stream, tables, order, batches = SpotStream(link_frames=link), [], [], []
    blocks = [pixels(image[a : a + size], strong[a : a + size]) for a in range(0, len(image), size)]
    for batch in filter(None, [*map(stream.add, blocks), stream.finish()]):
        tables.append(batch.spots.table(0, 0, 5))
        order.append(batch.order)
        batches.append(batch.spots.compact())
    order = np.concatenate(order)
    number = np.lexsort((order[:, 1], order[:, 0]))
    found = ReflectionTable.concatenate(tables).select(number)
    assert len(found) == len(expected)
    for name in expected:
        np.testing.assert_array_equal(found[name], expected[name], err_msg=name)
    boxes, place = Shoeboxes.allocate(found["panel"], found["bbox"]), np.argsort(number)
    for spots, at in zip(batches, np.split(place, np.cumsum([len(t) for t in tables])[:-1]), strict=True):
        spots.fill(boxes, at, 5)
    np.testing.assert_array_equal(boxes.data, boxes_of(whole).data)
    np.testing.assert_array_equal(boxes.mask, boxes_of(whole).mask)


@pytest.mark.parametrize("fraction", [0.01, 0.3, 1.0])
@pytest.mark.parametrize("size", [0, 1, 7, 8, 9, 63, 64, 77, 128, 3000, 70_001])
def test_strong_pixels_are_gathered_in_order(size, fraction):
    rng = np.random.default_rng(size)
    strong, image = rng.random((1, size)) < fraction, rng.integers(0, 900, (1, size)).astype(np.uint16)
    got = StrongPixels.of_frame(image, strong)
    np.testing.assert_array_equal(got.index, np.flatnonzero(strong))
    np.testing.assert_array_equal(got.value, image[strong])


@given(seed=st.integers(0, 2**31), fraction=st.floats(0.0, 0.1), size=st.integers(1, 7))
@settings(max_examples=25, deadline=None)
def test_lone_pairs_are_two_neighbours_and_nothing_else_near(seed, fraction, size):
    image, strong = volume(seed, (7, 19, 23), fraction)
    strong[2, 8, 3:5] = strong[4, 10:12, 0] = True
    pairs = []
    for z, y, x in np.argwhere(strong):
        for v, u in ((y, x + 1), (y + 1, x)):
            if v < 19 and u < 23 and strong[z, v, u]:
                near = strong[z, max(0, y - 5) : v + 6, max(0, x - 5) : u + 6].sum()
                linked = strong[max(0, z - 1) : z + 2, [y, v], [x, u]].sum()
                if near == linked == 2:
                    pairs.append((x, u + 1, y, v + 1, z, z + 1))
    stream = SpotStream(link_frames=True)
    blocks = [pixels(image[a : a + size], strong[a : a + size]) for a in range(0, len(image), size)]
    found = [f.spots.bbox[f.spots.lone_pairs()] for f in filter(None, [*map(stream.add, blocks), stream.finish()])]
    assert sorted(map(tuple, np.concatenate(found).tolist())) == sorted(pairs)


def test_shapes():
    circle = circle_mask((30, 40), 12, 9, 5)
    assert circle[9, 12]
    assert not circle[9, 17]
    assert circle[9, 16]
    square = polygon_mask((30, 40), [(10, 5), (20, 5), (20, 9), (10, 9)])
    expected = np.zeros((30, 40), bool)
    expected[5:9, 10:20] = True
    np.testing.assert_array_equal(square, expected)
    y, x = np.mgrid[:30, :40] + 0.5
    triangle = polygon_mask((30, 40), [(0, 0), (40, 0), (0, 30)])
    np.testing.assert_array_equal(triangle, x / 40 + y / 30 < 1)


def test_sums_centroids_and_boxes():
    image, strong = volume(11)
    spots = find_spots(pixels(image, strong), link_frames=True)
    labels, n = ndimage.label(strong)
    table = spots.table(panel=2, experiment=3, first_frame=100)
    boxes = boxes_of(spots, 100)
    for k in range(n):
        at = np.argwhere(labels == k + 1)
        v, c = image[tuple(at.T)].astype(float), at[:, ::-1] + 0.5
        mean = np.average(c, axis=0, weights=v)
        w, q = v.sum(), (v * v).sum()
        variance = ((c - mean) ** 2 * v[:, None]).sum(axis=0) * w / (w * w - q) / w if len(v) > 1 else np.zeros(3)
        np.testing.assert_allclose(table["xyzobs.px.value"][k], mean + np.array([0, 0, 100]), rtol=1e-12)
        np.testing.assert_allclose(table["xyzobs.px.variance"][k], variance + 1 / 12, rtol=1e-9)
        assert table["intensity.sum.value"][k] == table["intensity.sum.variance"][k] == w
        assert table["n_signal"][k] == len(v)
        low, high = at.min(axis=0), at.max(axis=0) + 1
        np.testing.assert_array_equal(
            table["bbox"][k].reshape(3, 2)[::-1], np.stack([low, high], 1) + np.array([[100], [0], [0]])
        )
        data, mask, background = boxes.box(k)
        inside = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        mine = labels[inside] == k + 1
        np.testing.assert_array_equal(data, np.where(mine, image[inside], 0))
        np.testing.assert_array_equal(mask, np.where(mine, 5, 0))
        assert not background.any()
    assert (table["flags"] == Flag.STRONG).all()
    assert (table["panel"] == 2).all()
    assert (table["id"] == 3).all()


def test_selected_spots_keep_their_pixels():
    image, strong = volume(12, fraction=0.2)
    spots = find_spots(pixels(image, strong), link_frames=True)
    some = spots.select(spots.count >= 3)
    some = some.select(np.arange(len(some)) % 2 == 0)
    assert 5 < len(some) < len(spots) / 2
    boxes = boxes_of(some)
    assert len(some.compact().pixels) == some.count.sum() < len(spots.pixels)
    np.testing.assert_array_equal(boxes_of(some.compact()).data, boxes.data)
    sums = np.add.reduceat(boxes.data.astype(float), boxes.offsets[:-1])
    np.testing.assert_array_equal(sums, some.total)
    np.testing.assert_array_equal(np.diff(boxes.offsets), np.prod(some.bbox[:, 1::2] - some.bbox[:, ::2], axis=1))


def test_peak_is_the_first_highest_pixel():
    image = np.zeros((2, 3, 5), np.int32)
    image[0, 1, 1:4] = 5, 9, 9
    spots = find_spots(pixels(image, image > 0), link_frames=True)
    np.testing.assert_array_equal(spots.peak, [[2.5, 1.5, 0.5]])
    np.testing.assert_allclose(spots.peak_distance(), 2 + 4 / 23 - 2)


def test_spot_without_positive_sum_has_no_weight():
    image = np.full((1, 4, 4), -2, np.int32)
    strong = np.zeros(image.shape, bool)
    strong[0, 1, 1:3] = True
    spots = find_spots(pixels(image, strong), link_frames=True)
    np.testing.assert_array_equal(spots.centroid, [[2.0, 1.5, 0.5]])
    np.testing.assert_array_equal(spots.centroid_variance(), [[0.0, 0.0, 0.0]])
    table = spots.table(0, 0, 0)
    assert (table["intensity.sum.value"][0], table["intensity.sum.variance"][0]) == (-4.0, 4.0)


def test_nothing_strong():
    image, strong = volume(1, fraction=0.0)
    spots = find_spots(pixels(image, strong), link_frames=True).compact()
    table = spots.table(0, 0, 0)
    assert len(table) == 0
    assert table["xyzobs.px.value"].shape == (0, 3)
    assert len(boxes_of(spots)) == 0


def test_frames_may_be_empty():
    image, strong = volume(9)
    strong[[0, 3, 6]] = False
    assert len(find_spots(pixels(image, strong), link_frames=True)) == ndimage.label(strong)[1]


def test_ice_rings_are_those_of_hexagonal_ice():
    # d of the unique reflections that P 63/m m c allows, a = 4.498, c = 7.338 angstrom
    expected = [3.8954, 3.6690, 3.4406, 2.6708, 2.2490, 2.0715, 1.9477, 1.9174, 1.8825, 1.8345, 1.7203, 1.6597, 1.5237]
    rings = ice_rings(1.5)
    middle = [((a**-2 + b**-2) / 2) ** -0.5 for a, b in rings]
    np.testing.assert_allclose(middle, expected, atol=6e-5)
    np.testing.assert_allclose([a**-2 - b**-2 for a, b in rings], 0.002)


def test_a_ring_that_is_wider_than_its_distance_reaches_the_beam():
    ((_, coarse),) = ice_rings(3.8, width=0.2)
    assert coarse == pytest.approx(1000.0)


def test_rings_of_another_lattice():
    cell = gemmi.UnitCell(3.6, 3.6, 3.6, 90, 90, 90)
    rings = ice_rings(1.2, unit_cell=(3.6, 3.6, 3.6, 90, 90, 90), space_group="F m -3 m", width=0.01)
    allowed = sorted({cell.calculate_d(h) for h in ([1, 1, 1], [2, 0, 0], [2, 2, 0])}, reverse=True)
    assert [a < d < b for (a, b), d in zip(rings, allowed, strict=False)] == [True] * 3


@pytest.mark.parametrize("parallax", [False, True])
def test_resolution_mask(parallax):
    experiment = tiny_experiment(size=(150, 140))
    panel = experiment.detector[0]
    panel.parallax = parallax
    d = d_of_panel(panel, experiment.beam)
    d_min, d_max = (float(np.sort(d, axis=None)[k]) for k in (3000, -30))  # limits are met by pixels
    excluded = [(3.0, 3.2), (3.1, 3.4), (6.0, 6.5)]
    mask = resolution_mask(panel, experiment.beam, d_min=d_min, d_max=d_max, excluded=excluded)
    expected = (d > d_min) & (d < d_max)
    for a, b in excluded:
        expected &= ~((d >= a) & (d <= b))
    np.testing.assert_array_equal(mask, expected)
    assert 0.1 < mask.mean() < 0.95


def test_pixels_are_gathered_by_rows_and_frames_against_a_slow_twin():
    rng = np.random.default_rng(8)
    gathering = Gathering(203)
    for turn in range(3):  # its room is used again
        expected = []
        for _ in range(6):
            image = rng.integers(0, 1000, (301, 203), dtype=np.uint16)
            strong = rng.random(image.shape) < rng.choice([0.0, 0.01, 0.9])
            for a, b in pairwise([0, 1, 8, 150, 301]):
                gathering.add(image[a:b], strong[a:b], a)
            keep = bool(turn == 0 or rng.random() < 0.6)
            where = np.flatnonzero(strong & keep)
            assert gathering.end_frame(keep=keep) == len(where)
            expected.append((where, image.reshape(-1)[where]))
        found = gathering.taken()
        assert len(found.starts) == 7 and found.width == 203
        for frame, (where, values) in enumerate(expected):
            part = slice(found.starts[frame], found.starts[frame + 1])
            np.testing.assert_array_equal(found.index[part], where)
            np.testing.assert_array_equal(found.value[part], values)
