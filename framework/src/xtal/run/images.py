"""Frames of an experiment, wherever they are, and their masks.

A reader over a template opens each file when it is read; one over a container opens it
once. Reading is safe from several threads; the caller brings the arrays to fill.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xtal.errors import DataError
from xtal.files.masks import read_mask
from xtal.hooks.protocols import ImageFormat, ImageSource, RowStream
from xtal.models import Experiment, Images
from xtal.physics.detectors import rectangle_mask
from xtal.plugins import Plugins
from xtal.run.bands import Bands
from xtal.run.formats import Formats
from xtal.words import counted

_HASHES = re.compile(r"#+")
Arrays = list[NDArray[Any]]
Masks = list[NDArray[np.bool_]]


def file_of_template(template: str, number: int) -> Path:
    """Path of image ``number``; the last run of # holds it, padded with zeros."""
    runs = list(_HASHES.finditer(template))
    if not runs:
        return Path(template)
    last = runs[-1]
    return Path(template[: last.start()] + str(number).zfill(len(last[0])) + template[last.end() :])


def open_images(experiment: Experiment, plugins: Plugins | Formats) -> FrameReader:
    """A reader of the images of an experiment.

    Raises
    ------
    DataError
        If the experiment names no images, the first one is missing or no format knows it.
    """
    return FrameReader(experiment, plugins if isinstance(plugins, Formats) else Formats(plugins))


