"""Checks of profile models, on Gaussian spots where a tiny experiment predicts reflections."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from functools import cache, cached_property
from typing import Any

import numpy as np
from attrs import evolve
from numpy.typing import NDArray
from scipy.special import ndtr

from xtal.errors import AlgorithmFailed, XtalError
from xtal.hooks.protocols import ProfileEstimate, ProfileFit, ProfileModel, ProfileReferences
from xtal.models import Detector, Experiment
from xtal.physics.integration import Foreground, Foregrounds
from xtal.table import Flag, MaskBit, ReflectionTable, Shoeboxes
from xtal.testing.check_every import alike, check_methods, snapshot
from xtal.testing.conformance import Broken, Case, ensure, expects
from xtal.testing.data import tiny_experiment

F = NDArray[np.float64]
COUNTS = 2000.0
"""Of each spot."""
N_IMAGES = 60
SIZE, SHARP = (1.0, 0.5), (0.5, 0.08)
"""Of spots, pixels and images (standard deviations); zeta divides the latter."""
COLUMNS = ("s1", "xyzcal.px", "xyzcal.mm", "zeta", "panel")
"""Of predictions, all that the engine gives to a model besides bbox."""
Rows = NDArray[np.int64]
Boxed = tuple[ReflectionTable, Shoeboxes]
FIT = ("ok", "intensity", "variance", "correlation", "recorded")


def expected_counts(bbox: NDArray[np.int32], centre: F, size: tuple[float, float], zeta: float) -> F:
    """(nz, ny, nx) parts of `COUNTS` in the voxels of a box: a Gaussian about a position."""
    x, y, z = (
        np.diff(ndtr((np.arange(bbox[2 * k], bbox[2 * k + 1] + 1) - centre[k]) / sigma))
        for k, sigma in enumerate((size[0], size[0], size[1] / abs(zeta)))
    )
    return np.asarray(COUNTS * z[:, None, None] * y[:, None] * x)


@cache
def _predicted() -> ReflectionTable:
    from xtal.physics.kabsch import zeta
    from xtal.physics.prediction import predict_all

    experiment = _experiment()
    assert experiment.goniometer is not None
    table = predict_all(experiment, 1.6)
    table["zeta"] = zeta(table["s1"], experiment.beam.s0, experiment.goniometer.axis)
    xyz = table["xyzcal.px"]
    good = np.all((xyz > (8, 8, 6)) & (xyz < (292, 292, N_IMAGES - 6)), axis=1) & (np.abs(table["zeta"]) > 0.4)
    table = table.select(np.flatnonzero(good)[:400])
    return ReflectionTable({name: table[name] for name in COLUMNS})


def _experiment() -> Experiment:
    return tiny_experiment(N_IMAGES, (300, 300))


def strong_spots(n: int = 400, size: tuple[float, float] = SIZE) -> ReflectionTable:
    """Strong spots as integrate gives them: predictions, each with the voxels that were found of it."""
    rng = np.random.default_rng(4)
    table = _predicted().select(np.arange(n))
    low = np.floor(table["xyzcal.px"]).astype(np.int32)
    bbox = np.column_stack([low[:, k] + o for k in range(3) for o in (-4, 5)]).astype(np.int32)
    boxes = Shoeboxes.allocate(table["panel"], bbox)
    for i, centre in enumerate(table["xyzcal.px"]):
        data, mask, _ = boxes.box(i)
        data[:] = rng.poisson(expected_counts(bbox[i], centre, size, table["zeta"][i]) + 0.5)
        mask[:] = np.where(data > 3, MaskBit.VALID | MaskBit.FOREGROUND, 0)
    table["id"], table["shoebox"] = np.zeros(n, dtype=np.int32), boxes
    return table


def blocks_of(references: ProfileReferences, table: ReflectionTable) -> list[Rows]:
    """The rows of each block."""
    block = references.block_of(table["xyzcal.px"][:, 2])
    return [np.flatnonzero(block == k) for k in range(references.n_blocks)]


def held(boxes: Shoeboxes, rows: Rows) -> Foregrounds:
    """Some boxes as the engine holds them."""
    return Foregrounds([Foreground.of(np.arange(len(rows)), boxes, rows)])


class ProfileCase(Case):
    """A profile model, with what is estimated, boxed, learned and fitted with it."""

    kind = "profile"
    protocol = ProfileModel
    threaded = True
    size = SIZE

    @cached_property
    def estimated(self) -> ProfileEstimate:
        """The estimate from strong spots."""
        estimate: ProfileEstimate = self.plugin.estimate(_experiment(), strong_spots(size=self.size))
        return estimate

    @property
    def experiment(self) -> Experiment:
        """The experiment with that estimate, as it comes from a file."""
        experiment = _experiment()
        experiment.profile = json.loads(json.dumps(self.estimated.profile))
        return experiment

    def table(self, margin: float = 1.0) -> ReflectionTable:
        """Predictions with their boxes."""
        table = _predicted().copy()
        table["bbox"] = self.plugin.bbox(self.experiment, table, margin)
        return table

    def given(self) -> dict[str, Any]:
        return {"experiment": self.experiment, "spots": strong_spots(), "table": self.table(1.5)}

    def exercise(self, given: dict[str, Any]) -> list[Any]:
        model, experiment, table = self.plugin, given["experiment"], given["table"]
        estimate = model.estimate(experiment, given["spots"])
        boxes = model.bbox(experiment, table, 1.5)
        return [estimate.profile, boxes, model.partiality(experiment, table), model.footprint(experiment, table)]

    @cached_property
    def _voxels(self) -> Boxed:
        rng, table = np.random.default_rng(6), self.table(1.5)
        front, at = self.plugin.footprint(self.experiment, table), 0
        boxes = Shoeboxes.allocate(table["panel"], table["bbox"])
        for i, centre in enumerate(table["xyzcal.px"]):
            data, mask, _ = boxes.box(i)
            data[:] = rng.poisson(expected_counts(boxes.bbox[i], centre, self.size, table["zeta"][i]) + 1.0)
            layer = front[at : at + data.shape[1] * data.shape[2]].reshape(data.shape[1:])
            at += layer.size
            mask[:] = MaskBit.VALID | np.where(layer > 0, MaskBit.FOREGROUND, MaskBit.BACKGROUND)
        boxes.background[:] = 1.0
        n = len(table)
        for name, value in (("intensity.sum.value", COUNTS), ("intensity.sum.variance", 1.1 * COUNTS)):
            table[name] = np.full(n, value)
        table["background.mean"], table["background.mean.variance"] = np.ones(n), np.full(n, 1e-3)
        table["partiality"] = np.ones(n)
        flags = Flag.PREDICTED | Flag.INTEGRATED_SUM | Flag.REFERENCE_SPOT
        table["flags"] = np.full(n, int(flags), dtype=np.uint64)
        rows = np.arange(n)
        return table, held(boxes, rows).select(rows)

    def voxels(self) -> Boxed:
        """Reflections of `COUNTS` counts on a background of 1, summed, in the model's boxes cut to the foreground."""
        table, boxes = self._voxels
        return table.copy(), boxes.select(np.arange(len(boxes)))

    def taught(self, references: ProfileReferences, boxed: Boxed) -> Iterator[tuple[int, NDArray[np.bool_]]]:
        """Have references learn block by block: each block, and which of its reflections were used."""
        table, boxes = boxed
        for k, rows in enumerate(blocks_of(references, table)):
            yield k, references.learn(k, table.select(rows), held(boxes, rows))

    def fit(
        self,
        table: ReflectionTable,
        boxes: Shoeboxes,
        floor: float = 0.5,
        *,
        known: Boxed | None = None,
        references: ProfileReferences | None = None,
    ) -> ProfileFit:
        """The fit of all reflections, in their order, each block when it and the next one are learned.

        Shapes are learned from ``known``, perfect ones without it.
        """
        references = references or self.plugin.references(self.experiment)
        rows, parts, last = blocks_of(references, table), [], references.n_blocks - 1
        for k, _ in self.taught(references, known or self.voxels()):
            for block in (k - 1, k) if k == last else (k - 1,):
                if block >= 0:
                    parts.append(references.fit(block, table.select(rows[block]), held(boxes, rows[block]), floor))
        order = np.argsort(np.concatenate(rows))
        return ProfileFit(*(np.concatenate([np.asarray(getattr(p, name)) for p in parts])[order] for name in FIT))

    @cached_property
    def fitted(self) -> ProfileFit:
        """The fit of perfect reflections."""
        return self.fit(*self.voxels())


