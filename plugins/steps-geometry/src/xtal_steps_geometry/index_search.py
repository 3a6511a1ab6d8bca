"""The search for one lattice among spots: vectors, bases, beam centre, known symmetry."""

from __future__ import annotations

import contextlib
from typing import Any

import gemmi
import numpy as np
from attrs import evolve, frozen
from numpy.typing import NDArray

from xtal.errors import AlgorithmFailed
from xtal.hooks.protocols import IndexingMethod
from xtal.models import Crystal, ExperimentList
from xtal.models.crystal import b_matrix, cell_of, space_group_of
from xtal.physics.indexing import (
    LatticeTrial,
    best_lattices,
    coherent_shifts,
    estimate_max_cell,
    evenly,
    fit_setting,
    fit_with_shift,
    large_enough,
    neighbour_differences,
    offset_classes,
    reduce_setting,
    same_lattice,
    score_lattice,
    shift_derivatives,
    sublattices,
)
from xtal.physics.lattice import apply_known_symmetry, niggli_basis, primitive_basis
from xtal.physics.rays import is_entering
from xtal.table import ReflectionTable
from xtal_steps_geometry.index_options import IndexingOptions, KnownSymmetryOptions

F = NDArray[np.float64]

SURE = 5.0
"""Mean log likelihood from which on beam centre and sense of rotation are not asked after.

A beam centre off by whole spots or the wrong sense over 2° and more leave less, but so do scattered spots.
"""

SHARES = (1.0, 0.5, 0.25)
"""Shares of the spots, of lowest resolution, whose differences are tried: wide images scatter the others."""

CLEARLY = 0.2
"""Mean log likelihood that another beam centre must bring."""

SMALL = 0.1
"""Shift of the detector, in spacings of spots, that refinement finds without a search."""

LATTICES, STARTS = 4, 12
"""Lattices of differences, and shifts of the detector for each, that are looked at closely."""

GOOD = 3.0
"""A mean log likelihood from which on no longest cell edge but the estimated one is tried.

Below it spots scatter by 9 % of their spacing and more along each axis, so that even of true ones some miss their
points by `NEAR`.
"""

CLEARLY_MORE = 0.02
"""Share of the spots that a larger cell must bring to be believed."""

NEAR = 0.3
"""Distance of h, k, l from integers within which a spot counts as lying on a lattice point."""


@frozen(eq=False)
class Sight:
    """Lattices at first sight.

    Attributes
    ----------
    trials : best first
    max_cell : angstrom
    """

    trials: list[LatticeTrial]
    max_cell: float


@frozen(eq=False)
class Found:
    """What a search came to.

    Attributes
    ----------
    crystal : on the axes of the known space group, or in P 1 on reduced axes
    trials : lattices that were compared, best first
    chosen : number of the one taken
    max_cell : angstrom
    shift : (3,) mm by which the detector is moved (fast, slow, normal)
    """

    crystal: Crystal
    trials: list[LatticeTrial]
    chosen: int
    max_cell: float
    shift: F


def spot_groups(table: ReflectionTable, experiments: ExperimentList) -> NDArray[np.int64]:
    """(n,) number of the image set and side of the Ewald sphere of each spot."""
    sets = np.asarray(table["imageset_id"], dtype=np.int64)
    side = np.zeros(len(table), np.int64)
    for k, experiment in enumerate(experiments):
        if experiment.goniometer is not None and not experiment.is_still:
            rows = sets == k
            side[rows] = is_entering(table["s1"][rows], experiment.beam, experiment.goniometer)
    return 2 * sets + side


