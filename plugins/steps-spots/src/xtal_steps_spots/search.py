"""Strong pixels of a run of frames, block by block, in threads."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Set
from functools import cached_property
from typing import Any

import numpy as np
from attrs import define, frozen
from numpy.typing import NDArray

from xtal.errors import AlgorithmFailed, DataError
from xtal.models import Experiment
from xtal.physics.spots import Gathering, StrongPixels
from xtal.run.bands import Band, Bands
from xtal_steps_spots.advice import Background, background_of, gain_advice

Mask = NDArray[np.bool_]

FRAMES_PER_BLOCK, BLOCKS_LEFT = 32, 2
"""Frames of a block at most, and blocks that each worker still has before it when one is cut: they become shorter
towards the end, so that all workers end together. What is found does not depend on them."""


@define
class Workspace:
    """Buffers and kernels that one thread uses at a time, per panel."""

    bands: Bands
    counts: list[NDArray[Any]]
    strong: list[Mask]
    kernels: list[Any]
    found: list[Gathering]


class PassedOver(Exception):
    """A frame is bad and to be passed over."""


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

    def apply(self, raw: NDArray[Any], out: NDArray[Any]) -> NDArray[Any]:
        """Fill ``out`` and return it."""
        np.copyto(out, raw, casting="unsafe")
        out -= out.dtype.type(self.pedestal)
        if self.gain != 1.0:
            out /= self.gain
        return out


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
            if z in self.excluded:
                continue
            try:
                first_panel, _ = self._whole(z, 0)
            except DataError as error:
                self._pass_over(z, error)
            else:
                self.threshold.learn(first_panel)
                return

    def block(self, frames: range) -> list[StrongPixels]:
        """Strong pixels of a block of frames, per panel. May be called from several threads."""
        try:
            work = self._idle.pop()
        except IndexError:
            work = self._workspace()
        for z in frames:
            self._frame(z, work)
        pixels = [found.taken() for found in work.found]
        self._idle.append(work)
        return pixels

    def _frame(self, z: int, work: Workspace) -> None:
        """Find the strong pixels of a frame; none of one that is passed over."""
        background, good = np.zeros(2), True
        try:
            for band in self._bands(z, work):
                k, own = band.panel, band.cut.inner
                image, strong = self._counts(k, band.image, work.counts[k]), work.strong[k][: len(band.image)]
                work.kernels[k](image, band.mask, strong, z)
                work.found[k].add(image[own], strong[own], band.cut.own.start)
                if self.measure_background:
                    rest = band.mask[own] & ~strong[own]
                    background += [np.count_nonzero(rest), image[own].sum(where=rest, dtype=np.float64)]
        except PassedOver:
            good = False
        if self.measure_background and good:
            self.background[z] = int(background[0]), float(background[1])
        self._check(z, [found.end_frame(keep=good) for found in work.found])

    def _bands(self, z: int, work: Workspace) -> Iterator[Band]:
        """The bands of a frame.

        Raises
        ------
        DataError
            If it is bad and bad images are not to be passed over.
        PassedOver
            If it is excluded, or bad.
        """
        if z in self.excluded:
            raise PassedOver
        try:
            good = False
            for band in work.bands.of(z):
                good = good or bool(band.mask[band.cut.inner].any())
                yield band
            if not good:
                raise no_good_pixel(z)
        except DataError as error:
            self._pass_over(z, error)
            raise PassedOver from error

    def _pass_over(self, z: int, error: DataError) -> None:
        """Note a bad frame, or raise the error with advice where bad ones are not to be passed over."""
        if not self.skip_bad:
            advice = " ".join(filter(None, (error.advice, self.bad_advice)))
            raise DataError(error.message, advice=advice) from error
        self.bad[z] = error.message

    def _counts(self, panel: int, raw: NDArray[Any], out: NDArray[Any]) -> NDArray[Any]:
        """The counts of some rows of a panel."""
        correction = self.corrections[panel]
        return raw if correction is None else correction.apply(raw, out[: len(raw)])

    def _whole(self, z: int, panel: int) -> tuple[NDArray[Any], Mask]:
        """Counts of a panel and its good pixels, be they searched or not.

        Raises
        ------
        DataError
            If the frame is bad.
        """
        images = self.reader.read(z, out=self.reader.allocate())
        masks = self.reader.mask(z, images)
        if not any((mask & static).any() for mask, static in zip(masks, self._static, strict=True)):
            raise no_good_pixel(z)
        correction = self.corrections[panel]
        room = images[panel] if correction is None else np.empty(images[panel].shape, correction.dtype)
        return self._counts(panel, images[panel], room), masks[panel]

    def _check(self, z: int, n_pixels: list[int]) -> None:
        n_strong = sum(n_pixels)
        if n_strong > self.most:
            panel = int(np.argmax(n_pixels))
            counts, good = self._whole(z, panel)
            gain = gain_advice(background_of(counts, good & self._static[panel]))
            raise AlgorithmFailed(
                f"On image {z + 1} there are {n_strong} strong pixels, more than the {self.most} allowed.",
                advice=(gain or "Set threshold.gain= or raise threshold.sigma_strong= for a noisy detector.")
                + " Or mask bad pixels, or raise max_strong_pixel_fraction=.",
            )

    def sample_background(self) -> Background | None:
        """What the largest panel of an image in the middle holds between its spots; None if it cannot be read."""
        first, last = self.reader.z0, self.reader.z1
        usable = [z for z in range(first, last) if z not in self.excluded and z not in self.bad]
        if not usable:
            return None
        try:
            largest = int(np.argmax([slow * fast for slow, fast in self.reader.shapes]))
            return background_of(*self._whole(usable[len(usable) // 2], largest))
        except DataError:
            return None

    @cached_property
    def _static(self) -> list[Mask]:
        """Pixels that are searched, where they are good."""
        static: list[Mask] = self.reader.static_mask()
        return static if self.masks is None else [a & b for a, b in zip(static, self.masks, strict=True)]

    def _workspace(self) -> Workspace:
        kernels = [self.threshold.prepare(self.experiment, k, mask) for k, mask in enumerate(self._static)]
        bands = self.reader.bands(self._static, [getattr(kernel, "halo", None) for kernel in kernels])
        kinds = [None if c is None else c.dtype for c in self.corrections]
        counts = [np.empty(room if kind else (0, 0), kind) for room, kind in zip(bands.room, kinds, strict=True)]
        found = [Gathering(fast) for _, fast in self.reader.shapes]
        return Workspace(bands, counts, [np.empty(room, bool) for room in bands.room], kernels, found)


def no_good_pixel(z: int) -> DataError:
    """The error about an image that is masked throughout."""
    return DataError(f"Image {z + 1} holds no good pixel: all are masked or out of the trusted range.")