# --- the size of reflections --------------------------------------------------------------


@expects("profile", "rest on some of the spots that it is given, and say on how many")
def n_spots(case: ProfileCase) -> None:
    n, given = case.estimated.n_spots, len(_predicted())
    ensure(0 < n <= given, f"n_spots is {n} of {given}")


@expects("profile", "give a JSON object that names the model as __id__")
def stored(case: ProfileCase) -> None:
    again = json.loads(json.dumps(case.estimated.profile, allow_nan=False))
    ensure(isinstance(again.get("__id__"), str), f"__id__ is {again.get('__id__')!r}")


@expects("profile", "give sizes above 0 under names that begin with sigma, of which the step takes means")
def sizes(case: ProfileCase) -> None:
    for name, value in case.estimated.profile.items():
        if name.startswith("sigma"):
            ensure(np.all(np.isfinite(value)) and np.all(np.asarray(value) > 0), f"{name} is {value}")


@expects("profile", "say what it relaxed in a list of sentences")
def relaxed(case: ProfileCase) -> None:
    notes = case.estimated.notes
    ensure(isinstance(notes, list) and all(isinstance(n, str) for n in notes), f"notes are {notes!r}")


@expects("profile", "raise AlgorithmFailed where there are no spots")
def no_spots(case: ProfileCase) -> None:
    try:
        estimate = case.plugin.estimate(_experiment(), strong_spots(0))
    except AlgorithmFailed:
        return
    raise Broken(f"it estimates {estimate.profile}")


