"""Protocols: what the core asks of each kind of plugin, in arrays and models.

All angles are radians, positions pixels (fast, slow) with pixel centres at +0.5, z the
array index of images (image number n covers [n - 1, n)), reciprocal vectors 1/angstrom
without 2 pi. Factories are called with the plugin's options object when the descriptor
names an options class, else without arguments.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
from attrs import define, field, frozen
from numpy.typing import NDArray

from xtal.models import Beam, Detector, Experiment, ExperimentList, Goniometer, Scan
from xtal.table import ReflectionTable, Shoeboxes

F = NDArray[np.float64]
T = TypeVar("T")
R = TypeVar("R")

# --- formats ------------------------------------------------------------------


class RowStream(Protocol):
    """The rows of one frame in their order; used by one thread, and perhaps not to the end."""

    def read(self, out: NDArray[Any]) -> None:
        """Fill ``out`` (n, fast), of the source's dtype and contiguous, with the next n rows.

        Raises
        ------
        DataError
            As `ImageSource.read` does.
        """


class ImageSource(Protocol):
    """An open image file, or a container of many frames. Safe to read from several threads, different frames at once.

    Attributes
    ----------
    n_frames : frames in this file
    shape : (slow, fast) of a raw frame of one panel; several panels: one shape each
    dtype : of raw pixels

    It may have two more: ``container`` (True where frames are numbered within the file, also if
    it holds one only; default: whether it holds several) and ``value_limit`` (highest raw value
    that is a count, where higher ones mark pixels without a value). Where the frames of a container are one
    panel whose rows can be had one after another, it may have the method ``stream(frame)``: what fills arrays with
    the next rows (`RowStream`), or None for a frame that it can only read at once. find_spots is
    faster so, as pixels stay in the processor's cache.
    """

    n_frames: int
    shapes: Sequence[tuple[int, int]]
    dtype: np.dtype[Any]

    def models(self) -> tuple[Beam, Detector, Goniometer | None, Scan | None]:
        """Models from the header, DIALS frame. The scan covers the frames of this file, in a container from image 1
        on; for a file of one frame its image number comes from the header or is 1 (the core renumbers by template).
        A wavelength, distance, beam centre or pixel size that the header lacks is NaN: import asks the
        user for it. No goniometer and scan where there is no rotation. What is read from where, and what
        is assumed, is said through `xtal.files.notes` (``xtal formats explain``).

        Raises
        ------
        DataError
            If the header lacks what no option can supply, or the file is damaged; names the file and
            what is missing.
        """

    def read(self, frame: int, out: Sequence[NDArray[Any]]) -> None:
        """Fill ``out`` (one array per panel, of `shapes` and `dtype`) with raw values of frame (0-based).

        The arrays fit the first file of a scan: where this file differs in size, that is an error, and where it may
        differ in type, `xtal.files.raw.fill` copies.

        Raises
        ------
        DataError
            If the file is truncated, its data are missing, the arrays do not fit, or it is a container that has no
            such frame; names the file and frame.
        """

    def masks(self) -> Sequence[NDArray[np.bool_]] | None:
        """Static mask per panel (True is good) beyond trusted range and panel rectangles, or None."""

    def frame_mask(self, frame: int) -> Sequence[NDArray[np.bool_]] | None:
        """Mask of one frame (moving shadows), or None."""

    def close(self) -> None: ...


class ImageFormat(Protocol):
    """A reader of one family of files."""

    def sniff(self, head: bytes, path: Path) -> int:
        """How specific is the claim to this file: 0 none, 1 generic, up to 9 one instrument.

        ``head`` is the first 4096 bytes, decompressed if the file is .gz or .bz2, read once for all formats.
        """

    def open(self, path: Path) -> ImageSource:
        """Open the file. Called from several threads, for each image that has a file of its own.

        Raises
        ------
        DataError
        """


# --- spots --------------------------------------------------------------------


class ThresholdKernel(Protocol):
    """Marks strong pixels of frames of one panel; holds its own buffers, used by one thread at a time.

    One that needs few rows around a pixel to decide about it may say so: with the attribute ``halo``, rows before and
    after, it is given bands of the panel, some rows at a time with so many around them. What it marks in these is not
    looked at, and neither the place of a band nor what it was given before may matter to it.
    """

    def __call__(self, image: NDArray[Any], mask: NDArray[np.bool_], strong: NDArray[np.bool_], frame: int) -> None:
        """Fill ``strong`` (slow, fast). ``frame`` is the array index z of the image."""


class ThresholdAlgorithm(Protocol):
    """Decides which pixels belong to spots.

    Where something follows from the first image it has one more method, ``learn(image)``, which is called with the
    first panel of the first image of the search before any kernel works.
    """

    def prepare(self, experiment: Experiment, panel: int, mask: NDArray[np.bool_]) -> ThresholdKernel:
        """A kernel for one panel of one experiment; called once per thread, for all panels before the first works.

        ``mask`` is the static mask (slow, fast), True is good.
        """


# --- indexing -----------------------------------------------------------------


@frozen
class BasisVectors:
    """Candidates of an indexing method.

    Attributes
    ----------
    vectors : (n, 3) angstrom, float64, real-space lattice vectors in the frame of the rlp, best first
    scores : (n,) higher is better
    orientations : (m, 3, 3) full setting matrices A, from methods that know the cell, else empty
    """

    vectors: F
    scores: F
    orientations: F = field(factory=lambda: np.empty((0, 3, 3)))


class IndexingMethod(Protocol):
    """Finds lattice periodicities in reciprocal space; the step combines, refines and chooses."""

    def candidates(self, rlp: F, experiments: ExperimentList, max_cell: float, d_min: float) -> BasisVectors:
        """Real-space vectors that explain the points. Several objects may work at once, each in a thread.

        Parameters
        ----------
        rlp : (n, 3) 1/angstrom, reciprocal-lattice points at zero rotation
        experiments : one, or several that have one crystal
        max_cell : angstrom, longest cell edge to consider; the step may try several
        d_min : angstrom, resolution of the search; 0 sets no limit

        Raises
        ------
        AlgorithmFailed
            If the points show no lattice; so does an answer without vectors.
        """


# --- integration --------------------------------------------------------------


@frozen
class ProfileEstimate:
    """Outcome of `ProfileModel.estimate`.

    Attributes
    ----------
    profile : JSON object that is stored as ``experiment.profile``, with the model's name as ``__id__``; of values whose
        names begin with ``sigma`` the step takes the mean where an experiment has too few spots of its own
    n_spots : spots that it rests on
    notes : sentences for the user, for instance on what had to be relaxed
    """

    profile: dict[str, Any]
    n_spots: int
    notes: list[str]


@define
class ProfileFit:
    """Outcome of `ProfileReferences.fit`, arrays of n rows.

    Attributes
    ----------
    ok : whether the fit succeeded; where not, the rest means nothing
    intensity, variance : counts of the whole reflection, its unrecorded part included
    correlation : between counts and model over the voxels that were fitted
    recorded : part of the profile on usable voxels
    """

    ok: NDArray[np.bool_]
    intensity: F
    variance: F
    correlation: F
    recorded: F


class ProfileModel(Protocol):
    """Size, extent, partiality and shape of reflections. Tables of predictions have the columns
    s1, xyzcal.px, xyzcal.mm, zeta, panel and, once known, bbox. Safe to use from several threads."""

    def estimate(self, experiment: Experiment, spots: ReflectionTable) -> ProfileEstimate:
        """Learn the model's size from strong spots: predictions with the ``shoebox`` of each, whose voxels with VALID
        and FOREGROUND belong to the spot.

        Raises
        ------
        AlgorithmFailed
            If too few spots are left, after its own relaxations.
        """

    def bbox(self, experiment: Experiment, table: ReflectionTable, margin: float) -> NDArray[np.int32]:
        """(n, 6) boxes x0, x1, y0, y1, z0, z1. In x and y they reach ``margin`` times as far as the foreground, or,
        where that is long, as far beyond its ends as beyond its sides, and may leave the panel; in z they are cut at
        the ends of the scan, beyond which reflections may be predicted.

        Raises
        ------
        AlgorithmFailed
            If ``experiment.profile`` is of another model.
        """

    def partiality(self, experiment: Experiment, table: ReflectionTable) -> F:
        """(n,) fraction of each reflection in the frames of its bbox in the table, which need not be its own, nor need
        the predicted angle (in xyzcal.px and xyzcal.mm) and zeta: integrate looks how fractions change with them."""

    def footprint(self, experiment: Experiment, table: ReflectionTable) -> NDArray[np.uint8]:
        """Foreground (1) of one layer [y][x] of each bbox, packed one after another; all layers are alike."""

    def references(self, experiment: Experiment) -> ProfileReferences:
        """Shapes that are still to be learned; experiments have theirs apart, which learn in turns."""


class HeldBoxes(Protocol):
    """Boxes of finished reflections, which are cut to the foreground and held in little room.

    ``bbox`` (n, 6) tells where their voxels are.
    """

    @property
    def bbox(self) -> NDArray[np.int32]: ...

    def select(self, rows: NDArray[np.int64]) -> Shoeboxes:
        """Copies of some boxes, in this order: counts and background of the foreground, 0 elsewhere. They may take ten
        times the room: better ask for some thousands at a time."""


class ProfileReferences(Protocol):
    """Shapes learned from strong reflections while the scan passes, and the fit with them.

    The scan is cut into ``n_blocks`` blocks of the model's own choice. The engine calls ``learn`` for each
    block in order, and ``fit`` for block k once block k + 1 is learned; so at most three
    blocks are held. Tables have all columns of predictions and those of background and summation
    (``background.mean.variance`` among them); the ``bbox`` of the boxes tells where their voxels are, that of the
    table is the whole one. The result must not depend on anything but the arguments (not on the order of rows).
    """

    n_blocks: int

    def block_of(self, z: F) -> NDArray[np.int64]:
        """(n,) block at array index z, where the box of a reflection ends (it may lie beyond the scan's ends); does
        not decrease with z."""

    def learn(self, block: int, table: ReflectionTable, boxes: HeldBoxes) -> NDArray[np.bool_]:
        """Learn from the reflections of a block; returns which of them were used."""

    def fit(self, block: int, table: ReflectionTable, boxes: HeldBoxes, floor: float) -> ProfileFit:
        """Fit the reflections of a block (the same that were given to `learn`, none perhaps) on their usable voxels,
        those with VALID and FOREGROUND; those fail of which less than ``floor`` of the profile is on them."""


class BackgroundModel(Protocol):
    """Estimates the background under reflections. Safe to use from several threads."""

    def fit(self, boxes: Shoeboxes) -> BackgroundResult:
        """Fill ``boxes.background`` for every voxel and mark those used BACKGROUND_USED.

        Before, ``boxes.background`` tells how the level is expected to run over a box, the same on all its frames and
        in any unit (rings of ice, for instance); 0 or no number where nothing is known. A model may leave it unread.
        Counts are photons. Usable are voxels with VALID and BACKGROUND and without OVERLAPPED (which belong to a
        neighbour). Where a fit fails the background is 0.
        """


@define
class BackgroundResult:
    """Outcome of a batch of background fits, arrays of n rows.

    Attributes
    ----------
    ok : whether the fit succeeded
    variance : of the background per voxel, common to the box; finite, also where the fit failed
    dispersion : index of dispersion (variance over mean) of the voxels used
    """

    ok: NDArray[np.bool_]
    variance: F
    dispersion: F


# --- scaling ------------------------------------------------------------------


class ScalingModel(Protocol):
    """Inverse scale factors of observations as a function of parameters, one at least, for one experiment."""

    n_parameters: int
    names: Sequence[str]
    """Of each parameter: the correction, then what tells it from others ("scale 3")."""

    def prepare(self, experiment: Experiment, table: ReflectionTable) -> None:
        """Set up components for the observations (columns s1, xyzobs.px.value or xyzcal.px, d), which may be none."""

    def initial(self) -> F:
        """(p,) starting parameters, which give scales of 1."""

    def scales_and_jacobian(self, parameters: F, rows: NDArray[np.int64]) -> tuple[F, Any]:
        """(n,) inverse scale factors g of the given rows (none perhaps), positive wherever the search steps, and
        d g / d parameters as a scipy CSR matrix (n, p) whose columns ascend in each row.

        The arrays are not used again."""

    def restraints(self, parameters: F) -> tuple[F, Any]:
        """Weighted residuals (r,) and their CSR derivative (r, p)."""

    def to_json(self, parameters: F, esds: F) -> dict[str, Any]:
        """What is stored as ``experiment.scaling_model`` (DIALS's layout where it has one), with the model's name as
        ``__id__`` and an object ``configuration_parameters``, to which the step adds."""


# --- export -------------------------------------------------------------------


class ExportFormat(Protocol):
    """Writes reflections for another program."""

    def export(self, experiments: ExperimentList, table: ReflectionTable, path: Path) -> None:
        """Write one file at ``path``, whatever its name (the runner gives a temporary path and renames it).

        Raises
        ------
        DataError
            If the table has no rows or not the columns that the format needs.
        """


# --- running ------------------------------------------------------------------


class BlockExecutor(Protocol):
    """Runs independent blocks of work, in this process: what a block leaves in the caller's memory is seen."""

    n_workers: int

    def map(self, function: Callable[[T], R], blocks: Iterable[T]) -> Iterator[R]:
        """Results themselves (no copies) in the order of the blocks, as they complete; at most 2 * n_workers blocks
        are in flight, and what was given back is let go, so that memory does not grow. An exception of a block is
        raised here, as it is and at its turn, with a note that names the block; then, when the iterator is closed and
        when Ctrl-C interrupts it, what waits is cancelled."""


class StepFunction(Protocol):
    """``run(context)`` of a step: reads options and files, calls algorithms, writes files and prints.

    The same files and options give the same outputs."""

    def __call__(self, context: Any) -> None: ...
