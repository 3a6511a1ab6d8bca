"""Boxes cut from frames and sums over them, against slow numpy twins."""

from __future__ import annotations

import numpy as np
import pytest

from xtal.physics.integration import (
    Foreground,
    Foregrounds,
    Gatherer,
    Layers,
    OpenBoxes,
    chunks_of_frames,
    count_noise,
    drop_bad_pixels,
    footprint_boxes,
    split_sums,
    summation,
    take_boxes,
)
from xtal.table import MaskBit, Shoeboxes

V, B, F, O = (int(m) for m in (MaskBit.VALID, MaskBit.BACKGROUND, MaskBit.FOREGROUND, MaskBit.OVERLAPPED))


@pytest.fixture
def world() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(11)
    frames = rng.poisson(4.0, (6, 30, 40)).astype(np.int32)
    good = rng.random((30, 40)) > 0.05
    x0, y0, z0 = rng.integers(-3, 36, 40), rng.integers(-3, 26, 40), rng.integers(0, 5, 40)
    z1 = np.minimum(z0 + rng.integers(1, 4, 40), 6)
    bbox = np.column_stack([x0, x0 + 7, y0, y0 + 6, z0, z1]).astype(np.int32)
    footprint = np.zeros((40, 6, 7), np.uint8)
    footprint[:, 2:4, 2:5] = 1
    return {"frames": frames, "good": good, "bbox": bbox, "footprint": footprint}


