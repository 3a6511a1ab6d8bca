"""Laue group from the correlation of intensities under each symmetry element of the lattice.

Evans (2006), Acta Cryst. D62, 72-82; Evans (2011), Acta Cryst. D67, 282-292.
"""

from __future__ import annotations

import gemmi
import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from xtal.physics.symmetry.asu import pack, unpack
from xtal.physics.symmetry.groups import lattice_rotations, metric, order_of, subgroups
from xtal.physics.symmetry.settings import Setting, conventional_setting

F = NDArray[np.float64]
I64 = NDArray[np.int64]

MIN_SIGMA = 0.1
"""Least uncertainty of a correlation: pairs that should agree never agree perfectly (Evans 2006)."""


@frozen
class ElementScore:
    """How well intensities agree under one symmetry element.

    Attributes
    ----------
    rotation : (3, 3) in the reduced basis
    order, axis : of the rotation; axis in the reduced basis (direct lattice)
    cc : correlation of normalised intensities; n : pairs
    z : cc over its uncertainty for unrelated pairs
    likelihood : probability that the element is present
    """

    rotation: I64
    order: int
    axis: tuple[int, int, int]
    cc: float
    n: int
    z: float
    log_present: float
    log_absent: float

    @property
    def likelihood(self) -> float:
        return float(1.0 / (1.0 + np.exp(self.log_absent - self.log_present)))


@frozen
class SubgroupScore:
    """A subgroup of the lattice's rotations: its setting, probability, and net Z(CC)."""

    rotations: I64
    setting: Setting
    probability: float
    z_for: float
    z_against: float
    cc_for: float
    cc_against: float
    delta_deg: float

    @property
    def net_z(self) -> float:
        return self.z_for - self.z_against


@frozen
class LaueResult:
    """Elements and subgroups, best first. ``cc_identity`` is the correlation of Friedel mates."""

    elements: list[ElementScore]
    subgroups: list[SubgroupScore]
    lattice: I64
    cc_true: float
    cc_identity: float
    n_used: int

    @property
    def best(self) -> SubgroupScore:
        return self.subgroups[0]


def find_laue_group(hkl: I64, value: F, sigma: F, reduced: gemmi.UnitCell, max_delta_deg: float = 2.0) -> LaueResult:
    """Score the rotations of the lattice, and its subgroups, on merged intensities.

    Parameters
    ----------
    hkl : (n, 3) indices in the Niggli-reduced basis ``reduced``, unique but for Friedel mates
    value, sigma : (n,) intensities merged in P1
    max_delta_deg : tolerance of the lattice symmetry, degrees
    """
    rotations, deltas = lattice_rotations(reduced, max_delta_deg)
    group = metric(reduced)
    use, e2, e2_sigma = normalise(hkl, value, sigma, reduced)
    general = _on_no_element(hkl, rotations) & use
    h, e2, e2_sigma = hkl[general], e2[general], e2_sigma[general]
    cc_identity, n_identity = _friedel_cc(h, e2)
    cc_true = _expected_cc(e2, e2_sigma, cc_identity, n_identity)
    keys, e2 = _merge_friedel(h, e2, e2_sigma)
    elements = [_score_element(r, keys, e2, cc_true) for r in _up_to_inverse(rotations)]
    worst = {r.tobytes(): float(d) for r, d in zip(rotations, deltas, strict=True)}
    scored = _score_subgroups(elements, rotations, worst, group)
    return LaueResult(elements, scored, rotations, cc_true, cc_identity, len(h))


