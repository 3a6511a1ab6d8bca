"""The Bravais lattice of an indexed crystal: every candidate refined and compared with triclinic.

Only the crystal moves in the comparison: a free beam and detector let wrong lattices fit. For
electrons the detector moves too, but for its distance: lenses distort the pattern by a per
cent or two, which triclinic cells hide and others cannot. On stills and narrow scans the triclinic
cell has bent to fit a detector that was not quite in its place, so that it moves there too.
"""

from __future__ import annotations

import copy

import numpy as np
from attrs import evolve, frozen
from numpy.typing import NDArray

from xtal.errors import AlgorithmFailed
from xtal.models import Crystal, Experiment, ExperimentList
from xtal.physics.lattice import LatticeCandidate, lattice_candidates
from xtal.physics.refinement.engine import refine
from xtal.physics.refinement.settings import RefinementResult, RefinementSettings
from xtal.table import Flag, ReflectionTable

Array = NDArray[np.float64]

SUBSET = 3000
MIN_PAIRS = 10
RMSD_FLOOR = 0.05
"""Pixels and images: rmsds below this are good whatever their ratio to those of triclinic."""


NARROW_DEG = 3.0
"""Rotation below which the place of the detector trades off with the cell."""


@frozen(eq=False)
class LatticeTrial:
    """A candidate and how it fits.

    Attributes
    ----------
    rmsd : (3,) px, px, images; nan where refinement failed
    min_cc : lowest correlation of E^2 of strong spots over the lattice's rotations; nan if unknown
    recommended : whether it fits as well as triclinic does
    """

    candidate: LatticeCandidate
    rmsd: Array
    min_cc: float
    recommended: bool


def compare_lattices(
    experiments: ExperimentList, table: ReflectionTable, which: int = 0, max_delta_deg: float = 5.0
) -> list[LatticeTrial]:
    """Refine each lattice that the metric of experiment ``which`` allows.

    Returns
    -------
    list of LatticeTrial
        In the order of `lattice_candidates`: highest symmetry first, triclinic last.
    """
    experiment = copy.copy(experiments[which])
    assert experiment.crystal is not None
    rows = np.flatnonzero((np.asarray(table["id"]) == which) & np.any(np.asarray(table["miller_index"]) != 0, axis=1))
    columns = ("miller_index", "panel", "xyzobs.px.value", "xyzobs.px.variance", "flags", "bbox", "intensity.sum.value")
    spots = ReflectionTable({c: np.asarray(table[c])[rows] for c in columns if c in table})
    spots["id"] = np.zeros(len(rows), np.int32)
    settings = RefinementSettings(
        beam_fix=("all",), detector_fix=("all",), max_reflections=SUBSET, macrocycles=1, most_macrocycles=1,
        max_iterations=10,
    )  # fmt: skip
    if experiment.beam.is_electron:
        settings = evolve(settings, detector_fix=("distance",), macrocycles=2, max_iterations=30)
    elif rotation_deg(experiment) < NARROW_DEG:
        settings = evolve(settings, detector_fix=(), macrocycles=2, max_iterations=30)
    candidates = lattice_candidates(experiment.crystal, max_delta_deg)
    results: list[tuple[LatticeCandidate, Array, float]] = []
    base: RefinementResult | None = None
    for candidate in reversed(candidates):
        trial = ExperimentList([evolve(experiment, crystal=copy.deepcopy(candidate.crystal))])
        moved = spots.select(np.arange(len(spots)) if base is None else _used(base))
        moved["miller_index"] = reindexed(moved["miller_index"], candidate.basis)
        # All lattices are judged by the reflections that fit the triclinic one.
        chosen = settings if base is None else evolve(settings, outlier_algorithm="null")
        try:
            result = refine(trial, moved, chosen)
        except AlgorithmFailed:
            results.append((candidate, np.full(3, np.nan), np.nan))
            continue
        base = base or result
        cc = lowest_correlation(candidate.crystal, reindexed(spots["miller_index"], candidate.basis), spots)
        results.append((candidate, result.rmsd[0], cc))
    triclinic = results[0][1]
    trials = [LatticeTrial(c, r, cc, fits(c.delta_deg, r, cc, triclinic)) for c, r, cc in results]
    return trials[::-1]