def slow_gather(w: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    cover = np.zeros((6, 50, 60), int)
    core = w.get("core", w["bbox"][:, 4:])
    for b, c, f in zip(w["bbox"], core, w["footprint"], strict=True):
        cover[c[0] : c[1], b[2] + 5 : b[3] + 5, b[0] + 5 : b[1] + 5] += f
    data, mask = [], []
    for b, c, f in zip(w["bbox"], core, w["footprint"], strict=True):
        for z in range(b[4], b[5]):
            for y in range(b[2], b[3]):
                for x in range(b[0], b[1]):
                    own = f[y - b[2], x - b[0]]
                    covers = own if c[0] <= z < c[1] else 0
                    bits, value = (F if own else B), 0
                    if 0 <= x < 40 and 0 <= y < 30:
                        bits |= O if cover[z, y + 5, x + 5] > covers else 0
                        if w["good"][y, x]:
                            bits, value = bits | V, w["frames"][z, y, x]
                    data.append(value)
                    mask.append(bits)
    return np.array(data), np.array(mask)


def fill(w: dict[str, np.ndarray], rows: np.ndarray, first: int, end: int) -> Gatherer:
    part = w["bbox"][rows].copy()
    part[:, 4:] = np.clip(part[:, 4:], first, end)
    core = w["core"][rows] if "core" in w else None
    gatherer = Gatherer(np.zeros(len(rows), np.int64), part, w["footprint"][rows].reshape(-1), [1000.0], core)
    for z in range(first, end):
        gatherer.add(z, [w["frames"][z]], [w["good"]], [w["good"]])
    return gatherer


@pytest.mark.parametrize("cored", [False, True])
def test_gather_agrees_with_slow_twin(world: dict[str, np.ndarray], cored: bool) -> None:
    if cored:  # faint first frames cover nothing
        world["core"] = world["bbox"][:, 4:].copy()
        world["core"][:, 0] = np.minimum(world["core"][:, 0] + np.arange(40) % 2, world["core"][:, 1] - 1)
    gatherer = fill(world, np.arange(40), 0, 6)
    data, mask = slow_gather(world)
    np.testing.assert_array_equal(gatherer.boxes.data, data)
    np.testing.assert_array_equal(gatherer.boxes.mask, mask)
    assert not gatherer.overloaded.any()


def test_boxes_over_the_end_of_a_run_are_completed(world: dict[str, np.ndarray]) -> None:
    whole = fill(world, np.arange(40), 0, 6).boxes
    held, seen, bbox = OpenBoxes(), {}, world["bbox"]
    ends = np.array([1, 3, 4, 6])
    for first, end in ((0, 1), (1, 3), (3, 4), (4, 6)):
        rows = np.flatnonzero((bbox[:, 4] < end) & (bbox[:, 5] > first))
        last = ends[np.searchsorted(ends, bbox[rows, 5])]
        rows, last = rows[np.argsort(last, kind="stable")], np.sort(last)
        part, over = fill(world, rows, first, end).boxes, (rows % 3 == 0).astype(np.uint8)
        for k in np.unique(last):
            start, stop = np.searchsorted(last, [k, k + 1])
            held.add({int(k): Layers.copied(rows, part, over, start, stop)})
        for done, boxes, overloaded in held.completed(end, np.zeros(40, np.int64), bbox, 200):
            assert boxes.offsets[-1] - boxes.offsets[1] <= 200
            np.testing.assert_array_equal(overloaded, done % 3 == 0)
            for i, row in enumerate(done):
                seen[int(row)] = [a.copy() for a in boxes.box(i)[:2]]
    assert len(seen) == 40 and not list(held.completed(end, np.zeros(40, np.int64), bbox, 200))
    for row, (data, mask) in seen.items():
        np.testing.assert_array_equal(data, whole.box(row)[0])
        np.testing.assert_array_equal(mask, whole.box(row)[1])


def test_overload_is_seen_only_on_pixels_that_are_good_otherwise() -> None:
    frame = np.full((8, 8), 5, np.int32)
    frame[3, 3], frame[4, 4] = 900, 900
    static = np.ones((8, 8), bool)
    static[4, 4] = False
    bbox = np.array([[2, 4, 2, 4, 0, 1], [4, 6, 4, 6, 0, 1]], np.int32)
    gatherer = Gatherer(np.zeros(2, np.int64), bbox, np.ones(8, np.uint8), [100.0])
    gatherer.add(0, [frame], [static & (frame <= 100)], [static])
    assert gatherer.overloaded.tolist() == [1, 0]


def test_summation_against_numpy(world: dict[str, np.ndarray]) -> None:
    boxes = fill(world, np.arange(40), 0, 6).boxes
    boxes.background = np.full(len(boxes.data), 1.5, np.float32)
    variance = np.full(40, 0.01)
    sums = summation(boxes, variance)
    for k in range(40):
        data, mask, background = boxes.box(k)
        fg = (mask & (V | F)) == V | F
        n = fg.sum()
        assert sums.n_foreground[k] == n and sums.n_missing[k] == ((mask & (V | F)) == F).sum()
        assert sums.n_overlapped[k] == ((mask & F != 0) & (mask & O != 0)).sum()
        assert sums.n_background[k] == ((mask & (V | B)) == V | B).sum()
        assert np.isclose(sums.intensity[k], (data - background)[fg].sum(), atol=1e-4)
        assert np.isclose(sums.variance[k], abs((data - background)[fg].sum()) + 1.5 * n + 0.01 * n * n, atol=1e-4)
        w = np.where(fg, np.maximum(data - background, 0), 0)
        if w.sum() > 1:
            x = (np.arange(7) + 0.5 + boxes.bbox[k, 0])[None, None]
            assert np.isclose(sums.xyz[k, 0], (w * x).sum() / w.sum())


def test_copies_hold_the_same(world: dict[str, np.ndarray]) -> None:
    boxes = fill(world, np.arange(40), 0, 6).boxes
    boxes.background = np.arange(len(boxes.data), dtype=np.float32)
    some = np.array([7, 3, 3])
    taken, selected = take_boxes(boxes, some), boxes.select(some)
    for name in ("offsets", "data", "mask", "background", "bbox"):
        np.testing.assert_array_equal(getattr(taken, name), getattr(selected, name))


@pytest.mark.parametrize("fractions", [False, True])
@pytest.mark.parametrize("even", [False, True])
def test_all_of_the_foreground_is_held(world: dict[str, np.ndarray], fractions: bool, even: bool) -> None:
    rng = np.random.default_rng(4)
    world["footprint"][:, 2, 2] = rng.integers(0, 2, 40)  # not all are rectangles
    world["footprint"][5] = 0
    boxes = fill(world, np.arange(40), 0, 6).boxes
    boxes.data[::7] = rng.choice([0.25, -3.0, 1e6] if fractions else [0.0, 65535.0], len(boxes.data[::7]))
    boxes.background = rng.random(len(boxes.data), dtype=np.float32)
    for i in range(40 if even else 0):
        boxes.box(i)[2][:] = boxes.box(i)[2][0]
    numbers = rng.permutation(40)  # of each box
    parts = [Foreground.of(numbers[mine], boxes, mine) for mine in np.split(np.arange(40), [11, 11, 30])]
    kept = Foregrounds(parts)
    assert kept.rows.tolist() == list(range(40))
    place = np.argsort(numbers)  # the box of each number
    assert kept.bbox[numbers[5]].tolist() == [*(boxes.bbox[5, [0, 0, 2, 2]] + [0, 1, 0, 1]), *boxes.bbox[5, 4:]]
    for rows in (np.arange(40), np.array([31, 2, 17, 2]), np.empty(0, np.int64)):
        found = kept.select(rows)
        np.testing.assert_array_equal(found.bbox, kept.bbox[rows])
        for k, i in enumerate(place[rows]):
            x0, x1, y0, y1 = found.bbox[k, :4] - boxes.bbox[i, [0, 0, 2, 2]]
            own = (boxes.box(i)[1] & F) != 0
            assert (found.box(k)[1] & F != 0).sum() == own.sum()
            for a, b in zip(found.box(k), boxes.box(i), strict=True):
                np.testing.assert_array_equal(a, np.where(own, b, 0)[:, y0:y1, x0:x1])
    size = sum(p.data.nbytes + p.mask.nbytes + p.background.nbytes + p.pixels.nbytes for p in parts)
    n = int(np.count_nonzero(boxes.mask & F))
    assert size <= (5 if fractions else 3) * n + 4 * (n if not even else 0) + 8 * 40 * 6


def test_chunks_cover_the_scan_and_keep_to_the_limit(world: dict[str, np.ndarray]) -> None:
    for limit in (1, 2000, 10**9):
        chunks = chunks_of_frames(world["bbox"], (0, 6), limit, max_frames=4)
        assert [c[0] for c in chunks[1:]] == [c[1] for c in chunks[:-1]] and chunks[0][0] == 0 and chunks[-1][1] == 6
        assert max(b - a for a, b in chunks) <= (1 if limit == 1 else 4)
    assert footprint_boxes(world["bbox"])[-1] == 40 * 42


def test_empty_boxes() -> None:
    none = Shoeboxes.allocate(np.empty(0, np.uint32), np.empty((0, 6), np.int32))
    assert len(summation(none, np.empty(0)).intensity) == 0
    assert len(Foregrounds([]).select(np.empty(0, np.int64))) == 0


def drawn_boxes(sigma: float, counts: float, level: float, n: int = 300) -> Shoeboxes:
    """Boxes of 13 x 13 x 4 voxels with a round spot at a random place near the middle, and their foreground."""
    from scipy.special import erf

    rng = np.random.default_rng(3)
    bbox = np.tile(np.array([0, 13, 0, 13, 0, 4], np.int32), (n, 1))
    boxes = Shoeboxes.allocate(np.zeros(n, np.uint32), bbox)
    edge = np.arange(14)
    grid = np.hypot(*np.meshgrid(edge[:-1] - 6, edge[:-1] - 6)) <= max(2.5, 4 * sigma)
    for k in range(n):
        parts = [np.diff(0.5 * (1 + erf((edge - c) / np.sqrt(2) / sigma))) for c in 6 + rng.random(2)]
        mean = level + counts * np.outer(*parts)[None] * np.array([0.15, 0.35, 0.35, 0.15])[:, None, None]
        part = slice(boxes.offsets[k], boxes.offsets[k + 1])
        boxes.data[part] = rng.poisson(mean).ravel()
        boxes.mask[part] = np.tile(np.where(grid, V | F, V | B).ravel(), 4)
        boxes.background[part] = level
    return boxes


@pytest.mark.parametrize("sigma", [0.2, 0.25, 0.28, 0.4, 0.7, 1.5])
@pytest.mark.parametrize("counts", [0, 300, 3000, 100_000])
@pytest.mark.parametrize("level", [0.2, 20.0])
def test_spots_are_not_taken_for_hot_or_dead_pixels(sigma, counts, level):
    boxes = drawn_boxes(sigma, counts, level)
    assert drop_bad_pixels(boxes).sum() == 0


@pytest.mark.parametrize("bright", [1000.0, 20_000.0])
@pytest.mark.parametrize("sigma", [0.6, 0.9, 1.5])
def test_hot_pixels_are_found_under_spots(sigma, bright):
    boxes = drawn_boxes(sigma, 200, 0.5)
    n, layer = len(boxes), 13 * 13
    voxels = boxes.data.reshape(n, 4, layer)
    voxels[:100, :, 6 * 13 + 8] = bright
    voxels[100:200, :, 6 * 13 + 8] = bright  # two of them side by side
    voxels[100:200, :, 7 * 13 + 8] = bright
    found = drop_bad_pixels(boxes)
    assert found.tolist() == [1] * 100 + [2] * 100 + [0] * 100
    valid = (boxes.mask & V).reshape(n, 4, layer) != 0
    assert not valid[:200, :, 6 * 13 + 8].any()
    assert valid.sum() == n * 4 * layer - 4 * 300
    sums = summation(boxes, np.zeros(n))
    assert np.all(sums.n_missing[:200] > 0)


@pytest.mark.parametrize("sigma", [0.6, 0.9, 1.5])
def test_zingers_are_found_under_spots(sigma):
    boxes = drawn_boxes(sigma, 200, 0.5)
    voxels = boxes.data.reshape(len(boxes), 4, 13, 13)
    for frame in range(4):
        voxels[frame * 50 : (frame + 1) * 50, frame, 6, 7] = 5000.0
    assert drop_bad_pixels(boxes).tolist() == [1] * 200 + [0] * 100


def test_sums_before_and_after_a_frame_like_a_slow_twin():
    boxes = drawn_boxes(0.9, 300, 2.0)
    boxes.mask[::7] &= ~V
    edges = (np.arange(len(boxes)) % 5).astype(np.int32)
    for k, found in enumerate(split_sums(boxes, edges)):
        part = slice(boxes.offsets[k], boxes.offsets[k + 1])
        own = (boxes.mask[part].reshape(4, -1) & (V | F)) == V | F
        counts, above = (np.where(own, x[part].reshape(4, -1), 0) for x in (boxes.data, boxes.data - boxes.background))
        slow = [x[z].sum() for x in (above, counts) for z in (slice(edges[k]), slice(edges[k], None))]
        np.testing.assert_allclose(found, slow, rtol=1e-6, atol=1e-3)


@pytest.mark.parametrize(("sigma", "counts"), [(0.7, 3000), (0.9, 2000), (1.5, 5000)])
def test_dead_pixels_are_found_under_spots(sigma, counts):
    boxes = drawn_boxes(sigma, counts, 0.5)
    n, layer = len(boxes), 13 * 13
    boxes.data.reshape(n, 4, layer)[:100, :, 6 * 13 + 6] = 0.0
    found = drop_bad_pixels(boxes)
    assert found.tolist() == [1] * 100 + [0] * 200
    valid = (boxes.mask & V).reshape(n, 4, layer) != 0
    assert not valid[:100, :, 6 * 13 + 6].any()
    assert valid.sum() == n * 4 * layer - 4 * 100


def background_boxes(spread: bool, slope: float, n: int = 200) -> Shoeboxes:
    """Boxes of 15 x 15 x 5 voxels of background; ``spread``: every photon counts in its pixel and the next in x."""
    rng = np.random.default_rng(5)
    boxes = Shoeboxes.allocate(np.zeros(n, np.uint32), np.tile(np.array([0, 15, 0, 15, 0, 5], np.int32), (n, 1)))
    level = 8.0 + slope * np.arange(15)[None, None, :, None]
    photons = rng.poisson(np.broadcast_to(level, (n, 5, 15, 16)))
    counts = photons[..., 1:] + photons[..., :-1] if spread else photons[..., 1:]
    boxes.data[:] = counts.ravel()
    boxes.background[:] = counts.mean()
    y, x = np.mgrid[0:15, 0:15]
    boxes.mask[:] = np.tile(np.where(np.hypot(x - 7, y - 7) < 3, V | F, V | B).ravel(), 5 * n)
    return boxes


@pytest.mark.parametrize("slope", [0.0, 2.0])
@pytest.mark.parametrize(("spread", "factor"), [(False, 1.0), (True, 2.0)])
def test_noise_of_counting_is_measured_across_pixels_and_whatever_stands_still(spread, factor, slope):
    noise = count_noise(background_boxes(spread, slope), np.arange(200))
    assert noise.mean() == pytest.approx(factor, rel=0.04)


def test_noise_of_counting_like_its_slow_twin():
    boxes = background_boxes(True, 1.0, 3)
    rng = np.random.default_rng(1)
    boxes.mask[rng.random(len(boxes.mask)) < 0.05] &= ~V
    boxes.mask[boxes.offsets[2] : boxes.offsets[3]] = F  # no background at all
    for k, value in enumerate(count_noise(boxes, np.arange(3))):
        part = slice(boxes.offsets[k], boxes.offsets[k + 1])
        data, level = (a[part].astype(float).reshape(5, 15, 15) for a in (boxes.data, boxes.background))
        usable = (boxes.mask[part].reshape(5, 15, 15) & (V | B | O)) == V | B
        found = []
        for z in range(4):
            both = usable[z] & usable[z + 1]
            if both.sum() < 40:
                continue
            change = np.where(both, data[z + 1] - data[z], np.nan)
            change -= np.nanmean(change)
            total = np.nanmean(change**2)
            for dy, dx in ((0, 1), (1, 0), (1, 1), (-1, 1), (0, 2), (2, 0)):
                moved = np.full_like(change, np.nan)
                moved[max(-dy, 0) : 15 - max(dy, 0), : 15 - dx] = change[max(dy, 0) : 15 + min(dy, 0), dx:]
                total += 2 * np.nanmean(change * moved)
            found.append(total / (level[z] + level[z + 1])[both].mean() / (1 - 13 / both.sum()))
        assert value == pytest.approx(np.mean(found), rel=1e-9) if found else np.isnan(value)
