"""Which observations must agree, and how closely: the target that scales are refined on.

Friedel mates that are kept apart are still nearly equal: their difference D is a normal of
variance (s M)^2, s small. With total weights W+ and W- of the two hands, the sum over each hand
of w (I - g M)^2 gains D^2 / (1/W+ + 1/W- + (s M)^2). The sum with both hands together exceeds
that with hands apart by D^2 / (1/W+ + 1/W-), so the target is (1 - f) of the latter plus f of
the former, f = (1/W+ + 1/W-) / (1/W+ + 1/W- + (s M)^2): the same equations on two groupings.
"""

from __future__ import annotations

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from xtal.physics.merging.segments import Segments
from xtal.physics.scaling.observations import ScalingData
from xtal.physics.scaling.outliers import ANOMALOUS, leave_one_out

F = NDArray[np.float64]
I64 = NDArray[np.int64]

ROBUST = 4.0
"""Deviations beyond so many sigmas lose weight while the model is refined (Huber)."""


@frozen(eq=False)
class Grouping:
    """Groups of rows that must agree, with a share of each row's weight.

    Attributes
    ----------
    groups
    share : (n,) of the weight; the groupings of a target add up to 1
    tolerance : share of the mean by which members may differ besides, as a standard deviation
    """

    groups: Segments
    share: F
    tolerance: float = 0.0

    def weights(self, value: F, variance: F, scale: F) -> F:
        """(n,) weights of the unscaled rows; those far from the others of their group lose some."""
        everything = np.ones(len(value), dtype=bool)
        z = leave_one_out(value / scale, variance / scale**2, self.groups, everything, self.tolerance)
        return self.share / variance * np.minimum(1.0, ROBUST / np.maximum(z, 1e-9))


@frozen(eq=False)
class Target:
    """What is refined on: rows, their groupings, and the rms of (I+ - I-) / I (0 where mates are together)."""

    rows: I64
    groupings: tuple[Grouping, ...]
    anomalous: float = 0.0


def make_target(data: ScalingData, rows: I64, scale: F, variance: F) -> Target:
    """The target of some rows, at the scales and variances (of all) that are known so far."""
    laue = Segments(data.laue.group[rows])
    if data.merged is data.laue:
        return Target(rows, (Grouping(laue, np.ones(len(rows))),))
    apart = Segments(data.apart.group[rows])
    weight, value = scale[rows] ** 2 / variance[rows], data.value[rows] / scale[rows]
    total = apart.sum(weight)
    hand = apart.sum(weight * value) / total
    owner = laue.group[apart.order[apart.starts[:-1]]]
    first = np.flatnonzero(owner[1:] == owner[:-1])
    pair = owner[first]
    mean = np.maximum(laue.sum(weight * value) / laue.sum(weight), 0.0)[pair]
    spread = 1 / total[first] + 1 / total[first + 1]
    s = anomalous_ratio(hand[first + 1] - hand[first], spread, mean)
    together = np.ones(len(laue))
    together[pair] = spread / (spread + (s * mean) ** 2)
    share = together[laue.group]
    return Target(rows, (Grouping(apart, 1 - share), Grouping(laue, share, s)), s)


def anomalous_ratio(difference: F, variance: F, mean: F) -> float:
    """The rms of true differences of Friedel mates over their means, from differences with errors of known variance."""
    if not np.any(mean > 0):
        return 0.0
    s_sq = 0.05**2
    for _ in range(10):
        expected = variance + s_sq * mean**2
        weight = (mean / expected) ** 2
        excess = np.minimum(difference**2, ROBUST**2 * expected) - variance
        s_sq = float(np.clip(np.sum(weight * excess) / np.sum(weight * mean**2), 1e-8, ANOMALOUS**2))
    return float(np.sqrt(s_sq))