def normalise(hkl: I64, value: F, sigma: F, cell: gemmi.UnitCell) -> tuple[NDArray[np.bool_], F, F]:
    """Intensities over the mean of their resolution shell, strong shells only.

    Shells hold equal numbers of reflections. Those beyond which the mean intensity falls
    below its mean sigma times 4 are left out, as are values above 16 times the mean.

    Returns
    -------
    use : (n,) rows in the shells that are kept, without outliers
    e2, e2_sigma : (n,)
    """
    s_sq = np.asarray(cell.calculate_1_d2_array(np.ascontiguousarray(hkl, dtype=np.int32)))
    order = np.argsort(s_sq, kind="stable")
    n_shells = int(np.clip(len(hkl) // 200, 1, 60))
    e2, e2_sigma, strong = np.zeros(len(hkl)), np.zeros(len(hkl)), np.zeros(len(hkl), dtype=bool)
    kept = 0
    for k, rows in enumerate(np.array_split(order, n_shells)):
        mean = float(np.mean(value[rows]))
        if mean <= 0 or (k >= max(1, n_shells // 4) and mean < 4 * np.mean(sigma[rows])):
            break
        e2[rows], e2_sigma[rows] = value[rows] / mean, sigma[rows] / mean
        kept += len(rows)
    strong[order[:kept]] = True
    return strong & (e2 < 16) & (e2 > -4), e2, e2_sigma


def _on_no_element(hkl: I64, rotations: I64) -> NDArray[np.bool_]:
    """Reflections that no rotation of the group leaves where it is or inverts."""
    general = np.ones(len(hkl), dtype=bool)
    for rotation in rotations[1:]:
        turned = hkl @ rotation
        general &= np.any(turned != hkl, axis=1)
    return general


def _friedel_cc(hkl: I64, e2: F) -> tuple[float, int]:
    """Correlation of I(h) with I(-h) and the number of pairs."""
    keys, opposite = pack(hkl), pack(-hkl)
    order = np.argsort(keys, kind="stable")
    at = np.minimum(np.searchsorted(keys[order], opposite), max(0, len(keys) - 1))
    found = (keys[order][at] == opposite) & (opposite > keys) if len(keys) else np.zeros(0, dtype=bool)
    return _pearson(e2[found], e2[order][at[found]]), int(found.sum())


def _expected_cc(e2: F, sigma: F, cc_identity: float, n_identity: int) -> float:
    """Correlation to expect of truly equivalent reflections (Evans 2011, appendix A)."""
    if len(e2) < 3:
        return 0.9
    variance = float(np.var(e2))
    expected = variance / (variance + float(np.mean(sigma**2)))
    weight_expected = 1.0 / max(0.05, 1 / np.sqrt(200.0)) ** 2
    weight_identity = 1.0 / max(0.05, 1 / np.sqrt(n_identity)) ** 2 if n_identity > 10 else 0.0
    identity = cc_identity if n_identity > 10 else 0.0
    total = weight_expected + weight_identity
    return float(np.clip((weight_expected * expected + weight_identity * identity) / total, 0.05, 1.0))


def _merge_friedel(hkl: I64, e2: F, sigma: F) -> tuple[I64, F]:
    """Sorted keys of unique reflections (the larger of h and -h) and their weighted means."""
    keys, group = np.unique(np.maximum(pack(hkl), pack(-hkl)), return_inverse=True)
    weight = 1.0 / (sigma**2 + (0.03 * e2) ** 2 + 1e-12)
    total = np.bincount(group, weight, len(keys))
    return keys, np.bincount(group, weight * e2, len(keys)) / total


def _up_to_inverse(rotations: I64) -> list[I64]:
    """One of each pair of a rotation and its inverse, without the identity."""
    kept: list[I64] = []
    for rotation in rotations[1:]:
        inverse = np.rint(np.linalg.inv(rotation)).astype(np.int64)
        if not any(np.array_equal(inverse, k) for k in kept):
            kept.append(rotation)
    return kept


def _score_element(rotation: I64, keys: I64, e2: F, cc_true: float) -> ElementScore:
    """Correlate I(h) with I(hR) over each pair once."""
    turned = unpack(keys).astype(np.int64) @ rotation
    mate = np.maximum(pack(turned), pack(-turned))
    at = np.minimum(np.searchsorted(keys, mate), max(0, len(keys) - 1))
    found = keys[at] == mate if len(keys) else np.zeros(0, dtype=bool)
    order = order_of(rotation)
    found &= mate > keys if order == 2 else mate != keys
    n = int(found.sum())
    cc = _pearson(e2[found], e2[at[found]])
    sigma = max(MIN_SIGMA, 1.0 / np.sqrt(n)) if n else 1.0
    present, absent = _log_likelihoods(cc, cc_true, sigma) if n > 2 else (0.0, 0.0)
    return ElementScore(rotation, order, axis_of(rotation), cc, n, cc / sigma, present, absent)


def axis_of(rotation: I64) -> tuple[int, int, int]:
    """Direct-lattice direction of a rotation's axis, without common divisor."""
    total = sum(np.linalg.matrix_power(rotation, k) for k in range(order_of(rotation)))
    columns = np.asarray(total).T
    axis = columns[np.argmax((columns**2).sum(axis=1))]
    axis = axis // max(1, int(np.gcd.reduce(axis)))
    axis = axis * (-1 if axis[np.flatnonzero(axis)[0]] < 0 else 1)
    return int(axis[0]), int(axis[1]), int(axis[2])


def _pearson(x: F, y: F) -> float:
    if len(x) < 3 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return 0.0
    return float(np.corrcoef(x, y)[0, 1])


def _log_likelihoods(cc: float, cc_true: float, sigma: float) -> tuple[float, float]:
    """ln p(CC | element present), ln p(CC | absent): Lorentzians truncated to [-1, 1].

    An absent element has an unknown true correlation m of probability ~ sqrt(1 - m^2) in
    [0, 1], which allows for pseudo-symmetry (Evans 2006, section 3.2.1).
    """

    def density(centre: F | float) -> F:
        c = np.asarray(centre)
        area = np.arctan((1 - c) / sigma) - np.arctan((-1 - c) / sigma)
        return np.asarray(1.0 / (sigma * (1 + ((cc - c) / sigma) ** 2)) / area)

    m = (np.arange(1000) + 0.5) / 1000
    weight = np.sqrt(1 - m**2)
    absent = float((density(m) * weight).sum() / weight.sum())
    return float(np.log(density(cc_true))), float(np.log(absent))


def _score_subgroups(
    elements: list[ElementScore], lattice: I64, deltas: dict[bytes, float], group_metric: F
) -> list[SubgroupScore]:
    """Probability of each subgroup: elements inside are present, those outside are not."""
    candidates = subgroups(lattice)
    inside = np.array([[any(np.array_equal(e.rotation, r) for r in g) for e in elements] for g in candidates])
    inside = inside.reshape(len(candidates), len(elements)).astype(bool)
    counted = np.array([e.n > 2 for e in elements], dtype=bool)
    present = np.array([e.log_present for e in elements])
    absent = np.array([e.log_absent for e in elements])
    log_l = np.where(inside, present, absent)[:, counted].sum(axis=1) if counted.any() else np.zeros(len(candidates))
    probability = np.exp(log_l - log_l.max())
    probability /= probability.sum()
    z, cc = np.array([e.z for e in elements]), np.array([e.cc for e in elements])
    scores = []
    for group, mine, p in zip(candidates, inside, probability, strict=True):
        rms = lambda rows: float(np.sqrt(np.mean(z[rows] ** 2))) if rows.any() else 0.0
        mean = lambda rows: float(np.mean(cc[rows])) if rows.any() else 0.0
        setting = conventional_setting(group, group_metric)
        delta = max(deltas[r.tobytes()] for r in group)
        scores.append(SubgroupScore(group, setting, float(p), rms(mine), rms(~mine), mean(mine), mean(~mine), delta))
    return sorted(scores, key=lambda s: (-round(s.probability, 12), -len(s.rotations)))
