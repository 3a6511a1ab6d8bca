"""Strong pixels of a run of frames: all that is kept of the images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from attrs import frozen
from numpy.typing import NDArray


@frozen
class StrongPixels:
    """Strong pixels of one panel, frame after frame.

    Attributes
    ----------
    index : (n,) int32, slow * width + fast, ascending within each frame
    value : (n,) float32
    starts : (n_frames + 1,) int64, frame f holds pixels starts[f] to starts[f + 1]
    width : pixels of a row of the panel
    """

    index: NDArray[np.int32]
    value: NDArray[np.float32]
    starts: NDArray[np.int64]
    width: int

    def __len__(self) -> int:
        return len(self.index)

    @classmethod
    def of_frame(cls, image: NDArray[Any], strong: NDArray[np.bool_]) -> StrongPixels:
        """Pixels of one frame, (slow, fast), where ``strong``."""
        index = np.flatnonzero(strong)
        value = image.reshape(-1)[index].astype(np.float32)
        starts = np.array([0, len(index)], dtype=np.int64)
        return cls(index.astype(np.int32), value, starts, image.shape[1])

    @classmethod
    def concatenate(cls, parts: Sequence[StrongPixels]) -> StrongPixels:
        """Frames of all parts, one after another."""
        per_frame = np.concatenate([np.diff(p.starts) for p in parts])
        starts = np.concatenate([[0], np.cumsum(per_frame)]).astype(np.int64)
        index = np.concatenate([p.index for p in parts])
        return cls(index, np.concatenate([p.value for p in parts]), starts, parts[0].width)

    def strong_on_every_frame(self) -> NDArray[np.int32]:
        """Indices of hot pixels."""
        n_frames = len(self.starts) - 1
        index, n = np.unique(self.index, return_counts=True)
        return np.asarray(index[n == n_frames], dtype=np.int32)
