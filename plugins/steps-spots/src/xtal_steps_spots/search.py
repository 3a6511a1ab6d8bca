"""Strong pixels of a run of frames, block by block, in threads."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Set
from typing import Any

import numpy as np
from attrs import define, frozen
from numpy.typing import NDArray

from xtal.errors import AlgorithmFailed, DataError
from xtal.models import Experiment
from xtal.physics.spots import StrongPixels
from xtal_steps_spots.advice import Background, background_of, gain_advice

Mask = NDArray[np.bool_]

FRAMES_PER_BLOCK, BLOCKS_LEFT = 32, 2
"""Frames of a block at most, and blocks that each worker still has before it when one is cut: they become shorter
towards the end, so that all workers end together. What is found does not depend on them."""


@define
class Workspace:
    """Buffers and kernels that one thread uses at a time, per panel, and the good pixels of the frame that it holds."""

    images: list[NDArray[Any]]
    corrected: list[NDArray[Any]]
    masks: list[Mask]
    good: list[Mask]
    strong: list[Mask]
    kernels: list[Any]


@frozen
class Correction:
    """From raw values to counts: (raw - pedestal) / gain; integers stay integers where they can."""

    gain: float
    pedestal: float
    dtype: np.dtype[Any]

    @classmethod
    def of_panel(cls, panel: Any, raw: np.dtype[Any]) -> Correction | None:
        """None where nothing is to be done."""
        gain = panel.adu_per_photon
        if gain == 1.0 and panel.pedestal == 0.0:
            return None
        whole = raw.kind in "iu" and gain == 1.0 and float(panel.pedestal).is_integer()
        return cls(gain, panel.pedestal, np.dtype(np.int32 if whole else np.float64))

    def apply(self, raw: NDArray[Any], out: NDArray[Any]) -> None:
        """Fill ``out``."""
        np.copyto(out, raw, casting="unsafe")
        out -= out.dtype.type(self.pedestal)
        if self.gain != 1.0:
            out /= self.gain


class Search:
    """Looks for strong pixels on the images of an experiment.

    Parameters
    ----------
    experiment
        Its models and images.
    reader
        Of its images (`xtal.run.images.FrameReader`).
    threshold
        A threshold plugin.
    masks
        Where to search, per panel, or None for everywhere.
    max_fraction
        Largest fraction of strong pixels of an image; 1 for no limit.
    excluded
        Frames (array indices) that are passed over.
    skip_bad
        Pass over images that are missing, damaged or masked throughout, too.
    bad_advice
        What to do about such an image, said with its error.

    Attributes
    ----------
    bad : frames that were passed over because of what they are, and why
    background : by frame, number and sum of the good pixels that are not strong, where ``measure_background``
    """

    def __init__(
        self,
        experiment: Experiment,
        reader: Any,
        threshold: Any,
        masks: list[Mask] | None,
        max_fraction: float,
        *,
        excluded: Set[int] = frozenset(),
        skip_bad: bool = False,
        bad_advice: str = "",
        measure_background: bool = False,
    ) -> None:
        self.experiment, self.reader, self.threshold, self.masks = experiment, reader, threshold, masks
        n_pixels = sum(slow * fast for slow, fast in reader.shapes)
        self.most = math.ceil(max_fraction * n_pixels)
        self.corrections = [Correction.of_panel(p, np.dtype(reader.dtype)) for p in experiment.detector]
        self.excluded, self.skip_bad, self.bad_advice = excluded, skip_bad, bad_advice
        self.measure_background = measure_background
        self.bad: dict[int, str] = {}
        self.background: dict[int, tuple[int, float]] = {}
        self._idle: deque[Workspace] = deque()

    def blocks(self, first: int, last: int, n_workers: int) -> list[range]:
        """Blocks of frames (array indices first to last, half open), several for each worker."""
        blocks = []
        while first < last:
            size = max(1, min(FRAMES_PER_BLOCK, (last - first) // (BLOCKS_LEFT * n_workers)))
            blocks.append(range(first, first + size))
            first += size
        return blocks

    def run(self, first: int, last: int, executor: Any) -> Iterator[tuple[int, list[StrongPixels]]]:
        """Blocks in order: number of frames, and their strong pixels per panel."""
        self.learn(first, last)
        blocks = self.blocks(first, last, executor.n_workers)
        for block, pixels in zip(blocks, executor.map(self.block, blocks), strict=True):
            yield len(block), pixels

    @property
    def learns(self) -> bool:
        """Whether the threshold wants to see the first image."""
        return hasattr(self.threshold, "learn")

    def learn(self, first: int, last: int) -> None:
        """Show the first image to a threshold that wants to see it."""
        if not self.learns:
            return
        for z in range(first, last):
            if z not in self.excluded:
                work = self._workspace()
                if self._load(z, work):
                    self.threshold.learn(work.corrected[0])
                    return

    def block(self, frames: range) -> list[StrongPixels]:
        """Strong pixels of a block of frames, per panel. May be called from several threads."""
        try:
            work = self._idle.pop()
        except IndexError:
            work = self._workspace()
        found = [self._frame(z, work) for z in frames]
        self._idle.append(work)
        return [StrongPixels.concatenate(parts) for parts in zip(*found, strict=True)]

    def _frame(self, z: int, work: Workspace) -> list[StrongPixels]:
        """Strong pixels of a frame, per panel; none of one that is passed over."""
        if z in self.excluded or not self._load(z, work):
            return [StrongPixels.empty(1, fast) for _, fast in self.reader.shapes]
        found, background = [], np.zeros(2)
        for image, mask, strong, kernel in zip(work.corrected, work.good, work.strong, work.kernels, strict=True):
            kernel(image, mask, strong, z)
            found.append(StrongPixels.of_frame(image, strong))
            if self.measure_background:
                rest = mask & ~strong
                background += [np.count_nonzero(rest), image.sum(where=rest, dtype=np.float64)]
        if self.measure_background:
            self.background[z] = int(background[0]), float(background[1])
        self._check(z, sum(map(len, found)), work)
        return found

    def _load(self, z: int, work: Workspace) -> bool:
        """Read a frame, its mask and its counts; False if it is bad and to be passed over.

        Raises
        ------
        DataError
            If it is bad and bad images are not to be passed over.
        """
        try:
            self.reader.read(z, out=work.images)
            work.good = self.reader.mask(z, work.images, out=work.masks)
            if self.masks is not None:
                both = zip(work.good, self.masks, work.masks, strict=True)
                work.good = [np.logical_and(good, mask, out=out) for good, mask, out in both]
            for correction, image, corrected in zip(self.corrections, work.images, work.corrected, strict=True):
                if correction is not None:
                    correction.apply(image, corrected)
            if not any(mask.any() for mask in work.good):
                raise DataError(f"Image {z + 1} holds no good pixel: all are masked or out of the trusted range.")
        except DataError as error:
            if not self.skip_bad:
                advice = " ".join(filter(None, (error.advice, self.bad_advice)))
                raise DataError(error.message, advice=advice) from error
            self.bad[z] = error.message
            return False
        return True

    def _check(self, z: int, n_strong: int, work: Workspace) -> None:
        if n_strong > self.most:
            k = int(np.argmax([np.count_nonzero(strong) for strong in work.strong]))
            gain = gain_advice(background_of(work.corrected[k], work.good[k]))
            raise AlgorithmFailed(
                f"On image {z + 1} there are {n_strong} strong pixels, more than the {self.most} allowed.",
                advice=(gain or "Set threshold.gain= or raise threshold.sigma_strong= for a noisy detector.")
                + " Or mask bad pixels, or raise max_strong_pixel_fraction=.",
            )

    def sample_background(self) -> Background | None:
        """What the largest panel of an image in the middle holds between its spots; None if it cannot be read."""
        work = self._workspace()
        k = int(np.argmax([mask.size for mask in work.masks]))
        first, last = self.reader.z0, self.reader.z1
        usable = [z for z in range(first, last) if z not in self.excluded and z not in self.bad]
        if not usable:
            return None
        middle = usable[len(usable) // 2]
        try:
            self.reader.read(middle, out=work.images)
        except DataError:
            return None
        work.good = self.reader.mask(middle, work.images, out=work.masks)
        correction = self.corrections[k]
        if correction is not None:
            correction.apply(work.images[k], work.corrected[k])
        return background_of(work.corrected[k], work.good[k])

    def _workspace(self) -> Workspace:
        shapes = self.reader.shapes
        images = [np.empty(shape, self.reader.dtype) for shape in shapes]
        corrected = [i if c is None else np.empty(i.shape, c.dtype) for i, c in zip(images, self.corrections)]
        static = self.reader.static_mask()
        if self.masks is not None:
            static = [a & b for a, b in zip(static, self.masks, strict=True)]
        kernels = [self.threshold.prepare(self.experiment, k, mask) for k, mask in enumerate(static)]
        masks, strong = ([np.empty(shape, bool) for shape in shapes] for _ in range(2))
        return Workspace(images, corrected, masks, masks, strong, kernels)