class FrameReader:
    """Reads frames by their array index z, and makes their masks.

    Attributes
    ----------
    n_panels : panels of the detector
    shapes : (slow, fast) of the raw array of each panel
    dtype : of raw pixels
    ahead : frames that somebody has read before; each is handed out, and let go, when it is read
    """

    def __init__(self, experiment: Experiment, formats: Formats) -> None:
        self.ahead: dict[int, Arrays] = {}
        if experiment.images is None or not (experiment.images.template or experiment.images.paths):
            raise DataError("The experiment does not say where its images are.", advice="Import the images again.")
        self.experiment = experiment
        self.images: Images = experiment.images
        self.z0, self.z1 = experiment.scan.array_range if experiment.scan else (0, self._n_without_scan())
        self._container: ImageSource | None = None
        first = self.path(self.z0)
        self._format: ImageFormat = formats.recognise(first)[1]
        self._first = self._format.open(first)
        self._shared_path = first if self._is_container() else None
        if self._shared_path is not None:
            self._container = self._first
        self.dtype: np.dtype[Any] = np.dtype(self._first.dtype)
        self.shapes: list[tuple[int, int]] = list(self._first.shapes)
        self.n_panels = len(self.shapes)
        expected = [(p.image_size[1], p.image_size[0]) for p in experiment.detector]
        if expected != self.shapes:
            raise DataError(
                f"The image {first} has panels of {self.shapes} pixels, the detector of the experiment {expected}.",
                advice="Import the images again.",
            )

    def _n_without_scan(self) -> int:
        return len(self.images.indices or self.images.paths or [0])

    def _is_container(self) -> bool:
        template = self.images.template
        return "#" not in template if template else len(set(self.images.paths)) == 1 and self._first.n_frames > 1

    def path(self, z: int) -> Path:
        """File in which the frame of array index z stands."""
        if self.images.template:
            return file_of_template(self.images.template, z + 1)
        k = z - self.z0
        if not 0 <= k < len(self.images.paths):
            raise DataError(f"The experiment has no image at {z}: it has {len(self.images.paths)}.")
        return Path(self.images.paths[k])

    def frame(self, z: int) -> int:
        """Frame number (from 0) inside its file."""
        if self._container is None:
            return 0
        indices = self.images.indices
        if not indices:
            return z
        k = z - self.z0 if len(indices) == self.z1 - self.z0 else z
        if not 0 <= k < len(indices):
            raise DataError(
                f"{self.images.template} lists no frame for image {z + 1}, only {counted(len(indices), 'frame')}."
            )
        return indices[k]

    def allocate(self) -> Arrays:
        """Arrays to read into."""
        return [np.empty(shape, self.dtype) for shape in self.shapes]

    def allocate_masks(self) -> Masks:
        """Arrays for masks."""
        return [np.empty(shape, dtype=bool) for shape in self.shapes]

    def read(self, z: int, out: Sequence[NDArray[Any]] | None = None) -> Arrays:
        """Raw values of one frame.

        Parameters
        ----------
        z
            Array index: image number n has z = n - 1.
        out
            One array per panel, of `shapes` and `dtype`, to be filled; new ones if None.

        Returns
        -------
        list of (slow, fast) arrays
            ``out``, filled.

        Raises
        ------
        DataError
            If the file is missing, truncated or of another size.
        """
        ahead = self.ahead.pop(z, None)
        if ahead is not None and out is None:
            return ahead
        arrays = self.allocate() if out is None else list(out)
        if ahead is not None:
            for array, known in zip(arrays, ahead, strict=True):
                array[...] = known
        elif self._container is not None:
            self._container.read(self.frame(z), arrays)
        else:
            source = self._format.open(self.path(z))
            try:
                source.read(0, arrays)
            finally:
                source.close()
        return arrays

    @cached_property
    def _static(self) -> Masks:
        masks = [rectangle_mask(panel) for panel in self.experiment.detector]
        own = self._first.masks()
        for k, mask in enumerate(own or []):
            masks[k] &= mask
        if self.images.mask:
            for mask, read in zip(masks, read_mask(Path(self.images.mask), self.shapes), strict=True):
                mask &= read
        return masks

    def static_mask(self) -> Masks:
        """Mask per panel (True is good) that holds for all frames: rectangles, format, mask file."""
        return self._static

    @cached_property
    def _limits(self) -> list[tuple[Any, Any]]:
        """Trusted range per panel, as scalars of the pixels' type."""
        top = getattr(self._first, "value_limit", None)
        limits = []
        for panel in self.experiment.detector:
            low, high = panel.trusted_range
            high = high if top is None else min(high, top)
            if self.dtype.kind != "f":
                info = np.iinfo(self.dtype)
                low, high = max(np.ceil(low), info.min), min(np.floor(high), info.max)
            if not low <= high:  # also where one is no number: no value is good
                low, high = 1, 0
            limits.append((self._as_pixel(low), self._as_pixel(high)))
        return limits

    def _as_pixel(self, value: float) -> Any:
        return self.dtype.type(value if self.dtype.kind == "f" else int(value))

    def mask(self, z: int, images: Sequence[NDArray[Any]], out: Sequence[NDArray[np.bool_]] | None = None) -> Masks:
        """Good pixels of one frame: static mask, trusted range (inclusive) and the frame's own mask.

        Parameters
        ----------
        z
            Array index of the frame.
        images
            Its raw values, as `read` gives them.
        out
            One bool array per panel as work space; new ones if None.

        Returns
        -------
        list of (slow, fast) bool arrays
            Not to be changed: they are those of ``out`` or, where this frame has no other bad pixels, the static
            masks themselves.
        """
        shadows: Sequence[NDArray[np.bool_] | None] = self.shadows(z) or [None] * self.n_panels
        each = zip(range(self.n_panels), images, self._static, shadows, out or self.allocate_masks(), strict=True)
        return [self.panel_mask(*one) for one in each]

    def panel_mask(
        self,
        panel: int,
        image: NDArray[Any],
        static: NDArray[np.bool_],
        shadow: NDArray[np.bool_] | None,
        out: NDArray[np.bool_],
    ) -> NDArray[np.bool_]:
        """Good pixels of some rows of a panel: those of ``static`` within the trusted range and out of the shadow.

        Parameters
        ----------
        panel
            Number of the panel.
        image, static, shadow, out
            (n, fast) raw values, good pixels of all frames, those of this one if it has a mask of its own, work space.

        Returns
        -------
        ``out`` or, where that would be the same, ``static``
        """
        from xtal.run.kernels import trusted_pixels

        low, high = self._limits[panel]
        differs = trusted_pixels(image.reshape(-1), static.reshape(-1), low, high, out.reshape(-1))
        mask = out if differs else static
        return mask if shadow is None else np.logical_and(mask, shadow, out=out)

    def bands(self, static: Sequence[NDArray[np.bool_]], halos: Sequence[int | None]) -> Bands:
        """What cuts frames into bands of rows, for one thread (`xtal.run.bands.Bands`)."""
        return Bands(self, static, halos)

    def stream(self, z: int) -> RowStream | None:
        """Rows of the only panel of a frame, one after another; None where frames are read at once.

        Raises
        ------
        DataError
            If the frame is missing, damaged or of another size.
        """
        if self._container is None or z in self.ahead:
            return None
        found: RowStream | None = getattr(self._container, "stream", lambda frame: None)(self.frame(z))
        return found

    def shadows(self, z: int) -> Sequence[NDArray[np.bool_]]:
        """The format's own masks of one frame, none where it has none."""
        if self._container is not None:
            return self._container.frame_mask(self.frame(z)) or []
        source = self._format.open(self.path(z))
        try:
            return source.frame_mask(0) or []
        finally:
            source.close()

    def close(self) -> None:
        """Close the files."""
        self._first.close()

    def __enter__(self) -> FrameReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