@expects("profile", "give sizes from a single spot, or raise AlgorithmFailed")
def one_spot(case: ProfileCase) -> None:
    with suppress(AlgorithmFailed):
        profile = case.plugin.estimate(_experiment(), strong_spots(1)).profile
        bad = [n for n, value in profile.items() if n.startswith("sigma") and not np.all(np.isfinite(value))]
        ensure(not bad, f"its {', '.join(bad)} are no numbers")


@expects("profile", "keep nothing of a size but what is stored with the experiment")
def stateless(case: ProfileCase) -> None:
    again = case.construct()
    same = alike(again.bbox(case.experiment, _predicted().copy(), 1.0), case.table()["bbox"])
    ensure(same, "another object gives other boxes")


@expects("profile", "say in a sentence that the stored profile is of another model")
def other_model(case: ProfileCase) -> None:
    experiment = _experiment()
    experiment.profile = {"__id__": "another", "width": 1.0}
    try:
        case.plugin.bbox(experiment, _predicted().copy(), 1.0)
    except XtalError as error:
        ensure(error.message.endswith("."), f"it says {error.message!r}")
        return
    raise Broken("it gives boxes")


# --- boxes ------------------------------------------------------------------------------


@expects("profile", "give boxes as (n, 6) int32")
def boxes_type(case: ProfileCase) -> None:
    bbox, n = case.table()["bbox"], len(_predicted())
    ensure(bbox.shape == (n, 6) and bbox.dtype == np.int32, f"{n} are of shape {bbox.shape} and {bbox.dtype}")


@expects("profile", "give boxes that hold voxels")
def boxes_full(case: ProfileCase) -> None:
    bbox = case.table()["bbox"]
    n = np.count_nonzero(np.any(bbox[:, 1::2] <= bbox[:, ::2], axis=1))
    ensure(n == 0, f"{n} are empty")


@expects("profile", "give boxes that hold their reflections")
def boxes_hold(case: ProfileCase) -> None:
    bbox, centre = case.table()["bbox"], _predicted()["xyzcal.px"]
    inside = np.all((bbox[:, ::2] <= centre) & (centre <= bbox[:, 1::2]), axis=1)
    ensure(inside.mean() > 0.95, f"{100 * inside.mean():.0f} % do")


@expects("profile", "cut boxes at the ends of the scan")
def boxes_cut(case: ProfileCase) -> None:
    table = _predicted().copy()
    table["xyzcal.px"][:, 2] = np.where(np.arange(len(table)) % 2, 0.1, N_IMAGES - 0.1)
    bbox = case.plugin.bbox(case.experiment, table, 1.0)
    low, high = bbox[:, 4].min(), bbox[:, 5].max()
    ensure(low >= 0 and high <= N_IMAGES, f"they reach from {low} to {high} in a scan of {N_IMAGES} images")


