"""The engine on drawn images: intensities against what was put in, and independence of how the scan is cut."""

from __future__ import annotations

import copy
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from attrs import evolve
from scipy.special import erf

import xtal_profile_gaussian_rs.references as references_module
import xtal_steps_integrate.engine as engine_module
import xtal_steps_integrate.integrate as integrate_step
from xtal.errors import AlgorithmFailed
from xtal.hooks.protocols import ProfileEstimate
from xtal.models import Beam, Crystal, Detector, Experiment, Goniometer, Panel, Scan
from xtal.physics.integration import expected_levels
from xtal.physics.kabsch import zeta
from xtal.physics.prediction import predict_all
from xtal.table import Flag, ReflectionTable
from xtal.table.shoebox import box_sizes
from xtal_background_glm.glm import Glm
from xtal_profile_gaussian_rs.model import GaussianRs
from xtal_steps_integrate.engine import FAINT, Engine, Settings, core_frames, groups_of_images
from xtal_steps_integrate.integrate import _boxes, share_profiles
from xtal_steps_integrate.spots import RUN, add_pixels, match_spots, runs_to_look_at, spot_table

SIGMA_PX, SIGMA_M, LEVEL, SIZE, FRAMES = 0.9, 0.0025, 0.8, 300, 24
GAP = slice(140, 148)


class Serial:
    n_workers = 1

    def map(self, function: Callable[[Any], Any], blocks: Iterable[Any]) -> Iterator[Any]:
        return map(function, blocks)


class Drawn:
    """Frames in memory, with a gap between modules."""

    shapes, dtype = ((SIZE, SIZE),), np.dtype(np.int32)

    def __init__(self, frames: np.ndarray) -> None:
        self.frames = frames
        self.good = np.ones((SIZE, SIZE), bool)
        self.good[GAP] = False

    def static_mask(self) -> list[np.ndarray]:
        return [self.good]

    def read(self, z: int, out: object = None) -> list[np.ndarray]:
        return [self.frames[z]]

    def mask(self, z: int, images: object, out: object = None) -> list[np.ndarray]:
        return [self.good]


class Clipped(Drawn):
    """The same through a detector that counts no higher than a limit."""

    def __init__(self, frames: np.ndarray, limit: int) -> None:
        super().__init__(frames)
        self.limit = limit

    def mask(self, z: int, images: object, out: object = None) -> list[np.ndarray]:
        return [self.good & (self.frames[z] <= self.limit)]


def predictions(experiment: Experiment) -> ReflectionTable:
    table = predict_all(experiment, 1.8, padding=0.5)
    table["id"] = np.zeros(len(table), np.int32)
    table["zeta"] = zeta(table["s1"], experiment.beam.s0, experiment.goniometer.axis)  # type: ignore[union-attr]
    return table.select(np.abs(table["zeta"]) > 0.05)


@pytest.fixture(scope="module")
def drawn() -> tuple[Experiment, ReflectionTable, np.ndarray, Drawn]:
    """Experiment, predictions, true counts and images."""
    rng = np.random.default_rng(8)
    panel = Panel([1, 0, 0], [0, -1, 0], [-25.8, 25.8, -60], (SIZE, SIZE), (0.172, 0.172), (0, 1e6))
    angles = rng.normal(size=(3, 3))
    u = np.linalg.qr(angles)[0]
    u *= np.linalg.det(u)
    a_matrix = u @ np.diag([1 / 31.0, 1 / 37.0, 1 / 43.0])
    experiment = Experiment(
        Beam(1.0), Detector([panel]), Goniometer([1, 0, 0]), Scan((1, FRAMES), (0.0, 0.5)), Crystal(a_matrix)
    )
    table = predictions(experiment)
    true = rng.choice([0.0, 20.0, 200.0, 3000.0], len(table))
    frames = np.full((FRAMES, SIZE, SIZE), LEVEL)
    edges = np.arange(FRAMES + 1)
    width = SIGMA_M / np.abs(table["zeta"]) / experiment.scan.width  # type: ignore[union-attr]
    for k, (x, y, z) in enumerate(table["xyzcal.px"]):
        x0, y0 = int(x) - 6, int(y) - 6
        ex = [0.5 * (1 + erf((np.arange(14) + a - c) / np.sqrt(2) / SIGMA_PX)) for a, c in ((x0, x), (y0, y))]
        spot = true[k] * np.diff(ex[1])[:, None] * np.diff(ex[0])[None]
        part = np.diff(0.5 * (1 + erf((edges - z) / np.sqrt(2) / width[k])))
        ya, yb, xa, xb = max(y0, 0), min(y0 + 13, SIZE), max(x0, 0), min(x0 + 13, SIZE)
        for f in np.flatnonzero(part > 1e-6):
            frames[f, ya:yb, xa:xb] += part[f] * spot[ya - y0 : yb - y0, xa - x0 : xb - x0]
    return experiment, table, true, Drawn(rng.poisson(frames).astype(np.int32))


