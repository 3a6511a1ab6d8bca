"""The step filter_reflections."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from xtal.errors import DataError, OptionError
from xtal.models import ExperimentList
from xtal.physics.kabsch import zeta
from xtal.physics.rays import map_to_reciprocal
from xtal.physics.resolution import d_of_hkl
from xtal.physics.spots.masks import ice_rings
from xtal.run import Context
from xtal.table import Flag, ReflectionTable
from xtal.units import DEG
from xtal.words import counted
from xtal_steps_tables.filter_options import DeadTimeOptions, FilterOptions, IceRingOptions
from xtal_steps_tables.flag_expression import NAMES, select_by_flags

Rows = NDArray[np.bool_]
Select = Callable[[ReflectionTable], Rows]
FULL = 0.99
"""Partiality from which an intensity counts as fully recorded."""


def run(context: Context) -> None:
    """Write the selected rows; without any filter, count the flags."""
    options: FilterOptions = context.options
    table = context.reflections
    experiments = context.experiments if context.has("experiments") else None
    if options == FilterOptions(ice_rings=options.ice_rings) and not options.ice_rings.filter:
        context.print("No filter was given: these flags are set.")
        count_flags(context, table)
        context.summary(
            f"{counted(len(table), 'reflection')}; give flag_expression=, d_min= or another filter to select some"
        )
        return
    _check(options)
    n = len(table)
    context.print(f"{counted(n, 'reflection')} loaded")
    if options.d_min or options.d_max or options.ice_rings.filter:
        table = with_resolution(context, table, experiments)
    table = apply_filters(context, table, experiments, options)
    context.write_reflections(table)
    context.summary(f"{len(table)} of {n} reflections kept")


def _check(options: FilterOptions) -> None:
    if options.d_min is not None and options.d_max is not None and options.d_min >= options.d_max:
        raise OptionError(f"d_min={options.d_min:g} must be less than d_max={options.d_max:g}.")
    low, high = options.partiality.min, options.partiality.max
    if low is not None and high is not None and low > high:
        raise OptionError(f"partiality.min={low:g} must not be more than partiality.max={high:g}.")


def count_flags(context: Context, table: ReflectionTable) -> None:
    """A table of the flags that some reflection has."""
    counts = [(name, int(table.has_flags(flag).sum())) for name, flag in sorted(NAMES.items())]
    rows = [[name, str(count)] for name, count in counts if count]
    if rows:
        context.table("Flags", ["flag", "reflections"], rows)
    else:
        context.print("No flags are set.")


def apply_filters(
    context: Context, table: ReflectionTable, experiments: ExperimentList | None, options: FilterOptions
) -> ReflectionTable:
    """The rows that pass every filter; says after each how many are left."""
    for name, select in _filters(experiments, options):
        table = table.select(select(table))
        context.print(f"{counted(len(table), 'reflection')} left by {name}")
    return table


def _filters(experiments: ExperimentList | None, options: FilterOptions) -> Iterator[tuple[str, Select]]:
    """Name and function of the filters that were asked for, in their order."""
    if (flags := options.flag_expression) is not None:
        yield "flags", lambda t: select_by_flags(flags, t)
    if (ids := options.id) is not None:
        yield "experiment", lambda t: np.isin(t["id"], ids)
    if (panels := options.panel) is not None:
        yield "panel", lambda t: np.isin(t["panel"], panels)
    if (d_min := options.d_min) is not None:
        yield "d_min", lambda t: np.asarray(t["d"]) >= d_min
    if (d_max := options.d_max) is not None:
        yield "d_max", lambda t: np.asarray(t["d"]) <= d_max
    if (low := options.partiality.min) is not None:
        yield "partiality.min", lambda t: _partiality(t) >= low
    if (high := options.partiality.max) is not None:
        yield "partiality.max", lambda t: _partiality(t) <= high
    if options.select_good_intensities:
        yield "good intensities", good_intensities
    if (removed := options.remove_by_index) is not None:
        yield "remove_by_index", lambda t: ~np.isin(np.arange(len(t)), removed)
    if options.dead_time.value:
        yield "dead time", lambda t: alive(t, experiments, options.dead_time)
    if options.ice_rings.filter:
        yield "ice rings", lambda t: off_ice(t, options.ice_rings)


def with_resolution(context: Context, table: ReflectionTable, experiments: ExperimentList | None) -> ReflectionTable:
    """The table with a column ``d``: from the indices, or from the positions where no crystal is known.

    Raises
    ------
    DataError
        If there is neither the column nor an experiment list to compute it from.
    """
    if "d" in table:
        return table
    if experiments is None:
        raise DataError("The reflections have no resolution.", advice="Give the experiment list (.expt), too.")
    if any(e.crystal is not None for e in experiments):
        assigned = np.asarray(table["id"]) >= 0
        if not assigned.all():
            context.print(f"Left out {counted(int((~assigned).sum()), 'reflection')} of no crystal")
            table = table.select(assigned)
        d = np.zeros(len(table))
        for k, experiment in enumerate(experiments):
            rows = np.asarray(table["id"]) == k
            if experiment.crystal is not None and rows.any():
                d[rows] = d_of_hkl(table["miller_index"][rows], experiment.crystal.A)
    else:
        map_to_reciprocal(table, experiments)
        with np.errstate(divide="ignore"):
            d = 1.0 / np.linalg.norm(table["rlp"], axis=1)
    table["d"] = d
    return table


def _partiality(table: ReflectionTable) -> NDArray[np.float64]:
    if "partiality" not in table:
        raise DataError("The reflections have no partiality.", advice="Give an integrated table.")
    return np.asarray(table["partiality"])


def good_intensities(table: ReflectionTable) -> Rows:
    """(n,) rows whose summed and fitted intensities (as far as present) have positive variances, and that are full."""
    names = [name for name in ("intensity.sum.variance", "intensity.prf.variance") if name in table]
    if "intensity.sum.variance" not in names:
        raise DataError("The reflections have no intensity.sum.variance.", advice="Give an integrated table.")
    good = np.ones(len(table), dtype=bool)
    for name in names:
        good &= np.asarray(table[name]) > 0
    return good & (_partiality(table) >= FULL)


def off_ice(table: ReflectionTable, options: IceRingOptions) -> Rows:
    """(n,) rows that lie on no powder ring."""
    d = np.asarray(table["d"])
    if not len(d):
        return np.zeros(0, dtype=bool)
    with np.errstate(divide="ignore"):
        inverse_square = d**-2.0
    finest = (options.d_min or float(d.min())) ** -2 + options.width / 2
    rings = ice_rings(finest**-0.5, unit_cell=options.unit_cell, space_group=options.space_group, width=options.width)
    on_ring = np.zeros(len(d), dtype=bool)
    for fine, coarse in rings:
        on_ring |= (inverse_square < fine**-2) & (inverse_square > coarse**-2)
    return ~on_ring


def alive(table: ReflectionTable, experiments: ExperimentList | None, options: DeadTimeOptions) -> Rows:
    """(n,) integrated rows that the detector was awake for.

    A reflection lasts for n_sigma sigma_m / abs(zeta) on both sides of its angle. It is left out where dead
    times (the last ones of the images' exposures) take more than ``reject_fraction`` of that in all.

    Raises
    ------
    DataError
        If there is not exactly one rotation experiment with profile and exposure times.
    """
    if experiments is None or len(experiments) != 1:
        raise DataError("The filter by dead time needs one experiment.", advice="Give its .expt, one at a time.")
    experiment = experiments[0]
    scan, profile, goniometer = experiment.scan, experiment.profile or {}, experiment.goniometer
    times = None if scan is None else scan.exposure_times
    turns = scan is not None and goniometer is not None and not scan.is_still
    if not turns or "sigma_m" not in profile or times is None or not np.all(times > 0):
        raise DataError(
            "The filter by dead time needs a rotation scan with exposure times and a profile model.",
            advice="Give the .expt that integrate wrote.",
        )
    assert scan is not None and goniometer is not None
    integrated = table.has_flags(Flag.INTEGRATED)
    rows = np.flatnonzero(integrated)
    width = abs(scan.width)
    dead = min(width * options.value / 1000 / float(times[0]), width)
    slowness = np.abs(zeta(np.asarray(table["s1"])[rows], experiment.beam.s0, goniometer.axis))
    half = float(profile["n_sigma"]) * float(np.mean(profile["sigma_m"])) * DEG / np.maximum(slowness, 1e-3)
    # angles from the start of the scan in the direction of its rotation
    centre = (np.asarray(table["xyzcal.mm"])[rows, 2] - scan.phi(scan.array_range[0])) * np.sign(scan.width)
    lost = _dead_until(centre + half, width, dead, scan.n_images) - _dead_until(
        centre - half, width, dead, scan.n_images
    )
    integrated[rows[lost > options.reject_fraction * 2 * half]] = False
    return integrated


def _dead_until(phi: NDArray[np.float64], width: float, dead: float, n_images: int) -> NDArray[np.float64]:
    """(n,) radians of dead time between the start of the scan and ``phi``."""
    turned = np.clip(phi, 0.0, n_images * width)
    whole = np.floor(turned / width)
    return np.asarray(whole * dead + np.maximum(turned - whole * width - (width - dead), 0.0))