@expects("profile", "give reflections predicted beyond the ends of the scan frames of it, and a partiality of near 0")
def beyond(case: ProfileCase) -> None:
    table, experiment = _predicted().copy(), case.experiment
    assert experiment.scan is not None
    z = np.where(np.arange(len(table)) % 2, -6.0, N_IMAGES + 6.0)
    table["xyzcal.px"][:, 2], table["xyzcal.mm"][:, 2] = z, experiment.scan.phi(z)
    table["bbox"] = bbox = case.plugin.bbox(experiment, table, 1.0)
    good = np.all((bbox[:, 4] >= 0) & (bbox[:, 4] <= bbox[:, 5]) & (bbox[:, 5] <= N_IMAGES))
    ensure(good, f"boxes reach from {bbox[:, 4].min()} to {bbox[:, 5].max()} in a scan of {N_IMAGES} images")
    part = case.plugin.partiality(experiment, table).max()
    ensure(part < 0.01, f"it is up to {part:.2g}")


@expects("profile", "take each reflection on its own panel")
def panels(case: ProfileCase) -> None:
    experiment, table = case.experiment, case.table()
    panel = experiment.detector[0]
    experiment.detector = Detector([evolve(panel, origin=panel.origin + np.array([0.0, 80.0, -40.0])), panel])
    second = table.copy()
    second["panel"] = np.ones_like(table["panel"])
    ensure(alike(case.plugin.bbox(experiment, second, 1.0), table["bbox"]), "boxes on the second of two panels differ")
    fronts = case.plugin.footprint(experiment, second), case.plugin.footprint(case.experiment, table)
    ensure(alike(*fronts), "the foreground on the second of two panels differs")


@expects("profile", "give boxes that reach farther in x and y with a larger margin, and as far in z")
def margin(case: ProfileCase) -> None:
    small, large = (case.table(m)["bbox"] for m in (1.0, 2.0))
    wider = np.all(large[:, 1:4:2] - large[:, 0:4:2] > small[:, 1:4:2] - small[:, 0:4:2])
    ensure(wider, "some are not wider at a margin of 2")
    ensure(np.array_equal(large[:, 4:], small[:, 4:]), "their frames differ")


@expects("profile", "give a partiality of 0 to 1 for each reflection")
def partiality(case: ProfileCase) -> None:
    part = case.plugin.partiality(case.experiment, case.table())
    ensure(part.shape == (len(_predicted()),), f"it is of shape {part.shape}")
    ensure(np.all((part >= 0) & (part <= 1 + 1e-9)), f"it is {part.min():.3g} to {part.max():.3g}")


@expects("profile", "have boxes that hold most of a reflection far from the ends of the scan")
def complete(case: ProfileCase) -> None:
    part = float(case.plugin.partiality(case.experiment, case.table()).mean())
    ensure(part > 0.8, f"they hold {100 * part:.0f} %")


@expects("profile", "give the partiality of the frames of the bbox in the table, so that parts add up to the whole")
def partiality_adds(case: ProfileCase) -> None:
    table, parts = case.table(), []
    middle = (table["bbox"][:, 4] + table["bbox"][:, 5]) // 2
    for column in (5, 4, None):
        part = table.copy()
        if column is not None:
            part["bbox"][:, column] = middle
        parts.append(case.plugin.partiality(case.experiment, part))
    worst = float(np.abs(parts[0] + parts[1] - parts[2]).max())
    ensure(worst < 1e-6, f"two halves differ from the whole by {worst:.2g}")


@expects("profile", "give the footprint as one layer of each box, packed, in uint8")
def footprint(case: ProfileCase) -> None:
    table = case.table()
    bbox, front = table["bbox"], case.plugin.footprint(case.experiment, table)
    layer = int(((bbox[:, 1] - bbox[:, 0]) * (bbox[:, 3] - bbox[:, 2])).sum())
    ensure(front.shape == (layer,) and front.dtype == np.uint8, f"{layer} pixels are {front.shape} of {front.dtype}")


@expects("profile", "mark the foreground with 1 and the rest with 0, some of each")
def footprint_values(case: ProfileCase) -> None:
    values = set(np.unique(case.plugin.footprint(case.experiment, case.table(2.0))).tolist())
    ensure(values == {0, 1}, f"it holds {sorted(values)[:5]}")