def integrate(
    drawn: tuple[Experiment, ReflectionTable, np.ndarray, Drawn],
    max_voxels: int,
    levels: list[np.ndarray] | None = None,
    sigma_m: float = SIGMA_M,
) -> ReflectionTable:
    experiment, table, _, reader = drawn
    profile = GaussianRs()
    experiment.profile = profile._json(np.degrees(SIGMA_PX * 0.172 / 60 * np.sqrt(2)), np.degrees(sigma_m))
    table = table.copy()
    table["bbox"] = profile.bbox(experiment, table, 2.0)
    table["partiality"] = profile.partiality(experiment, table)
    settings = Settings(max_voxels=max_voxels)
    engine = Engine({0: experiment}, table, reader, profile, Glm(), settings, levels)  # type: ignore[arg-type]  # frames in memory
    engine.run(Serial(), lambda n: None)
    return table


def test_intensities_and_their_errors(drawn: tuple[Experiment, ReflectionTable, np.ndarray, Drawn]) -> None:
    table, true = integrate(drawn, 10**6), drawn[2]
    signal = np.asarray(table["split.sums"])[:, :2]
    np.testing.assert_allclose(signal.sum(axis=1), table["intensity.sum.value"], rtol=1e-6, atol=1e-2)
    whole = (np.asarray(table["partiality"]) > 0.99) & ~table.has_flags(Flag.OVERLAPPED_FG)
    for kind, flag in (("sum", Flag.INTEGRATED_SUM), ("prf", Flag.INTEGRATED_PRF)):
        for level in (0.0, 20.0, 200.0, 3000.0):
            rows = whole & (true == level) & table.has_flags(flag)
            assert rows.sum() > 50
            error = table[f"intensity.{kind}.value"][rows] - level
            pull = error / np.sqrt(table[f"intensity.{kind}.variance"][rows])
            assert abs(error.mean()) < 4 * error.std() / np.sqrt(rows.sum()) + 0.01 * level
            assert 0.8 < 1.4826 * np.median(np.abs(pull - np.median(pull))) < 1.25
    fitted = whole & table.has_flags(Flag.INTEGRATED_PRF) & table.has_flags(Flag.INTEGRATED_SUM) & (true <= 20)
    errors = [np.std(table[f"intensity.{kind}.value"][fitted] - true[fitted]) for kind in ("prf", "sum")]
    assert errors[0] < 0.8 * errors[1]


@pytest.mark.parametrize(("gain", "adu", "pedestal"), [(2.0, 2, 3), (0.0, 1, 3), (0.0, 1, 0)])
def test_gain_and_pedestal_are_taken_off(
    drawn: tuple[Experiment, ReflectionTable, np.ndarray, Drawn], gain: float, adu: int, pedestal: int
) -> None:
    """A gain of 0 says that none is known; it counts as 1, as in the search for spots."""
    experiment, table, true, reader = drawn
    other = copy.deepcopy(experiment)
    other.detector[0].gain, other.detector[0].pedestal = gain, float(pedestal)
    found = integrate((other, table, true, Drawn(adu * reader.frames + pedestal)), 10**6)
    expected = integrate(drawn, 10**6)
    for name in ("intensity.sum.value", "intensity.prf.value", "intensity.prf.variance", "background.mean"):
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-5, atol=1e-5, err_msg=name)