class Search:
    """Search for a lattice with one method and one set of options."""

    def __init__(self, method: IndexingMethod, options: IndexingOptions, detector_free: bool) -> None:
        self.method, self.options, self.detector_free = method, options, detector_free

    def sight(self, table: ReflectionTable, experiments: ExperimentList, quick: bool = False) -> Sight:
        """Lattices of the spots of a table with ``rlp`` and ``imageset_id``.

        Parameters
        ----------
        quick : no longest cell edge but the estimated one is tried

        Raises
        ------
        AlgorithmFailed
            If no lattice is found.
        """
        rlp = np.asarray(table["rlp"])
        if len(rlp) < 10:
            raise AlgorithmFailed(
                f"Only {len(rlp)} {'spot is' if len(rlp) == 1 else 'spots are'} there to index.",
                advice="Find more spots: lower the threshold of find_spots.",
            )
        max_cell = self.max_cell(table, experiments)
        try:
            return Sight(self.attempts(rlp, experiments, max_cell, quick), max_cell)
        except AlgorithmFailed:
            if not self.bounded_by_cell:
                raise
            max_cell = longest_edge(rlp, table, experiments)
            return Sight(self.attempts(rlp, experiments, max_cell, quick), max_cell)

    def find(self, sight: Sight, table: ReflectionTable, experiments: ExperimentList, search_beam: bool) -> Found:
        """The best lattice of what was seen at first sight of the spots.

        Raises
        ------
        AlgorithmFailed
            If none has the known symmetry.
        """
        rlp, trials, max_cell = np.asarray(table["rlp"]), sight.trials, sight.max_cell
        shift = np.zeros(3)
        wanted = self.options.beam_search.enable
        poor = trials[0].score.log_likelihood < SURE or counts_from_elsewhere(trials[0].A, rlp)
        if search_beam and (wanted is True or (wanted == "auto" and poor)):
            trials, shift = self.beam_search(table, experiments, max_cell, trials)
            rlp = rlp + shift_derivatives(table, experiments) @ shift
        fitting = self.with_symmetry(self.without_multiples(trials, rlp), rlp)
        if fitting is None:
            cell = describe(self.best_of_all(trials, rlp, table, experiments).A)
            raise AlgorithmFailed(
                f"No lattice of the spots fits {describe_known(self.options.known_symmetry)}; the best one has the "
                f"primitive cell {cell}.",
                advice="Index without space group and cell, or widen indexing.known_symmetry's tolerances.",
            )
        crystal, chosen, trials = fitting
        return Found(crystal, trials, chosen, max_cell, shift)

    @property
    def bounded_by_cell(self) -> bool:
        """Whether the search goes as far as the cell that was given, which may not be the crystal's."""
        return self.options.known_symmetry.unit_cell is not None and isinstance(self.options.max_cell, str)

    def max_cell(self, table: ReflectionTable, experiments: ExperimentList) -> float:
        """Longest cell edge: given, from the known cell, or from the distances of spots."""
        known = self.options.known_symmetry
        if not isinstance(self.options.max_cell, str):
            return float(self.options.max_cell)
        if known.unit_cell is not None:
            return 1.3 * max(primitive_cell(known).parameters[:3])
        return longest_edge(np.asarray(table["rlp"]), table, experiments)

    def attempts(self, rlp: F, experiments: ExperimentList, max_cell: float, quick: bool = False) -> list[LatticeTrial]:
        """Lattices found with the estimated longest edge; where they are poor, with twice and half of it too."""
        best: list[LatticeTrial] = []
        failure: AlgorithmFailed | None = None
        factors = (1.0,) if quick or not isinstance(self.options.max_cell, str) else (1.0, 2.0, 0.5)
        for factor in factors:
            try:
                trials = self.lattices(rlp, experiments, factor * max_cell)
            except AlgorithmFailed as error:
                failure = failure or error
                continue
            if trials and (not best or trials[0].score.log_likelihood > best[0].score.log_likelihood):
                best = trials
            if best and best[0].score.log_likelihood > GOOD:
                break
        if not best:
            raise failure or AlgorithmFailed(
                "No lattice was found.", advice="Check beam centre, distance and rotation axis, or give max_cell=."
            )
        return best

    def lattices(self, rlp: F, experiments: ExperimentList, max_cell: float) -> list[LatticeTrial]:
        d_min = self.options.d_min or 0.0
        vectors = self.method.candidates(rlp, experiments, max_cell, d_min)
        found = [reduce_setting(a) for a in vectors.orientations]
        trials = [LatticeTrial(a, score_lattice(a, rlp)) for a in found]
        trials += best_lattices(vectors.vectors, rlp, self.options.min_cell_volume, self.options.min_cell)
        return sorted(trials, key=lambda t: -t.score.log_likelihood)

    def beam_search(
        self, table: ReflectionTable, experiments: ExperimentList, max_cell: float, trials: list[LatticeTrial]
    ) -> tuple[list[LatticeTrial], F]:
        """Lattices of the differences between spots, and the shift of the detector that brings the spots onto them.

        The shift is taken only if the lattice is then clearly better.
        """
        rlp, slopes = np.asarray(table["rlp"]), shift_derivatives(table, experiments)
        normal = 0.02 * experiments[0].detector[0].distance if self.detector_free else 0.0
        best, best_shift = trials, np.zeros(3)
        for share in SHARES:
            for trial in self.lattices_of_differences(table, experiments, max_cell, share):
                spacing = spacing_of(trial.A, slopes)
                fitted, shift = self.moved_onto(trial.A, rlp, slopes, np.array([spacing, spacing, normal]))
                better = fitted.score.log_likelihood - best[0].score.log_likelihood
                if better > CLEARLY:
                    best, best_shift = [fitted, *trials], shift
                elif better > -CLEARLY and np.linalg.norm(np.append(shift[:2], best_shift)) < SMALL * spacing:
                    return trials, np.zeros(3)
            if best[0].score.log_likelihood > SURE:
                break
        if np.linalg.norm(best_shift[:2]) < SMALL * spacing_of(best[0].A, slopes):
            return trials, np.zeros(3)
        if best[0].score.log_likelihood < SURE:  # of scattered spots the differences may give a multiple of the cell
            with contextlib.suppress(AlgorithmFailed):
                best = [*best, *self.attempts(rlp + slopes @ best_shift, experiments, max_cell)]
        return sorted(best, key=lambda t: -t.score.log_likelihood), best_shift

    def moved_onto(self, a_matrix: F, rlp: F, slopes: F, sigma_mm: F) -> tuple[LatticeTrial, F]:
        """A lattice and the shift (3,) of the detector that brings spots nearest to it; ``sigma_mm`` as in a fit."""
        rows, found = evenly(len(rlp), 3000), []
        reach = self.options.beam_search.scope * sigma_mm[0]
        for start in coherent_shifts(a_matrix, rlp, slopes, sigma_mm[0], reach, STARTS):
            moved = rlp[rows] + slopes[rows] @ start
            fitted, more = fit_with_shift(a_matrix, moved, slopes[rows], sigma_mm)
            found.append((score_lattice(fitted, moved + slopes[rows] @ more), fitted, start + more))
        score, fitted, shift = max(found, key=lambda f: f[0].log_likelihood)
        return LatticeTrial(reduce_setting(fitted), score, "beam centre moved"), shift

    def lattices_of_differences(
        self, table: ReflectionTable, experiments: ExperimentList, max_cell: float, share: float
    ) -> list[LatticeTrial]:
        """Lattices of the differences between neighbouring spots, of a share of the spots of lowest resolution."""
        rlp, phi = np.asarray(table["rlp"]), np.asarray(table["xyzobs.mm.value"])[:, 2]
        length = np.linalg.norm(rlp, axis=1)
        low = length <= np.quantile(length, share)
        differences = neighbour_differences(rlp[low], phi[low], spot_groups(table, experiments)[low])
        if len(differences) < 10:
            return []
        try:
            return self.lattices(differences, experiments, max_cell)[:LATTICES]
        except AlgorithmFailed:
            return []

    def best_of_all(
        self, trials: list[LatticeTrial], rlp: F, table: ReflectionTable, experiments: ExperimentList
    ) -> LatticeTrial:
        """The best lattice also where the cell that was given, which bounds the search, is not the crystal's."""
        if self.bounded_by_cell:
            with contextlib.suppress(AlgorithmFailed):
                trials = trials + self.attempts(rlp, experiments, longest_edge(rlp, table, experiments))
        return max(trials, key=lambda t: t.score.log_likelihood)

    def without_multiples(self, trials: list[LatticeTrial], rlp: F) -> list[LatticeTrial]:
        """Lattices, in front of them the smaller cell of the first one that clearly more spots lie on, if there is one.

        Where spots scatter by much of their spacing along an axis, as on wide images, a multiple of the cell has
        points near all of them and scores higher, but fewer spots lie on its points.
        """
        best, least = trials[0], (self.options.min_cell_volume, self.options.min_cell)
        rlp = rlp[evenly(len(rlp), 6000)]
        while True:
            smaller = [(reduce_setting(best.A @ m), n) for n in (2, 3, 4) for m in sublattices(n)]
            scored = [(score_lattice(a, rlp).fraction, a, n) for a, n in smaller if large_enough(a, *least)]
            fraction, a_matrix, n = max(scored, key=lambda s: s[0], default=(0.0, best.A, 1))
            if fraction < best.score.fraction + CLEARLY_MORE:
                return trials if best is trials[0] else [best, *(t for t in trials if not same_lattice(t.A, best.A))]
            a_matrix = reduce_setting(fit_setting(a_matrix, rlp))
            best = LatticeTrial(a_matrix, score_lattice(a_matrix, rlp), f"/ {n}")

    def with_symmetry(self, trials: list[LatticeTrial], rlp: F) -> tuple[Crystal, int, list[LatticeTrial]] | None:
        """The best lattice that has the known symmetry and cell, on the axes asked for; None if there is none.

        Raises
        ------
        AlgorithmFailed
            If only a cell that is larger than the spots ask for has the symmetry, and no cell was given.
        """
        known = self.options.known_symmetry
        if known.space_group is None and known.unit_cell is None:
            return Crystal(trials[0].A), 0, trials
        best = trials[0].A
        related = [
            LatticeTrial(reduce_setting(a), score_lattice(a, rlp), f"{sign} {n}")
            for n in (2, 3, 4)
            for m in sublattices(n)
            for a, sign in ((best @ np.linalg.inv(m).T, "x"), (best @ m, "/"))
        ]
        related.sort(key=lambda t: -t.score.log_likelihood)
        for k, trial in enumerate([*trials, *related]):
            if trial.score.log_likelihood < min(0.0, trials[0].score.log_likelihood - 2.0):
                continue
            crystal = fit_known(Crystal(trial.A), known)
            if crystal is not None:
                if known.unit_cell is None:
                    demand_spots_of_its_own(trial, trials[0], known)
                return (crystal, k, trials) if k < len(trials) else (crystal, 0, [trial, *trials])
        return None


