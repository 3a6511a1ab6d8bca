"""Wrong background models."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from xtal.table import MaskBit
from xtal_background_simple.options import OutlierOptions, SimpleOptions
from xtal_background_simple.simple import Simple

RIGHT = "simple"
FOREGROUND, USED = int(MaskBit.FOREGROUND), int(MaskBit.BACKGROUND_USED)


def after(spoil: Callable[[Any, Any], Any]) -> type:
    """Right until ``spoil(boxes, result)`` changes something."""

    class Wrong(Simple):
        def fit(self, boxes: Any) -> Any:
            result = super().fit(boxes)
            spoil(boxes, result)
            return result

    return Wrong


def reading(set_bits: int, cleared_bits: int) -> type:
    """One that takes the mask for another than it is."""

    class Wrong(Simple):
        def fit(self, boxes: Any) -> Any:
            true = boxes.mask.copy()
            boxes.mask[:] = (boxes.mask | set_bits) & ~cleared_bits
            result = super().fit(boxes)
            boxes.mask[:] = true | (boxes.mask & USED)
            return result

    return Wrong


class HidesBadVoxels(Simple):
    """Uses bad voxels, and does not mark them."""

    def fit(self, boxes: Any) -> Any:
        true = boxes.mask.copy()
        boxes.mask |= int(MaskBit.VALID)
        result = super().fit(boxes)
        used = boxes.mask & USED
        boxes.mask[:] = true | np.where(true & int(MaskBit.VALID), used, 0)
        return result


class OneRowAtLeast(Simple):
    def fit(self, boxes: Any) -> Any:
        result = super().fit(boxes)
        if not len(boxes):
            result.ok = np.zeros(1, dtype=bool)
        return result


class NoRejection(Simple):
    def __init__(self, options: Any) -> None:
        super().__init__(SimpleOptions(outlier=OutlierOptions(algorithm="null")))


class OneSize(Simple):
    """Takes all boxes for as large as the first."""

    def fit(self, boxes: Any) -> Any:
        result = super().fit(boxes)
        if len(np.unique(np.diff(boxes.offsets))) > 1:
            boxes.background[:] = boxes.background[0]
        return result


class NeedsBoxes(Simple):
    def fit(self, boxes: Any) -> Any:
        self.largest = int(np.diff(boxes.offsets).max())
        return super().fit(boxes)


class BelievesWhatIsExpected(Simple):
    def fit(self, boxes: Any) -> Any:
        expected = np.where(boxes.background > 0, boxes.background, 1.0)
        result = super().fit(boxes)
        boxes.background *= expected
        return result


class FailsWhereARingIsExpected(Simple):
    def fit(self, boxes: Any) -> Any:
        ring = np.nanmax(boxes.background, initial=0) > 1
        result = super().fit(boxes)
        result.ok &= not ring
        return result


def lists(boxes: Any, result: Any) -> None:
    result.dispersion = list(result.dispersion)


def whole_numbers(boxes: Any, result: Any) -> None:
    result.ok = result.ok.astype(int)


def fails_where_bright(boxes: Any, result: Any) -> None:
    result.ok[:] &= boxes.data.max(initial=0) < 400


def nan_where_it_fails(boxes: Any, result: Any) -> None:
    result.variance[~result.ok] = np.nan


def higher_in_company(boxes: Any, result: Any) -> None:
    boxes.background[:] *= 1 + 1e-3 * len(boxes)


def fails_where_weak(boxes: Any, result: Any) -> None:
    result.ok[:] &= boxes.data.mean() > 1


def biased(boxes: Any, result: Any) -> None:
    boxes.background[:] *= 1.3


def leaves_bad_voxels(boxes: Any, result: Any) -> None:
    boxes.background[boxes.mask == 0] = np.nan


def no_variance(boxes: Any, result: Any) -> None:
    result.variance[:] = 0


def over_dispersed(boxes: Any, result: Any) -> None:
    result.dispersion[:] *= 2


def marks_none(boxes: Any, result: Any) -> None:
    boxes.mask &= ~USED


def marks_strong(boxes: Any, result: Any) -> None:
    boxes.mask |= int(MaskBit.STRONG)


def always_succeeds(boxes: Any, result: Any) -> None:
    result.ok[:] = True


def one_where_it_fails(boxes: Any, result: Any) -> None:
    for i in np.flatnonzero(~result.ok):
        boxes.box(i)[2][:] = 1


def of_the_batch(boxes: Any, result: Any) -> None:
    result.variance[:] *= len(result.ok)


def ratio_of_zeros(boxes: Any, result: Any) -> None:
    if not boxes.data.any():
        result.dispersion[:] = np.nan


def whole_variances(boxes: Any, result: Any) -> None:
    result.variance = np.rint(result.variance).astype(int)


def as_poisson(boxes: Any, result: Any) -> None:
    """The variance of as many counts as there are."""
    with np.errstate(invalid="ignore"):
        means = np.array([boxes.box(i)[2].mean() for i in range(len(boxes))])
        result.variance[:] = np.sqrt(means) ** 2 / 100


WRONG = {
    "columns": [after(lists), after(whole_numbers), after(whole_variances)],
    "negative": after(as_poisson),
    "succeeds": after(fails_where_weak),
    "unbiased": after(biased),
    "fills": after(leaves_bad_voxels),
    "variance": after(no_variance),
    "dispersion": after(over_dispersed),
    "used": after(marks_none),
    "usable": [reading(int(MaskBit.VALID), 0), HidesBadVoxels],
    "overlapped": reading(0, int(MaskBit.OVERLAPPED)),
    "mask_bits": after(marks_strong),
    "bright_pixel": [NoRejection, after(fails_where_bright)],
    "expected_ring": [BelievesWhatIsExpected, FailsWhereARingIsExpected],
    "hopeless": after(always_succeeds),
    "failed": [after(one_where_it_fails), after(nan_where_it_fails)],
    "batches": [after(of_the_batch), after(higher_in_company)],
    "sizes": OneSize,
    "zeros": after(ratio_of_zeros),
    "no_boxes": [NeedsBoxes, OneRowAtLeast],
}
