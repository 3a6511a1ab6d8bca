"""Wrong indexing methods."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from attrs import evolve

from xtal.errors import AlgorithmFailed
from xtal_indexing_fft3d.fft3d import Fft3d

RIGHT = "fft3d"


def after(spoil: Callable[[Any], Any]) -> type:
    """Right until ``spoil`` changes what was found."""

    class Wrong(Fft3d):
        def candidates(self, rlp: Any, experiments: Any, max_cell: Any, d_min: Any) -> Any:
            return spoil(super().candidates(rlp, experiments, max_cell, d_min))

    return Wrong


class DividesByTheLimit(Fft3d):
    def candidates(self, rlp: Any, experiments: Any, max_cell: Any, d_min: Any) -> Any:
        return super().candidates(rlp[np.linalg.norm(rlp, axis=1) < 1 / d_min], experiments, max_cell, d_min)


class NeedsScan(Fft3d):
    def candidates(self, rlp: Any, experiments: Any, max_cell: Any, d_min: Any) -> Any:
        assert experiments[0].scan.n_images > 1
        return super().candidates(rlp, experiments, max_cell, d_min)


class OffWithoutLimit(Fft3d):
    def candidates(self, rlp: Any, experiments: Any, max_cell: Any, d_min: Any) -> Any:
        found = super().candidates(rlp, experiments, max_cell, d_min)
        return found if d_min else evolve(found, vectors=1.1 * found.vectors)


class OffInStills(Fft3d):
    def candidates(self, rlp: Any, experiments: Any, max_cell: Any, d_min: Any) -> Any:
        found = super().candidates(rlp, experiments, max_cell, d_min)
        return found if experiments[0].scan else evolve(found, vectors=1.1 * found.vectors)


class Curt(Fft3d):
    """Says in a word that there is no lattice."""

    def candidates(self, rlp: Any, experiments: Any, max_cell: Any, d_min: Any) -> Any:
        if len(rlp) < 100:
            raise AlgorithmFailed("no lattice")
        return super().candidates(rlp, experiments, max_cell, d_min)


class Mute(Fft3d):
    def candidates(self, rlp: Any, experiments: Any, max_cell: Any, d_min: Any) -> Any:
        return None if len(rlp) < 100 else super().candidates(rlp, experiments, max_cell, d_min)


class Despairs(Fft3d):
    """Leaves an error of its own where the points are few."""

    def candidates(self, rlp: Any, experiments: Any, max_cell: Any, d_min: Any) -> Any:
        if len(rlp) < 100:
            raise np.linalg.LinAlgError("singular matrix")
        return super().candidates(rlp, experiments, max_cell, d_min)


class MuteForLongEdges(Fft3d):
    def candidates(self, rlp: Any, experiments: Any, max_cell: Any, d_min: Any) -> Any:
        return None if max_cell > 200 else super().candidates(rlp, experiments, max_cell, d_min)


class Learns(Fft3d):
    """Looks no farther than it ever found."""

    longest = 1e9

    def candidates(self, rlp: Any, experiments: Any, max_cell: Any, d_min: Any) -> Any:
        found = super().candidates(rlp, experiments, max_cell, d_min)
        keep = np.linalg.norm(found.vectors, axis=1) <= self.longest
        self.longest = min(self.longest, np.linalg.norm(found.vectors[0]))
        return evolve(found, vectors=found.vectors[keep], scores=found.scores[keep])


class OneForAll(Fft3d):
    """Keeps what it works on where all can see it."""

    at_work = 0

    def candidates(self, rlp: Any, experiments: Any, max_cell: Any, d_min: Any) -> Any:
        OneForAll.at_work += 1
        time.sleep(0.05)
        mixed, OneForAll.at_work = OneForAll.at_work > 1, OneForAll.at_work - 1
        return super().candidates(1.1 * rlp if mixed else rlp, experiments, max_cell, d_min)


class TakesOne(Fft3d):
    def candidates(self, rlp: Any, experiments: Any, max_cell: Any, d_min: Any) -> Any:
        (one,) = experiments
        return super().candidates(rlp, [one], max_cell, d_min)


class OffForSeveral(Fft3d):
    def candidates(self, rlp: Any, experiments: Any, max_cell: Any, d_min: Any) -> Any:
        found = super().candidates(rlp, experiments, max_cell, d_min)
        return found if len(experiments) == 1 else evolve(found, vectors=1.1 * found.vectors)


def one_without_length(found: Any) -> Any:
    vectors = found.vectors.copy()
    vectors[5] = 0
    return evolve(found, vectors=vectors)


WRONG = {
    "shapes": after(lambda found: evolve(found, vectors=found.vectors.T)),
    "floats": after(lambda found: evolve(found, vectors=np.rint(found.vectors).astype(int))),
    "scores": after(lambda found: evolve(found, scores=found.scores[1:])),
    "finite": after(lambda found: evolve(found, scores=np.inf * found.scores)),
    "best_first": after(lambda found: evolve(found, vectors=found.vectors[::-1], scores=found.scores[::-1])),
    "lengths": after(one_without_length),
    "orientations": after(lambda found: evolve(found, orientations=np.zeros((1, 3, 3)))),
    "lattice": after(lambda found: evolve(found, vectors=1.1 * found.vectors)),
    "no_limit": [DividesByTheLimit, OffWithoutLimit],
    "edges": MuteForLongEdges,
    "order": Learns,
    "at_once": OneForAll,
    "several": [TakesOne, OffForSeveral],
    "still": [NeedsScan, OffInStills],
    "no_lattice": [Despairs, Curt, Mute],
}