@expects("profile", "have the foreground depend on the reflection, not on the size of its box")
def footprint_size(case: ProfileCase) -> None:
    sums = [float(case.plugin.footprint(case.experiment, case.table(m)).sum()) for m in (1.5, 3.0)]
    ensure(abs(sums[1] / sums[0] - 1) < 0.01, f"larger boxes have {sums[1] / sums[0]:.2f} times the foreground")


@expects("profile", "give each reflection what it gets alone")
def rows_apart(case: ProfileCase) -> None:
    rows, table, experiment = np.array([7, 3]), case.table(), case.experiment
    few, model = table.select(rows), case.plugin
    ensure(alike(model.bbox(experiment, few, 1.0), table["bbox"][rows]), "its box depends on the others")
    part = model.partiality(experiment, table)[rows]
    ensure(np.allclose(model.partiality(experiment, few), part, 1e-9), "its partiality depends on the others")


@expects("profile", "take tables without rows")
def no_rows(case: ProfileCase) -> None:
    none, experiment = case.table().select(np.empty(0, np.int64)), case.experiment
    bbox, front = case.plugin.bbox(experiment, none, 1.0), case.plugin.footprint(experiment, none)
    sizes = (bbox.shape, case.plugin.partiality(experiment, none).shape, front.shape, front.dtype)
    ensure(sizes == ((0, 6), (0,), (0,), np.uint8), f"it gives {sizes}")


# --- shapes that are learned ------------------------------------------------------------


@expects("profile", "give references with the methods of ProfileReferences")
def references(case: ProfileCase) -> None:
    check_methods(case.plugin.references(case.experiment), ProfileReferences)


@expects("profile", "put every z, also beyond the scan's ends, into one of its blocks, and later ones not before")
def blocks(case: ProfileCase) -> None:
    found = case.plugin.references(case.experiment)
    block, n = np.asarray(found.block_of(np.linspace(-3, N_IMAGES + 3, 200))), found.n_blocks
    ensure(block.dtype.kind == "i" and block.shape == (200,), f"they are {block.dtype} of shape {block.shape}")
    ensure(n >= 1 and block.min() >= 0 and block.max() < n, f"they are {block.min()} to {block.max()} of {n}")
    ensure(np.all(np.diff(block) >= 0), "they decrease with z")


@expects("profile", "say of each reflection of a block whether it learned from it")
def learning(case: ProfileCase) -> None:
    table, boxes = case.voxels()
    found = case.plugin.references(case.experiment)
    rows = np.flatnonzero(found.block_of(table["xyzcal.px"][:, 2]) == 0)
    used = found.learn(0, table.select(rows), held(boxes, rows))
    good = isinstance(used, np.ndarray) and used.dtype == bool and used.shape == rows.shape
    ensure(good, f"of {len(rows)} it says {type(used).__name__} {getattr(used, 'shape', '')}")


@expects("profile", "learn from strong reflections")
def learns(case: ProfileCase) -> None:
    references = case.plugin.references(case.experiment)
    used = sum(np.count_nonzero(used) for _, used in case.taught(references, case.voxels()))
    ensure(used > 0, f"it learns from none of {len(_predicted())}")


@expects("profile", "give each experiment references of its own: those of several learn in turns")
def references_apart(case: ProfileCase) -> None:
    one, other = (case.plugin.references(case.experiment) for _ in range(2))
    table, boxes = case.voxels()
    none = np.empty(0, np.int64)
    for references, rows in ((one, np.arange(len(table))), (other, none)):
        for _ in case.taught(references, (table.select(rows), boxes.select(rows))):
            pass
    block = one.n_blocks - 1
    rows = blocks_of(one, table)[block]
    found = one.fit(block, table.select(rows), held(boxes, rows), 0.5).intensity
    ensure(alike(found, case.fitted.intensity[rows]), "what the second ones learn changes the fit of the first")


