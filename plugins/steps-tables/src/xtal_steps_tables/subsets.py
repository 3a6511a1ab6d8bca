"""Which experiments of many are written, and how they are spread over files."""

from __future__ import annotations

import attrs
import numpy as np
from numpy.typing import NDArray

from xtal.errors import DataError
from xtal.models import Experiment, ExperimentList
from xtal.physics.resolution import d_of_hkl
from xtal.table import ReflectionTable
from xtal_steps_tables.combine_options import CombineOutput, SignificanceOptions

Pair = tuple[ExperimentList, ReflectionTable | None]


def choose(experiments: ExperimentList, table: ReflectionTable | None, numbers: list[int]) -> Pair:
    """These experiments in this order and their reflections; ``id`` counts the new list.

    Unindexed rows (id -1) stay where an experiment of the same images does.
    """
    chosen = ExperimentList([experiments[k] for k in numbers], experiments.extra)
    if table is None:
        return chosen, None
    if numbers == list(range(len(experiments))):
        return chosen, table
    new = np.full(len(experiments) + 1, -1, np.int32)
    new[numbers] = np.arange(len(numbers), dtype=np.int32)
    old = np.asarray(table["id"])
    keep = new[old] >= 0
    if "imageset_id" in table:
        sets = np.asarray(table["imageset_id"])
        keep |= (old < 0) & np.isin(sets, np.unique(sets[keep]))
    out = table.select(keep)
    out["id"] = new[out["id"]]
    out.identifiers = {k: e.identifier for k, e in enumerate(chosen)}
    number_images(chosen, out)
    return chosen, out


def number_images(experiments: ExperimentList, table: ReflectionTable) -> None:
    """Make ``imageset_id`` count the distinct images of the experiments, where there is the column.

    Rows without an experiment follow those of the same images that have one; where there are none
    they keep no place and are numbered -1.
    """
    if "imageset_id" not in table or not len(table):
        return
    order: dict[int, int] = {}
    of_experiment = np.array([order.setdefault(id(e.images), len(order)) for e in experiments], dtype=np.int32)
    ids, sets = np.asarray(table["id"]), np.asarray(table["imageset_id"])
    has = ids >= 0
    new = np.full(len(ids), -1, np.int32)
    new[has] = of_experiment[ids[has]]
    for old in np.unique(sets[~has]):
        same = new[has & (sets == old)]
        if len(same):
            new[~has & (sets == old)] = same[0]
    table["imageset_id"] = new


def counts(table: ReflectionTable, n: int, panels: tuple[int, ...] | None = None) -> NDArray[np.int64]:
    """(n,) reflections of each experiment, on these panels if given."""
    ids = np.asarray(table["id"])
    rows = ids >= 0
    if panels is not None:
        rows &= np.isin(table["panel"], panels)
    return np.bincount(ids[rows], minlength=n)


def subset(experiments: ExperimentList, table: ReflectionTable | None, options: CombineOutput) -> list[int]:
    """Numbers of the experiments to write, ascending; a random choice is the same one each time.

    Raises
    ------
    DataError
        If the method needs reflections and there are none.
    """
    n, wanted = len(experiments), options.n_subset
    if wanted is None or wanted >= n:
        return list(range(n))
    if options.n_subset_method == "random":
        return sorted(np.random.default_rng(0).choice(n, wanted, replace=False).tolist())
    if table is None:
        raise DataError(
            f"n_subset_method={options.n_subset_method} needs reflections.", advice="Give the .refl files, too."
        )
    if options.n_subset_method == "significance_filter":
        table = table.select(significant(experiments, table, options.significance_filter))
        ranked = counts(table, n)
    else:
        ranked = counts(table, n, options.n_refl_panel_list)
    return sorted(np.argsort(-ranked, kind="stable")[:wanted].tolist())


def batches(n: int, size: int) -> list[list[int]]:
    """``n // size + 1`` nearly equal parts of 0 to n - 1, as DIALS splits; none is larger than ``size``."""
    return [part.tolist() for part in np.array_split(np.arange(n), n // size + 1)]


def significant(experiments: ExperimentList, table: ReflectionTable, options: SignificanceOptions) -> NDArray[np.bool_]:
    """(n,) rows before the shell in which their experiment's mean I/sigma first falls below the cutoff.

    Shells are of equal volume in reciprocal space; intensities that are not positive do not count.
    Experiments whose first shell fails lose all rows.
    """
    ids = np.asarray(table["id"])
    keep = np.zeros(len(table), dtype=bool)
    for k, experiment in enumerate(experiments):
        rows = np.flatnonzero(ids == k)
        if len(rows):
            d = _resolution(experiment, table.select(rows) if "d" in table else table, rows)
            ratio = _ratio(table, rows)
            keep[rows] = d >= _limit(d, ratio, options)
    return keep


def _resolution(experiment: Experiment, table: ReflectionTable, rows: NDArray[np.int64]) -> NDArray[np.float64]:
    if experiment.crystal is None:
        raise DataError("The significance filter needs indexed reflections.", advice="Run index first.")
    hkl = np.asarray(table["miller_index"])
    return d_of_hkl(hkl if len(hkl) == len(rows) else hkl[rows], experiment.crystal.A)


def _ratio(table: ReflectionTable, rows: NDArray[np.int64]) -> NDArray[np.float64]:
    value = np.asarray(table["intensity.sum.value"])[rows]
    variance = np.asarray(table["intensity.sum.variance"])[rows]
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where((value > 0) & (variance > 0), value / np.sqrt(variance), np.nan)


def _limit(d: NDArray[np.float64], ratio: NDArray[np.float64], options: SignificanceOptions) -> float:
    """Fine end of the last shell that passes (angstrom); infinite where the first fails."""
    volume = d**-3.0
    low = float(volume[np.isfinite(d)].min(initial=0.0))
    high = float(volume.max()) if options.d_min is None else options.d_min**-3.0
    edges = np.linspace(low, max(high, low * (1 + 1e-9)), options.n_bins + 1)
    shell = np.clip(np.searchsorted(edges, volume, side="left") - 1, 0, None)
    limit = np.inf
    for k in range(options.n_bins):
        found = ratio[(shell == k) & np.isfinite(ratio)]
        if not len(found) or found.mean() < options.isigi_cutoff:
            break
        limit = (edges[k + 1] * (1 + 1e-9)) ** (-1 / 3)
    return float(limit)


def same_images(experiments: ExperimentList) -> None:
    """Let experiments share images that are the same files."""
    seen: dict[str, object] = {}
    for experiment in experiments:
        images = experiment.images
        if images is not None:
            key = repr(attrs.astuple(images, filter=lambda a, _: a.name != "source"))
            experiment.images = seen.setdefault(key, images)  # type: ignore[assignment]  # values are Images
