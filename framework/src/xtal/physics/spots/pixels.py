"""Strong pixels of a run of frames: all that is kept of the images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from xtal.physics.spots.kernels import gather

USUALLY_STRONG = 1 << 16
"""Strong pixels that there is room for at first."""


@frozen
class StrongPixels:
    """Strong pixels of one panel, frame after frame.

    Attributes
    ----------
    index : (n,) int32, slow * width + fast, ascending within each frame
    value : (n,) float32
    starts : (n_frames + 1,) int64, frame f holds pixels starts[f] to starts[f + 1]
    width : pixels of a row of the panel
    first : number of frame 0, by which frames of spots are counted
    """

    index: NDArray[np.int32]
    value: NDArray[np.float32]
    starts: NDArray[np.int64]
    width: int
    first: int = 0

    def __len__(self) -> int:
        return len(self.index)

    @classmethod
    def of_frame(cls, image: NDArray[Any], strong: NDArray[np.bool_]) -> StrongPixels:
        """Pixels of one frame, (slow, fast), where ``strong``."""
        gathering = Gathering(image.shape[1])
        gathering.add(image, strong)
        gathering.end_frame()
        return gathering.taken()

    @classmethod
    def concatenate(cls, parts: Sequence[StrongPixels]) -> StrongPixels:
        """Frames of all parts, one after another."""
        per_frame = np.concatenate([np.diff(p.starts) for p in parts])
        starts = np.concatenate([[0], np.cumsum(per_frame)]).astype(np.int64)
        index = np.concatenate([p.index for p in parts])
        return cls(index, np.concatenate([p.value for p in parts]), starts, parts[0].width, parts[0].first)

    def select(self, keep: NDArray[np.bool_], first: int) -> StrongPixels:
        """The pixels where ``keep``, of all but the ``first`` first frames."""
        n = np.concatenate([[0], np.cumsum(keep)])[self.starts].astype(np.int64)
        chosen = keep.copy()
        chosen[: self.starts[first]] = False
        return StrongPixels(
            self.index[chosen], self.value[chosen], n[first:] - n[first], self.width, self.first + first
        )


class Gathering:
    """Takes strong pixels of one panel, rows after rows and frame after frame; its room is used again.

    Parameters
    ----------
    width
        Pixels of a row of the panel.
    """

    def __init__(self, width: int) -> None:
        self._width = width
        self._index, self._value = np.empty(USUALLY_STRONG, np.int32), np.empty(USUALLY_STRONG, np.float32)
        self._n, self._starts = 0, [0]

    def add(self, image: NDArray[Any], strong: NDArray[np.bool_], row: int = 0) -> None:
        """Take the pixels of some rows (n, width) of the frame, from ``row`` on, where ``strong``."""
        flat, values, first = strong.reshape(-1), image.reshape(-1), row * self._width
        words = flat[: len(flat) // 8 * 8].view(np.uint64)
        n = gather(words, flat, values, first, self._n, self._index, self._value)
        while n > len(self._index):  # once more with room for all
            self._index, self._value = (np.resize(a, 2 * n) for a in (self._index, self._value))
            n = gather(words, flat, values, first, self._n, self._index, self._value)
        self._n = n

    def end_frame(self, keep: bool = True) -> int:
        """Begin the next frame, after letting the pixels of this one go unless they are to be kept.

        Returns
        -------
        how many pixels this one has
        """
        if not keep:
            self._n = self._starts[-1]
        self._starts.append(self._n)
        return self._n - self._starts[-2]

    def taken(self) -> StrongPixels:
        """The frames so far; after that there are none."""
        index, value = self._index[: self._n].copy(), self._value[: self._n].copy()
        starts, self._n, self._starts = np.array(self._starts, np.int64), 0, [0]
        return StrongPixels(index, value, starts, self._width)