def spacing_of(a_matrix: F, slopes: F) -> float:
    """Shift of the detector in its plane, mm, that moves spots by the shortest spacing of a lattice."""
    return 1.0 / max(cell_of(a_matrix).parameters[:3]) / float(np.median(np.linalg.norm(slopes[:, :, :2], axis=1)))


def times_too_large(trial: LatticeTrial, best: LatticeTrial) -> int:
    """How many times as large a cell is as that of the best lattice, where it brings no more spots; else 1."""
    empty = trial.score.fraction < best.score.fraction + CLEARLY_MORE
    return max(1, round(trial.volume / best.volume)) if empty else 1


def demand_spots_of_its_own(trial: LatticeTrial, best: LatticeTrial, known: KnownSymmetryOptions) -> None:
    """See to it that a lattice was not made sparse of spots only to have the symmetry asked for."""
    n = times_too_large(trial, best)
    if n > 1:
        raise AlgorithmFailed(
            f"The lattice of the spots, with the primitive cell {describe(best.A)}, does not have the symmetry of "
            f"{known.space_group}: only a cell {n} times as large has it, and then {n - 1} of {n} reflections would "
            "be absent.",
            advice="Give another space group or none; if you know the larger cell from elsewhere, give unit_cell= too.",
        )


def longest_edge(rlp: F, table: ReflectionTable, experiments: ExperimentList) -> float:
    """Longest cell edge that the distances of spots let expect."""
    phi = np.asarray(table["xyzobs.mm.value"])[:, 2]
    return estimate_max_cell(rlp, phi, spot_groups(table, experiments))