def test_rings_of_ice_do_not_shift_intensities(drawn: tuple[Experiment, ReflectionTable, np.ndarray, Drawn]) -> None:
    experiment, table, true, reader = drawn
    y, x = np.mgrid[:SIZE, :SIZE] + 0.5
    from_ring = lambda x, y: np.abs((np.hypot(x - SIZE / 2, y - SIZE / 2) + 10) % 30 - 15)  # one every 30 pixels
    ice = 3.0 * np.exp(-0.5 * (from_ring(x, y) / 1.5) ** 2)
    frames = reader.frames + np.random.default_rng(9).poisson(ice, reader.frames.shape).astype(np.int32)
    iced = experiment, table, true, Drawn(frames)
    levels = expected_levels(experiment.detector, experiment.beam, (([f], [reader.good]) for f in frames[::4]))
    off = from_ring(*table["xyzcal.px"][:, :2].T)
    pulls: dict[bool, list[np.ndarray]] = {}
    for told in (False, True):
        found = integrate(iced, 10**6, levels if told else None)
        whole = (np.asarray(found["partiality"]) > 0.99) & ~found.has_flags(Flag.OVERLAPPED_FG) & (true <= 200)
        whole &= found.has_flags(Flag.INTEGRATED_SUM | Flag.INTEGRATED_PRF)
        pulls[told] = []
        for kind in ("sum", "prf"):
            for near in (off < 2, (off > 5) & (off < 10)):
                values = found[f"intensity.{kind}.value"] - true
                pulls[told].append(values[whole & near] / np.sqrt(found[f"intensity.{kind}.variance"][whole & near]))
    assert min(len(p) for p in pulls[True]) > 40
    for before, after in zip(pulls[False], pulls[True], strict=True):
        assert abs(before.mean()) > 0.8  # what a flat level does
        assert abs(after.mean()) < 4 / np.sqrt(len(after)) and 0.8 < after.std() < 1.25


def test_gap_and_edges_are_told(drawn: tuple[Experiment, ReflectionTable, np.ndarray, Drawn]) -> None:
    table = integrate(drawn, 10**6)
    y, bad = table["xyzcal.px"][:, 1], table.has_flags(Flag.FOREGROUND_INCLUDES_BAD_PIXELS)
    assert bad[(y > GAP.start) & (y < GAP.stop)].all()
    assert not table.has_flags(Flag.INTEGRATED_SUM)[bad].any()
    assert not table.has_flags(Flag.INTEGRATED_PRF)[np.asarray(table["partiality"]) < 0.45].any()
    clear = (y > 30) & (y < GAP.start - 15) & (np.abs(table["xyzcal.px"][:, 0] - SIZE / 2) < SIZE / 2 - 20)
    assert not bad[clear].any()


