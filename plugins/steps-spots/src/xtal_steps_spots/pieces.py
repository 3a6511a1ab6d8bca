"""The table of the spots of an experiment, made once from the pieces in which they came."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

import numpy as np
from attrs import field, frozen
from numpy.typing import NDArray

from xtal.hooks.protocols import BlockExecutor
from xtal.physics.spots import Spots
from xtal.physics.spots.stream import Finished
from xtal.table import ReflectionTable, Shoeboxes


@frozen
class Piece:
    """Spots of one panel that were finished together.

    Attributes
    ----------
    run : number of the run of frames that was searched
    panel : number of the panel
    first_frame : array index z of the first frame of the run
    spots, order : see `xtal.physics.spots.stream.Finished`
    """

    run: int
    panel: int
    first_frame: int
    spots: Spots
    order: NDArray[np.int64]


@frozen
class Pieces:
    """Pieces of one experiment. Boxes of pixels are made last: they are most of what a table holds.

    Attributes
    ----------
    number : of the experiment
    """

    number: int
    _pieces: list[Piece] = field(factory=list, init=False)

    def add(self, run: int, panel: int, first_frame: int, finished: Finished, good: NDArray[np.bool_]) -> None:
        """Keep the good ones of some spots."""
        spots = finished.spots.select(good).compact()
        self._pieces.append(Piece(run, panel, first_frame, spots, finished.order[good]))

    def table(self) -> tuple[ReflectionTable, NDArray[np.int64]]:
        """All spots without their pixels, by run, panel and first pixel; and the number of each among the pieces."""
        table = ReflectionTable.concatenate(p.spots.table(p.panel, self.number, p.first_frame) for p in self._pieces)
        keys = [np.c_[np.tile((p.run, p.panel), (len(p.order), 1)), p.order] for p in self._pieces]
        numbers = np.lexsort(np.concatenate(keys).T[::-1])
        return table.select(numbers), numbers

    def boxes(self, table: ReflectionTable, numbers: NDArray[np.int64], executor: BlockExecutor) -> Shoeboxes:
        """Pixels of the rows of a table, whose numbers are given. The pieces are let go one by one."""
        boxes = Shoeboxes.allocate(table["panel"], table["bbox"])
        at = np.full(sum(len(p.spots) for p in self._pieces), -1, np.int64)
        at[numbers] = np.arange(len(numbers))

        def jobs() -> Iterator[tuple[Piece, NDArray[np.int64]]]:
            self._pieces.reverse()
            begin = 0
            while self._pieces:
                piece = self._pieces.pop()
                yield piece, at[begin : begin + len(piece.spots)]
                begin += len(piece.spots)

        def fill(job: tuple[Piece, NDArray[np.int64]]) -> None:
            piece, rows = job
            piece.spots.fill(boxes, rows, piece.first_frame)

        deque(executor.map(fill, jobs()), maxlen=0)
        return boxes
