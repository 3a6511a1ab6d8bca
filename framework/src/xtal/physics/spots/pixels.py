"""Strong pixels of a run of frames: all that is kept of the images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from xtal.physics.spots.kernels import gather, mark_lone

REACH = 5
"""Half width, px, of the window in which a pair must be alone: that in which `dispersion_extended` takes background."""


@frozen
class StrongPixels:
    """Strong pixels of one panel, frame after frame.

    Attributes
    ----------
    index : (n,) int32, slow * width + fast, ascending within each frame
    value : (n,) float32
    lone : (n,) bool, whether exactly one other strong pixel of the frame lies within `REACH` rows and columns
    starts : (n_frames + 1,) int64, frame f holds pixels starts[f] to starts[f + 1]
    width : pixels of a row of the panel
    first : number of frame 0, by which frames of spots are counted
    """

    index: NDArray[np.int32]
    value: NDArray[np.float32]
    lone: NDArray[np.bool_]
    starts: NDArray[np.int64]
    width: int
    first: int = 0

    def __len__(self) -> int:
        return len(self.index)

    @classmethod
    def of_frame(cls, image: NDArray[Any], strong: NDArray[np.bool_]) -> StrongPixels:
        """Pixels of one frame, (slow, fast), where ``strong``."""
        flat = strong.reshape(-1)
        n = int(np.count_nonzero(flat))
        index, value, lone = np.empty(n, np.int32), np.empty(n, np.float32), np.empty(n, bool)
        if n:
            gather(flat[: len(flat) // 8 * 8].view(np.uint64), flat, image.reshape(-1), index, value)
            mark_lone(strong, index, REACH, lone)
        return cls(index, value, lone, np.array([0, n], dtype=np.int64), image.shape[1])

    @classmethod
    def empty(cls, n_frames: int, width: int) -> StrongPixels:
        """Frames without any strong pixel."""
        starts = np.zeros(n_frames + 1, np.int64)
        return cls(np.empty(0, np.int32), np.empty(0, np.float32), np.empty(0, bool), starts, width)

    @classmethod
    def concatenate(cls, parts: Sequence[StrongPixels]) -> StrongPixels:
        """Frames of all parts, one after another."""
        per_frame = np.concatenate([np.diff(p.starts) for p in parts])
        starts = np.concatenate([[0], np.cumsum(per_frame)]).astype(np.int64)
        index, value, lone = (np.concatenate([getattr(p, name) for p in parts]) for name in ("index", "value", "lone"))
        return cls(index, value, lone, starts, parts[0].width, parts[0].first)

    def select(self, keep: NDArray[np.bool_], first: int) -> StrongPixels:
        """The pixels where ``keep``, of all but the ``first`` first frames."""
        n = np.concatenate([[0], np.cumsum(keep)])[self.starts].astype(np.int64)
        chosen = keep.copy()
        chosen[: self.starts[first]] = False
        starts = n[first:] - n[first]
        return StrongPixels(
            self.index[chosen], self.value[chosen], self.lone[chosen], starts, self.width, self.first + first
        )
