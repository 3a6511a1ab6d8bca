"""Streams the frames of one set of images through boxes, background, summation and profile fits.

The scan is cut into runs of frames. A run is read by one worker, which fills the boxes that touch it, and finishes
(background, summation) those that lie inside; boxes that reach over an end are completed by the consumer. Of a
finished reflection only the foreground is kept (`Foreground`), until the shapes of its block of the scan and of the
next one are learned; then it is fitted and forgotten. So memory does not grow with the scan, and nothing depends on
how it was cut.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from attrs import define, field, frozen
from numpy.typing import NDArray

from xtal.hooks.protocols import BackgroundModel, BlockExecutor, ProfileModel, ProfileReferences
from xtal.models import Experiment
from xtal.physics.integration import (
    Foreground,
    Foregrounds,
    Gatherer,
    Layers,
    OpenBoxes,
    batches_of_voxels,
    chunks_of_frames,
    count_noise,
    drop_bad_pixels,
    expect_levels,
    split_sums,
    summation,
    take_boxes,
)
from xtal.run.images import FrameReader
from xtal.table import Flag, MaskBit, ReflectionTable, Shoeboxes
from xtal_steps_integrate.cut import slim, split_frames

Ints = NDArray[np.int64]
BYTES_PER_VOXEL = 40
"""Data, mask and background of a box, and copies while it is worked on."""
BATCH = 1_000_000
"""Voxels of boxes that are finished together."""

NOISE_SAMPLE = 4000
"""Boxes at least, where there are so many, on which the noise of counting is measured."""
FAINT = 0.01
"""Part of a reflection that may lie on a neighbour's background."""


@frozen
class Settings:
    """What the engine needs to know besides plugins: see the options of the step."""

    fitting: bool = True
    floor: float = 0.5
    max_voxels: int = 6_000_000


@define
class Finished:
    """Complete reflections: rows, columns, and the foreground of those to fit, by experiment and block."""

    rows: Ints
    columns: dict[str, NDArray[np.generic]]
    kept: dict[tuple[int, int], Foreground]


@define
class Run:
    """What a worker made of a run of frames."""

    frames: tuple[int, int]
    finished: list[Finished]
    layers: dict[int, Layers]


@define
class _Pending:
    """Finished reflections of one experiment that wait for the shapes of their block."""

    experiment: Experiment
    references: ProfileReferences
    block: Ints
    ends: NDArray[np.int32]
    next_learn: int = 0
    waiting: dict[int, list[Foreground]] = field(factory=dict)
    learned: dict[int, Foregrounds] = field(factory=dict)


