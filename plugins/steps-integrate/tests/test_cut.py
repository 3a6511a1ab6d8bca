"""Fractions recorded of reflections that the ends of a scan cut, against those of the crystal as it was."""

from __future__ import annotations

import numpy as np
import pytest

from xtal.models import Beam, Crystal, Detector, Experiment, Goniometer, Panel, Scan
from xtal.physics.kabsch import fraction_between, zeta
from xtal.physics.prediction import predict_all
from xtal.table import Flag, ReflectionTable
from xtal_profile_gaussian_rs.model import GaussianRs
from xtal_steps_integrate.cut import FEW, WHOLE, Settled, settle_cut, split_frames

SIGMA_M = 0.0015
NONE = np.zeros((3, 3))
OFF = np.array([[1.0, -1.5, 0.5], [1.0, 0.5, -1.5], [-1.0, 2.0, 1.0]]) * 1e-4
"""A turn and a strain of the crystal, of a tenth of the rocking width."""


def experiment(a_matrix: np.ndarray, n_images: int, width: float) -> Experiment:
    panel = Panel([1, 0, 0], [0, -1, 0], [-60, 60, -60], (600, 600), (0.2, 0.2), (0, 1e6))
    return Experiment(
        Beam(1.0), Detector([panel]), Goniometer([1, 0, 0]), Scan((1, n_images), (0.0, width)), Crystal(a_matrix)
    )


def keys(table: ReflectionTable) -> list[tuple[int, ...]]:
    return [(*h, e) for h, e in zip(table["miller_index"].tolist(), table["entering"].tolist(), strict=True)]


def integrated(
    off: np.ndarray, wider: float, width: float = 0.5, photons: float = 3000.0
) -> tuple[Experiment, ReflectionTable, np.ndarray]:
    """A model, its reflections as integrated of a crystal that is ``off`` at angle 0, and true fractions recorded."""
    rng = np.random.default_rng(4)
    u = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    u *= np.linalg.det(u)
    a_matrix = u @ np.diag([1 / 31.0, 1 / 37.0, 1 / 43.0])
    n_images = round(12 / width)
    model, real = experiment(a_matrix, n_images, width), experiment((np.eye(3) + off) @ a_matrix, n_images, width)
    profile = GaussianRs()
    model.profile = profile._json(0.05, float(np.degrees(SIGMA_M)))
    table, true = (predict_all(e, 1.5, padding=1.0) for e in (model, real))
    at = dict(zip(keys(true), true["xyzcal.mm"][:, 2], strict=True))
    table = table.select(np.array([key in at for key in keys(table)]))
    assert model.goniometer is not None
    table["zeta"] = zeta(table["s1"], model.beam.s0, model.goniometer.axis)
    table = table.select(np.abs(table["zeta"]) > 0.15)
    table["bbox"] = profile.bbox(model, table, 2.0)
    table["partiality"] = profile.partiality(model, table)
    table = table.select(table["partiality"] > 0.1)
    phi, n, scan, box = np.array([at[key] for key in keys(table)]), len(table), model.scan, table["bbox"]
    assert scan is not None
    between = lambda a, b: fraction_between(phi, table["zeta"], SIGMA_M * (1 + wider), scan.phi(a), scan.phi(b))
    table["split.frame"] = split_frames(box, table["xyzcal.px"][:, 2])
    parts = [between(box[:, 4], table["split.frame"]), between(table["split.frame"], box[:, 5])]
    counts = rng.poisson(photons * np.column_stack(parts)).astype(float)
    table["split.sums"] = np.hstack([counts, counts])
    table["intensity.sum.value"] = table["intensity.sum.variance"] = counts.sum(axis=1)
    table["intensity.prf.value"] = counts.sum(axis=1) / table["partiality"]
    table["intensity.prf.variance"] = table["intensity.prf.value"] / table["partiality"]
    table["flags"] = np.full(n, int(Flag.INTEGRATED), np.uint64)
    table["id"], table["counts_per_photon"] = np.zeros(n, np.int32), np.ones(n)
    table["partiality.inv.variance"] = np.zeros(n)
    return model, table, between(box[:, 4], box[:, 5])


def settle(model: Experiment, table: ReflectionTable) -> Settled | None:
    return settle_cut(table, 0, model, GaussianRs())