@expects("profile", "change neither the table nor the boxes' bbox while it learns and fits")
def voxels_kept(case: ProfileCase) -> None:
    table, boxes = case.voxels()
    found = case.plugin.references(case.experiment)
    rows = np.flatnonzero(found.block_of(table["xyzcal.px"][:, 2]) == 0)
    part, voxels = table.select(rows), held(boxes, rows)
    before = [snapshot(part), snapshot(voxels.bbox)]
    found.learn(0, part, voxels)
    if found.n_blocks > 1:
        found.learn(1, table.select(np.empty(0, np.int64)), held(boxes, np.empty(0, np.int64)))
    found.fit(0, part, voxels, 0.5)
    ensure(alike([snapshot(part), snapshot(voxels.bbox)], before), "it changes them")


@expects("profile", "answer a fit with an array of one value for each reflection, ok being bool")
def fit_type(case: ProfileCase) -> None:
    n = len(_predicted())
    for name in FIT:
        value = getattr(case.fitted, name)
        ensure(value.shape == (n,), f"{name} of {n} is of shape {value.shape}")
    ensure(case.fitted.ok.dtype == bool, f"ok is {case.fitted.ok.dtype}")


@expects("profile", "fit nearly all perfect reflections")
def fits(case: ProfileCase) -> None:
    ensure(case.fitted.ok.mean() > 0.8, f"it fits {100 * case.fitted.ok.mean():.0f} %")


@expects("profile", "take the places of voxels from boxes that are cut to the foreground, not from the table's bbox")
def cut_boxes(case: ProfileCase) -> None:
    table, boxes = case.voxels()
    table["bbox"] = boxes.bbox.copy()
    other, ok = case.fit(table, boxes), case.fitted.ok
    same = alike(other.ok, ok) and np.allclose(other.intensity[ok], case.fitted.intensity[ok], 1e-6)
    ensure(same, "the fit depends on the latter")


@expects("profile", "find the true intensity")
def intensity(case: ProfileCase) -> None:
    ratio = float(np.median(case.fitted.intensity[case.fitted.ok])) / COUNTS
    ensure(abs(ratio - 1) < 0.1, f"it finds {ratio:.3f} of it")


@expects("profile", "find each intensity as well as counting allows, and no better than its variance says")
def pulls(case: ProfileCase) -> None:
    fit = case.fitted
    pull = (fit.intensity - COUNTS)[fit.ok] / np.sqrt(fit.variance[fit.ok])
    spread = 1.48 * float(np.median(np.abs(pull - np.median(pull))))
    ensure(0.7 < spread < 1.5, f"the errors are {spread:.2f} of the standard deviations")


@expects("profile", "find the true intensity of reflections of the size of a pixel and much narrower than an image")
def sharp(case: ProfileCase) -> None:
    other = ProfileCase(case.descriptor)
    other.size = SHARP
    ratio = other.fitted.intensity[other.fitted.ok] / COUNTS
    worst = np.quantile(np.abs(ratio - 1), 0.9)
    ensure(worst < 0.2, f"one in ten is off by {100 * worst:.0f} % and more")


@expects("profile", "find nothing, on average, where there is nothing: some intensities are below 0")
def nothing_there(case: ProfileCase) -> None:
    table, boxes = case.voxels()
    rng, weak = np.random.default_rng(12), np.flatnonzero(np.arange(len(table)) % 2)
    for i in weak:
        data = boxes.box(int(i))[0]
        data[:] = rng.poisson(1.0, data.shape)
    table["intensity.sum.value"][weak], table["intensity.sum.variance"][weak] = 0.0, len(boxes.data) / len(table)
    fit = case.fit(table, boxes, known=(table, boxes))
    weak = weak[fit.ok[weak]]
    pull = fit.intensity[weak] / np.sqrt(fit.variance[weak])
    mean = float(pull.mean()) if len(weak) else np.nan
    ensure(abs(mean) < 0.3, f"the mean is {mean:.2f} standard deviations")


@expects("profile", "give finite variances above 0, near the counts of strong reflections")
def variance(case: ProfileCase) -> None:
    value = case.fitted.variance[case.fitted.ok]
    ensure(np.all((value > 0) & np.isfinite(value)), f"they are {value.min():g} to {value.max():g}")
    ratio = float(np.median(value)) / COUNTS
    ensure(0.5 < ratio < 3, f"they are {ratio:.2g} of the counts")


