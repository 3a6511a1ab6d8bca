"""Checks of background models, on boxes of flat Poisson background."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from xtal.hooks.protocols import BackgroundModel, BackgroundResult
from xtal.table import MaskBit, Shoeboxes
from xtal.testing.check_every import alike
from xtal.testing.conformance import Case, ensure, expects

COLUMNS = ("ok", "variance", "dispersion")
LEVELS = (0.5, 5.0, 100.0)


def flat_boxes(n: int, level: float) -> Shoeboxes:
    """Boxes of 11 x 11 x 3 voxels of Poisson background, the middle marked as foreground.

    ``background`` holds no numbers: nothing is expected of it.
    """
    rng = np.random.default_rng(1)
    bbox = np.tile(np.array([10, 21, 10, 21, 2, 5], dtype=np.int32), (n, 1))
    boxes = Shoeboxes.allocate(np.zeros(n, dtype=np.uint32), bbox)
    boxes.data[:] = rng.poisson(level, len(boxes.data))
    boxes.background[:] = np.nan
    for i in range(n):
        _, mask, _ = boxes.box(i)
        mask[:] = MaskBit.VALID | MaskBit.BACKGROUND
        mask[:, 3:8, 3:8] = MaskBit.VALID | MaskBit.FOREGROUND
    return boxes


class BackgroundCase(Case):
    """A background model; it is given a batch of boxes."""

    kind = "background"
    protocol = BackgroundModel
    threaded = True

    def given(self) -> dict[str, Any]:
        return {"boxes": flat_boxes(20, 5.0)}

    def exercise(self, given: dict[str, Any]) -> list[Any]:
        # what it is to change is no part of what must stay as it was
        boxes = given["boxes"]
        own = Shoeboxes(boxes.panel, boxes.bbox, boxes.offsets, boxes.data, boxes.mask.copy(), boxes.background.copy())
        result = self.plugin.fit(own)
        return [own.background, own.mask, *(getattr(result, name) for name in COLUMNS)]

    def fit(self, boxes: Shoeboxes) -> BackgroundResult:
        """The result for a batch, which is filled."""
        result: BackgroundResult = self.plugin.fit(boxes)
        return result


def foreground(boxes: Shoeboxes) -> NDArray[np.float32]:
    """The background under the spots."""
    return boxes.background[(boxes.mask & MaskBit.FOREGROUND) != 0]


@expects("background", "give writable arrays of one row for each box")
def columns(case: BackgroundCase) -> None:
    result = case.fit(flat_boxes(5, 5.0))
    for name in COLUMNS:
        values = getattr(result, name)
        good = isinstance(values, np.ndarray) and values.flags.writeable and values.shape == (5,)
        ensure(good, f"{name} of 5 boxes is {values!r}, or cannot be written")
    ensure(result.ok.dtype == bool, f"ok is of {result.ok.dtype}")
    kinds = result.variance.dtype.kind + result.dispersion.dtype.kind
    ensure(kinds == "ff", f"variance and dispersion are of {result.variance.dtype} and {result.dispersion.dtype}")


@expects("background", "succeed on flat background")
def succeeds(case: BackgroundCase) -> None:
    for level in LEVELS:
        n = np.count_nonzero(~case.fit(flat_boxes(60, level)).ok)
        ensure(n == 0, f"it fails on {n} of 60 boxes of {level:g} counts")


@expects("background", "be unbiased on flat background")
def unbiased(case: BackgroundCase) -> None:
    for level in LEVELS:
        boxes = flat_boxes(60, level)
        case.fit(boxes)
        # rejection of outliers clips the tail of a Poisson distribution of few counts: up to 10 % there
        mean, limit = float(foreground(boxes).mean()), 6 * np.sqrt(level / (60 * 11 * 11 * 3)) + 0.12 * level
        ensure(abs(mean - level) < limit, f"it finds {mean:.3f} where there are {level:g}")


@expects("background", "fill every voxel with a finite background, the foreground included")
def fills(case: BackgroundCase) -> None:
    boxes = flat_boxes(20, 5.0)
    boxes.box(3)[1][0, 0, 0] = 0
    case.fit(boxes)
    n = np.count_nonzero(~np.isfinite(boxes.background))
    ensure(n == 0, f"{n} voxels have none")


@expects("background", "give a finite variance above 0")
def variance(case: BackgroundCase) -> None:
    for level in LEVELS:
        value = case.fit(flat_boxes(60, level)).variance
        ensure(np.all((value > 0) & np.isfinite(value)), f"it gives {value.min():g} to {value.max():g}")


@expects("background", "find an index of dispersion of 1 for Poisson counts")
def dispersion(case: BackgroundCase) -> None:
    for level in LEVELS:
        value = float(np.median(case.fit(flat_boxes(60, level)).dispersion))
        ensure(0.6 < value < 1.5, f"it finds {value:.2f} at {level:g} counts")


@expects("background", "mark the voxels that it used BACKGROUND_USED")
def used(case: BackgroundCase) -> None:
    boxes = flat_boxes(5, 5.0)
    case.fit(boxes)
    ensure(np.any(boxes.mask & MaskBit.BACKGROUND_USED), "it marks none")


@expects("background", "use voxels with VALID and BACKGROUND alone")
def usable(case: BackgroundCase) -> None:
    boxes = flat_boxes(20, 5.0)
    for i in range(20):
        data, mask, _ = boxes.box(i)
        mask[:, 0] = MaskBit.BACKGROUND
        data[:, 0] = 1e6
    case.fit(boxes)
    wanted, found = MaskBit.VALID | MaskBit.BACKGROUND, (boxes.mask & MaskBit.BACKGROUND_USED) != 0
    n = np.count_nonzero((boxes.mask[found] & wanted) != wanted)
    ensure(n == 0, f"it marks {n} others as used")
    mean = float(foreground(boxes).mean())
    ensure(abs(mean - 5.0) < 0.5, f"bad voxels move the background of 5 to {mean:.2f}")


@expects("background", "leave alone voxels that belong to a neighbour (OVERLAPPED)")
def overlapped(case: BackgroundCase) -> None:
    boxes = flat_boxes(20, 5.0)
    for i in range(20):
        data, mask, _ = boxes.box(i)
        data[:, :, 0] += 100.0
        mask[:, :, 0] |= MaskBit.OVERLAPPED
    case.fit(boxes)
    mean = float(foreground(boxes).mean())
    ensure(abs(mean - 5.0) < 0.5, f"they move the background of 5 to {mean:.2f}")


@expects("background", "change no bit of the mask but BACKGROUND_USED")
def mask_bits(case: BackgroundCase) -> None:
    boxes = flat_boxes(5, 5.0)
    before = boxes.mask.copy()
    case.fit(boxes)
    n = np.count_nonzero((boxes.mask ^ before) & ~int(MaskBit.BACKGROUND_USED))
    ensure(n == 0, f"it changes others of {n} voxels")


@expects("background", "bear one bright pixel in a box")
def bright_pixel(case: BackgroundCase) -> None:
    boxes = flat_boxes(20, 5.0)
    for i in range(20):
        boxes.box(i)[0][1, 0, 0] = 500.0
    ensure(case.fit(boxes).ok.all(), "it fails")
    mean = float(foreground(boxes).mean())
    ensure(abs(mean - 5.0) < 0.75, f"that moves the background of 5 to {mean:.2f}")


@expects("background", "believe the counts where they show nothing of a ring that is expected")
def expected_ring(case: BackgroundCase) -> None:
    boxes = flat_boxes(20, 5.0)
    for i in range(20):
        boxes.box(i)[2][:] = 1.0 + 3.0 * np.exp(-0.5 * (np.arange(11) - 5.0) ** 2)
    ensure(case.fit(boxes).ok.all(), "it fails")
    mean = float(foreground(boxes).mean())
    ensure(abs(mean - 5.0) < 0.5, f"that moves the background of 5 to {mean:.2f}")


@expects("background", "fail where a box has no background")
def hopeless(case: BackgroundCase) -> None:
    ensure(not case.fit(_one_hopeless()).ok[1], "it claims success")


@expects("background", "give a background of 0 and a finite variance where it fails")
def failed(case: BackgroundCase) -> None:
    boxes = _one_hopeless()
    result = case.fit(boxes)
    background = boxes.box(1)[2]
    ensure(np.all(background == 0), f"the background is {background.flat[0]:g}")
    ensure(np.isfinite(result.variance[1]), f"the variance is {result.variance[1]:g}")


@expects("background", "give every box what it gets in a batch of its own")
def batches(case: BackgroundCase) -> None:
    boxes = _one_hopeless()
    whole = case.fit(boxes)
    for i in (0, 2):
        few = _one_hopeless().select(np.array([i]))
        part = case.fit(few)
        for name in COLUMNS:
            one, other = getattr(part, name), getattr(whole, name)[i : i + 1]
            ensure(alike(one, other), f"{name} is {one} alone and {other} among others")
        ensure(alike(few.background, boxes.box(i)[2].ravel()), "the background differs among others")


@expects("background", "fit boxes of different sizes in one batch")
def sizes(case: BackgroundCase) -> None:
    bbox = np.array([[0, 9, 0, 14, 0, 2], [5, 20, 5, 12, 1, 4]], dtype=np.int32)
    boxes = Shoeboxes.allocate(np.zeros(2, dtype=np.uint32), bbox)
    boxes.mask[:] = MaskBit.VALID | MaskBit.BACKGROUND
    rng = np.random.default_rng(3)
    for i, level in enumerate((10.0, 40.0)):
        data = boxes.box(i)[0]
        data[:] = rng.poisson(level, data.shape)
    case.fit(boxes)
    means = [float(boxes.box(i)[2].mean()) for i in range(2)]
    good = abs(means[0] - 10) < 2 and abs(means[1] - 40) < 4
    ensure(good, f"it finds {means[0]:.1f} and {means[1]:.1f} where there are 10 and 40")


@expects("background", "give finite numbers for boxes of zeros")
def zeros(case: BackgroundCase) -> None:
    boxes = flat_boxes(3, 5.0)
    boxes.data[:] = 0
    result = case.fit(boxes)
    for name, values in (("background", boxes.background), *((name, getattr(result, name)) for name in COLUMNS)):
        ensure(np.all(np.isfinite(values)), f"its {name} is not")


@expects("background", "give finite numbers for counts about 0, some below, as they are where a pedestal is taken off")
def negative(case: BackgroundCase) -> None:
    boxes = flat_boxes(20, 5.0)
    boxes.data -= 5.0
    result = case.fit(boxes)
    for name, values in (("background", boxes.background), ("variance", result.variance)):
        ensure(np.all(np.isfinite(values)), f"its {name} is not")


@expects("background", "take a batch of no boxes")
def no_boxes(case: BackgroundCase) -> None:
    n = len(case.fit(flat_boxes(0, 1.0)).ok)
    ensure(n == 0, f"it gives {n} rows")


def _one_hopeless() -> Shoeboxes:
    """Three boxes, the second all foreground."""
    boxes = flat_boxes(3, 5.0)
    boxes.box(1)[1][:] = MaskBit.VALID | MaskBit.FOREGROUND
    return boxes
