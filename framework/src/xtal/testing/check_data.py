"""Contracts of profile models, background models, scaling models and exporters."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xtal.hooks import Descriptor
from xtal.hooks.protocols import BackgroundModel, ExportFormat, ProfileModel, ScalingModel
from xtal.models import Experiment, ExperimentList
from xtal.table import Flag, MaskBit, ReflectionTable, Shoeboxes
from xtal.testing.conformance import check_methods, describe
from xtal.testing.data import tiny_experiment

F = NDArray[np.float64]


# --- background -----------------------------------------------------------------------


def flat_boxes(n: int, level: float, seed: int = 1) -> Shoeboxes:
    """Boxes of 11 x 11 x 3 voxels of Poisson background, the middle marked as foreground."""
    rng = np.random.default_rng(seed)
    bbox = np.tile(np.array([10, 21, 10, 21, 2, 5], dtype=np.int32), (n, 1))
    boxes = Shoeboxes.allocate(np.zeros(n, dtype=np.uint32), bbox)
    boxes.data[:] = rng.poisson(level, len(boxes.data))
    for i in range(n):
        _, mask, _ = boxes.box(i)
        mask[:] = MaskBit.VALID | MaskBit.BACKGROUND
        mask[:, 3:8, 3:8] = MaskBit.VALID | MaskBit.FOREGROUND
    return boxes


def check_background(plugin: str | Descriptor) -> None:
    """Unbiased on flat background, robust against a bright pixel, truthful about boxes that it cannot fit."""
    descriptor, construct = describe("background", plugin)
    for level in (0.5, 5.0, 100.0):
        model = construct()
        check_methods(model, BackgroundModel)
        boxes = flat_boxes(60, level)
        data = boxes.data.copy()
        result = model.fit(boxes)
        np.testing.assert_array_equal(boxes.data, data, "the data were changed")
        assert result.ok.shape == (60,) and result.ok.all(), f"{descriptor.name} fails on flat background of {level}"
        error = np.sqrt(level / (60 * 11 * 11 * 3))
        # rejection of outliers at n sigma clips the tail of a Poisson distribution of few counts: up to 10 % there
        mean = float(boxes.background.mean())
        assert abs(mean - level) < 6 * error + 0.12 * level, f"{descriptor.name} finds {mean:.3f}, not {level}"
        assert np.all(result.variance > 0) and np.all(np.isfinite(result.variance))
        dispersion = float(np.median(result.dispersion))
        assert 0.6 < dispersion < 1.5, f"the dispersion of Poisson counts is 1, not {dispersion:.2f}"
        used = (boxes.mask & MaskBit.BACKGROUND_USED) != 0
        assert used.any(), "no voxel is marked BACKGROUND_USED"
        assert np.all((boxes.mask[used] & MaskBit.BACKGROUND) != 0), "foreground was used as background"
        assert np.all(boxes.background[(boxes.mask & MaskBit.FOREGROUND) != 0] > 0), "no background under the spots"
    _check_bright_pixel(descriptor.name, construct)
    _check_hopeless(descriptor.name, construct)
    _check_overlapped(descriptor.name, construct)
    _check_batches(descriptor.name, construct)


def _check_bright_pixel(name: str, construct: Any) -> None:
    boxes = flat_boxes(20, 5.0)
    for i in range(20):
        boxes.box(i)[0][1, 0, 0] = 500.0
    result = construct().fit(boxes)
    assert result.ok.all(), f"{name}: one bright pixel makes the fit fail"
    mean = float(boxes.background.mean())
    assert abs(mean - 5.0) < 0.75, f"{name}: one bright pixel moves the background of 5 to {mean:.2f}"


def _check_overlapped(name: str, construct: Any) -> None:
    boxes = flat_boxes(20, 5.0)
    for i in range(20):
        data, mask, _ = boxes.box(i)
        data[:, :, 0] += 100.0
        mask[:, :, 0] |= MaskBit.OVERLAPPED
    construct().fit(boxes)
    mean = float(boxes.background[(boxes.mask & MaskBit.FOREGROUND) != 0].mean())
    assert abs(mean - 5.0) < 0.5, f"{name} uses voxels that belong to a neighbour: {mean:.2f}, not 5"


def _check_batches(name: str, construct: Any) -> None:
    """The engine writes into a result, and cuts batches as its blocks come."""
    boxes = flat_boxes(12, 5.0)
    few = boxes.select(np.arange(4, 7))
    whole, part = construct().fit(boxes), construct().fit(few)
    for column in ("ok", "variance", "dispersion"):
        values = getattr(whole, column)
        assert isinstance(values, np.ndarray) and values.flags.writeable, f"{name}: {column} is no writable array"
        message = f"{name}: {column} of a box depends on the batch"
        np.testing.assert_allclose(getattr(part, column), values[4:7], rtol=1e-9, err_msg=message)
    same = boxes.select(np.arange(4, 7)).background
    np.testing.assert_allclose(few.background, same, rtol=1e-6, err_msg=f"{name}: a background depends on the batch")


def _check_hopeless(name: str, construct: Any) -> None:
    boxes = flat_boxes(3, 5.0)
    boxes.box(1)[1][:] = MaskBit.VALID | MaskBit.FOREGROUND
    result = construct().fit(boxes)
    assert not result.ok[1], f"{name} claims success in a box without background"
    assert np.all(boxes.box(1)[2] == 0), f"{name}: where a fit fails the background is 0"
    assert result.ok[0] and result.ok[2], f"{name}: one hopeless box spoils its neighbours"
    assert len(construct().fit(flat_boxes(0, 1.0)).ok) == 0, "no boxes should be no trouble"


# --- scaling --------------------------------------------------------------------------


def observations(experiment: Experiment, n: int = 400, seed: int = 2) -> ReflectionTable:
    """Integrated observations of a tiny experiment, all over the detector and the scan."""
    rng = np.random.default_rng(seed)
    panel, scan = experiment.detector[0], experiment.scan
    assert scan is not None and experiment.crystal is not None
    xyz = np.column_stack([rng.uniform(5, s - 5, n) for s in panel.image_size] + [rng.uniform(0, scan.n_images, n)])
    s1 = panel.s1(xyz[:, :2], experiment.beam.wavelength)
    phi = scan.phi(xyz[:, 2])
    intensity = rng.exponential(500.0, n)
    bbox = np.column_stack([np.floor(xyz[:, k]) + o for k in range(3) for o in (-2, 3)]).astype(np.int32)
    table = ReflectionTable(identifiers={0: experiment.identifier}, n_rows=n)
    table["miller_index"] = rng.integers(1, 8, (n, 3)).astype(np.int32)
    table["id"] = np.zeros(n, dtype=np.int32)
    table["panel"] = np.zeros(n, dtype=np.uint64)
    table["s1"] = s1
    table["xyzobs.px.value"] = table["xyzcal.px"] = xyz
    mm = panel.px_to_mm(xyz[:, :2])
    table["xyzobs.mm.value"] = table["xyzcal.mm"] = np.column_stack([mm, phi])
    table["d"] = 1 / np.linalg.norm(s1 - experiment.beam.s0, axis=1)
    table["bbox"] = bbox
    table["entering"] = np.zeros(n, dtype=bool)
    table["partiality"] = np.ones(n)
    table["lp"] = table["qe"] = np.ones(n)
    for kind in ("sum", "prf"):
        table[f"intensity.{kind}.value"] = intensity
        table[f"intensity.{kind}.variance"] = intensity + 20.0
    table["intensity.scale.value"] = intensity
    table["intensity.scale.variance"] = intensity + 20.0
    table["inverse_scale_factor"] = np.ones(n)
    table["inverse_scale_factor_variance"] = np.full(n, 1e-4)
    table["background.mean"] = np.full(n, 2.0)
    table["background.sum.value"], table["background.sum.variance"] = np.full(n, 50.0), np.full(n, 60.0)
    table["num_pixels.foreground"] = np.full(n, 25, dtype=np.int32)
    table["zeta"] = np.full(n, 0.8)
    flags = Flag.PREDICTED | Flag.OBSERVED | Flag.INDEXED | Flag.INTEGRATED | Flag.SCALED
    table["flags"] = np.full(n, int(flags), dtype=np.uint64)
    return table


def check_scaling(plugin: str | Descriptor) -> None:
    """Positive scales, derivatives that agree with finite differences, parameters that go to JSON."""
    descriptor, construct = describe("scaling", plugin)
    model = construct()
    check_methods(model, ScalingModel)
    experiment = tiny_experiment()
    table = observations(experiment)
    model.prepare(experiment, table)
    start = np.asarray(model.initial(), dtype=float)
    assert len(start) == model.n_parameters == len(model.names), "initial, names and n_parameters differ in length"
    rows = np.arange(0, len(table), 7)
    rng = np.random.default_rng(3)
    at = start + rng.normal(scale=0.02, size=len(start))
    scales, jacobian = model.scales_and_jacobian(at, rows)
    assert scales.shape == rows.shape and np.all(scales > 0), f"{descriptor.name} gives scales that are not positive"
    assert jacobian.shape == (len(rows), len(start)), "the jacobian is (n, p)"
    _check_derivative(lambda p: model.scales_and_jacobian(p, rows), at, descriptor.name + " scales")
    residuals, _ = model.restraints(at)
    if len(residuals):
        _check_derivative(model.restraints, at, descriptor.name + " restraints")
    few, _ = model.scales_and_jacobian(at, rows[3:5])
    np.testing.assert_allclose(few, scales[3:5], rtol=1e-12, err_msg="scales depend on which other rows are asked for")
    for matrix in (jacobian, model.restraints(at)[1]):
        assert getattr(matrix, "format", "") == "csr", f"{descriptor.name}: a Jacobian is no scipy CSR matrix"
    record = json.loads(json.dumps(model.to_json(at, np.ones(len(at)))))
    configuration = record.get("configuration_parameters")
    assert isinstance(configuration, dict), f"{descriptor.name}: to_json has no object configuration_parameters"


def _check_derivative(function: Any, at: F, what: str) -> None:
    _, jacobian = function(at)
    dense = np.asarray(jacobian.todense() if hasattr(jacobian, "todense") else jacobian)
    for k in range(len(at)):
        step = np.zeros(len(at))
        step[k] = 1e-5
        numeric = (function(at + step)[0] - function(at - step)[0]) / 2e-5
        np.testing.assert_allclose(
            dense[:, k], numeric, rtol=1e-4, atol=1e-6, err_msg=f"{what}: derivative of parameter {k}"
        )


# --- export ---------------------------------------------------------------------------


def check_exporter(plugin: str | Descriptor) -> None:
    """Writes a file of its own, twice the same, and changes neither experiments nor table."""
    descriptor, construct = describe("exporter", plugin)
    exporter = construct()
    check_methods(exporter, ExportFormat)
    experiment = tiny_experiment()
    table = observations(experiment)
    before = {name: np.array(table[name]) for name in table}
    with TemporaryDirectory() as folder:
        one, other = (Path(folder) / f"{k}{getattr(descriptor, 'extension', '')}" for k in "ab")
        exporter.export(ExperimentList([experiment]), table, one)
        exporter.export(ExperimentList([experiment]), table, other)
        assert one.stat().st_size > 0, f"{descriptor.name} writes nothing"
        assert one.stat().st_size == other.stat().st_size, f"{descriptor.name} writes two different files of one table"
    assert list(table) == list(before), "columns were added to the caller's table"
    for name, column in before.items():
        np.testing.assert_array_equal(table[name], column, f"the column {name} was changed")


# --- profiles -------------------------------------------------------------------------


def check_profile(plugin: str | Descriptor) -> None:
    """Estimates a size from strong spots; boxes, partialities, footprints and fits that follow from it."""
    descriptor, construct = describe("profile", plugin)
    model = construct()
    check_methods(model, ProfileModel)
    experiment = tiny_experiment(60, (300, 300))
    spots = gaussian_spots(experiment)
    estimate = model.estimate(experiment, spots)
    assert 0 < estimate.n_spots <= len(spots)
    experiment.profile = json.loads(json.dumps(estimate.profile))
    n = len(spots)
    for margin in (1.5, 1.0):
        bbox = model.bbox(experiment, spots, margin)
        _check_boxes(bbox, spots["xyzcal.px"], n)
    spots["bbox"] = bbox
    part = model.partiality(experiment, spots)
    assert part.shape == (n,) and np.all((part >= 0) & (part <= 1 + 1e-9)), "partiality is a fraction"
    assert part.mean() > 0.8, f"boxes hold only {100 * part.mean():.0f} % of reflections far from the scan's ends"
    front = model.footprint(experiment, spots)
    layer = (bbox[:, 1] - bbox[:, 0]) * (bbox[:, 3] - bbox[:, 2])
    assert len(front) == layer.sum(), "footprint: one layer of each box, packed one after another"
    assert set(np.unique(front)) <= {0, 1} and 0 < front.mean() < 1
    _check_references(descriptor.name, model, experiment, spots, front)


def _check_boxes(bbox: NDArray[np.int32], centre: F, n: int) -> None:
    assert bbox.shape == (n, 6) and bbox.dtype == np.int32, "bbox is (n, 6) int32"
    assert np.all(bbox[:, 1::2] > bbox[:, ::2]), "boxes are empty"
    inside = np.all((bbox[:, ::2] <= centre) & (centre <= bbox[:, 1::2]), axis=1)
    assert inside.mean() > 0.95, f"only {100 * inside.mean():.0f} % of the boxes hold their reflection"


def _check_references(name: str, model: Any, experiment: Experiment, spots: ReflectionTable, front: Any) -> None:
    """Learn from perfect spots and fit them: the mean intensity comes out right."""
    spots, boxes, truth = spots_in_boxes(spots, front)
    references = model.references(experiment)
    block = references.block_of(spots["xyzcal.px"][:, 2])
    assert np.all(np.diff(references.block_of(np.linspace(0, 60, 50))) >= 0), "block_of must not decrease with z"
    assert block.min() >= 0 and block.max() < references.n_blocks
    rows = [np.flatnonzero(block == k) for k in range(references.n_blocks)]
    used = sum(int(references.learn(k, spots.select(r), boxes.select(r)).sum()) for k, r in enumerate(rows))
    assert used > 0, f"{name} learns from none of {len(spots)} strong spots"
    fits = [(r, references.fit(k, spots.select(r), boxes.select(r), 0.5)) for k, r in enumerate(rows)]
    ok = np.concatenate([fit.ok for _, fit in fits])
    assert ok.mean() > 0.8, f"{name}: only {100 * ok.mean():.0f} % of perfect spots are fitted"
    ratio = np.concatenate([(fit.intensity / truth[r])[fit.ok] for r, fit in fits])
    assert abs(np.median(ratio) - 1) < 0.1, f"{name}: fitted intensities are {np.median(ratio):.3f} of the true ones"
    assert all(np.all(fit.variance[fit.ok] > 0) for _, fit in fits), "variances are positive"


def spots_in_boxes(spots: ReflectionTable, front: Any) -> tuple[ReflectionTable, Shoeboxes, F]:
    """Gaussian spots of 2000 counts on a background of 1 in the boxes of a model, cut to its foreground."""
    rng = np.random.default_rng(6)
    boxes = Shoeboxes.allocate(spots["panel"], spots["bbox"])
    at = 0
    for i, centre in enumerate(spots["xyzcal.px"]):
        data, mask, _ = boxes.box(i)
        data[:] = rng.poisson(2000.0 * gaussian(spots["bbox"][i], centre) + 1.0)
        layer = front[at : at + data.shape[1] * data.shape[2]].reshape(data.shape[1:])
        at += layer.size
        mask[:] = MaskBit.VALID | np.where(layer > 0, MaskBit.FOREGROUND, MaskBit.BACKGROUND)
    boxes.background[:] = 1.0
    n = len(spots)
    spots["background.mean"], spots["background.mean.variance"] = np.ones(n), np.full(n, 1e-3)
    spots["partiality"] = np.ones(n)
    return spots, boxes, np.full(n, 2000.0)


def gaussian(bbox: NDArray[np.int32], centre: F) -> F:
    """(nz, ny, nx) Gaussian of sum 1 about a position, 1 pixel wide and 0.7 images long (standard deviations)."""
    z, y, x = (np.arange(bbox[2 * k], bbox[2 * k + 1]) + 0.5 - centre[k] for k in (2, 1, 0))
    shape = np.exp(-0.5 * ((z[:, None, None] / 0.7) ** 2 + y[:, None] ** 2 + x**2))
    return np.asarray(shape / (2 * np.pi * np.sqrt(2 * np.pi) * 0.7))


def gaussian_spots(experiment: Experiment, n: int = 400, seed: int = 4) -> ReflectionTable:
    """Strong spots where the experiment predicts reflections, with shoeboxes of Gaussian counts."""
    from xtal.physics.kabsch import zeta
    from xtal.physics.prediction import predict_all

    rng = np.random.default_rng(seed)
    table = predict_all(experiment, 1.6)
    scan = experiment.scan
    assert scan is not None
    xyz = table["xyzcal.px"]
    width, height = experiment.detector[0].image_size
    good = (xyz[:, 0] > 8) & (xyz[:, 0] < width - 8) & (xyz[:, 1] > 8) & (xyz[:, 1] < height - 8)
    good &= (xyz[:, 2] > 4) & (xyz[:, 2] < scan.n_images - 4)
    table = table.select(np.flatnonzero(good)[:n])
    low = np.floor(table["xyzcal.px"]).astype(np.int32)
    bbox = np.column_stack([low[:, k] + o for k in range(3) for o in (-3, 4)]).astype(np.int32)
    boxes = Shoeboxes.allocate(table["panel"], bbox)
    for i, centre in enumerate(table["xyzcal.px"]):
        data, mask, _ = boxes.box(i)
        data[:] = rng.poisson(2000.0 * gaussian(bbox[i], centre) + 0.5)
        mask[:] = MaskBit.VALID | np.where(data > 3, MaskBit.FOREGROUND | MaskBit.STRONG, MaskBit.BACKGROUND)
    table["shoebox"], table["bbox"] = boxes, bbox
    table["xyzobs.px.value"] = table["xyzcal.px"] + 0.0
    table["xyzobs.px.variance"] = np.full((len(table), 3), 1e-3)
    table["xyzobs.mm.value"] = table["xyzcal.mm"] + 0.0
    table["intensity.sum.value"] = np.full(len(table), 2000.0)
    table["intensity.sum.variance"] = np.full(len(table), 2200.0)
    assert experiment.goniometer is not None
    table["zeta"] = zeta(table["s1"], experiment.beam.s0, experiment.goniometer.axis)
    flags = int(Flag.PREDICTED | Flag.OBSERVED | Flag.INDEXED | Flag.STRONG | Flag.REFERENCE_SPOT)
    table["flags"] = np.full(len(table), flags | int(Flag.USED_IN_REFINEMENT), dtype=np.uint64)
    return table
