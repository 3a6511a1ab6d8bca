"""Observations that disagree with their equivalents."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from xtal.physics.merging.segments import Segments

F = NDArray[np.float64]
I64 = NDArray[np.int64]

IMPROBABLE = 100.0
"""Times the mean of its shell that Wilson's statistics allow no intensity to be (DIALS: E² > 100)."""

USUAL = 10.0
"""Times the mean of its shell up to which an intensity counts for it, so that what is sought does not raise it."""

ANOMALOUS = 0.2
"""Share of the intensity by which Friedel mates may differ, as a standard deviation: more than any real signal."""


def leave_one_out(value: F, variance: F, groups: Segments, use: NDArray[np.bool_], tolerance: float = 0.0) -> F:
    """(n,) deviation of each used observation from the weighted mean of the others, in its sigmas.

    0 where there are not at least two others. ``tolerance`` times the mean counts as a
    further standard deviation.
    """
    weight = np.where(use, 1.0 / variance, 0.0)
    total, weighted = groups.sum(weight)[groups.group], groups.sum(weight * value)[groups.group]
    count = groups.sum(use)[groups.group]
    testable = use & (count > 2)
    others = np.where(testable, total - weight, 1.0)
    mean = (weighted - weight * value) / others
    return np.where(testable, np.abs(value - mean) / np.sqrt(variance + 1.0 / others + (tolerance * mean) ** 2), 0.0)


def reject_outliers(
    value: F,
    variance: F,
    groups: Segments,
    use: NDArray[np.bool_],
    z_max: float = 6.0,
    one_pass: bool = False,
    tolerance: float = 0.0,
) -> NDArray[np.bool_]:
    """(n,) observations kept: in each group the worst beyond ``z_max`` goes first, until none is left.

    Parameters
    ----------
    value, variance : (n,) scaled intensities
    use : (n,) candidates
    one_pass : reject all beyond z_max at once
    """
    kept = use.copy()
    while True:
        z = leave_one_out(value, variance, groups, kept, tolerance)
        bad = np.flatnonzero(z > z_max)
        if not len(bad):
            return kept
        if not one_pass:
            order = bad[np.lexsort((-z[bad], groups.group[bad]))]
            first = np.concatenate([[True], np.diff(groups.group[order]) != 0])
            bad = order[first]
        kept[bad] = False
        if one_pass:
            return kept


def improbable(value: F, variance: F, shell: I64, laue: Segments, z_max: float = 6.0) -> NDArray[np.bool_]:
    """(n,) observations far above the mean of their resolution shell, with no equivalent half as strong.

    Hot pixels and zingers where too few equivalents were observed to tell. Strong
    reflections of a lattice with many weak ones have strong equivalents.

    Parameters
    ----------
    value, variance : (n,) scaled intensities
    shell : (n,) resolution shell of each
    laue : groups of equivalents, both hands together
    z_max : sigmas above which a value is no fluctuation of a weak one
    """
    usual = np.ones(len(value), dtype=bool)
    for _ in range(3):
        n = np.maximum(np.bincount(shell, usual), 1)
        mean = np.bincount(shell, np.where(usual, value, 0.0)) / n
        error = np.sqrt(np.bincount(shell, np.where(usual, variance, 0.0))) / n
        level = (np.maximum(mean, 0.0) + 3.0 * error)[shell]
        usual = value <= USUAL * level
    far = (value > IMPROBABLE * level) & (value > z_max * np.sqrt(variance))
    if not far.any():
        return far
    highest = np.full(len(laue.counts), -np.inf)
    np.maximum.at(highest, laue.group, value)
    strong = value >= 0.5 * highest[laue.group]
    return np.asarray(far & strong & (laue.sum(strong)[laue.group] == 1))
