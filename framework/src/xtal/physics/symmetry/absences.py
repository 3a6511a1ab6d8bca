"""Space groups ranked by what their screw axes extinguish.

Each candidate says which reflections are absent. A present one has an intensity from
Wilson's distribution, an absent one nothing but error; the likelihood of all axial
reflections under both hypotheses, with their standard deviations, gives the
probability of each group. Weak axial data therefore leave groups undecided in place
of rejecting them.
"""

from __future__ import annotations

from functools import cache

import gemmi
import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from xtal.physics.symmetry.asu import epsilon, systematically_absent

F = NDArray[np.float64]

OUTLIERS = 0.01
"""Prior probability that an absent reflection carries intensity all the same (double diffraction, a neighbour)."""

ENANTIOMORPHS = {76: 78, 91: 95, 92: 96, 144: 145, 151: 153, 152: 154, 169: 170, 171: 172, 178: 179, 180: 181, 212: 213}
"""Numbers of the space groups that are each other's mirror images: intensities cannot tell them apart."""


@frozen
class SpaceGroupScore:
    """A space group and its probability among those of the Laue group.

    Attributes
    ----------
    group, enantiomorph : the enantiomorph gives the same absences; None where there is none
    twins : other groups of the same absences (I222 and I212121)
    probability : shared by all of them
    n_absent : observed reflections that it extinguishes (beyond centring)
    mean_absent, z_absent : mean intensity over sigma of those, and that mean in units of its standard error
    """

    group: gemmi.SpaceGroup
    enantiomorph: gemmi.SpaceGroup | None
    twins: list[gemmi.SpaceGroup]
    probability: float
    n_absent: int
    mean_absent: float
    z_absent: float


def candidates(symmorphic: gemmi.SpaceGroup) -> list[gemmi.SpaceGroup]:
    """Chiral space groups of the same rotations and centring on the same axes, reference settings first.

    Settings that differ in their screw axes alone (P 2 2 21, P 2 21 2, P 21 2 2) are all there.
    """
    operations, found = symmorphic.operations(), []
    for group in gemmi.spacegroup_table():
        if not group.is_sohncke() or group.crystal_system_str() != symmorphic.crystal_system_str():
            continue
        own = group.operations()
        if own.has_same_centring(operations) and own.has_same_rotations(operations):
            found.append(group)
    return sorted(found, key=lambda g: (not g.is_reference_setting(), g.number))


def score_space_groups(
    hkl: NDArray[np.integer], value: F, sigma: F, cell: gemmi.UnitCell, symmorphic: gemmi.SpaceGroup
) -> list[SpaceGroupScore]:
    """Rank the space groups of a Laue group on merged intensities.

    Parameters
    ----------
    hkl : (n, 3) unique indices, one per set of equivalents
    value, sigma : (n,) merged intensities and their standard deviations
    symmorphic : the group without screw axes, which names rotations, centring and setting

    Returns
    -------
    list of SpaceGroupScore
        Most probable first; of equal ones, where no reflection on an axis was observed, those with more
        absences, as screw axes are the rule. Groups of the same absences stand together in one entry.
    """
    classes: dict[bytes, list[gemmi.SpaceGroup]] = {}
    grid = _axial_grid()
    for group in candidates(symmorphic):
        same = classes.setdefault(systematically_absent(grid, group).tobytes(), [])
        if group.number not in {g.number for g in same}:
            same.append(group)
    lattice_absent = systematically_absent(hkl, symmorphic)
    masks = {key: systematically_absent(hkl, groups[0]) & ~lattice_absent for key, groups in classes.items()}
    axial = np.any(list(masks.values()), axis=0) & ~lattice_absent
    gain = np.zeros(len(hkl))
    if axial.any():
        gain[axial] = _log_odds_absent(hkl[axial], value[axial], sigma[axial], hkl, value, cell, symmorphic, axial)
    log_l = np.array([gain[mask].sum() for mask in masks.values()])
    probability = np.exp(log_l - log_l.max())
    probability /= probability.sum()
    scores = [
        (_entry(groups, float(p), masks[key], value, sigma), sum(key))
        for (key, groups), p in zip(classes.items(), probability, strict=True)
    ]
    return [s for s, _ in sorted(scores, key=lambda s: (-round(s[0].probability, 2), -s[1], s[0].group.number))]


