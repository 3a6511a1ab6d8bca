"""Kernels of the profile model against slow numpy twins, and the estimation of sizes."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from scipy.stats import norm, truncnorm

from xtal.errors import AlgorithmFailed, OptionError
from xtal.models import Beam, Detector, Experiment, Goniometer, Panel, Scan
from xtal.physics.integration import footprint_boxes
from xtal.physics.kabsch import kabsch_axes, zeta
from xtal.table import ReflectionTable, Shoeboxes
from xtal_profile_gaussian_rs.estimate import rocking_width
from xtal_profile_gaussian_rs.kernels import fit_profiles, on_frame, voxel_profile
from xtal_profile_gaussian_rs.model import GaussianRs, geometry
from xtal_profile_gaussian_rs.options import GaussianRsOptions, ParametersOptions
from xtal_profile_gaussian_rs.references import believed

V, F = 1, 4


def experiment(parallax: bool = False) -> Experiment:
    panel = Panel(
        [1, 0, 0], [0, -1, 0], [-50, 50, -120], (600, 600), (0.172, 0.172), thickness=0.32, mu=3.9, parallax=parallax
    )
    profile = {"__id__": "gaussian_rs", "n_sigma": 3.0, "sigma_b": 0.08, "sigma_m": 0.1}
    return Experiment(Beam(1.0), Detector([panel]), Goniometer([1, 0, 0]), Scan((1, 40), (0.0, 0.5)), profile=profile)


def reflections(e: Experiment, n: int = 30) -> ReflectionTable:
    rng = np.random.default_rng(4)
    table = ReflectionTable(n_rows=n)
    px = np.column_stack([rng.uniform(20, 580, n), rng.uniform(20, 580, n), rng.uniform(1, 39, n)])
    table["panel"] = np.zeros(n, np.int64)
    table["s1"] = e.detector[0].s1(px[:, :2], 1.0)
    table["xyzcal.px"] = px
    table["xyzcal.mm"] = np.column_stack([e.detector[0].px_to_mm(px[:, :2]), e.scan.phi(px[:, 2])])  # type: ignore[union-attr]
    table["zeta"] = zeta(table["s1"], e.beam.s0, np.array([1.0, 0, 0]))
    return table.select(np.abs(table["zeta"]) > 0.1)


@pytest.mark.parametrize("parallax", [False, True])
def test_footprint_is_a_circle_in_the_local_frame(parallax: bool) -> None:
    e, model = experiment(parallax), GaussianRs()
    table = reflections(e)
    table["bbox"] = model.bbox(e, table, 2.0)
    packed, at = model.footprint(e, table), 0
    e1, e2 = kabsch_axes(table["s1"], e.beam.s0)
    for k, b in enumerate(table["bbox"]):
        nx, ny = b[1] - b[0], b[3] - b[2]
        mine = packed[at : at + nx * ny].reshape(ny, nx).astype(bool)
        at += nx * ny
        x, y = np.meshgrid(np.arange(b[0], b[1] + 1), np.arange(b[2], b[3] + 1))
        ray = e.detector[0].s1(np.stack([x, y], axis=-1).reshape(-1, 2).astype(float), 1.0)
        inside = ((ray @ e1[k]) ** 2 + (ray @ e2[k]) ** 2 <= np.radians(0.24) ** 2).reshape(ny + 1, nx + 1)
        slow = inside[1:, 1:] | inside[1:, :-1] | inside[:-1, 1:] | inside[:-1, :-1]
        # Only the shift by parallax, taken to be that of the centre, may turn a pixel of the rim.
        assert (mine != slow).sum() <= (2 if parallax else 0)
        assert not mine[0].any() and not mine[:, -1].any()


def test_partiality_of_whole_reflections_is_full() -> None:
    e, model = experiment(), GaussianRs()
    table = reflections(e)
    table["bbox"] = model.bbox(e, table, 2.0)
    part = model.partiality(e, table)
    cut = (table["bbox"][:, 4] == 0) | (table["bbox"][:, 5] == 40)
    assert (part[~cut] > 0.9973 - 1e-6).all() and (part <= 1).all()


def test_moments_on_a_frame() -> None:
    for z, k in ((-0.4, 0.7), (0.3, 2.0), (-2.0, 0.4), (-0.99, 5.0)):
        part, mean, variance = on_frame(z, k)
        sigma = np.sqrt(0.5) / k
        twin = truncnorm(z / sigma, (z + 1) / sigma, scale=sigma)
        assert part == pytest.approx(norm(0, sigma).cdf(z + 1) - norm(0, sigma).cdf(z))
        assert (mean, variance) == pytest.approx((twin.mean(), twin.var()), rel=1e-6, abs=1e-9)


def slow_profile(e: Experiment, row: ReflectionTable, box: np.ndarray, k: float) -> np.ndarray:
    """Gaussian of 0.05 deg in the local frame, over the frames."""
    x, y = np.meshgrid(np.arange(box[0], box[1]) + 0.5, np.arange(box[2], box[3]) + 0.5)
    ray = e.detector[0].s1(np.stack([x, y], axis=-1).reshape(-1, 2), 1.0)
    e1, e2 = kabsch_axes(row["s1"], e.beam.s0)
    layer = np.exp(-((ray @ e1[0]) ** 2 + (ray @ e2[0]) ** 2) / 2 / np.radians(0.05) ** 2).reshape(x.shape)
    edges = np.arange(box[4], box[5] + 1) - row["xyzcal.px"][0, 2]
    parts = np.diff(norm.cdf(edges * k * np.sqrt(2)))
    return np.asarray(parts[:, None, None] * layer / layer.sum())


def test_fit_reaches_the_limit_and_knows_its_error() -> None:
    e, model = experiment(), GaussianRs()
    row = reflections(e).select(np.array([3]))
    box = model.bbox(e, row, 1.0)
    row["bbox"] = box
    k = 0.6
    p = slow_profile(e, row, box[0], k)
    rng = np.random.default_rng(9)
    shape = np.array([[np.radians(0.05) ** 2, 0, np.radians(0.05) ** 2, 0, 0, 0, 0, 0.5]])
    rocking, level = np.array([[row["xyzcal.px"][0, 2], k]]), np.array([1e-4])
    geo, table = geometry(e, row), np.zeros((21, 21))
    profile = np.empty(p.size)
    mask = np.full(p.size, V | F, np.int32)
    voxel_profile(geo[0], shape[0], rocking[0], box[0], mask, table, np.empty((p.size, 3)), profile)
    np.testing.assert_allclose(profile.reshape(p.shape), p, rtol=1e-6, atol=1e-12)
    for true in (0.0, 30.0, 3000.0):
        values, variances = [], []
        for _ in range(400):
            boxes = Shoeboxes.allocate(np.zeros(1, np.uint32), box)
            boxes.data[:] = rng.poisson(0.7 + true * p).ravel()
            boxes.background[:], boxes.mask[:] = 0.7, mask
            out = np.zeros((1, 6))
            fit_profiles(
                geo, box, boxes.offsets, boxes.data, boxes.mask, boxes.background, shape, rocking, table, level, 0.5,
                np.empty((0, 21, 21)), out,
            )  # fmt: skip
            assert out[0, 4] == 1
            values.append(out[0, 0])
            variances.append(out[0, 1])
        limit = 1 / np.sqrt((p**2 / (0.7 + true * p)).sum())
        assert np.std(values) == pytest.approx(limit, rel=0.12)
        assert abs(np.mean(values) - true) < 4 * limit / np.sqrt(400) + 0.05
        assert np.sqrt(np.mean(variances)) == pytest.approx(limit, rel=0.15)


def test_rocking_width_is_found() -> None:
    rng = np.random.default_rng(2)
    sigma, width, n = 0.004, 0.006, 3000
    offset = rng.uniform(0, 1, n)
    low = (np.arange(-4, 5)[None] - offset[:, None]) * width
    part = norm.cdf((low + width) / sigma) - norm.cdf(low / sigma)
    counts = rng.poisson(200 * part).astype(float)
    some = counts > 0
    spot = np.repeat(np.arange(n), 9).reshape(n, 9)
    assert rocking_width(spot[some], counts[some], low[some], (low + width)[some]) == pytest.approx(sigma, rel=0.02)


def photons_of(
    e: Experiment, s1: np.ndarray, z: float, mosaic: float, size: float, n: int,
    divergence: tuple[float, float] = (0.0, 0.0),
) -> np.ndarray:  # fmt: skip
    """(n, 3) x, y, z of photons of one reflection: each from a block of the crystal that is turned at random.

    The beam of each comes from a direction of its own (``divergence`` in x and y). The turn of the scan that brings the
    block to diffract is found by Newton's method.
    """
    rng = np.random.default_rng(int(1e6 * z))
    axis, turn = np.array([1.0, 0, 0]), np.zeros(n)
    r = Rotation.from_rotvec(rng.normal(0, mosaic, (n, 3))).apply(s1 - e.beam.s0)
    blur = rng.normal(0, size, (n, 3))
    s0 = e.beam.s0 + np.linalg.norm(e.beam.s0) * np.column_stack([rng.normal(size=(n, 2)) * divergence, np.zeros(n)])
    for _ in range(8):
        now = Rotation.from_rotvec(turn[:, None] * axis).apply(r)
        turn -= ((now**2).sum(axis=1) / 2 + np.sum(now * s0, axis=1)) / np.sum(np.cross(axis, now) * s0, axis=1)
    ray = now + s0 + blur * np.linalg.norm(e.beam.s0)
    xy = e.detector[0].mm_to_px(e.detector[0].intersect(ray)[0])
    return np.column_stack([xy, z + turn / e.scan.width])  # type: ignore[union-attr]  # a scan, not a still


def boxes_of(photons: list[np.ndarray]) -> Shoeboxes:
    """Boxes that hold all photons of each reflection, all of them foreground."""
    bbox = np.array([[f(p[:, k]) for k in range(3) for f in (np.min, np.max)] for p in photons])
    bbox = (np.floor(bbox) + [0, 1] * 3).astype(np.int32)
    boxes = Shoeboxes.allocate(np.zeros(len(photons), np.uint32), bbox)
    for k, b in enumerate(bbox):
        edges = [np.arange(b[i], b[i + 1] + 1) for i in (4, 2, 0)]
        boxes.box(k)[0][:] = np.histogramdd(photons[k][:, ::-1], edges)[0]
        boxes.box(k)[1][:] = V | F
    return boxes


def test_foreground_holds_what_mosaicity_draws_out_along_the_rings() -> None:
    e, model, mosaic, size = experiment(), GaussianRs(), np.radians(0.4), np.radians(0.04)
    table = reflections(e, 150)
    photons = [photons_of(e, s, p[2], mosaic, size, 1000) for s, p in zip(table["s1"], table["xyzcal.px"], strict=True)]
    table["shoebox"] = boxes_of(photons)
    # Strong spots are those at low angles.
    near = np.flatnonzero(np.hypot(*(np.asarray(table["xyzcal.px"])[:, :2] - 300).T) < 150)
    profile = model.estimate(e, table.select(near)).profile
    assert profile["sigma_mosaic"] == pytest.approx(0.4, rel=0.05)
    pixel = np.degrees(0.172 / 120) / np.sqrt(12)
    assert profile["sigma_across"] == pytest.approx(np.sqrt(2) * np.hypot(0.04, pixel), rel=0.05)

    def least_inside(known: dict[str, object]) -> float:
        e.profile = known
        table["bbox"] = b = model.bbox(e, table, 1.5)
        packed, starts = model.footprint(e, table), footprint_boxes(b)
        inside = []
        for k, p in enumerate(photons):
            x, y = np.floor(p[:, 0]).astype(int) - b[k, 0], np.floor(p[:, 1]).astype(int) - b[k, 2]
            nx, ny = b[k, 1] - b[k, 0], b[k, 3] - b[k, 2]
            there = (x >= 0) & (x < nx) & (y >= 0) & (y < ny)
            inside.append(packed[starts[k] + (y * nx + x)[there]].sum() / len(p))
        return float(min(inside))

    assert least_inside(profile) > 0.99
    assert least_inside({name: v for name, v in profile.items() if name != "sigma_mosaic"}) < 0.9


@pytest.mark.parametrize(("mosaic", "divergence"), [(0.4, (0.0, 0.0)), (0.08, (0.04, 0.02))])
def test_shapes_learned_at_low_angles_hold_at_high_ones(mosaic: float, divergence: tuple[float, float]) -> None:
    e, model, size, pixel = experiment(), GaussianRs(), 0.05, np.degrees(0.172 / 120) / np.sqrt(12)
    table = reflections(e, 400)
    table = table.select(np.abs(table["zeta"]) > 0.3)
    photons = [
        photons_of(e, s, p[2], np.radians(mosaic), np.radians(size), 2000, tuple(np.radians(divergence)))
        for s, p in zip(table["s1"], table["xyzcal.px"], strict=True)
    ]
    turned = np.sqrt(np.mean([np.var(p[:, 2]) * z**2 for p, z in zip(photons, table["zeta"], strict=True)]))
    e.profile = {
        "__id__": "gaussian_rs", "n_sigma": 3.0, "sigma_b": 0.12, "sigma_m": 0.5 * turned, "sigma_mosaic": 0.9 * mosaic,
        "sigma_across": np.sqrt(2) * np.hypot(size, pixel),
    }  # fmt: skip
    boxes = boxes_of(photons)
    table["bbox"], table["partiality"], table["flags"] = boxes.bbox, np.ones(len(table)), np.zeros(len(table), np.int64)
    table["intensity.sum.value"], table["intensity.sum.variance"] = np.full(len(table), 2e3), np.full(len(table), 2e3)
    near = np.hypot(*(np.asarray(table["xyzcal.px"])[:, :2] - 300).T) < 170
    references = model.references(e)
    rows = np.flatnonzero(near)
    assert references.learn(0, table.select(rows), boxes.select(rows)).all()
    far = table.select(np.flatnonzero(~near))
    geo = geometry(e, far, references._axes[0])
    shape, ratios, drifts = references._shapes(0, far, geo, references._rocking(far)), [], []
    for k, p in enumerate(photons[i] for i in np.flatnonzero(~near)):
        x, y = (p[:, :2] - far["bbox"][k, [0, 2]]).T
        c = np.stack([geo[k, 0] + geo[k, 1] * x + geo[k, 2] * y, geo[k, 3] + geo[k, 4] * x + geo[k, 5] * y]).T
        c = c / np.linalg.norm(e.detector[0].lab(e.detector[0].px_to_mm(p[:, :2])), axis=1)[:, None]
        z = p[:, 2] - far["xyzcal.px"][k, 2]
        drifts.append(z @ c / (z @ z))
        c -= shape[k, 3:5] + z[:, None] * shape[k, 5:7]
        lengths = geo[k, [1, 2, 4, 5]].reshape(2, 2) / np.sqrt(geo[k, 6])
        seen = c.T @ c / len(c) + lengths @ lengths.T / 12  # counts lie at the centres of pixels
        along = np.array(references._ring(far)).T[k]
        learned = np.array([[shape[k, 0], shape[k, 1]], [shape[k, 1], shape[k, 2]]])
        ratios.append([u @ learned @ u / (u @ seen @ u) for u in (along, along[::-1] * [-1, 1])])
    assert len(ratios) > 50
    assert np.mean(ratios, axis=0) == pytest.approx([1, 1], abs=0.06)
    assert np.linalg.norm(shape[:, 5:7] - drifts) < 0.2 * np.linalg.norm(drifts)


def test_given_sizes_skip_the_estimation() -> None:
    e = experiment()
    none = reflections(e).select(np.zeros(0, np.int64))
    both = GaussianRs(GaussianRsOptions(parameters=ParametersOptions(sigma_b=0.05, sigma_m=0.2)))
    assert both.estimate(e, none).profile == {"__id__": "gaussian_rs", "n_sigma": 3.0, "sigma_b": 0.05, "sigma_m": 0.2}
    with pytest.raises(OptionError):
        GaussianRs(GaussianRsOptions(parameters=ParametersOptions(sigma_b=0.05))).estimate(e, none)
    with pytest.raises(AlgorithmFailed, match=r"no strong spots.*refined\.refl"):
        GaussianRs().estimate(e, none)


def test_corrections_are_believed_by_what_is_known_of_them() -> None:
    """Tails that fall below the Gaussian's, seen through noise that is small inside and many times the peak outside."""
    rng = np.random.default_rng(8)
    y, x = np.mgrid[-10:11, -10:11] / 2.0
    true = 0.05 * (1 - np.hypot(x, y)) * np.exp(-0.25 * (x**2 + y**2))
    scale = 1e5 * np.exp(-1.2 * (x**2 + y**2)) + 1e-3
    variance = scale * (np.exp(-0.5 * (x**2 + y**2)) + 1e-2)
    for before in (np.zeros_like(true), 0.5 * true):
        seen = true + rng.normal(0.0, np.sqrt(variance) / scale)
        found = believed(before, np.stack([scale * (seen - before), scale, variance]))
        inside = np.hypot(x, y) < 1.5
        assert np.abs(seen - true).max() > 2.0
        assert np.abs(found - true).max() < 0.05
        assert np.sqrt(np.mean((found - true)[inside] ** 2)) < 0.3 * np.sqrt(np.mean(true[inside] ** 2))
    nothing = np.zeros((3, 21, 21))
    assert not believed(np.zeros((21, 21)), nothing).any()