def counts_from_elsewhere(a_matrix: F, rlp: F) -> bool:
    """Whether the indices have a common remainder: the beam centre is off by part of a spacing, the cell a multiple."""
    fractional = rlp @ np.linalg.inv(a_matrix).T
    hkl = np.rint(fractional)
    near = np.linalg.norm(fractional - hkl, axis=1) < NEAR
    return bool(near.any()) and bool(offset_classes(hkl[near].astype(np.int32)))


def describe(a_matrix: F) -> str:
    return " ".join(f"{v:.2f}" for v in cell_of(a_matrix).parameters)


def describe_known(known: KnownSymmetryOptions) -> str:
    """What is known, in words."""
    group = "" if known.space_group is None else f"the space group {known.space_group}"
    cell = "" if known.unit_cell is None else "the cell " + " ".join(f"{v:g}" for v in known.unit_cell)
    return " with ".join(part for part in (group, cell) if part)


def primitive_cell(known: KnownSymmetryOptions) -> gemmi.UnitCell:
    """Reduced primitive cell of the known cell."""
    assert known.unit_cell is not None
    basis = np.eye(3) if known.space_group is None else primitive_basis(space_group_of(known.space_group))
    a_matrix = b_matrix(known.unit_cell) @ np.linalg.inv(basis).T
    return cell_of(a_matrix @ np.linalg.inv(niggli_basis(cell_of(a_matrix))).T)


