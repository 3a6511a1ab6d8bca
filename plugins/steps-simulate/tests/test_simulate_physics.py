"""The simulator against slow and obvious computations: rays, sums, draws, decoders."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import fabio
import gemmi
import numpy as np
import pytest
from scipy import stats

from xtal.errors import OptionError
from xtal.testing import check_step
from xtal_steps_simulate import kernels
from xtal_steps_simulate.cbf import cbf_bytes
from xtal_steps_simulate.compare import Observed, Truth, compare
from xtal_steps_simulate.crossings import MIN_ZETA
from xtal_steps_simulate.detector import NODE_WEIGHTS, attenuation, pixel_status
from xtal_steps_simulate.intensities import draw_intensities, largest_mate, lattice_points
from xtal_steps_simulate.model import FAST, SLOW, SPINDLE, preset
from xtal_steps_simulate.rays import diffract, kick_sizes
from xtal_steps_simulate.simulate import prepare, simulate


@pytest.fixture(scope="module")
def scene():
    return prepare(preset("small", n_images=20, image_size=(300, 260)))


def test_contracts():
    check_step("simulate")
    check_step("compare_truth")


# --- crystal --------------------------------------------------------------------


def test_absent_reflections_are_left_out_and_others_are_not():
    model = preset("small", d_min=6.0)
    present = {tuple(h) for h in lattice_points(model).tolist()}
    operations = model.group.operations()
    cell = model.cell
    for h in range(-6, 7):
        for k in range(-7, 8):
            for l in range(-8, 9):
                if (h, k, l) == (0, 0, 0) or cell.calculate_d([h, k, l]) < 6.0:
                    continue
                assert ((h, k, l) in present) != operations.is_systematically_absent([h, k, l])


def test_intensities_follow_wilson_and_symmetry():
    model = preset("demo")
    hkl = lattice_points(model)
    drawn = draw_intensities(model, hkl)
    mate, plus = largest_mate(hkl, model.group)
    assert plus[drawn.centric[drawn.rows(mate)]].all()
    s_sq = np.sum((drawn.hkl @ model.b_matrix.T) ** 2, axis=1)
    epsilon = model.group.operations().epsilon_factor_without_centering_array(drawn.hkl.astype(np.int32))
    mean = (drawn.plus + drawn.minus) / 2 / epsilon
    bins = np.digitize(s_sq, np.quantile(s_sq, np.linspace(0, 1, 31)[1:-1]))
    level = np.array([mean[bins == b].mean() for b in range(30)])[bins]
    z = mean / level
    assert np.mean(z[~drawn.centric] ** 2) == pytest.approx(2.0, abs=0.15)
    assert np.mean(z[drawn.centric] ** 2) / np.mean(z[drawn.centric]) ** 2 == pytest.approx(3.0, abs=0.7)
    amplitude = np.sqrt(np.stack([drawn.plus, drawn.minus]))
    signal = (amplitude[0] - amplitude[1]) / amplitude.mean(axis=0)
    assert np.all(signal[drawn.centric] == 0)
    assert np.std(signal[~drawn.centric]) == pytest.approx(model.anomalous, rel=0.05)


def test_one_option_does_not_change_the_draws_of_another():
    plain, brighter = prepare(preset("small", n_images=3)), prepare(preset("small", n_images=3, background=9.0))
    assert np.array_equal(plain.intensities.plus, brighter.intensities.plus)
    assert not np.array_equal(plain.intensities.plus, prepare(preset("small", n_images=3, seed=8)).intensities.plus)


def test_unknown_space_group_is_a_sentence():
    with pytest.raises(OptionError, match="P9"):
        prepare(preset("small", space_group="P9"))


# --- rays -----------------------------------------------------------------------


def test_crossings_satisfy_the_diffraction_condition(scene):
    c, model = scene.crossings, scene.model
    assert np.allclose(np.linalg.norm(c.s1, axis=1), 1 / model.wavelength, rtol=1e-12)
    assert np.all(np.abs(c.zeta) >= MIN_ZETA)
    # turned back by the rotation and the drift, s1 - s0 is the lattice point itself
    phi = np.radians(model.start + c.xyz[:, 2] * model.width)
    table = np.radians(model.misset_table())
    for row in range(0, len(c), 97):
        drift = [np.interp(c.xyz[row, 2], np.arange(model.n_images + 1), col) for col in table.T]
        a = _rotation(SPINDLE * phi[row]) @ _rotation(np.array(drift)) @ model.u_matrix @ model.b_matrix
        assert np.allclose(c.s1[row] - model.s0, a @ c.hkl[row], atol=2e-7)


def test_entering_points_move_into_the_sphere(scene):
    c, model = scene.crossings, scene.model
    speed = np.sum(np.cross(SPINDLE, c.s1 - model.s0) * c.s1, axis=1)
    assert np.array_equal(speed < 0, c.entering)


def test_every_point_of_a_full_turn_crosses_twice():
    model = preset("small", n_images=360, width=1.0, d_min=3.5, image_size=(2000, 2000), distance=60.0)
    model = type(model)(**{**_fields(model), "drift": 0.0})
    c = prepare(model).crossings
    inside = (c.xyz[:, 2] >= 0) & (c.xyz[:, 2] < 360) & (np.abs(c.zeta) > 0.2)
    _, number = np.unique(c.hkl[inside], axis=0, return_counts=True)
    assert np.all(number <= 2)
    assert np.mean(number == 2) > 0.97


def test_spread_is_that_of_random_rays(scene):
    c, model = scene.crossings, scene.model
    rng = np.random.default_rng(0)
    good = np.flatnonzero((np.abs(c.zeta) > 0.3) & (c.photons > 0))
    for row in good[:: len(good) // 4]:
        r = ((c.s1[row] - model.s0) @ _rotation(SPINDLE * np.radians(c.xyz[row, 2] * model.width)))[None]
        kicks = rng.normal(size=(3000, 9)) * kick_sizes(model)
        rays = [diffract(model, r, c.entering[row : row + 1], kick) for kick in kicks]
        z = np.degrees(np.array([ray.phi[0] for ray in rays])) / model.width
        z += 360 / model.width * np.round((c.xyz[row, 2] - z) * model.width / 360)
        landed = np.column_stack([[ray.xy[0] for ray in rays], z])
        assert np.allclose(landed.mean(axis=0), c.xyz[row], atol=0.04)
        sampled, ours = np.cov(landed.T), c.covariance[row]
        size = np.sqrt(np.outer(np.diag(ours), np.diag(ours)))
        assert np.abs((sampled - ours) / size).max() < 0.08


# --- images ---------------------------------------------------------------------


def test_expected_photons_are_those_of_direct_integration(scene):
    """One reflection: many rays and depths, counted pixel by pixel and image by image."""
    c, model = scene.crossings, scene.model
    middle = (np.abs(c.zeta) > 0.3) & np.all(np.abs(c.xyz[:, :2] - [80, 60]) < 40, axis=1)
    middle &= np.abs(c.xyz[:, 2] - 10) < 8
    row = int(np.flatnonzero(middle)[0])
    rng = np.random.default_rng(1)
    n = 400_000
    xyz = rng.multivariate_normal(c.xyz[row], c.covariance[row], size=n)
    full_path = model.sensor / abs(c.s1[row] @ np.cross(FAST, SLOW)) * np.linalg.norm(c.s1[row])
    mu = attenuation(model)
    depth = -np.log(1 - rng.uniform(size=n) * -np.expm1(-mu * full_path)) / mu
    xy = xyz[:, :2] + depth[:, None] * c.shift[row]
    nx, ny = model.image_size
    for frame in range(int(c.xyz[row, 2]) - 1, int(c.xyz[row, 2]) + 2):
        ours = _expected(scene, row, frame)
        mine = np.floor(xyz[:, 2]) == frame
        direct, *_ = np.histogram2d(xy[mine, 1], xy[mine, 0], bins=[np.arange(ny + 1), np.arange(nx + 1)])
        direct *= c.photons[row] / n
        assert ours.sum() == pytest.approx(direct.sum(), abs=5 * np.sqrt(max(mine.sum(), 1)) * c.photons[row] / n)
        assert np.abs(ours - direct).max() < 0.006 * c.photons[row]


def test_drawn_images_have_the_expected_mean(scene):
    frame = 9
    total = np.zeros(scene.status.shape)
    for seed in range(60):
        image = np.empty(scene.status.shape, dtype=np.int32)
        out = np.zeros((len(scene.rows(frame)), 4))
        state = np.array([seed * 7919 + 1], dtype=np.uint64)
        kernels.draw_background(scene.background, 1.1, state, image)
        kernels.draw_spots(
            frame, scene.rows(frame), scene.spots, NODE_WEIGHTS, scene.background, 1.1, scene.status, state, image, out
        )
        total += image
    good = scene.status == 0
    expected = 1.1 * scene.background[good].sum() + out[:, 1].sum()
    assert total[good].sum() / 60 == pytest.approx(expected, abs=5 * np.sqrt(expected / 60))


@pytest.mark.parametrize("mean", [0.3, 4.0, 11.9, 12.1, 55.0, 3e3, 2e6])
def test_counts_are_poisson(mean):
    state = np.array([11], dtype=np.uint64)
    counts = np.array([kernels.poisson(mean, state) for _ in range(20_000)])
    assert counts.mean() == pytest.approx(mean, abs=4.5 * np.sqrt(mean / 20_000))
    assert counts.var() / mean == pytest.approx(1.0, abs=0.06)
    if mean < 100:
        edges = stats.poisson.ppf([0.1, 0.3, 0.5, 0.7, 0.9], mean)
        for edge in edges:
            assert np.mean(counts <= edge) == pytest.approx(stats.poisson.cdf(edge, mean), abs=0.02)


def test_gaussian_slice():
    for low, high in ((-1.0, 0.5), (0.2, 0.3), (2.0, 9.0), (-30.0, 30.0)):
        share, mean, variance = kernels.gaussian_slice(low, high)
        exact = stats.truncnorm(low, high)
        assert share == pytest.approx(stats.norm.cdf(high) - stats.norm.cdf(low), rel=1e-9)
        assert mean == pytest.approx(exact.mean(), abs=1e-6)
        assert variance == pytest.approx(exact.var(), abs=1e-6)


def test_images_do_not_depend_on_threads_or_order(scene, tmp_path):
    model = preset("small", n_images=6, image_size=(300, 260))
    simulate(model, tmp_path / "one")
    with ThreadPoolExecutor(3) as pool:
        simulate(model, tmp_path / "three", run_blocks=pool.map)
    names = sorted(p.name for p in (tmp_path / "one").iterdir())
    assert "small_00006.cbf" in names and "truth.npz" in names and len(names) == 8
    for name in names:
        if name != "truth.npz":
            assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "three" / name).read_bytes()
    with np.load(tmp_path / "one/truth.npz") as a, np.load(tmp_path / "three/truth.npz") as b:
        assert all(np.array_equal(a[k], b[k], equal_nan=True) for k in a.files)


def test_a_shorter_scan_leaves_no_image_of_the_longer_one(tmp_path):
    small = {"image_size": (120, 100), "d_min": 4.0}
    simulate(preset("small", n_images=4, **small), tmp_path)
    simulate(preset("small", n_images=2, **small), tmp_path)
    assert sorted(p.name for p in tmp_path.glob("*.cbf")) == ["small_00001.cbf", "small_00002.cbf"]


def test_fabio_reads_what_we_compress(tmp_path):
    rng = np.random.default_rng(3)
    model = preset("small", image_size=(57, 43))
    image = rng.choice([0, 1, 5, 127, 128, -1, -2, 32767, 32768, -32768, 1048575, 2**31 - 1], size=(43, 57))
    image = image.astype(np.int32)
    path = tmp_path / "small_00001.cbf"
    path.write_bytes(cbf_bytes(model, 0, image))
    assert np.array_equal(fabio.open(str(path)).data, image)


def test_pixels_that_are_gone(scene):
    image, _ = scene.draw(4)
    status = pixel_status(scene.model)
    assert np.all(image[status == 1] == -1) and np.any(status == 1)
    assert np.all(image[status == 2] == -2)
    assert np.all(image[status == 3] == 0)
    assert np.all(image[status == 4] > 20)
    assert np.all(image[status == 0] >= 0)


# --- comparison -----------------------------------------------------------------


@pytest.mark.parametrize("turn", [np.eye(3), [[0, 1, 0], [0, 0, 1], [1, 0, 0]], [[0, 1, 0], [1, 0, 0], [0, 0, -1]]])
def test_comparison_finds_the_setting_scale_and_b(scene, turn):
    turn = np.array(turn, dtype=float)
    drawn, model = scene.intensities, scene.model
    truth = Truth(drawn.hkl, drawn.plus, drawn.minus, model.cell, model.group)
    rng = np.random.default_rng(5)
    value = np.concatenate([drawn.plus, drawn.minus[~drawn.centric]])
    hkl = np.concatenate([drawn.hkl, -drawn.hkl[~drawn.centric]])
    s_sq = np.sum((hkl @ model.b_matrix.T) ** 2, axis=1)
    sigma = 0.02 * value + 1.0
    factor = 0.37 * np.exp(-3.0 * s_sq / 2)
    metric = np.array(model.cell.orth.mat.tolist()) @ np.linalg.inv(turn)
    edges = np.linalg.norm(metric, axis=0)
    seen = Observed(
        np.rint(hkl @ np.linalg.inv(turn)).astype(int), (value + sigma * rng.normal(size=len(value))) * factor,
        sigma * factor, True, gemmi.UnitCell(*edges, 90, 90, 90), model.group,
    )  # fmt: skip
    result = compare(seen, truth)
    assert result.k == pytest.approx(0.37, rel=0.02)
    assert result.b_factor == pytest.approx(3.0, abs=0.1)
    assert result.overall.pull == pytest.approx(1.0, abs=0.1)
    assert result.overall.completeness == pytest.approx(1.0)
    assert result.overall.cc > 0.995 and result.overall.cc_anom > 0.8
    assert sum(s.number for s in result.shells) == result.overall.number == len(value)


# --- helpers --------------------------------------------------------------------


def _rotation(vector):
    angle = np.linalg.norm(vector)
    if angle == 0:
        return np.eye(3)
    x, y, z = np.asarray(vector) / angle
    k = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * k + (1 - np.cos(angle)) * k @ k


def _fields(model):
    import attrs

    return attrs.asdict(model)


def _expected(scene, row, frame):
    """Expected photons (slow, fast) of one crossing in one image."""
    s = scene.spots[row]
    share, mean, var = kernels.gaussian_slice((frame - s[2]) / s[3], (frame + 1 - s[2]) / s[3])
    area = np.zeros(scene.status.shape)
    for depth, weight in zip(s[11:14], NODE_WEIGHTS, strict=True):
        kernels.footprint(
            s[0] + s[4] * mean + s[9] * depth, s[1] + s[5] * mean + s[10] * depth, s[6] + s[4] ** 2 * var,
            s[7] + s[4] * s[5] * var, s[8] + s[5] ** 2 * var, s[14] * share * weight, 0, 0, area,
        )  # fmt: skip
    return area
