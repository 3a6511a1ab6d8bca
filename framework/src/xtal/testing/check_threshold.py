"""Checks of thresholds, on panels of flat background with bright spots."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from xtal.hooks.protocols import ThresholdAlgorithm, ThresholdKernel
from xtal.models import Detector, Experiment
from xtal.testing.check_every import alike, check_methods
from xtal.testing.conformance import Case, ensure, expects
from xtal.testing.data import tiny_experiment

Mask = NDArray[np.bool_]

CENTRES = ((20, 30), (56, 72), (80, 95))
"""Of the spots, (slow, fast)."""
TYPES = ("uint8", "uint16", "int32", "uint32", "float64")
"""Of pixels as files hold them, and of counts corrected by a gain."""


def spotty_image(dtype: str = "int32") -> NDArray[Any]:
    """Poisson background of 2 counts with bright spots of 3 x 3 pixels; masked columns are hot."""
    rng = np.random.default_rng(0)
    image = rng.poisson(2.0, (100, 120))
    for slow, fast in CENTRES:
        image[slow - 1 : slow + 2, fast - 1 : fast + 2] += rng.poisson(60.0, (3, 3))
    image[:, 40:44] = 50000
    return np.minimum(image, np.iinfo(np.uint8).max if dtype == "uint8" else image).astype(dtype)


def crowded_image() -> NDArray[Any]:
    """Spots of all brightnesses so close that many pixels are decided by those at the ends of their windows."""
    rng = np.random.default_rng(0)
    level = np.full((100, 120), 2.0)
    for slow, fast, height in zip(rng.integers(0, 98, 300), rng.integers(0, 118, 300), rng.exponential(20.0, 300)):
        level[slow : slow + 3, fast : fast + 3] += height
    return rng.poisson(level).astype(np.int32)


def spotty_mask() -> Mask:
    """Good pixels of that image."""
    mask = np.ones((100, 120), dtype=bool)
    mask[:, 40:44] = False
    return mask


class ThresholdCase(Case):
    """A threshold; it is given one panel."""

    kind = "threshold"
    protocol = ThresholdAlgorithm
    threaded = True

    def given(self) -> dict[str, Any]:
        return {"experiment": tiny_experiment(), "image": spotty_image(), "mask": spotty_mask()}

    def exercise(self, given: dict[str, Any]) -> list[Any]:
        return [self.strong(given["image"], given["mask"], given["experiment"])]

    def strong(self, image: NDArray[Any], mask: Mask, experiment: Experiment | None = None, panel: int = 0) -> Mask:
        """Strong pixels of an image, from a kernel of its own."""
        kernel = self.plugin.prepare(experiment or tiny_experiment(), panel, mask)
        strong = np.zeros(image.shape, dtype=bool)
        kernel(image, mask, strong, 0)
        return strong


@expects("threshold", "prepare kernels that take image, mask, strong and frame")
def kernel(case: ThresholdCase) -> None:
    check_methods(case.plugin.prepare(tiny_experiment(), 0, spotty_mask()), ThresholdKernel)


@expects("threshold", "write every pixel of the array that it is to fill")
def fills(case: ThresholdCase) -> None:
    image, mask = spotty_image(), spotty_mask()
    found = []
    for before in (False, True):
        strong = np.full(image.shape, before)
        case.plugin.prepare(tiny_experiment(), 0, mask)(image, mask, strong, 0)
        found.append(strong)
    n = np.count_nonzero(found[0] != found[1])
    ensure(n == 0, f"it leaves {n} pixels as they were")


@expects("threshold", "mark no masked pixel")
def masked(case: ThresholdCase) -> None:
    n = np.count_nonzero(case.strong(spotty_image(), spotty_mask()) & ~spotty_mask())
    ensure(n == 0, f"it marks {n}")


@expects("threshold", "heed the mask of the frame, not only the static one")
def frame_mask(case: ThresholdCase) -> None:
    shadow = spotty_mask()
    shadow[10:30] = False
    strong = np.zeros(shadow.shape, dtype=bool)
    case.plugin.prepare(tiny_experiment(), 0, spotty_mask())(spotty_image(), shadow, strong, 0)
    n = np.count_nonzero(strong & ~shadow)
    ensure(n == 0, f"it marks {n} pixels in the shadow of the frame")


@expects("threshold", "give an answer that does not depend on what stands in masked pixels")
def masked_values(case: ThresholdCase) -> None:
    mask = spotty_mask()
    for dtype, values in (("int32", (-1, 2**31 - 1)), ("float64", (0.0, np.nan))):
        images = [spotty_image(dtype) for _ in values]
        for image, value in zip(images, values, strict=True):
            image[~mask] = value
        n = np.count_nonzero(case.strong(images[0], mask) != case.strong(images[1], mask))
        ensure(n == 0, f"{n} pixels change between masked values of {values[0]} and {values[1]}")


@expects("threshold", "find bright spots in images of every type of pixel")
def spots(case: ThresholdCase) -> None:
    for dtype in TYPES:
        strong = case.strong(spotty_image(dtype), spotty_mask())
        missed = [centre for centre in CENTRES if not strong[centre]]
        ensure(not missed, f"it misses those at {missed} in {dtype}")


@expects("threshold", "find spots of the highest counts that detectors give")
def brightest(case: ThresholdCase) -> None:
    for dtype, counts in (("uint16", 65535), ("int32", 10_000_000), ("uint32", 10_000_000)):
        image = spotty_image(dtype)
        image[19:22, 29:32] = counts
        ensure(case.strong(image, spotty_mask())[20, 30], f"it misses one of {counts} in {dtype}")


@expects("threshold", "mark less than 1 % of a flat background")
def background(case: ThresholdCase) -> None:
    far = case.strong(spotty_image(), spotty_mask())
    for slow, fast in CENTRES:
        far[slow - 5 : slow + 6, fast - 5 : fast + 6] = False
    ensure(far.mean() < 0.01, f"it marks {100 * far.mean():.1f} %")


@expects("threshold", "find nothing in an image of zeros")
def empty_image(case: ThresholdCase) -> None:
    n = np.count_nonzero(case.strong(np.zeros((100, 120), np.int32), spotty_mask()))
    ensure(n == 0, f"it marks {n} pixels")


@expects("threshold", "find nothing where all is masked")
def all_masked(case: ThresholdCase) -> None:
    n = np.count_nonzero(case.strong(spotty_image(), np.zeros((100, 120), dtype=bool)))
    ensure(n == 0, f"it marks {n} pixels")


@expects("threshold", "give the same answer whatever frames came before")
def order(case: ThresholdCase) -> None:
    image, mask = spotty_image(), spotty_mask()
    kernel = case.plugin.prepare(tiny_experiment(), 0, mask)
    buffer, strong = image[::-1] * 3, np.zeros(image.shape, dtype=bool)
    kernel(buffer, mask, strong, 5)
    buffer[:] = image  # frames are read into the same array
    kernel(buffer, mask, strong, 0)
    n = np.count_nonzero(strong != case.strong(image, mask))
    ensure(n == 0, f"{n} pixels differ after another frame")


@expects("threshold", "mark in bands of rows what it marks in the whole, where its kernels have a halo")
def bands(case: ThresholdCase) -> None:
    image, mask = crowded_image(), spotty_mask()
    kernel, whole = case.plugin.prepare(tiny_experiment(), 0, mask), case.strong(image, mask)
    halo, n_rows = getattr(kernel, "halo", None), len(image)
    if halo is None:
        return
    ensure(isinstance(halo, int) and halo >= 0, f"the halo {halo!r} is no number of rows")
    found = np.zeros_like(whole)
    for row in reversed(range(n_rows)):  # the last one first: no band may need another
        low, high = max(row - halo, 0), min(row + halo + 1, n_rows)
        strong = np.ones((high - low, image.shape[1]), dtype=bool)
        kernel(image[low:high], mask[low:high], strong, 0)
        found[row] = strong[row - low]
    n = np.count_nonzero(found != whole)
    ensure(n == 0, f"{n} pixels differ")


@expects("threshold", "work on each panel in its own size")
def panels(case: ThresholdCase) -> None:
    experiment, other = tiny_experiment(), tiny_experiment(size=(50, 60)).detector[0]
    experiment.detector = Detector([experiment.detector[0], other])
    image = np.ones((60, 50), dtype=np.int32)
    image[30:33, 20:23] = 100
    mask = np.ones(image.shape, dtype=bool)
    ensure(case.strong(image, mask, experiment, 1)[31, 21], "it misses the spot on the second of two panels")


@expects("threshold", "keep what it prepares for several panels apart, since all are prepared before the first works")
def side_by_side(case: ThresholdCase) -> None:
    experiment = tiny_experiment()
    experiment.detector = Detector([experiment.detector[0], tiny_experiment().detector[0]])
    image, masks = spotty_image(), [spotty_mask(), spotty_mask() & (np.arange(100) < 50)[:, None]]
    kernels = [case.plugin.prepare(experiment, k, mask) for k, mask in enumerate(masks)]
    for k, (kernel, mask) in enumerate(zip(kernels, masks, strict=True)):
        strong = np.zeros(image.shape, dtype=bool)
        kernel(image, mask, strong, 0)
        n = np.count_nonzero(strong != case.strong(image, mask, experiment, k))
        ensure(n == 0, f"{n} pixels of panel {k} differ where two are prepared")


@expects("threshold", "bear values below 0, as they are where a pedestal is taken off")
def negative(case: ThresholdCase) -> None:
    image = spotty_image() - 5
    n = np.count_nonzero(case.strong(image, spotty_mask()) & ~spotty_mask())
    ensure(n == 0, f"it then marks {n} masked pixels")


@expects("threshold", "need neither crystal nor rotation")
def still(case: ThresholdCase) -> None:
    experiment = tiny_experiment()
    experiment.crystal = experiment.goniometer = experiment.scan = None
    missed = [c for c in CENTRES if not case.strong(spotty_image(), spotty_mask(), experiment)[c]]
    ensure(not missed, f"it misses the spots of a still at {missed}")


@expects("threshold", "learn from the first image, where it does, without changing it")
def learning(case: ThresholdCase) -> None:
    learn = getattr(case.construct(), "learn", None)
    if learn is not None:
        image = spotty_image()
        learn(image)
        ensure(alike(image, spotty_image()), "it changed it")
