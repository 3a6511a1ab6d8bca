"""Observations as scaling sees them: what is measured, and of what its variance is made."""

from __future__ import annotations

import gemmi
import numpy as np
from attrs import define
from numpy.typing import NDArray

from xtal.physics.merging.intensities import Intensities
from xtal.physics.merging.segments import Segments
from xtal.physics.symmetry.asu import representatives, unpack

F = NDArray[np.float64]
I64 = NDArray[np.int64]


@define(eq=False)
class ScalingData:
    """Observations of all experiments.

    Attributes
    ----------
    value : (n,) corrected intensities, not yet scaled
    background : (n,) the part of their variance that does not come from their own photons
    factor : (n,) corrected intensity per photon, so that photons add factor * intensity to the variance
    experiment : (n,) position of the experiment in the list; row : (n,) row within its table
    merged : groups that become one intensity each (Friedel mates apart or together as asked)
    apart, laue : groups with Friedel mates apart, and together
    shell : (n,) resolution shell of each observation
    """

    value: F
    background: F
    factor: F
    experiment: I64
    row: I64
    merged: Segments
    apart: Segments
    laue: Segments
    shell: I64

    def __len__(self) -> int:
        return len(self.value)


def scaling_data(
    parts: list[Intensities], cell: gemmi.UnitCell, group: gemmi.SpaceGroup, *, anomalous: bool = True
) -> ScalingData:
    """Join the observations of several experiments.

    The variance of an integrated intensity of N photons is N plus what the background
    adds; the first is recomputed from the expected intensity while scaling, so that a
    downward fluctuation does not get a larger weight (Evans & Murshudov 2013).
    """
    hkl = np.concatenate([p.hkl for p in parts])
    counts, factor = np.concatenate([p.counts for p in parts]), np.concatenate([p.factor for p in parts])
    variance = np.concatenate([p.variance for p in parts])
    background = variance - factor**2 * np.maximum(counts, 0.0)
    background = np.maximum(background, 0.02 * variance)
    keys, plus = representatives(hkl, group)
    laue, apart = Segments(keys), Segments(2 * keys + plus)
    s_sq = np.asarray(cell.calculate_1_d2_array(unpack(keys)))
    rank = np.empty(len(keys), dtype=np.int64)
    rank[np.argsort(s_sq, kind="stable")] = np.arange(len(keys))
    shell = rank * max(1, len(keys) // 500) // max(1, len(keys))
    return ScalingData(
        np.concatenate([p.value for p in parts]), background, factor,
        np.repeat(np.arange(len(parts)), [len(p) for p in parts]), np.concatenate([np.arange(len(p)) for p in parts]),
        apart if anomalous else laue, apart, laue, shell,
    )  # fmt: skip


def expected_intensity(data: ScalingData, scale: F, variance: F, use: NDArray[np.bool_]) -> F:
    """(n,) true intensity to expect of each observation, on the merged scale.

    The mean of all equivalents, drawn towards the mean of its resolution shell as far as
    its own error asks (Wilson's prior as a normal of equal mean and deviation).
    """
    weight = np.where(use, scale**2 / variance, 0.0)
    total = data.laue.sum(weight)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(total > 0, data.laue.sum(weight * data.value / scale) / total, 0.0)
    merged = mean[data.laue.group]
    n_shells = int(data.shell.max()) + 1
    count = np.bincount(data.shell, use, n_shells)
    level = np.bincount(data.shell, np.where(use, np.maximum(merged, 0.0), 0.0), n_shells) / np.maximum(count, 1)
    prior = np.maximum(level, 1e-6 * max(float(level.max()), 1e-30))[data.shell]
    precision, own = prior**-2.0, total[data.laue.group]
    return np.asarray(np.maximum((merged * own + prior * precision) / (own + precision), 0.0))
