"""Frames in bands of rows: what is read, masked and looked at together stays in the cache of a processor.

Threads that each went through whole frames would wait for the memory that they share.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from xtal.hooks.protocols import RowStream

if TYPE_CHECKING:
    from xtal.run.images import FrameReader

BAND_BYTES = 1 << 21
"""Raw values of a band: about as much as the second cache of a core holds."""

HALOS = 16
"""Rows of a band are at least so many times those that it shares with the next one."""


@frozen
class Cut:
    """Where a band is cut: rows ``own`` of the panel are its own, ``rows`` are those and their neighbours."""

    own: slice
    rows: slice

    @property
    def inner(self) -> slice:
        """Its own rows, counted from its first one."""
        return slice(self.own.start - self.rows.start, self.own.stop - self.rows.start)


@frozen
class Band:
    """Some rows of a frame; arrays are valid until the next band.

    Attributes
    ----------
    panel : number of the panel
    cut : which rows they are
    image : (n, fast) raw values
    mask : (n, fast) bool, good pixels, not to be changed
    """

    panel: int
    cut: Cut
    image: NDArray[Any]
    mask: NDArray[np.bool_]


def cuts(shape: tuple[int, int], item: int, halo: int | None) -> list[Cut]:
    """Cut a panel into bands of like height.

    Parameters
    ----------
    shape
        (slow, fast) of the panel.
    item
        Bytes of a pixel.
    halo
        Rows before and after its own that a band needs; None if it needs all rows.
    """
    slow, fast = shape
    n = 1 if halo is None else max(1, slow // max(BAND_BYTES // (fast * item), HALOS * halo, 1))
    edges = np.linspace(0, slow, n + 1).astype(int).tolist()
    around = halo or 0
    return [Cut(slice(a, b), slice(max(a - around, 0), min(b + around, slow))) for a, b in pairwise(edges)]


class Bands:
    """Cuts frames into bands, for one thread.

    Parameters
    ----------
    reader
        Of the frames.
    static
        (slow, fast) bool per panel, pixels that may be good in any frame.
    halos
        Per panel, rows before and after a row that belong to it; None for all.

    Attributes
    ----------
    room : per panel, (rows, fast) of the largest band
    """

    def __init__(self, reader: FrameReader, static: Sequence[NDArray[np.bool_]], halos: Sequence[int | None]) -> None:
        self._reader, self._static = reader, static
        item = reader.dtype.itemsize
        self._cuts = [cuts(shape, item, halo) for shape, halo in zip(reader.shapes, halos, strict=True)]
        heights = [max(c.rows.stop - c.rows.start for c in panel) for panel in self._cuts]
        self.room = [(height, fast) for height, (_, fast) in zip(heights, reader.shapes, strict=True)]
        self._masks = [np.empty(shape, bool) for shape in self.room]
        self._window = np.empty(self.room[0], reader.dtype)
        self._whole: list[NDArray[Any]] | None = None

    def of(self, z: int) -> Iterator[Band]:
        """The bands of a frame, panel after panel.

        Raises
        ------
        DataError
            If the frame is missing, damaged or of another size.
        """
        images = self._images(z)
        shadows = self._reader.shadows(z)
        for panel, panel_cuts in enumerate(self._cuts):
            for cut, image in zip(panel_cuts, images(panel), strict=True):
                out = self._masks[panel][: len(image)]
                shadow = shadows[panel][cut.rows] if shadows else None
                mask = self._reader.panel_mask(panel, image, self._static[panel][cut.rows], shadow, out)
                yield Band(panel, cut, image, mask)

    def _images(self, z: int) -> Callable[[int], Iterator[NDArray[Any]]]:
        """What gives the raw values of the bands of a panel."""
        stream = self._reader.stream(z) if len(self._cuts[0]) > 1 else None
        if stream is not None:
            return lambda panel: self._streamed(stream)
        if self._whole is None:
            self._whole = self._reader.allocate()
        whole = self._reader.read(z, out=self._whole)
        return lambda panel: (whole[panel][cut.rows] for cut in self._cuts[panel])

    def _streamed(self, stream: RowStream) -> Iterator[NDArray[Any]]:
        """Bands of the only panel, from its rows as they come: those that two bands share are kept."""
        begin = end = 0  # rows that the window holds
        for cut in self._cuts[0]:
            first, last = cut.rows.start, cut.rows.stop
            shared = end - first
            self._window[:shared] = self._window[first - begin : end - begin]
            stream.read(self._window[shared : last - first])
            begin, end = first, last
            yield self._window[: last - first]
