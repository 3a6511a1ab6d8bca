"""Strong pixels of a run of frames: all that is kept of the images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from xtal.physics.spots.kernels import gather

USUALLY_STRONG = 1 << 16
"""Strong pixels of a frame that there is room for at first."""


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
    def of_frame(cls, image: NDArray[Any], strong: NDArray[np.bool_], row: int = 0) -> StrongPixels:
        """Pixels of one frame, (slow, fast), where ``strong``; or of some of its rows, from ``row`` on."""
        flat, values = strong.reshape(-1), image.reshape(-1)
        words = flat[: len(flat) // 8 * 8].view(np.uint64)
        n, room = USUALLY_STRONG, 0
        while n > room:  # once more where they are unusually many
            room = n
            index, value = np.empty(room, np.int32), np.empty(room, np.float32)
            n = gather(words, flat, values, index, value)
        first = np.int32(row * image.shape[1])
        return cls(index[:n] + first, value[:n].copy(), np.array([0, n], dtype=np.int64), image.shape[1])

    @classmethod
    def empty(cls, n_frames: int, width: int) -> StrongPixels:
        """Frames without any strong pixel."""
        return cls(np.empty(0, np.int32), np.empty(0, np.float32), np.zeros(n_frames + 1, np.int64), width)

    @classmethod
    def concatenate(cls, parts: Sequence[StrongPixels]) -> StrongPixels:
        """Frames of all parts, one after another."""
        per_frame = np.concatenate([np.diff(p.starts) for p in parts])
        starts = np.concatenate([[0], np.cumsum(per_frame)]).astype(np.int64)
        index = np.concatenate([p.index for p in parts])
        return cls(index, np.concatenate([p.value for p in parts]), starts, parts[0].width, parts[0].first)

    @classmethod
    def stacked(cls, rows: Sequence[StrongPixels]) -> StrongPixels:
        """One frame from runs of its rows, in their order."""
        index, value = np.concatenate([p.index for p in rows]), np.concatenate([p.value for p in rows])
        return cls(index, value, np.array([0, len(index)], dtype=np.int64), rows[0].width)

    def select(self, keep: NDArray[np.bool_], first: int) -> StrongPixels:
        """The pixels where ``keep``, of all but the ``first`` first frames."""
        n = np.concatenate([[0], np.cumsum(keep)])[self.starts].astype(np.int64)
        chosen = keep.copy()
        chosen[: self.starts[first]] = False
        return StrongPixels(
            self.index[chosen], self.value[chosen], n[first:] - n[first], self.width, self.first + first
        )
