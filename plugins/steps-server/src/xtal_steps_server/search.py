"""Spots of one image, with what can be kept between images kept."""

from __future__ import annotations

import os
from collections import OrderedDict
from pathlib import Path
from threading import Lock
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from xtal.errors import DataError
from xtal.models import Experiment, Images, Scan
from xtal.options import differences
from xtal.physics.resolution import d_at
from xtal.physics.spots import find_spots
from xtal.physics.spots.statistics import SpotStatistics, spot_statistics
from xtal.plugins import Plugins
from xtal.run.formats import Formats
from xtal.run.images import FrameReader
from xtal.table import ReflectionTable
from xtal_steps_server.options import RequestOptions
from xtal_steps_spots.find_spots import Counts, filtered, rows_kept, with_trusted_limit
from xtal_steps_spots.masks import search_masks
from xtal_steps_spots.search import Search

OPEN = 4
"""Containers kept open, each with the buffers of its threads."""


@attrs.frozen
class Prepared:
    """What is common to the images of a container."""

    experiment: Experiment
    reader: FrameReader
    search: Search
    oscillation: tuple[float, float]


@attrs.frozen
class Found:
    """Spots of one image.

    Attributes
    ----------
    experiment : of this image alone
    table : its spots; d : (n,) angstrom, their resolution
    """

    experiment: Experiment
    table: ReflectionTable
    d: NDArray[np.float64]

    def statistics(self, options: RequestOptions) -> SpotStatistics:
        """Counts of spots and estimates of resolution."""
        return spot_statistics(
            self.d,
            self.table["intensity.sum.value"],
            self.table["intensity.sum.variance"],
            filter_ice=options.ice_rings.filter,
            ice_width=options.ice_rings.width,
            resolution=options.resolution_analysis,
        )


def alone(prepared: Prepared, z: int) -> Experiment:
    """The experiment of one frame of a container (from 0)."""
    e = prepared.experiment
    first, width = prepared.oscillation
    scan = Scan((z + 1, z + 1), (first + z * width, width))
    images = Images(paths=list(e.images.paths), indices=[z], mask=e.images.mask) if e.images else None
    return attrs.evolve(e, scan=scan, images=images, identifier=f"image {z + 1}")


class ImageSearch:
    """Finds the spots of images that are asked for one by one; may be called from several threads.

    Parameters
    ----------
    plugins
        Installed plugins.
    """

    def __init__(self, plugins: Plugins) -> None:
        self._plugins, self._formats = plugins, Formats(plugins)
        self._kept: OrderedDict[Any, Prepared] = OrderedDict()
        self._lock = Lock()

    def find(self, path: Path, options: RequestOptions) -> Found:
        """Spots of one image.

        Raises
        ------
        DataError
            If the file is missing, damaged, no image or has no such frame.
        """
        prepared = self._prepare(path, options)
        experiment, f = prepared.experiment, options.spotfinder.filter
        z = frame_of(path, options.spotfinder.scan_range, prepared.reader)
        prepared.search.learn(z, z + 1)
        tables, resolutions = [], []
        for panel, pixels in enumerate(prepared.search.block(range(z, z + 1))):
            spots = filtered(find_spots(pixels, link_frames=False), experiment, f, Counts())
            tables.append(spots.table(panel, 0, z))
            xy = tables[-1]["xyzobs.px.value"][:, :2]
            resolutions.append(d_at(experiment.detector[panel], experiment.beam, xy))
        table, d = ReflectionTable.concatenate(tables), np.concatenate(resolutions)
        rows = rows_kept(table, experiment, prepared.reader, options.spotfinder, Counts())
        rows = rows[(d[rows] >= (f.d_min or 0.0)) & (d[rows] <= (f.d_max or np.inf))]
        return Found(alone(prepared, z), table.select(rows), d[rows])

    def _prepare(self, path: Path, options: RequestOptions) -> Prepared:
        """Open a file, or find it open: containers of many frames are kept, the least used is let go.

        Not where the threshold learns: each image that is asked for is the first of its search.
        """
        key = self._key(path, options)
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        prepared = self._open(path, options)
        many = len(prepared.experiment.images.indices) > 1  # type: ignore[union-attr,arg-type]  # set by _open
        if many and not prepared.search.learns:
            with self._lock:
                self._kept[key] = prepared
                if len(self._kept) > OPEN:
                    self._kept.popitem(last=False)
        return prepared

    def _key(self, path: Path, options: RequestOptions) -> Any:
        mask = options.spotfinder.lookup.mask
        settings = differences(attrs.evolve(options.spotfinder, scan_range=()))
        files = tuple(state_of(Path(name)) for name in (path, mask) if name is not None)
        return files, options.maximum_trusted_value, tuple(sorted(settings.items()))

    def _open(self, path: Path, options: RequestOptions) -> Prepared:
        source = self._formats.open(path)
        beam, detector, goniometer, scan = source.models()
        mask = options.spotfinder.lookup.mask
        images = Images(paths=[str(path)], indices=list(range(source.n_frames)), mask=mask)
        source.close()
        experiment = Experiment(beam, detector, goniometer=goniometer, images=images)
        experiment = with_trusted_limit(experiment, options.maximum_trusted_value)
        f = options.spotfinder.filter
        # resolution limits are of centroids here, as DIALS's server has them
        wanted = attrs.evolve(options.spotfinder, filter=attrs.evolve(f, d_min=None, d_max=None))
        choice = options.spotfinder.threshold
        threshold = self._plugins.load("threshold", choice.name, choice.options)
        reader = FrameReader(experiment, self._formats)
        masks = search_masks(experiment, wanted)
        search = Search(experiment, reader, threshold, masks, f.max_strong_pixel_fraction)
        return Prepared(experiment, reader, search, scan.oscillation_deg if scan else (0.0, 0.0))


def state_of(path: Path) -> tuple[str, int, int]:
    """What changes where a file does: its name, time and size.

    Raises
    ------
    DataError
        If it is not there.
    """
    try:
        status = os.stat(path)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.", advice="Check its name and rights.") from None
    return str(path), status.st_mtime_ns, status.st_size


def frame_of(path: Path, scan_range: tuple[tuple[int, int], ...], reader: FrameReader) -> int:
    """Frame (from 0) that a request means: the only one, or that of ``scan_range=n,n``.

    Raises
    ------
    DataError
        If there is no such frame, or several are meant.
    """
    n = reader.z1
    if not scan_range:
        if n == 1:
            return 0
        raise DataError(f"{path} holds {n} images.", advice="Say which one: scan_range=N,N.")
    (first, last), *more = scan_range
    if more or first != last:
        raise DataError("A request is about one image.", advice="Give scan_range=N,N.")
    if n == 1:
        return 0
    if not 1 <= first <= n:
        raise DataError(f"{path} holds images 1 to {n}, not {first}.")
    return first - 1
