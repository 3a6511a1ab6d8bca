"""The search for spots over frames in memory, so that every path can be taken in a moment."""

from __future__ import annotations

import numpy as np
import pytest
from spots_in_memory import SIZE, Context, Frames, equal, run, spotty

from xtal.errors import OptionError
from xtal.models import Detector, Images
from xtal.table import Flag
from xtal.testing import simulated, tiny_experiment
from xtal_steps_spots import find_spots as step
from xtal_steps_spots import search
from xtal_steps_spots.frames import frame_ranges
from xtal_steps_spots.options import FindSpotsOptions, FindSpotsOutput, LookupOptions, SpotfinderOptions


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


def test_spots_have_their_order_and_their_pixels_whatever_is_dropped(monkeypatch):
    """By run of images, panel and first pixel; of two panels, with spots too small and a warm pixel among them."""

    def make(z, panel, shape):
        image = spotty(z, panel, shape)
        image[45, 5 + 2 * z] = 50
        image[47, 50] = 50 * (z in (0, 1, 2, 6, 7, 8))
        return image

    monkeypatch.setattr(
        search.Search, "blocks", lambda self, a, b, n: [range(z, min(z + 2, b)) for z in range(a, b, 2)]
    )
    shape, experiment = (SIZE[1], SIZE[0]), tiny_experiment(size=SIZE)
    experiment.detector = Detector(experiment.detector.panels * 2)
    options = SpotfinderOptions(scan_range=((1, 4), (6, 10)))
    context = Context([experiment], [Frames(make, shapes=[shape] * 2)], options, threads=2)
    step.run(context)
    table, keys = context.table, []
    assert " 0 were too small" not in context.lines[1]
    assert "on warm pixels" in context.lines[1]
    for k in range(len(table)):
        panel, (x0, x1, y0, y1, first, last) = int(table["panel"][k]), table["bbox"][k].tolist()
        data, mask, _ = table["shoebox"].box(k)
        image = np.stack([make(z, panel, shape)[y0:y1, x0:x1] for z in range(first, last)])
        assert np.count_nonzero(mask) == table["n_signal"][k]
        assert (image[mask > 0] > 20).all()
        np.testing.assert_array_equal(data, np.where(mask > 0, image, 0))
        keys.append((first >= 5, panel, *(np.argwhere(mask)[0] + (first, y0, x0)).tolist()))
    assert len(keys) > 20
    assert keys == sorted(keys)


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
    [
        ((), [(3, 13)]),
        (((1, 2), (5, 6)), [(4, 6)]),
        (((5, 7), (6, 9)), [(4, 9)]),
        (((1, 4), (13, 99)), [(3, 4), (12, 13)]),
    ],
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


def test_a_mask_that_is_given_takes_the_place_of_the_imported_one():
    context = Context(
        [tiny_experiment(size=SIZE)], [Frames(spotty)], SpotfinderOptions(lookup=LookupOptions(mask="a.mask"))
    )
    used = []
    context.use_mask = used.append
    step.run(context)
    assert used == ["a.mask"]


def test_shoeboxes_on_request_only():
    experiment = tiny_experiment(size=SIZE)
    context = Context([experiment], [Frames(spotty)], output=FindSpotsOutput(shoeboxes=False))
    step.run(context)
    assert "shoebox" not in context.table


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