def fit_known(crystal: Crystal, known: KnownSymmetryOptions) -> Crystal | None:
    """The crystal on the axes of the known space group and cell; None if it does not fit them.

    A cell alone is taken for a primitive one, or else for a centred one whose primitive cell is kept.
    """
    limits: dict[str, Any] = {
        "max_delta_deg": known.max_delta,
        "length_tolerance": known.relative_length_tolerance,
        "angle_tolerance_deg": known.absolute_angle_tolerance,
    }
    if known.space_group is not None:
        if known.unit_cell is not None and not like_in_volume(crystal, known, known.space_group):
            return None
        found = apply_known_symmetry(crystal, known.space_group, known.unit_cell, **limits)
        return None if found is None else found[0]
    for group in ("P 1", "I 1", "C 1", "A 1", "B 1", "F 1", "R 3:H"):
        if like_in_volume(crystal, known, group):
            cell = known.unit_cell if group == "P 1" else primitive_cell(evolve(known, space_group=group)).parameters
            found = apply_known_symmetry(crystal, "P 1", cell, **limits)
            if found is not None:
                return found[0]
    return None


def like_in_volume(crystal: Crystal, known: KnownSymmetryOptions, group: str) -> bool:
    """Whether a lattice may be that of the known cell with a group's centring: told at once, unlike by its axes."""
    assert known.unit_cell is not None
    low, high = volume_range(known.unit_cell, known.relative_length_tolerance, known.absolute_angle_tolerance)
    times = float(1.0 / np.linalg.det(primitive_basis(space_group_of(group))))
    return low <= times * crystal.cell.volume <= high


def volume_range(cell: tuple[float, ...], length_tolerance: float, angle_tolerance_deg: float) -> tuple[float, float]:
    """Volumes of cells that are near one, widened: axes of the same lattice may be compared that are more oblique."""
    off = 2.0 * angle_tolerance_deg * np.linspace(-1.0, 1.0, 5)
    cosines = [np.cos(np.radians(angle + off)) for angle in cell[3:]]
    a, b, c = np.meshgrid(*cosines)
    shape = np.sqrt(np.clip(1.0 - a * a - b * b - c * c + 2.0 * a * b * c, 0.0, 1.0))
    box, more = float(np.prod(cell[:3])), 1.0 + length_tolerance
    return box * float(shape.min()) / more**4, box * float(shape.max()) * more**4
