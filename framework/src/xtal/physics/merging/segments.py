"""Sums over groups of equal keys, in a fixed order."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

F = NDArray[np.float64]
I64 = NDArray[np.int64]


class Segments:
    """Rows sorted into groups of equal keys.

    Attributes
    ----------
    order : (n,) rows in the order of the groups (stable within a group)
    starts : (g + 1,) where each group starts in that order
    keys : (g,) key of each group, ascending
    group : (n,) group of each row, in the rows' own order
    """

    def __init__(self, keys: I64) -> None:
        keys = np.asarray(keys)
        self.order = np.argsort(keys, kind="stable")
        ranked = keys[self.order]
        first = np.flatnonzero(np.concatenate([[True], ranked[1:] != ranked[:-1]])) if len(keys) else np.zeros(0, int)
        self.starts = np.append(first, len(keys)).astype(np.int64)
        self.keys = ranked[first]
        self.group = np.empty(len(keys), dtype=np.int64)
        self.group[self.order] = np.repeat(np.arange(len(first)), np.diff(self.starts))

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def counts(self) -> I64:
        """(g,) rows in each group."""
        return np.diff(self.starts)

    def sum(self, values: Any) -> F:
        """(g,) sum of values (in the rows' own order) over each group."""
        return np.asarray(np.bincount(self.group, np.asarray(values, dtype=float), len(self)), dtype=float)