def rotation_deg(experiment: Experiment) -> float:
    """How far the images of an experiment turn; 0 for stills."""
    scan = experiment.scan
    return 0.0 if experiment.is_still or scan is None else float(abs(scan.n_images * scan.oscillation_deg[1]))


def _used(result: RefinementResult) -> NDArray[np.int64]:
    return np.flatnonzero(result.table.has_flags(Flag.USED_IN_REFINEMENT))


def fits(delta_deg: float, rmsd: Array, min_cc: float, triclinic: Array) -> bool:
    """Whether a lattice is to be believed: rmsds near those of triclinic, less so where intensities disagree."""
    if not np.all(np.isfinite(rmsd)):
        return False
    ratio = float(np.max(np.maximum(rmsd, RMSD_FLOOR) / np.maximum(triclinic, RMSD_FLOOR)))
    if delta_deg < 0.5:
        return ratio <= (1.5 if min_cc >= 0.5 else 1.25)
    return ratio <= (1.5 if min_cc >= 0.7 else 1.25 if min_cc >= 0.5 else 1.1)


def choose_lattice(trials: list[LatticeTrial]) -> LatticeTrial:
    """The highest symmetry that fits; of equal ones the best rmsd. Triclinic always does."""
    good = [t for t in trials if t.recommended] or trials[-1:]
    order = max(t.candidate.order for t in good)
    return min((t for t in good if t.candidate.order == order), key=lambda t: float(np.sum(t.rmsd**2)))


def reindexed(hkl: Array, basis: Array) -> NDArray[np.int32]:
    """(n, 3) int32 indices h P on new axes."""
    return np.round(np.asarray(hkl) @ basis).astype(np.int32)


def lowest_correlation(crystal: Crystal, hkl: NDArray[np.int32], spots: ReflectionTable) -> float:
    """Lowest correlation coefficient of symmetry mates over the rotations of a lattice.

    Intensities are divided by the mean of their shell of resolution, or the common fall-off
    alone would correlate them. Friedel mates count as one reflection.
    """
    if "intensity.sum.value" not in spots:
        return float("nan")
    value = np.asarray(spots["intensity.sum.value"], dtype=float)
    good = (value > 0) & np.any(hkl != 0, axis=1)
    unique, inverse = np.unique(friedel_key(hkl[good]), return_inverse=True)
    mean = np.bincount(inverse, value[good]) / np.bincount(inverse)
    first = np.zeros(len(unique), np.int64)
    first[inverse[::-1]] = np.arange(len(inverse))[::-1]
    index = hkl[good][first]
    s2 = np.einsum("ni,ni->n", index @ crystal.A.T, index @ crystal.A.T)
    shell = np.argsort(np.argsort(s2, kind="stable"), kind="stable") * max(1, len(s2) // 200) // max(1, len(s2))
    mean /= (np.bincount(shell, mean) / np.bincount(shell))[shell]
    mean = np.sqrt(mean)
    lowest = float("nan")
    for op in crystal.space_group.operations().sym_ops[1:]:
        mates = friedel_key(index @ (np.array(op.rot) // op.DEN))
        place = np.minimum(np.searchsorted(unique, mates), len(unique) - 1)
        pair = (unique[place] == mates) & (mates != unique)
        if pair.sum() > MIN_PAIRS:
            cc = float(np.corrcoef(mean[pair], mean[place[pair]])[0, 1])
            lowest = cc if np.isnan(lowest) else min(lowest, cc)
    return lowest


def friedel_key(hkl: NDArray[np.int32]) -> NDArray[np.int64]:
    """(n,) a number that h and -h share and no other index has."""
    h = np.asarray(hkl, dtype=np.int64)
    packed = (h[:, 0] * 8192 + h[:, 1]) * 8192 + h[:, 2]
    return np.abs(packed)