@pytest.mark.parametrize("width", [0.5, 0.05])
@pytest.mark.parametrize(("off", "wider"), [(OFF, 0.0), (-OFF, 0.06), (NONE, -0.04), (NONE, 0.0)])
def test_partiality_comes_near_the_truth_and_knows_how_near(off: np.ndarray, wider: float, width: float) -> None:
    model, table, true = integrated(off, wider, width)
    before = np.array(table["partiality"])
    found = settle(model, table)
    part = np.asarray(table["partiality"])
    cut, half = before < WHOLE, (before > 0.3) & (before < 0.9)
    assert half.sum() > 100
    wrong, left = (np.sqrt(np.mean((p - true)[half] ** 2)) for p in (before, part))
    assert left < 0.006
    assert left < 0.25 * wrong or wrong < 0.005
    error = np.sqrt(np.asarray(table["partiality.inv.variance"])) * part**2
    assert np.all(error[cut] > 0)
    # Beyond 1 little; below it more, since angles that vary over the scan also look like widths that do.
    assert 0.35 < np.sqrt(np.mean(((part - true)[half] / error[half]) ** 2)) < 1.3
    assert found is not None and found.n_cut == cut.sum()
    # Angles that are off in many ways also look like wider curves.
    assert found.width == pytest.approx(wider, abs=0.015 if off.any() else 0.003)


def test_only_cut_reflections_change_and_sums_never() -> None:
    model, table, _ = integrated(OFF, 0.03)
    before = {name: np.array(table[name]) for name in table.columns()}
    settle(model, table)
    whole = before["partiality"] >= WHOLE
    assert 100 < whole.sum() < len(table)
    for name, values in before.items():
        np.testing.assert_array_equal(table[name][whole], values[whole], err_msg=name)
    np.testing.assert_array_equal(table["intensity.sum.value"], before["intensity.sum.value"])
    np.testing.assert_array_equal(table["partiality.inv.variance"][whole], 0)
    # A fit of the whole is what was recorded over the fraction, as the sum is.
    np.testing.assert_allclose(
        table["intensity.prf.value"], before["intensity.sum.value"] / table["partiality"], rtol=1e-9
    )
    np.testing.assert_allclose(
        table["intensity.prf.variance"], before["intensity.sum.value"] / table["partiality"] ** 2, rtol=1e-9
    )


class ByFrames(GaussianRs):
    """Takes the predicted place along the scan from pixels, where the other takes the angle."""

    def partiality(self, experiment: Experiment, table: ReflectionTable) -> np.ndarray:
        assert experiment.scan is not None
        table, phi = table.copy(), experiment.scan.phi(table["xyzcal.px"][:, 2])
        table["xyzcal.mm"] = np.column_stack([table["xyzcal.mm"][:, :2], phi])
        return super().partiality(experiment, table)


def test_profile_models_may_look_at_frames_or_angles() -> None:
    parts = []
    for profile in (GaussianRs(), ByFrames()):
        model, table, _ = integrated(OFF, 0.03)
        settle_cut(table, 0, model, profile)
        parts.append(np.array(table["partiality"]))
    np.testing.assert_allclose(parts[1], parts[0], atol=1e-6)


def test_spots_that_are_wrong_do_not_count() -> None:
    """One in fifty has a neighbour of a hundred times its counts on its first frames."""
    model, table, true = integrated(OFF, 0.0)
    table["split.sums"][::50, [0, 2]] += 300_000.0
    half = (table["partiality"] > 0.3) & (table["partiality"] < 0.9)
    settle(model, table)
    assert np.sqrt(np.mean((table["partiality"] - true)[half] ** 2)) < 0.01


@pytest.mark.parametrize("photons", [3000.0, 60.0])
def test_nothing_is_done_where_nothing_is_known(photons: float) -> None:
    """Too few reflections, or all of them weak."""
    model, table, _ = integrated(OFF, 0.0, photons=photons)
    if photons > 1000:
        table = table.select(np.flatnonzero(table["partiality"] < WHOLE))
    before = np.array(table["partiality"])
    assert len(table) > FEW
    assert settle(model, table) is None
    np.testing.assert_array_equal(table["partiality"], before)


def test_long_boxes_are_split_beside_their_middle_and_short_ones_in_it() -> None:
    z = np.full(6, 20.2)
    long = np.tile(np.array([0, 1, 0, 1, 10, 31], np.int32), (6, 1))
    assert split_frames(long, z).tolist() == [17, 20, 23, 17, 20, 23]
    short = np.tile(np.array([0, 1, 0, 1, 19, 21], np.int32), (6, 1))
    assert split_frames(short, z).tolist() == [20] * 6