@expects("profile", "give correlations of -1 to 1, high for perfect reflections")
def correlation(case: ProfileCase) -> None:
    value = case.fitted.correlation[case.fitted.ok]
    ensure(np.all(np.abs(value) <= 1 + 1e-6), f"they are {value.min():.3g} to {value.max():.3g}")
    ensure(np.median(value) > 0.5, f"their median is {np.median(value):.2f}")


@expects("profile", "give the recorded part of each reflection, 0 to 1, near 1 for whole ones")
def recorded(case: ProfileCase) -> None:
    value = case.fitted.recorded[case.fitted.ok]
    ensure(np.all((value > 0) & (value <= 1.05)), f"it is {value.min():.3g} to {value.max():.3g}")
    ensure(np.median(value) > 0.8, f"its median is {np.median(value):.2f}")


def _half_bad(case: ProfileCase, value: float) -> Boxed:
    """The reflections with bad pixels, of some value, from their centres on."""
    table, boxes = case.voxels()
    for i, centre in enumerate(table["xyzcal.px"]):
        data, mask, _ = boxes.box(i)
        bad = np.arange(boxes.bbox[i, 0], boxes.bbox[i, 1]) >= np.ceil(centre[0])
        mask[:, :, bad] &= ~int(MaskBit.VALID)
        data[:, :, bad] = value
    return table, boxes


@expects("profile", "leave bad voxels out of the fit, whatever they hold")
def bad_voxels(case: ProfileCase) -> None:
    one, other = (case.fit(*_half_bad(case, value), floor=0.1) for value in (0.0, 1e6))
    same = alike(one.ok, other.ok) and np.allclose(one.intensity[one.ok], other.intensity[one.ok], 1e-6)
    ensure(same, "the fit depends on them")


@expects("profile", "give the intensity of the whole reflection where a part is not recorded")
def unrecorded(case: ProfileCase) -> None:
    fit = case.fit(*_half_bad(case, 0.0), floor=0.1)
    ensure(fit.ok.any(), "it fits none")
    ratio = float(np.median(fit.intensity[fit.ok])) / COUNTS
    ensure(abs(ratio - 1) < 0.2, f"it finds {ratio:.2f} of it with half the pixels")


@expects("profile", "fail where less than the floor of a reflection is recorded")
def floor(case: ProfileCase) -> None:
    fit = case.fit(*_half_bad(case, 0.0), floor=0.98)
    ensure(fit.ok.mean() < 0.02, f"it fits {100 * fit.ok.mean():.0f} % of those of which half is bad")


@expects("profile", "fail where no voxel of a reflection is usable, whatever the floor")
def no_voxels(case: ProfileCase) -> None:
    table, boxes = case.voxels()
    boxes.mask &= ~int(MaskBit.VALID)
    fit = case.fit(table, boxes, floor=0.0)
    ensure(not fit.ok.any(), f"it fits {100 * fit.ok.mean():.0f} %")


@expects("profile", "give the same fit whatever the order of the rows")
def row_order(case: ProfileCase) -> None:
    table, boxes = case.voxels()
    reverse = np.arange(len(table))[::-1]
    turned, turned_boxes = table.select(reverse), boxes.select(reverse)
    fits = [case.fit(*boxed, known=boxed) for boxed in ((table, boxes), (turned, turned_boxes))]
    fitted = [np.where(fit.ok, fit.intensity, 0.0) for fit in fits]
    ensure(np.allclose(fitted[0], fitted[1][reverse], 1e-6), "it differs in the reverse order")


@expects("profile", "fit with finite numbers, or fail, where it could learn from nothing")
def nothing_learned(case: ProfileCase) -> None:
    table, boxes = case.voxels()
    found = case.plugin.references(case.experiment)
    none = np.empty(0, np.int64)
    for k in range(found.n_blocks):
        used = found.learn(k, table.select(none), held(boxes, none))
        ensure(used.shape == (0,) and used.dtype == bool, f"of none it learned from {used!r}")
    rows = np.flatnonzero(found.block_of(table["xyzcal.px"][:, 2]) == 0)
    fit = found.fit(0, table.select(rows), held(boxes, rows), 0.5)
    for name in FIT[1:]:
        ensure(np.all(np.isfinite(getattr(fit, name)[fit.ok])), f"its {name} is not finite")
    empty = found.fit(0, table.select(none), held(boxes, none), 0.5)
    ensure(len(empty.ok) == 0, f"no reflections get {len(empty.ok)} fits")
