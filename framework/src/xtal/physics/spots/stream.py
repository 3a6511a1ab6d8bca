"""Spots of a scan while its frames come: what no later frame can touch is finished and let go."""

from __future__ import annotations

import numpy as np
from attrs import evolve, frozen
from numpy.typing import NDArray

from xtal.physics.spots.pixels import StrongPixels
from xtal.physics.spots.spots import Spots, find_spots


@frozen
class Finished:
    """Spots that are complete; frames count from the first of the stream.

    Attributes
    ----------
    spots : the spots
    order : (n, 2) int64, frame and index of each spot's first pixel: spots sorted by it come in the same order
        however the stream was cut
    """

    spots: Spots
    order: NDArray[np.int64]

    @classmethod
    def of(cls, spots: Spots) -> Finished:
        """With their order."""
        frame, index = spots.first_pixels()
        return cls(spots, np.stack([frame, index.astype(np.int64)], axis=1))


class SpotStream:
    """Joins strong pixels of one panel, block of frames by block.

    Parameters
    ----------
    link_frames
        Whether spots extend over frames; False for stills.
    """

    def __init__(self, *, link_frames: bool) -> None:
        self.link_frames = link_frames
        self._held: StrongPixels | None = None
        self._end = 0

    def add(self, pixels: StrongPixels) -> Finished:
        """Take the next frames; gives the spots that end before the last of them."""
        whole = evolve(pixels, first=self._end)
        self._end += len(pixels.starts) - 1
        if self._held is not None:
            whole = StrongPixels.concatenate([self._held, whole])
        spots = find_spots(whole, link_frames=self.link_frames)
        if not self.link_frames:
            return Finished.of(spots)
        open_ = spots.bbox[:, 5] == self._end
        begin = int(spots.bbox[open_, 4].min()) if open_.any() else self._end - 1
        self._held = whole.select(open_[spots.labels], begin - whole.first)
        return Finished.of(spots.select(~open_))

    def finish(self) -> Finished | None:
        """The spots that the last frame holds."""
        return None if self._held is None else Finished.of(find_spots(self._held, link_frames=True))