@define
class Engine:
    """Integrates the predictions of all lattices in one set of images.

    Parameters
    ----------
    experiments : value of the column ``id`` to the experiment, with its profile
    table : predictions, with columns id, panel, bbox, s1, zeta, xyzcal.px, xyzcal.mm, partiality, flags;
        filled in place
    levels : how the background runs over each panel (`expected_levels`), None where nobody knows
    """

    experiments: dict[int, Experiment]
    table: ReflectionTable
    reader: FrameReader
    profile: ProfileModel
    background: BackgroundModel
    settings: Settings
    levels: list[NDArray[np.float32]] | None = None
    _pending: dict[int, _Pending] = field(init=False, factory=dict)
    _bbox: NDArray[np.int32] = field(init=False)
    _panel: Ints = field(init=False)
    _flags: NDArray[np.uint64] = field(init=False)
    _core: NDArray[np.int32] = field(init=False)
    _splits: NDArray[np.int32] = field(init=False)
    _ends: Ints = field(init=False)
    _static: list[NDArray[np.bool_]] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._bbox = np.ascontiguousarray(self.table["bbox"], dtype=np.int32)
        self._panel = np.asarray(self.table["panel"]).astype(np.int64)
        self._flags = np.array(self.table["flags"], dtype=np.uint64)
        self._core = self._bbox[:, 4:].copy()
        self._splits = self.table["split.frame"] = split_frames(self._bbox, np.asarray(self.table["xyzcal.px"])[:, 2])
        self._static = list(self.reader.static_mask())
        ids = np.asarray(self.table["id"])
        _add_columns(self.table)
        for k, experiment in self.experiments.items():
            references = self.profile.references(experiment)
            mine = np.flatnonzero(ids == k)
            self._core[mine] = core_frames(self.profile, experiment, slim(self.table, mine))
            # By where boxes end: some near the rotation axis are so long that blocks would wait for them.
            block = np.where(ids == k, references.block_of(self._bbox[:, 5].astype(float) - 0.5), -1)
            ends = np.full(references.n_blocks, np.iinfo(np.int32).min, np.int32)
            np.maximum.at(ends, block[ids == k], self._bbox[ids == k, 5])
            self._pending[k] = _Pending(experiment, references, block, np.maximum.accumulate(ends))

    @property
    def _any(self) -> Experiment:
        return next(iter(self.experiments.values()))

    def run(self, executor: BlockExecutor, advance: Callable[[int], None]) -> None:
        """Read all frames; fills the table's columns and flags."""
        scan = self._any.scan
        assert scan is not None
        chunks = chunks_of_frames(self._bbox, scan.array_range, self.settings.max_voxels)
        self._ends = np.array([end for _, end in chunks])
        held = OpenBoxes()
        for run in executor.map(self._read, chunks):
            held.add(run.layers)
            for finished in run.finished:
                self._take(finished)
            for done in held.completed(run.frames[1], self._panel, self._bbox, BATCH):
                self._take(self._finish(*done))
            if self.settings.fitting:
                self._fit_until(run.frames[1], run.frames[1] == scan.array_range[1])
            advance(run.frames[1] - run.frames[0])

    # --- in the workers -----------------------------------------------------------

    def _read(self, frames: tuple[int, int]) -> Run:
        """Fill the boxes that touch a run of frames and finish those inside."""
        first, end = frames
        rows = np.flatnonzero((self._bbox[:, 4] < end) & (self._bbox[:, 5] > first))
        # Those that lie inside come first, the others by the run that completes them, so that each kind is one slice.
        last = self._ends[np.searchsorted(self._ends, self._bbox[rows, 5])]
        whole = (self._bbox[rows, 4] >= first) & (last == end)
        order = np.lexsort((last, ~whole))
        n, rows, last = int(whole.sum()), rows[order], last[order]
        part = self._bbox[rows]
        part[:, 4:] = np.clip(part[:, 4:], first, end)
        top = [p.trusted_range[1] for p in self._any.detector]
        gatherer = Gatherer(self._panel[rows], part, self._footprints(rows), top, self._core[rows])
        images = None
        for z in range(first, end):
            images = self.reader.read(z, out=images)
            gatherer.add(z, images, self.reader.mask(z, images), self._static)
        self._to_photons(gatherer.boxes)
        boxes, overloaded = gatherer.boxes, gatherer.overloaded
        finished = [
            self._finish(rows[part], _views(boxes, part), overloaded[part])
            for part in batches_of_voxels(np.diff(boxes.offsets[: n + 1]), BATCH)
        ]
        kinds, starts = np.unique(last[n:], return_index=True)
        edges = [*(n + starts), len(rows)]
        layers = {
            int(kind): Layers.copied(rows, boxes, overloaded, start, stop)
            for kind, start, stop in zip(kinds, edges[:-1], edges[1:], strict=True)
        }
        return Run(frames, finished, layers)

    def _footprints(self, rows: Ints) -> NDArray[np.uint8]:
        """Packed foregrounds of the boxes of these rows, in their order."""
        b = self._bbox[rows].astype(np.int64)
        sizes = (b[:, 1] - b[:, 0]) * (b[:, 3] - b[:, 2])
        if len(self.experiments) == 1:
            return self.profile.footprint(self._any, slim(self.table, rows))
        starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        out = np.empty(int(starts[-1]), np.uint8)
        ids = np.asarray(self.table["id"])[rows]
        for k, experiment in self.experiments.items():
            mine = np.flatnonzero(ids == k)
            packed = self.profile.footprint(experiment, slim(self.table, rows[mine]))
            at = np.repeat(starts[mine] - np.cumsum(sizes[mine]) + sizes[mine], sizes[mine]) + np.arange(len(packed))
            out[at] = packed
        return out

    def _to_photons(self, boxes: Shoeboxes) -> None:
        """Take off the pedestal and divide by the gain of each panel."""
        for p, panel in enumerate(self._any.detector):
            if panel.adu_per_photon == 1.0 and panel.pedestal == 0.0:
                continue
            voxels = np.repeat(boxes.panel == p, np.diff(boxes.offsets))
            counts = boxes.data[voxels] - np.float32(panel.pedestal)
            boxes.data[voxels] = counts / np.float32(panel.adu_per_photon)

    def _finish(self, rows: Ints, boxes: Shoeboxes, overloaded: NDArray[np.uint8]) -> Finished:
        """Background and summation of complete boxes."""
        expect_levels(boxes, self.levels)
        fit = self.background.fit(boxes)
        again = np.flatnonzero(~fit.ok)
        if len(again):  # crowded: background that a neighbour's foreground covers is better than none
            second = take_boxes(boxes, again)
            second.mask[(second.mask & int(MaskBit.BACKGROUND)) != 0] &= ~int(MaskBit.OVERLAPPED)
            expect_levels(second, self.levels)
            retry = self.background.fit(second)
            fit.ok[again], fit.variance[again], fit.dispersion[again] = retry.ok, retry.variance, retry.dispersion
            voxels = np.repeat(boxes.offsets[again] - second.offsets[:-1], np.diff(second.offsets))
            boxes.background[voxels + np.arange(second.offsets[-1])] = second.background
        bad = drop_bad_pixels(boxes)
        noise = np.full(len(rows), np.nan)
        sample = np.flatnonzero(fit.ok & (rows % max(1, len(self.table) // NOISE_SAMPLE) == 0))
        noise[sample] = count_noise(boxes, sample)
        sums = summation(boxes, fit.variance)
        flags = np.zeros(len(rows), np.uint64)

        def mark(where: NDArray[np.bool_], flag: Flag) -> None:
            flags[where] |= np.uint64(int(flag))

        summed = fit.ok & (sums.n_missing == 0) & (sums.n_foreground > 0)
        mark(summed, Flag.INTEGRATED_SUM)
        mark(~summed, Flag.FAILED_DURING_SUMMATION)
        mark(~fit.ok, Flag.FAILED_DURING_BACKGROUND_MODELLING | Flag.DONT_INTEGRATE)
        mark(sums.n_missing > 0, Flag.FOREGROUND_INCLUDES_BAD_PIXELS)
        mark(sums.n_background_bad > 0, Flag.BACKGROUND_INCLUDES_BAD_PIXELS)
        mark(sums.n_overlapped > 0, Flag.OVERLAPPED_FG)
        mark(sums.n_background_overlapped > 0, Flag.OVERLAPPED_BG)
        mark(overloaded > 0, Flag.OVERLOADED)
        columns: dict[str, NDArray[np.generic]] = {
            "flags": flags,
            "num_pixels.bad": bad,
            "background.noise": noise,
            "intensity.sum.value": sums.intensity,
            "intensity.sum.variance": sums.variance,
            "background.sum.value": sums.background,
            "background.sum.variance": sums.background_variance,
            "background.mean": sums.background_mean,
            "background.mean.variance": fit.variance,
            "background.dispersion": fit.dispersion,
            "split.sums": split_sums(boxes, self._splits[rows]),
            "xyzobs.px.value": sums.xyz,
            "xyzobs.px.variance": sums.xyz_variance,
            "num_pixels.valid": sums.n_valid,
            "num_pixels.background": sums.n_background,
            "num_pixels.background_used": sums.n_background_used,
            "num_pixels.foreground": sums.n_foreground,
        }
        return Finished(rows, columns, self._kept(rows, boxes, flags) if self.settings.fitting else {})

    def _kept(self, rows: Ints, boxes: Shoeboxes, flags: NDArray[np.uint64]) -> dict[tuple[int, int], Foreground]:
        """Foregrounds of the reflections that are to be fitted."""
        out = {}
        fit = ((flags | self._flags[rows]) & np.uint64(int(Flag.DONT_INTEGRATE))) == 0
        for k, pending in self._pending.items():
            block = np.where(fit, pending.block[rows], -1)  # -1 also for reflections of other experiments
            for b in np.unique(block[block >= 0]).tolist():
                some = np.flatnonzero(block == b)
                out[k, b] = Foreground.of(rows[some], boxes, some)
        return out

    # --- in the consumer ----------------------------------------------------------

    def _take(self, finished: Finished) -> None:
        """Write columns; keep the foregrounds for the fit."""
        for name, values in finished.columns.items():
            if name == "flags":
                self.table["flags"][finished.rows] |= values
            else:
                self.table[name][finished.rows] = values
        for (k, block), part in finished.kept.items():
            self._pending[k].waiting.setdefault(block, []).append(part)

    def _fit_until(self, end: int, last: bool) -> None:
        """Learn and fit all blocks whose frames have passed."""
        for pending in self._pending.values():
            n = pending.references.n_blocks
            while pending.next_learn < n and (last or pending.ends[pending.next_learn] <= end):
                block = pending.next_learn
                boxes = Foregrounds(pending.waiting.pop(block, []))
                used = pending.references.learn(block, self.table.select(boxes.rows), boxes)
                self.table.set_flags(boxes.rows[used], Flag.USED_IN_MODELLING)
                pending.learned[block] = boxes
                pending.next_learn += 1
                if block > 0:
                    self._fit(pending, block - 1)
                if block == n - 1:
                    self._fit(pending, block)

    def _fit(self, pending: _Pending, block: int) -> None:
        boxes = pending.learned.pop(block)
        rows = boxes.rows
        fit = pending.references.fit(block, self.table.select(rows), boxes, self.settings.floor)
        t, ok = self.table, fit.ok
        t["intensity.prf.value"][rows[ok]], t["intensity.prf.variance"][rows[ok]] = fit.intensity[ok], fit.variance[ok]
        t["profile.correlation"][rows[ok]] = fit.correlation[ok]
        t.set_flags(rows[ok], Flag.INTEGRATED_PRF)
        t.set_flags(rows[~ok], Flag.FAILED_DURING_PROFILE_FITTING)


def core_frames(profile: ProfileModel, experiment: Experiment, table: ReflectionTable) -> NDArray[np.int32]:
    """(n, 2) frames of each box, first and last + 1, less those at either end that together record less than `FAINT`.

    Only there a reflection disturbs its neighbours: boxes reach farther, and in a crowded pattern all of them as far
    would leave no background.
    """
    bbox = np.asarray(table["bbox"], dtype=np.int32)
    core = bbox[:, 4:].copy()
    for side, step in ((0, 1), (1, -1)):
        rows = np.flatnonzero(core[:, 1] - core[:, 0] > 1)
        while len(rows):
            tail = table.select(rows)
            box = bbox[rows]
            box[:, 5 - side] = core[rows, side] + step
            tail["bbox"] = box
            rows = rows[profile.partiality(experiment, tail) < FAINT]
            core[rows, side] += step
            rows = rows[core[rows, 1] - core[rows, 0] > 1]
    return core


def _views(boxes: Shoeboxes, part: slice) -> Shoeboxes:
    """Some boxes that follow one another: views."""
    offsets = boxes.offsets[part.start : part.stop + 1]
    voxels = slice(int(offsets[0]), int(offsets[-1]))
    return Shoeboxes(
        boxes.panel[part], boxes.bbox[part], offsets - offsets[0], boxes.data[voxels], boxes.mask[voxels],
        boxes.background[voxels],
    )  # fmt: skip


def _add_columns(table: ReflectionTable) -> None:
    n = len(table)
    for name in (
        "intensity.sum.value", "intensity.sum.variance", "background.sum.value", "background.sum.variance",
        "background.mean", "background.mean.variance", "background.dispersion", "intensity.prf.value",
        "intensity.prf.variance", "profile.correlation", "background.noise",
    ):  # fmt: skip
        table[name] = np.full(n, -1.0) if name == "intensity.prf.variance" else np.zeros(n)
    for name in ("xyzobs.px.value", "xyzobs.px.variance"):
        table[name] = np.zeros((n, 3))
    table["split.sums"] = np.zeros((n, 4))
    for name in ("valid", "background", "background_used", "foreground", "bad"):
        table[f"num_pixels.{name}"] = np.zeros(n, np.int32)


def groups_of_images(experiments: list[Experiment]) -> Iterator[list[int]]:
    """Numbers of experiments that look at the same frames (several lattices), group by group."""
    found: dict[tuple[object, ...], list[int]] = {}
    for k, e in enumerate(experiments):
        where = (e.images.template, tuple(e.images.paths)) if e.images else (id(e),)
        scan = e.scan.image_range if e.scan else ()
        found.setdefault((*where, *scan, id(e.detector) if e.images is None else 0), []).append(k)
    yield from found.values()
