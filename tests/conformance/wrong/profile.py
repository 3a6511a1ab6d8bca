"""Wrong profile models."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from attrs import evolve

from xtal.errors import AlgorithmFailed
from xtal.hooks.protocols import ProfileEstimate
from xtal.table import MaskBit
from xtal_profile_gaussian_rs.model import GaussianRs
from xtal_profile_gaussian_rs.references import GaussianReferences

RIGHT = "gaussian_rs"
VALID = int(MaskBit.VALID)


def estimating(spoil: Callable[[ProfileEstimate], Any]) -> type:
    """Right until ``spoil`` changes the estimate."""

    class Wrong(GaussianRs):
        def estimate(self, experiment: Any, spots: Any) -> Any:
            return spoil(super().estimate(experiment, spots))

    return Wrong


def profile(**changes: Any) -> type:
    """One that stores something else."""
    return estimating(lambda found: evolve(found, profile=found.profile | changes))


def after(method: str, spoil: Callable[[Any], Any]) -> type:
    """Right until ``spoil`` changes what a method answers."""

    def wrong(self: Any, *arguments: Any) -> Any:
        return spoil(getattr(GaussianRs, method)(self, *arguments))

    parameters = {
        "bbox": lambda self, experiment, table, margin: wrong(self, experiment, table, margin),
        "partiality": lambda self, experiment, table: wrong(self, experiment, table),
        "footprint": lambda self, experiment, table: wrong(self, experiment, table),
    }
    return type("Wrong", (GaussianRs,), {method: parameters[method]})


def with_references(cls: type) -> type:
    """Right but for its references."""

    class Wrong(GaussianRs):
        def references(self, experiment: Any) -> Any:
            return cls(experiment, self.options.fitting.scan_step)

    return Wrong


def fitting(spoil: Callable[[Any], Any]) -> type:
    """Right until ``spoil`` changes a fit in place."""

    class Wrong(GaussianReferences):
        def fit(self, block: Any, table: Any, boxes: Any, floor: Any) -> Any:
            fit = super().fit(block, table, boxes, floor)
            spoil(fit)
            return fit

    return with_references(Wrong)


# --- the model ----------------------------------------------------------------------------


class NeverFails(GaussianRs):
    def estimate(self, experiment: Any, spots: Any) -> Any:
        try:
            return super().estimate(experiment, spots)
        except AlgorithmFailed:
            return ProfileEstimate({"__id__": "gaussian_rs", "sigma_b": 0.05, "sigma_m": 0.1}, 0, [])


class Remembers(GaussianRs):
    """Makes boxes of a size that it alone knows."""

    larger = 1.0

    def estimate(self, experiment: Any, spots: Any) -> Any:
        self.larger = 2.0
        return super().estimate(experiment, spots)

    def bbox(self, experiment: Any, table: Any, margin: Any) -> Any:
        return super().bbox(experiment, table, self.larger * margin)


class Trusts(GaussianRs):
    def bbox(self, experiment: Any, table: Any, margin: Any) -> Any:
        self.sigma = experiment.profile["sigma_b"]
        return super().bbox(experiment, table, margin)


class Curt(GaussianRs):
    """Says in a word that a profile is of another model."""

    def bbox(self, experiment: Any, table: Any, margin: Any) -> Any:
        if experiment.profile["__id__"] != "gaussian_rs":
            raise AlgorithmFailed("another model")
        return super().bbox(experiment, table, margin)


class Guesses(GaussianRs):
    def bbox(self, experiment: Any, table: Any, margin: Any) -> Any:
        if experiment.profile["__id__"] != "gaussian_rs":
            return np.tile(np.arange(6, dtype=np.int32), (len(table), 1))
        return super().bbox(experiment, table, margin)


class LongerToo(GaussianRs):
    """Lets boxes reach farther in z, too."""

    def bbox(self, experiment: Any, table: Any, margin: Any) -> Any:
        bbox = super().bbox(experiment, table, margin)
        bbox[:, 5] += int(margin)
        return bbox


class NoMargin(GaussianRs):
    def bbox(self, experiment: Any, table: Any, margin: Any) -> Any:
        return super().bbox(experiment, table, 1.5)


class WholeBeyond(GaussianRs):
    """Takes what lies beyond the ends for whole."""

    def partiality(self, experiment: Any, table: Any) -> Any:
        z = table["xyzcal.px"][:, 2]
        return np.where((z < 0) | (z > 60), 1.0, super().partiality(experiment, table))


class FramesBeyond(GaussianRs):
    """Gives what lies beyond the ends the frames on which it would be."""

    def bbox(self, experiment: Any, table: Any, margin: Any) -> Any:
        bbox, z = super().bbox(experiment, table, margin), table["xyzcal.px"][:, 2]
        bbox[z < 0, 4:], bbox[z > 60, 4:] = (-7, -5), (65, 67)
        return bbox


class BoxesOnFirstPanel(GaussianRs):
    def bbox(self, experiment: Any, table: Any, margin: Any) -> Any:
        return super().bbox(experiment, _on_first_panel(table), margin)


class SpotsOnFirstPanel(GaussianRs):
    def footprint(self, experiment: Any, table: Any) -> Any:
        return super().footprint(experiment, _on_first_panel(table))


def _on_first_panel(table: Any) -> Any:
    table = table.copy()
    table["panel"] = np.zeros_like(table["panel"])
    return table


class Deviates(GaussianRs):
    """Takes the spread of spots from their number less one."""

    def estimate(self, experiment: Any, spots: Any) -> Any:
        found = super().estimate(experiment, spots)
        spread = found.profile["sigma_b"] * float(np.float64(len(spots)) / (np.float64(len(spots)) - 1 or np.nan))
        return evolve(found, profile=found.profile | {"sigma_b": spread})


class OneForAll(GaussianRs):
    """Has the references of one experiment alone."""

    only: Any = None

    def references(self, experiment: Any) -> Any:
        self.only = self.only or super().references(experiment)
        return self.only


class OwnFrames(GaussianRs):
    """Looks at the frames of the box that it would make, not of the one in the table."""

    def partiality(self, experiment: Any, table: Any) -> Any:
        table = table.copy()
        table["bbox"] = super().bbox(experiment, table, 1.0)
        return super().partiality(experiment, table)


class FloatsOfNothing(GaussianRs):
    def footprint(self, experiment: Any, table: Any) -> Any:
        return super().footprint(experiment, table) if len(table) else np.empty(0)


class NeedsRows(GaussianRs):
    def partiality(self, experiment: Any, table: Any) -> Any:
        self.least = np.abs(table["zeta"]).min()
        return super().partiality(experiment, table)


def empty(bbox: Any) -> Any:
    bbox[:, 1] = bbox[:, 0]
    return bbox


def longer(bbox: Any) -> Any:
    bbox[:, 5] += 5
    return bbox


def all_alike(bbox: Any) -> Any:
    bbox[:, 0] = bbox[:, 0].min(initial=1000)
    return bbox


def whole_box(front: Any) -> Any:
    front[1:] = 1
    return front


# --- its references -----------------------------------------------------------------------


class OtherArguments(GaussianReferences):
    def fit(self, block: Any, boxes: Any, table: Any, floor: Any) -> Any:
        return super().fit(block, table, boxes, floor)


class Unclipped(GaussianReferences):
    def block_of(self, z: Any) -> Any:
        return np.searchsorted(self.edges, z, side="right") - 1


class FloatBlocks(GaussianReferences):
    def block_of(self, z: Any) -> Any:
        return super().block_of(z).astype(float)


class Backwards(GaussianReferences):
    def block_of(self, z: Any) -> Any:
        return self.n_blocks - 1 - super().block_of(z)


class Rows(GaussianReferences):
    def learn(self, block: Any, table: Any, boxes: Any) -> Any:
        return np.flatnonzero(super().learn(block, table, boxes))


class SaysNone(GaussianReferences):
    def learn(self, block: Any, table: Any, boxes: Any) -> Any:
        return super().learn(block, table, boxes) & False


class CountsFromCorners(GaussianReferences):
    """Takes off for good where the boxes begin."""

    def learn(self, block: Any, table: Any, boxes: Any) -> Any:
        used = super().learn(block, table, boxes)
        table["xyzcal.px"][:] -= boxes.bbox[:, ::2]
        return used


class TakesBadVoxels(GaussianReferences):
    def fit(self, block: Any, table: Any, boxes: Any, floor: Any) -> Any:
        every = boxes.select(np.arange(len(table)))
        every.mask |= VALID
        return super().fit(block, table, every, floor)


class TrustsTheTable(GaussianReferences):
    """Takes the boxes for as large as they were."""

    def fit(self, block: Any, table: Any, boxes: Any, floor: Any) -> Any:
        moved = boxes.select(np.arange(len(table)))
        moved.bbox[:, :4] += np.repeat(table["bbox"][:, 0:4:2] - boxes.bbox[:, 0:4:2], 2, axis=1)
        return super().fit(block, table, moved, floor)


class NeedsAll(GaussianReferences):
    """Fits when all of the scan is learned."""

    def learn(self, block: Any, table: Any, boxes: Any) -> Any:
        self.last = block
        return super().learn(block, table, boxes)

    def fit(self, block: Any, table: Any, boxes: Any, floor: Any) -> Any:
        if self.last < self.n_blocks - 1:
            raise RuntimeError("later blocks are not learned")
        return super().fit(block, table, boxes, floor)


class NumbersOfNothing(GaussianReferences):
    def learn(self, block: Any, table: Any, boxes: Any) -> Any:
        used = super().learn(block, table, boxes)
        return used if len(used) else np.zeros(0)


class BelievesThePrediction(GaussianReferences):
    """Has an intensity of 0 where nothing was recorded."""

    def fit(self, block: Any, table: Any, boxes: Any, floor: Any) -> Any:
        fit = super().fit(block, table, boxes, floor)
        fit.ok |= fit.recorded >= floor
        return fit


class AtCentres(GaussianReferences):
    """Is off where spots are sharper than images are wide."""

    def fit(self, block: Any, table: Any, boxes: Any, floor: Any) -> Any:
        fit = super().fit(block, table, boxes, floor)
        if self.experiment.profile["sigma_m"] < 0.1:
            fit.intensity *= 1.4
        return fit


class NoFloor(GaussianReferences):
    def fit(self, block: Any, table: Any, boxes: Any, floor: Any) -> Any:
        return super().fit(block, table, boxes, 0.0)


class NumbersRows(GaussianReferences):
    def fit(self, block: Any, table: Any, boxes: Any, floor: Any) -> Any:
        fit = super().fit(block, table, boxes, floor)
        fit.intensity *= 1 + 1e-3 * np.arange(len(table))
        return fit


class MeanOfLearned(GaussianReferences):
    """Divides by what it learned from."""

    def learn(self, block: Any, table: Any, boxes: Any) -> Any:
        used = super().learn(block, table, boxes)
        self.n_used = int(used.sum())
        return used

    def fit(self, block: Any, table: Any, boxes: Any, floor: Any) -> Any:
        self.share = 1 / self.n_used
        return super().fit(block, table, boxes, floor)


class NanWithoutLearning(MeanOfLearned):
    def fit(self, block: Any, table: Any, boxes: Any, floor: Any) -> Any:
        fit = GaussianReferences.fit(self, block, table, boxes, floor)
        if not self.n_used:
            fit.intensity[:] = np.nan
        return fit


class OneRowAtLeast(GaussianReferences):
    def fit(self, block: Any, table: Any, boxes: Any, floor: Any) -> Any:
        fit = super().fit(block, table, boxes, floor)
        if not len(table):
            fit.ok = np.zeros(1, dtype=bool)
        return fit


def whole_numbers(fit: Any) -> None:
    fit.ok = fit.ok.astype(int)


def in_columns(fit: Any) -> None:
    fit.correlation = fit.correlation[:, None]


def small_variance(fit: Any) -> None:
    fit.variance /= 100


def above_nothing(fit: Any) -> None:
    np.maximum(fit.intensity, 0.0, out=fit.intensity)


def small_correlation(fit: Any) -> None:
    fit.correlation *= 0.1


def small_part(fit: Any) -> None:
    fit.recorded *= 0.5


def whole_ones_only(fit: Any) -> None:
    fit.ok &= fit.recorded > 0.95


def gives_up(fit: Any) -> None:
    fit.ok[::2] = False


def too_bright(fit: Any) -> None:
    fit.intensity *= 1.5


def scattered(fit: Any) -> None:
    fit.intensity *= 1 + 0.1 * (-1) ** np.arange(len(fit.intensity))


def no_variance(fit: Any) -> None:
    fit.variance[:] = 0


def in_percent(fit: Any) -> None:
    fit.recorded *= 100


def as_covariance(fit: Any) -> None:
    fit.correlation *= 100


def of_the_part(fit: Any) -> None:
    fit.intensity *= fit.recorded


WRONG = {
    "n_spots": estimating(lambda found: evolve(found, n_spots=0)),
    "stored": profile(__id__=None),
    "sizes": profile(sigma_b=-0.01),
    "relaxed": estimating(lambda found: evolve(found, notes="few spots")),
    "no_spots": NeverFails,
    "one_spot": Deviates,
    "stateless": Remembers,
    "other_model": [Trusts, Curt, Guesses],
    "boxes_type": after("bbox", lambda bbox: bbox.astype(np.int64)),
    "boxes_full": after("bbox", empty),
    "boxes_hold": after("bbox", lambda bbox: bbox + np.array([50, 50, 0, 0, 0, 0], dtype=np.int32)),
    "boxes_cut": after("bbox", longer),
    "beyond": [WholeBeyond, FramesBeyond],
    "panels": [BoxesOnFirstPanel, SpotsOnFirstPanel],
    "margin": [NoMargin, LongerToo],
    "partiality": [
        after("partiality", lambda part: 1.2 * part),
        after("partiality", lambda part: part[:, None]),
    ],
    "complete": after("partiality", lambda part: 0.5 * part),
    "partiality_adds": OwnFrames,
    "footprint": after("footprint", lambda front: front.astype(float)),
    "footprint_values": after("footprint", lambda front: 4 * front),
    "footprint_size": after("footprint", whole_box),
    "rows_apart": [
        after("bbox", all_alike),
        after("partiality", lambda part: part / part.max()),
    ],
    "no_rows": [NeedsRows, FloatsOfNothing],
    "references": with_references(OtherArguments),
    "blocks": [with_references(Unclipped), with_references(FloatBlocks), with_references(Backwards)],
    "learning": with_references(Rows),
    "learns": with_references(SaysNone),
    "references_apart": OneForAll,
    "voxels_kept": with_references(CountsFromCorners),
    "fit_type": [fitting(whole_numbers), fitting(in_columns)],
    "fits": [fitting(gives_up), with_references(NeedsAll)],
    "cut_boxes": with_references(TrustsTheTable),
    "intensity": fitting(too_bright),
    "pulls": fitting(scattered),
    "sharp": with_references(AtCentres),
    "nothing_there": fitting(above_nothing),
    "variance": [fitting(no_variance), fitting(small_variance)],
    "correlation": [fitting(as_covariance), fitting(small_correlation)],
    "recorded": [fitting(in_percent), fitting(small_part)],
    "bad_voxels": with_references(TakesBadVoxels),
    "unrecorded": [fitting(of_the_part), fitting(whole_ones_only)],
    "floor": with_references(NoFloor),
    "no_voxels": with_references(BelievesThePrediction),
    "row_order": with_references(NumbersRows),
    "nothing_learned": [
        with_references(MeanOfLearned),
        with_references(NanWithoutLearning),
        with_references(OneRowAtLeast),
        with_references(NumbersOfNothing),
    ],
}
