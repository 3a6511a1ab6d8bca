"""The step over frames in memory, so that every path can be taken in a moment."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace

import attrs
import numpy as np
import pytest

from xtal.errors import AlgorithmFailed, DataError, OptionError
from xtal.models import Detector, ExperimentList, Images, Scan
from xtal.physics.resolution import d_of_panel
from xtal.physics.spots import StrongPixels, find_spots
from xtal.table import Flag, Shoeboxes
from xtal.testing import simulated, tiny_experiment
from xtal_steps_spots import advice, filters, report, search
from xtal_steps_spots import find_spots as step
from xtal_steps_spots.frames import excluded_frames, frame_ranges
from xtal_steps_spots.histogram import histogram
from xtal_steps_spots.mask_options import IceRingOptions, UntrustedOptions
from xtal_steps_spots.masks import search_masks
from xtal_steps_spots.options import (
    BackgroundGradientOptions,
    FilterOptions,
    FindSpotsOptions,
    FindSpotsOutput,
    SpotfinderOptions,
)

SIZE = (60, 50)


class Frames:
    """A reader of frames that are made when read."""

    def __init__(self, make, z0=0, z1=10, shapes=((SIZE[1], SIZE[0]),), dtype=np.int32):
        self.make, self.z0, self.z1, self.shapes, self.dtype = make, z0, z1, list(shapes), np.dtype(dtype)
        self.closed = False

    def read(self, z, out):
        for panel, array in enumerate(out):
            array[:] = self.make(z, panel, array.shape)
        return out

    def allocate(self):
        return [np.empty(shape, self.dtype) for shape in self.shapes]

    def allocate_masks(self):
        return self.static_mask()

    def static_mask(self):
        return [np.ones(shape, bool) for shape in self.shapes]

    def mask(self, z, images, out):
        for image, mask in zip(images, out, strict=True):
            np.greater_equal(image, 0, out=mask)
        return out

    def close(self):
        self.closed = True


class Above:
    """A threshold plugin: more than 20 counts."""

    def prepare(self, experiment, panel, mask):
        return lambda image, mask, strong, frame: np.logical_and(image > 20, mask, out=strong)


class Threads:
    def __init__(self, n_workers):
        self.n_workers = n_workers

    def map(self, function, blocks):
        with ThreadPoolExecutor(self.n_workers) as pool:
            yield from pool.map(function, blocks)


class Context:
    """What the step uses of `xtal.run.Context`."""

    def __init__(self, models, frames, options=None, threads=1, directory=None, **more):
        self.experiments = ExperimentList(models)
        self.options = FindSpotsOptions(options or SpotfinderOptions(), **more)
        self.directory = directory
        self.readers = dict(zip(map(id, models), frames, strict=False))
        self.executor = Threads(threads)
        self.said, self.warnings, self.lines, self.table = [], [], [], None
        self.print, self.warn = self.said.append, self.warnings.append
        self.tables, self.used_masks = [], []

    def frames(self, experiment):
        return self.readers[id(experiment)]

    def plugin(self, choice):
        return Above()

    def progress(self, total, unit):
        return nullcontext(SimpleNamespace(advance=lambda n: None))

    def summary(self, *lines):
        self.lines += lines

    def write_reflections(self, table):
        self.table = table

    def write_experiments(self, experiments, role):
        self.written = experiments

    def table_(self, title, columns, rows):
        self.tables.append((title, columns, rows))

    @contextmanager
    def writing(self, role, name):
        yield self.directory / name


def spotty(z, panel, shape):
    """Background of 10 and spots that last over frames 0-2, 3-5, ..."""
    image = np.full(shape, 10, np.int32)
    rng = np.random.default_rng([z // 3, panel])
    for y, x in zip(*(rng.integers(2, n - 3, 6) for n in shape), strict=True):
        image[y : y + 2, x : x + 2] = 40 + 20 * (z % 3 == 1)
    image[0] = -1
    return image


def run(frames=None, experiment=None, threads=1, **options):
    frames = frames or Frames(spotty)
    experiment = experiment or tiny_experiment(size=SIZE)
    context = Context([experiment], [frames], SpotfinderOptions(**options), threads)
    step.run(context)
    assert frames.closed
    return context


def equal(a, b):
    assert a.columns() == b.columns()
    for name in a:
        pairs = [(a[name], b[name])]
        if isinstance(a[name], Shoeboxes):
            pairs = [(getattr(a[name], f.name), getattr(b[name], f.name)) for f in attrs.fields(Shoeboxes)]
        for x, y in pairs:
            assert x.dtype == y.dtype
            np.testing.assert_array_equal(x, y, err_msg=name)


def test_spots_are_found_and_described():
    context = run()
    table = context.table
    assert 15 < len(table) <= 24
    assert table.columns() == [
        "bbox", "flags", "id", "intensity.sum.value", "intensity.sum.variance", "n_signal", "panel", "shoebox",
        "xyzobs.px.value", "xyzobs.px.variance",
    ]  # fmt: skip
    assert table.identifiers == {0: "tiny"}
    assert (table["flags"] == Flag.STRONG).all()
    whole = table["n_signal"] == 12
    np.testing.assert_allclose(table["xyzobs.px.value"][whole, 2] % 3, 1.5)
    assert len(context.lines) == 3
    assert "spots per image" in context.said[-1]


@pytest.mark.parametrize(("threads", "block"), [(1, 1), (1, 3), (3, 2), (2, 16)])
def test_blocks_and_threads_change_nothing(threads, block, monkeypatch):
    expected = run().table
    monkeypatch.setattr(
        search.Search, "blocks", lambda self, a, b, n: [range(z, min(z + block, b)) for z in range(a, b, block)]
    )
    equal(run(threads=threads).table, expected)


@pytest.mark.parametrize(("n", "workers"), [(1, 4), (180, 2), (2000, 16), (7, 1)])
def test_blocks_cover_all_frames_once(n, workers):
    blocks = search.Search.blocks(None, 5, 5 + n, workers)
    assert [z for b in blocks for z in b] == list(range(5, 5 + n))
    assert max(map(len, blocks)) <= search.FRAMES_PER_BLOCK


def test_scan_range_searches_only_those_images():
    table = run(scan_range=((2, 3), (7, 9))).table
    z = table["xyzobs.px.value"][:, 2]
    assert (((z > 1) & (z < 3)) | ((z > 6) & (z < 9))).all()
    assert table["bbox"][:, 4].min() == 1
    assert table["bbox"][:, 5].max() == 9


def test_scan_range_outside_is_an_error():
    with pytest.raises(OptionError, match="1 to 10"):
        run(scan_range=((20, 30),))


@pytest.mark.parametrize(
    ("asked", "expected"),
    [((), [(3, 13)]), (((5, 6),), [(4, 6)]), (((5, 7), (6, 9)), [(4, 9)]), (((1, 4), (13, 99)), [(3, 4), (12, 13)])],
)
def test_frame_ranges(asked, expected):
    assert frame_ranges(3, 13, asked) == expected


def test_stills_are_not_joined():
    experiment = tiny_experiment(size=SIZE)
    experiment.scan.oscillation_deg = (0.0, 0.0)
    bbox = run(experiment=experiment).table["bbox"]
    assert (bbox[:, 5] - bbox[:, 4] == 1).all()
    bbox = run(force_2d=True).table["bbox"]
    assert (bbox[:, 5] - bbox[:, 4] == 1).all()


def test_several_experiments_and_panels():
    first, second, again = (tiny_experiment(size=SIZE) for _ in range(3))
    second.detector = Detector(second.detector.panels * 2)
    second.identifier = "two panels"
    for e, name in ((first, "a_###.cbf"), (second, "b_###.cbf"), (again, "a_###.cbf")):
        e.images = Images(name)
    frames = [Frames(spotty), Frames(spotty, shapes=[(SIZE[1], SIZE[0])] * 2), Frames(spotty)]
    context = Context([first, second, again], frames)
    step.run(context)
    table = context.table
    assert set(zip(table["id"].tolist(), table["panel"].tolist(), strict=True)) == {(0, 0), (1, 0), (1, 1)}
    assert table.identifiers[1] == "two panels"
    assert "not searched again" in context.warnings[0]
    zero = table.select(table["id"] == 0)
    one = table.select((table["id"] == 1) & (table["panel"] == 0))
    np.testing.assert_array_equal(zero["xyzobs.px.value"], one["xyzobs.px.value"])


def test_sizes_and_separation_filter():
    assert len(run(filter=FilterOptions(min_spot_size=12)).table) < len(run().table)
    with pytest.raises(AlgorithmFailed, match="No spot was found on 10 images"):
        run(filter=FilterOptions(max_spot_size=3))

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


@pytest.mark.parametrize(
    ("gain", "pedestal", "kind"), [(1.0, 5.0, "i"), (2.0, 0.0, "f"), (1.0, 0.5, "f"), (0.5, 3.0, "f"), (0.0, 5.0, "i")]
)
def test_gain_and_pedestal_are_corrected(gain, pedestal, kind):
    experiment = tiny_experiment(size=SIZE)
    panel = experiment.detector[0]
    panel.gain, panel.pedestal = gain, pedestal
    correction = search.Correction.of_panel(panel, np.dtype(np.uint16))
    assert correction.dtype.kind == kind
    raw = np.array([[0, 7, 60000]], np.uint16)
    out = np.empty(raw.shape, correction.dtype)
    correction.apply(raw, out)
    gain = gain or 1.0  # 0 says that it is not known
    np.testing.assert_allclose(out, (raw.astype(float) - pedestal) / gain)

    def values(z, panel, shape):
        return np.maximum(spotty(z, panel, shape), 0) * gain + pedestal

    frames = Frames(values, dtype=np.float64 if kind == "f" else np.int32)
    table, plain = run(frames, experiment).table, run().table
    np.testing.assert_allclose(table["intensity.sum.value"], plain["intensity.sum.value"])


def test_no_correction_leaves_the_raw_array():
    panel = tiny_experiment().detector[0]
    assert search.Correction.of_panel(panel, np.dtype(np.int32)) is None


def test_masks_by_option():
    experiment = tiny_experiment(size=SIZE)
    assert search_masks(experiment, SpotfinderOptions()) is None
    (region,) = search_masks(
        experiment, SpotfinderOptions(region_of_interest=(10, 20, 5, 45), filter=FilterOptions(border=8))
    )
    expected = np.zeros((50, 60), bool)
    expected[8:42, 10:20] = True
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


@pytest.mark.parametrize(
    "options",
    [
        SpotfinderOptions(filter=FilterOptions(d_min=3.0, d_max=2.0)),
        SpotfinderOptions(filter=FilterOptions(min_spot_size=9, max_spot_size=3)),
        SpotfinderOptions(region_of_interest=(100, 200, 0, 50)),
        SpotfinderOptions(filter=FilterOptions(d_max=0.5)),
    ],
)
def test_limits_that_leave_nothing(options):
    with pytest.raises(OptionError):
        search_masks(tiny_experiment(size=SIZE), options)


def test_masked_pixels_hold_no_spot():
    table = run(region_of_interest=(10, 40, 10, 40)).table
    bbox = table["bbox"]
    assert (bbox[:, 0] >= 10).all()
    assert (bbox[:, 1] <= 40).all()


def test_shoeboxes_on_request_only():
    experiment = tiny_experiment(size=SIZE)
    context = Context([experiment], [Frames(spotty)], output=FindSpotsOutput(shoeboxes=False))
    step.run(context)
    assert "shoebox" not in context.table


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
    assert "2 images passed over: image 5: Image 5 is truncated.; image 8: Image 8 holds no good" in context.warnings[0]
    with pytest.raises(DataError, match="Image 8 holds no good pixel"):
        run(Frames(lambda z, p, shape: np.full(shape, -1) if z == 7 else spotty(z, p, shape)))


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
    two = SpotfinderOptions(exclude_images=("1:2:3",))
    assert excluded_frames(0, 2, 0, 10, two) == set()
    assert excluded_frames(1, 2, 0, 10, two) == {1, 2}
    for bad in ("1:2", "2:1:5", "a:b:c"):
        with pytest.raises(OptionError, match="experiment:first:last"):
            excluded_frames(0, 2, 0, 10, SpotfinderOptions(exclude_images=(bad,)))


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
    context = Context(
        [experiment], [Frames(hot)], options, directory=tmp_path, output=FindSpotsOutput(experiments="hot.expt")
    )
    used = []
    context.use_mask = lambda path, experiments: used.append(path)
    step.run(context)
    (mask,) = read_mask(tmp_path / "warm_0.h5", [(SIZE[1], SIZE[0])])
    np.testing.assert_array_equal(np.argwhere(~mask), [[10, 5], [30, 40], [30, 41], [30, 42]])
    assert used == [tmp_path / "warm_0.h5"]
    assert (tmp_path / "hot.expt").is_file()
    assert "hot pixel" not in run(Frames(hot, z1=9), tiny_experiment(9, SIZE)).lines[2]


def test_trusted_limit_background_statistics_and_plot(tmp_path):
    experiment = tiny_experiment(size=SIZE)
    more = {"maximum_trusted_value": 50.0, "per_image_statistics": True, "plot": "spots.png"}
    options = SpotfinderOptions(compute_mean_background=True, exclude_images=("2:4",))
    context = Context([experiment], [], options, directory=tmp_path, **more)
    limits = []
    context.frames = lambda e: limits.append(e.detector[0].trusted_range) or Frames(spotty)
    context.table = lambda *table: context.tables.append(table)
    context.write_reflections = lambda table: setattr(context, "found", table)
    step.run(context)
    assert limits[0][1] == 50.0
    assert experiment.detector[0].trusted_range[1] != 50.0
    assert (tmp_path / "spots.png").read_bytes()[1:4] == b"PNG"
    _, columns, rows = context.tables[0]
    assert columns[1] == "#spots"
    assert [r[0] for r in rows] == [str(n) for n in range(1, 11) if n not in (2, 3, 4)]
    assert sum(int(r[1]) for r in rows) == len(context.found)
    assert any(line.startswith("Mean background: 9.") or "10.0" in line for line in context.said)


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


def test_crowded_places_are_dropped_on_request():
    rng = np.random.default_rng(1)
    xy = np.concatenate([rng.uniform(0, 1000, (4000, 2)), rng.uniform(505, 515, (400, 2))])
    keep = filters.density_filter(xy)
    assert keep[:4000].mean() > 0.9
    assert not keep[4000:].any()
    assert filters.density_filter(xy[:1]).all()


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
    still = tiny_experiment(size=SIZE)
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
    numbers, spots = report.counted(context.table, {0: range(3), 1: [1]})
    z, which = np.floor(context.table["xyzobs.px.value"][:, 2]), context.table["id"]
    expected = [((which == e) & (z == k)).sum() for e, k in ((0, 0), (0, 1), (0, 2), (1, 1))]
    assert numbers.tolist() == [1, 2, 3, 4]
    assert spots.tolist() == expected
    assert max(expected) > 2
    assert "spots per image, counted over all experiments" in context.said[-1]
    assert report.counted(context.table, {0: [1, 2]})[0].tolist() == [2, 3]


def test_dials_names_of_options_work():
    from xtal.options import parse
    from xtal.plugins import default_plugins

    tokens = [
        "output.shoeboxes=False", "output.experiments=all.expt", "spotfinder.filter.d_min=2", "min_spot_size=4",
        "threshold.dispersion.sigma_strong=4",
        "gain=1.5", "ice_rings.filter=True", "scan_range=1,5", "scan_range=10,12",
    ]  # fmt: skip
    everything = parse(FindSpotsOptions, tokens, default_plugins())
    o, output = everything.spotfinder, everything.output
    assert (output.shoeboxes, output.experiments) == (False, "all.expt")
    assert (o.filter.d_min, o.filter.min_spot_size, o.filter.ice_rings.filter) == (2.0, 4, True)
    assert o.scan_range == ((1, 5), (10, 12))
    assert (o.threshold.options.gain, o.threshold.options.sigma_strong) == (1.5, 4.0)


def test_simulated_images_from_disk(run_step):
    data = simulated("sim_small")
    run_step("import", *sorted(data.glob("*.cbf")))
    outcome = run_step("find_spots", "imported.expt", "nproc=2")
    from xtal.files import read_reflections

    table = read_reflections(outcome.outputs["reflections"])
    assert 7800 < len(table) < 8700
