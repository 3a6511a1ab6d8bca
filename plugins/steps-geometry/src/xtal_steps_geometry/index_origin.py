"""Whether indices count from the direct beam: a beam centre that is off by whole spots indexes all the same."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import numpy as np
from attrs import evolve, frozen
from numpy.typing import NDArray

from xtal.models import Crystal, ExperimentList
from xtal.physics.indexing import (
    LatticeTrial,
    compare_cells,
    evenly,
    fit_shift,
    offset_classes,
    plane_shifts,
    score_lattice,
    shift_derivatives,
    shift_for_offset,
    shifted,
)
from xtal.physics.refinement import RefinementSettings
from xtal.run import Context
from xtal.table import ReflectionTable
from xtal_steps_geometry.index_cycles import State, macrocycles, map_spots, tidy_crystal

F = NDArray[np.float64]

CLEARLY = 0.8
"""Another origin must bring spots this much nearer to their points."""

DISTANCE = 0.01
"""Share of the distance that a detector may well be off along its normal."""

REACH = 3
"""Origins tried are so many lattice vectors away along each axis."""

FEWEST = 20
"""Indexed spots below which a cell and a shift of the detector fit whatever origin."""

LIKELY = 8
"""Origins looked at closely, the best at first sight."""


@frozen(eq=False)
class Origin:
    """How spots fit when their indices count from a point of the lattice.

    Attributes
    ----------
    a_matrix : (3, 3) setting matrix
    shift : (3,) mm from where the detector was given
    off : median distance of spots from their points, 1/angstrom
    """

    a_matrix: F
    shift: F
    off: float


def settle_origin(context: Context, state: State, moved: F, settings: RefinementSettings) -> None:
    """Move the origin to a point of the lattice, where all indices have a common remainder.

    Parameters
    ----------
    moved : (3,) mm that the detector was moved already
    """
    hkl = np.asarray(state.table["miller_index"])[np.asarray(state.table["id"]) >= 0]
    offsets = offset_classes(hkl)
    if not offsets:
        return
    slopes = shift_derivatives(state.table, state.images)
    a_matrix = state.crystals[0].A
    shift, move = shift_for_offset(offsets, a_matrix, slopes, moved)
    if not np.any(move):
        return
    context.print(
        f"All indices had a common remainder, so the origin was off: it was moved by {move.tolist()} and the detector "
        f"by {shift[0]:.2f}, {shift[1]:.2f} mm along fast and slow."
    )
    again(context, state, settings, shifted(state.images, shift), a_matrix)


def correct_origin(context: Context, state: State, given: ExperimentList, settings: RefinementSettings) -> None:
    """Count indices from another point of the lattice, where spots then fit clearly better.

    On a still or a narrow scan a beam centre that is off by a lattice vector gives whole indices to all spots, and
    refinement bends cell, distance and tilts until they fit. With the tilts as they were given only the right
    origin fits.
    """
    indexed = np.flatnonzero(np.asarray(state.table["id"]) >= 0)
    if len(indexed) < FEWEST:
        return
    table = state.table.select(indexed[evenly(len(indexed), 1000)])
    distance = given[0].detector[0].distance
    held = "distance" in settings.detector_fix
    sigma = np.array([np.inf, np.inf, 0.0 if held else DISTANCE * distance])
    fits = origins(table, given, state.crystals[0].A, sigma)
    best, here = min(fits, key=lambda offset: fits[offset].off), next(iter(fits))
    if fits[best].off <= CLEARLY * fits[here].off:
        x, y, z = fits[best].shift
        context.warn(
            f"The beam centre was off by whole spots: counted from {list(best)} indices fit the spots to "
            f"{told(fits[best])} instead of {told(fits[here])}. The detector was moved by {x:.2f}, {y:.2f} mm along "
            f"fast and slow and {z:.2f} mm along its normal from where it was given."
        )
        again(context, state, settings, shifted(given, fits[best].shift), fits[best].a_matrix)
        here = best
    warn_of_doubt(context, fits, here)


def warn_of_doubt(context: Context, fits: Mapping[tuple[int, ...], Origin], here: tuple[int, ...]) -> None:
    """Say where indices that count from another point of the lattice fit about as well."""
    others = [offset for offset in fits if offset != here]
    if not others:
        return
    other = min(others, key=lambda offset: fits[offset].off)
    if CLEARLY * fits[other].off > fits[here].off:
        return
    x, y, _ = fits[other].shift - fits[here].shift
    context.warn(
        f"The beam centre cannot be told from these spots, and indices may be wrong: counted from {list(other)}, the "
        f"detector {x:.2f}, {y:.2f} mm further along fast and slow, they fit to {told(fits[other])}, as they are to "
        f"{told(fits[here])}. Give the beam centre to import, or index more images."
    )


def told(origin: Origin) -> str:
    return f"{1000 * origin.off:.3f} x 10⁻³/Å"


def origins(
    table: ReflectionTable, given: ExperimentList, a_matrix: F, sigma_mm: F
) -> Mapping[tuple[int, ...], Origin]:
    """Fits by offset of the indices: none, and the likeliest of those that a shift of the detector can make."""
    hkl = np.asarray(table["miller_index"], dtype=float)
    map_spots(table, given)
    slopes = shift_derivatives(table, given)
    none = np.zeros(3, np.int64)
    offsets = [offset for offset, _ in plane_shifts(a_matrix, slopes, REACH)]
    offsets.sort(key=lambda t: fit_origin(table, slopes, hkl - t, sigma_mm).off)
    return {tuple(int(v) for v in t): follow(table, given, hkl - t, sigma_mm) for t in [none, *offsets[:LIKELY]]}


def fit_origin(table: ReflectionTable, slopes: F, hkl: F, sigma_mm: F) -> Origin:
    """Setting matrix and shift of the detector for known indices, the shift taken as small."""
    rlp = np.asarray(table["rlp"])
    a_matrix, shift = fit_shift(hkl, rlp, slopes, sigma_mm)
    off = np.linalg.norm(rlp + slopes @ shift - hkl @ a_matrix.T, axis=1)
    return Origin(a_matrix, shift, float(np.median(off)))


def follow(table: ReflectionTable, given: ExperimentList, hkl: F, sigma_mm: F) -> Origin:
    """`fit_origin` step by step, for shifts that are not small."""
    table, shift = copy.copy(table), np.zeros(3)
    for _ in range(3):
        images = shifted(given, shift)
        map_spots(table, images)
        last = fit_origin(table, shift_derivatives(table, images), hkl, sigma_mm)
        shift = shift + last.shift
    return evolve(last, shift=shift)


def again(context: Context, state: State, settings: RefinementSettings, images: ExperimentList, a_matrix: F) -> None:
    """Index and refine anew from moved detectors; the cell may be a smaller one, counted from there."""
    options = context.options.indexing
    state.images = images
    map_spots(state.table, images)
    rlp = np.asarray(state.table["rlp"])
    if options.known_symmetry.space_group is None and options.known_symmetry.unit_cell is None:
        trial = LatticeTrial(a_matrix, score_lattice(a_matrix, rlp))
        a_matrix = compare_cells([trial], rlp[evenly(len(rlp), 6000)], options.min_cell_volume, options.min_cell)[0].A
    state.crystals = [tidy_crystal(Crystal(a_matrix, state.crystals[0].hall), rlp)]
    cycles, tolerance = options.refinement_protocol.n_macro_cycles, options.index_assignment.simple.hkl_tolerance
    macrocycles(state, settings, cycles, tolerance)