@cache
def _axial_grid() -> NDArray[np.int32]:
    """Indices that tell every set of absences from every other."""
    line = np.arange(1, 13)
    zero = np.zeros_like(line)
    axes = [np.stack(c, axis=1) for c in ((line, zero, zero), (zero, line, zero), (zero, zero, line))]
    return np.concatenate([*axes, np.array([[1, 2, 3], [1, 1, 0], [0, 1, 1], [1, 0, 1]])]).astype(np.int32)


def _log_odds_absent(
    axial_hkl: NDArray[np.integer], value: F, sigma: F,
    hkl: NDArray[np.integer], all_value: F, cell: gemmi.UnitCell, group: gemmi.SpaceGroup, axial: NDArray[np.bool_],
) -> F:  # fmt: skip
    """ln p(I | absent) - ln p(I | present) of each axial reflection.

    Axial reflections are centric but where the point group is polar about them; the
    broad centric distribution serves for all.
    """
    s_sq = np.asarray(cell.calculate_1_d2_array(np.ascontiguousarray(hkl, dtype=np.int32)))
    rest = np.flatnonzero(~axial)
    rest = rest[np.argsort(s_sq[rest], kind="stable")]
    shells = np.array_split(rest, max(1, len(rest) // 100))
    centre = np.array([s_sq[rows].mean() for rows in shells])
    level = np.array([max(float(np.mean(all_value[rows])), 1e-6) for rows in shells])
    mean = np.interp(s_sq[axial], centre, level) * epsilon(axial_hkl, group)
    spread = np.sqrt(sigma**2 + (0.003 * mean) ** 2)
    error = np.exp(-0.5 * (value / spread) ** 2) / (np.sqrt(2 * np.pi) * spread)
    present = _wilson_with_error(value, spread, mean)
    absent = (1 - OUTLIERS) * error + OUTLIERS * present
    tiny = 1e-300
    return np.log(absent + tiny) - np.log((1 - OUTLIERS) * present + OUTLIERS * error + tiny)


def _wilson_with_error(value: F, sigma: F, mean: F) -> F:
    """Density of an observed centric intensity: Wilson's chi-square law folded with a Gaussian error."""
    u = (np.arange(4000) + 0.5) / 4000 * 6.0
    true = mean[:, None] * u**2
    weight = np.sqrt(2 / np.pi) * np.exp(-(u**2) / 2) * (6.0 / 4000)
    z = (value[:, None] - true) / sigma[:, None]
    folded = (np.exp(-0.5 * z**2) * weight).sum(axis=1) / (np.sqrt(2 * np.pi) * sigma)
    x = np.maximum(value, 1e-3 * sigma) / mean
    sharp = np.exp(-x / 2) / (np.sqrt(2 * np.pi * x) * mean)
    return np.where(value > 30 * sigma, sharp, folded)


def _entry(
    groups: list[gemmi.SpaceGroup], probability: float, mask: NDArray[np.bool_], value: F, sigma: F
) -> SpaceGroupScore:
    """The lowest group of a set with its enantiomorph apart from the others."""
    first = groups[0]
    hand = next((g for g in groups[1:] if g.number == ENANTIOMORPHS.get(first.number)), None)
    twins = [g for g in groups[1:] if g is not hand]
    ratio = value[mask] / sigma[mask]
    mean = float(ratio.mean()) if len(ratio) else 0.0
    return SpaceGroupScore(first, hand, twins, probability, int(mask.sum()), mean, mean * float(np.sqrt(len(ratio))))
