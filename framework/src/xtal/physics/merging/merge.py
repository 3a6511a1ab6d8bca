"""Inverse-variance means of equivalent observations."""

from __future__ import annotations

from typing import Any

import gemmi
import numpy as np
from attrs import define
from numpy.typing import NDArray

from xtal.physics.merging.segments import Segments
from xtal.physics.symmetry.asu import ccp4_asu, centric, pack, representatives, systematically_absent

F = NDArray[np.float64]
I64 = NDArray[np.int64]


@define(eq=False)
class Merged:
    """Unique reflections in CCP4's asymmetric unit, ordered by index.

    Absent values are NaN and their multiplicity 0. A centric reflection stands in "plus"
    and "mean"; its "minus" is absent.

    Attributes
    ----------
    hkl : (m, 3) int32; centric : (m,)
    mean, sigma, n : (m,) both Friedel mates together
    plus, sigma_plus, n_plus, minus, sigma_minus, n_minus : (m,) each by itself
    """

    hkl: NDArray[np.int32]
    centric: NDArray[np.bool_]
    mean: F
    sigma: F
    n: I64
    plus: F
    sigma_plus: F
    n_plus: I64
    minus: F
    sigma_minus: F
    n_minus: I64


def weighted_means(segments: Segments, value: F, variance: F) -> tuple[F, F]:
    """Mean and variance of each group: I = sum(x/v) / sum(1/v), var = 1 / sum(1/v)."""
    weight = 1.0 / variance
    total = segments.sum(weight)
    return segments.sum(weight * value) / total, 1.0 / total


def merge(
    hkl: NDArray[np.integer],
    value: F,
    variance: F,
    group: gemmi.SpaceGroup,
    *,
    keep_absent: bool = False,
    internal_variance: bool = False,
) -> Merged:
    """Merge observations under a space group.

    Parameters
    ----------
    hkl : (n, 3) indices as observed
    value, variance : (n,) scaled intensities
    keep_absent : whether reflections that the space group extinguishes stay
    internal_variance : whether the spread of a group may raise its variance

    Returns
    -------
    Merged
    """
    keys, same = representatives(hkl, group)
    unique, inverse = np.unique(keys, return_inverse=True)
    asu, same_hand = ccp4_asu(unique, group)
    plus = same == same_hand[inverse]
    central = centric(asu, group)
    plus |= central[inverse]
    order = np.argsort(pack(asu), kind="stable")
    if not keep_absent:
        order = order[~systematically_absent(asu[order], group)]
    both = _merge_into(inverse, value, variance, len(unique), np.ones(len(keys), dtype=bool), internal_variance)
    up = _merge_into(inverse, value, variance, len(unique), plus, internal_variance)
    down = _merge_into(inverse, value, variance, len(unique), ~plus, internal_variance)
    parts: list[Any] = [column[order] for triple in (both, up, down) for column in triple]
    return Merged(asu[order], central[order], *parts)


def _merge_into(
    group: I64, value: F, variance: F, size: int, use: NDArray[np.bool_], internal: bool
) -> tuple[F, F, I64]:
    """Mean, sigma and count of the used rows of each group; NaN where there are none."""
    weight = np.where(use, 1.0 / variance, 0.0)
    total = np.bincount(group, weight, size)
    count = np.bincount(group[use], minlength=size)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.bincount(group, weight * value, size) / total
        merged = 1.0 / total
        if internal:
            spread = np.bincount(group, weight * (value - mean[group]) ** 2, size)
            squares = np.bincount(group, weight**2, size)
            sample = total / (total**2 - squares) * spread / count
            merged = np.where(count > 1, np.fmax(sample, merged), merged)
        absent = count == 0
        return np.where(absent, np.nan, mean), np.where(absent, np.nan, np.sqrt(merged)), count