def test_each_frame_is_read_once(
    drawn: tuple[Experiment, ReflectionTable, np.ndarray, Drawn], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    read = Drawn.read
    monkeypatch.setattr(Drawn, "read", lambda self, z, out=None: (seen.append(z), read(self, z, out))[1])
    integrate(drawn, 20_000)
    assert seen == list(range(FRAMES))


def test_overloads_and_overlaps_are_those_of_a_slow_search(
    drawn: tuple[Experiment, ReflectionTable, np.ndarray, Drawn],
) -> None:
    experiment, predicted, true, reader = drawn
    limit = 60
    panel = evolve(experiment.detector[0], trusted_range=(0, limit))
    dim = copy.copy(experiment)
    dim.detector = Detector([panel])
    table = integrate((dim, predicted, true, Clipped(reader.frames, limit)), 10**6)
    profile, bright = GaussianRs(), np.zeros(len(table), bool)
    cores, voxels, covered = core_frames(profile, dim, table), [], Counter()
    for k, (x0, x1, y0, y1, z0, z1) in enumerate(np.asarray(table["bbox"])):
        shape = profile.footprint(dim, table.select(np.array([k]))).reshape(y1 - y0, x1 - x0)
        pixels = [(x0 + x, y0 + y) for y, x in np.argwhere(shape) if 0 <= x0 + x < SIZE and 0 <= y0 + y < SIZE]
        box = np.s_[max(y0, 0) : max(y1, 0), max(x0, 0) : max(x1, 0)]
        bright[k] = np.any((reader.frames[(slice(z0, z1), *box)] > limit) & reader.good[box])  # anywhere, as for DIALS
        voxels.append({(x, y, z): cores[k, 0] <= z < cores[k, 1] for x, y in pixels for z in range(z0, z1)})
        covered.update(v for v, inside in voxels[-1].items() if inside)
    shared = np.array([any(covered[v] > inside for v, inside in mine.items()) for mine in voxels])
    assert 20 < bright.sum() < 0.8 * len(table) and 10 < shared.sum() < 0.8 * len(table)
    np.testing.assert_array_equal(table.has_flags(Flag.OVERLOADED), bright)
    np.testing.assert_array_equal(table.has_flags(Flag.OVERLAPPED_FG), shared)
    missing = table.has_flags(Flag.FOREGROUND_INCLUDES_BAD_PIXELS)
    assert (missing & bright).sum() > 20 and not table.has_flags(Flag.INTEGRATED_SUM)[missing].any()


def test_the_cut_of_the_scan_does_not_matter(drawn: tuple[Experiment, ReflectionTable, np.ndarray, Drawn]) -> None:
    one, other = integrate(drawn, 10**6), integrate(drawn, 20_000)
    for name in one:
        np.testing.assert_array_equal(one[name], other[name], err_msg=name)


def test_boxes_of_many_frames_take_little_room(
    drawn: tuple[Experiment, ReflectionTable, np.ndarray, Drawn], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Open ones 3 bytes a voxel, finished ones as much for the foreground alone, and little besides is worked on."""
    for module in (engine_module, references_module):
        monkeypatch.setattr(module, "BATCH", 20_000)
    integrate(drawn, 20_000)  # compiles
    tracemalloc.start()
    try:
        table = integrate(drawn, 20_000, sigma_m=8 * SIGMA_M)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    bbox = np.asarray(table["bbox"])
    assert np.median(bbox[:, 5] - bbox[:, 4]) > 10  # of 24 frames, so that most boxes are open at a time
    assert peak < 3 * box_sizes(bbox).sum()


def test_profile_where_the_table_holds_no_pixels(drawn: tuple[Experiment, ReflectionTable, np.ndarray, Drawn]) -> None:
    experiment, table, true, reader = drawn
    x, y, z = table["xyzcal.px"].T
    seen = (true == 3000) & (z > 1) & (z < FRAMES - 1) & (np.abs(x - 150) < 130) & (np.abs(y - 70) < 60)
    spots = table.select(seen)
    spots["xyzobs.px.value"] = np.array(spots["xyzcal.px"]) + 0.05
    spots.set_flags(np.arange(len(spots)), Flag.INDEXED)
    mine, theirs = match_spots(spots, table)
    np.testing.assert_array_equal(theirs, np.flatnonzero(seen)[mine])
    del spots["bbox"]
    context = SimpleNamespace(memory=10**9, experiments=[experiment], frames=lambda _: nullcontext(reader))
    spots, ahead = add_pixels(context, [[0]], spots)  # type: ignore[arg-type]  # a stand-in
    assert sorted(ahead[0]) == list(range(FRAMES))  # fewer spots than wanted: all frames are looked at
    found = GaussianRs().estimate(experiment, spot_table(spots, table, (mine, theirs)))
    assert found.n_spots > 0.9 * len(spots)
    assert found.profile["sigma_m"] == pytest.approx(np.degrees(SIGMA_M), rel=0.15)
    assert found.profile["sigma_b"] == pytest.approx(np.degrees(SIGMA_PX * 0.172 / 60 * np.sqrt(2)), rel=0.25)


@pytest.mark.parametrize(
    ("n_spots", "most", "length"),
    [(100_000, 10_000, RUN), (1000, 10_000, 50), (1000, 60, 12), (1000, 0, 1), (0, 60, 12)],
)
def test_runs_of_frames_hold_enough_spots_in_little_memory(n_spots: int, most: int, length: int) -> None:
    bbox = np.tile(np.array([0, 5, 0, 5, 10, 13], np.int32), (n_spots, 1))
    runs = runs_to_look_at(bbox, (0, 500), most)
    assert [len(run) for run in runs] == [length] * 5
    assert runs[0].start == 0 and runs[-1].stop == 500


def test_lattices_of_the_same_images_are_one_group(
    drawn: tuple[Experiment, ReflectionTable, np.ndarray, Drawn],
) -> None:
    from xtal.models import Images

    def at(template: str) -> Experiment:
        e = drawn[0]
        return Experiment(e.beam, e.detector, e.goniometer, e.scan, e.crystal, Images(template))

    assert list(groups_of_images([at("a_###.cbf"), at("b_###.cbf"), at("a_###.cbf")])) == [[0, 2], [1]]


def test_core_holds_all_but_the_faint_ends(drawn: tuple[Experiment, ReflectionTable, np.ndarray, Drawn]) -> None:
    experiment, table, _, _ = drawn
    profile = GaussianRs()
    experiment.profile = profile._json(0.2, np.degrees(SIGMA_M))
    table = table.copy()
    table["bbox"] = profile.bbox(experiment, table, 2.0)
    core, bbox = core_frames(profile, experiment, table), np.asarray(table["bbox"])
    z, width = np.asarray(table["xyzcal.px"])[:, 2], SIGMA_M / np.abs(table["zeta"]) / experiment.scan.width  # type: ignore[union-attr]
    for k in range(0, len(table), 7):
        edges = np.arange(bbox[k, 4], bbox[k, 5] + 1)
        below = 0.5 * (1 + erf((edges - z[k]) / np.sqrt(2) / width[k]))
        first = max(i for i in range(len(edges) - 1) if i == 0 or below[i] - below[0] < FAINT)
        last = min(i for i in range(first + 1, len(edges)) if i == len(edges) - 1 or below[-1] - below[i] < FAINT)
        np.testing.assert_array_equal(core[k], [edges[first], edges[last]])
    assert (core[:, 1] - core[:, 0] < bbox[:, 5] - bbox[:, 4]).mean() > 0.2


def test_boxes_are_larger_only_where_reflections_lie_close(
    drawn: tuple[Experiment, ReflectionTable, np.ndarray, Drawn], monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment, table, _, _ = drawn
    profile, said = GaussianRs(), []
    for sigma_b, given, expected in ((0.05, None, 2.0), (0.6, None, 3.0), (0.6, 2.5, 2.5)):
        experiment.profile = profile._json(sigma_b, np.degrees(SIGMA_M))
        margin = SimpleNamespace(integration=SimpleNamespace(profile=SimpleNamespace(sigma_b_multiplier=given)))
        context = SimpleNamespace(options=margin, experiments=[experiment], print=said.append)
        found = _boxes(context, 0, table, profile)  # type: ignore[arg-type]  # a stand-in
        np.testing.assert_array_equal(found, profile.bbox(experiment, table, expected))
    assert len(said) == 1
    margin.integration.profile.sigma_b_multiplier = None
    experiment.profile = profile._json(0.6, np.degrees(SIGMA_M))
    monkeypatch.setattr(integrate_step, "MOST_HELD", 1000)  # nor where they would take too much memory
    found = _boxes(context, 0, table, profile)  # type: ignore[arg-type]  # a stand-in
    np.testing.assert_array_equal(found, profile.bbox(experiment, table, 2.0))
    experiment.profile = profile._json(4.0, np.degrees(SIGMA_M))
    with pytest.raises(AlgorithmFailed, match=r"would cover the pixels \d+ times over"):
        _boxes(context, 0, table, profile)  # type: ignore[arg-type]  # a stand-in


def test_experiments_with_few_spots_share_a_profile_model():
    model = {"__id__": "gaussian_rs", "n_sigma": 3.0}
    found = {
        0: ProfileEstimate(model | {"sigma_b": 0.04, "sigma_m": 0.1}, 30, []),
        1: ProfileEstimate(model | {"sigma_b": 0.04, "sigma_m": 0.2}, 30, ["uncertain"]),
        2: ProfileEstimate(model | {"sigma_b": 0.04, "sigma_m": 0.8}, 5, []),
        3: None,
    }
    said: list[str] = []
    context = SimpleNamespace(
        experiments=[SimpleNamespace(profile=None) for _ in found], print=lambda _: None, warn=said.append
    )
    share_profiles(context, found)
    sizes = [e.profile["sigma_m"] for e in context.experiments]
    assert sizes[:2] == [0.1, 0.2]
    assert sizes[2] == sizes[3] == pytest.approx(np.exp((30 * np.log(0.1 * 0.2) + 5 * np.log(0.8)) / 65))
    assert [s for s in said if "Experiment 2 has 5 strong spots" in s] and [s for s in said if "3 has 0" in s]
    with pytest.raises(AlgorithmFailed, match="No experiment"):
        share_profiles(context, {0: None, 1: None})
