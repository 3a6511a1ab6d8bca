"""The step combine_experiments."""

from __future__ import annotations

from pathlib import Path

import attrs
import numpy as np

from xtal.errors import DataError
from xtal.models import ExperimentList
from xtal.run import Context
from xtal.table import ReflectionTable
from xtal.words import counted
from xtal_steps_tables.clusters import cell_groups
from xtal_steps_tables.combine_options import CombineOptions, CombineOutput
from xtal_steps_tables.outputs import derived_identifier, write_pair
from xtal_steps_tables.references import share_models
from xtal_steps_tables.subsets import batches, choose, counts, number_images, same_images, significant, subset


def run(context: Context) -> None:
    """Join what was given, choose, and write one pair of files or several."""
    options: CombineOptions = context.options
    experiments, table = _joined(context)
    share_models(experiments, options.reference_from_experiment)
    experiments, table = _selected(context, experiments, table, options.output)
    numbers = subset(experiments, table, options.output)
    if len(numbers) < len(experiments):
        context.print(f"Chose {len(numbers)} of {len(experiments)} experiments ({options.output.n_subset_method})")
    experiments, table = choose(experiments, table, numbers)
    _report(context, experiments, table)
    if options.clustering.use and len(experiments) > 1:
        groups = cell_groups(context, experiments, options.clustering)
        for name, group in groups:
            _write(context, *choose(experiments, table, group), options.output, f"_cluster{name}")
        context.summary(f"{counted(len(groups), 'group')} of similar cells from {len(experiments)} experiments")
        return
    _write(context, experiments, table, options.output, "")
    n = "" if table is None else f", {counted(len(table), 'reflection')}"
    context.summary(counted(len(experiments), "experiment") + n)


def _joined(context: Context) -> tuple[ExperimentList, ReflectionTable | None]:
    """All experiments with identifiers, and the reflections ordered by experiment."""
    expts, refls = context.inputs["experiments"], context.inputs.get("reflections", [])
    if refls and len(refls) != len(expts):
        raise DataError(
            f"{counted(len(expts), 'experiment list')} and {counted(len(refls), 'reflection table')} were given.",
            advice="Give one .refl for each .expt, in the same order.",
        )
    experiments = context.experiments
    table = context.reflections if refls else None
    for k, e in enumerate(experiments):
        if not e.identifier:
            where = (e.images.template or e.images.paths) if e.images else None
            e.identifier = derived_identifier(k, where, e.scan.image_range if e.scan else None)
    same_images(experiments)
    if table is None:
        return experiments, None
    _tell_dropped_columns(context, table)
    ids = np.asarray(table["id"])
    table = table.select(np.argsort(np.where(ids < 0, len(experiments), ids), kind="stable"))
    table.identifiers = {k: e.identifier for k, e in enumerate(experiments)}
    number_images(experiments, table)
    placed = np.asarray(table["id"]) >= 0
    if "imageset_id" in table:
        placed |= np.asarray(table["imageset_id"]) >= 0
    if not placed.all():
        context.warn(f"Left out {counted(int((~placed).sum()), 'reflection')} of no experiment.")
        table = table.select(placed)
    return experiments, table


def _tell_dropped_columns(context: Context, table: ReflectionTable) -> None:
    """Only what all tables have can be joined."""
    from xtal.files import read_reflections

    names = {name for path in context.inputs["reflections"] for name in read_reflections(path).columns()}
    lost = sorted(names - set(table.columns()))
    if lost:
        context.warn(f"Columns that some of the tables lack are left out: {', '.join(lost)}.")


def _selected(
    context: Context, experiments: ExperimentList, table: ReflectionTable | None, options: CombineOutput
) -> tuple[ExperimentList, ReflectionTable | None]:
    """Limits on the number of reflections, order, shoeboxes and significance."""
    numbers = list(range(len(experiments)))
    low, high = options.min_reflections_per_experiment, options.max_reflections_per_experiment
    if table is not None:
        if options.delete_shoeboxes:
            del table["shoebox"]
        n = counts(table, len(experiments))
        numbers = [k for k in numbers if (low is None or n[k] >= low) and (high is None or n[k] <= high)]
        if len(numbers) < len(experiments):
            context.print(
                f"Left out {counted(len(experiments) - len(numbers), 'experiment')} by their number of reflections"
            )
        if options.significance_filter.enable:
            kept = significant(experiments, table, options.significance_filter) | (np.asarray(table["id"]) < 0)
            context.print(f"Left out {counted(int((~kept).sum()), 'reflection')} past the significant resolution")
            table = table.select(kept)
    if not numbers:
        raise DataError("No experiment is left.", advice="Widen the limits on the number of reflections.")
    if options.sort_by_imageset_path_and_image_index:
        numbers.sort(key=lambda k: _place(experiments, k))
    return choose(experiments, table, numbers)


def _place(experiments: ExperimentList, number: int) -> tuple[str, int]:
    """Where the images of an experiment are, and the first of them."""
    e = experiments[number]
    path = "" if e.images is None else e.images.template or next(iter(e.images.paths), "")
    first = e.images.indices[0] if e.images is not None and e.images.indices else 0
    return path, e.scan.image_range[0] if e.scan is not None else first


def _report(context: Context, experiments: ExperimentList, table: ReflectionTable | None) -> None:
    if table is None:
        context.print(counted(len(experiments), "experiment"))
        return
    rows = [[str(k), str(n)] for k, n in enumerate(counts(table, len(experiments)))]
    shown = rows if len(rows) <= 30 else [*rows[:20], ["...", ""], *rows[-5:]]
    context.table("Combined", ["Experiment", "Number of reflections"], shown)


def _write(
    context: Context, experiments: ExperimentList, table: ReflectionTable | None, options: CombineOutput, ending: str
) -> None:
    paths = tuple(Path(context.output_name(role)) for role in ("experiments", "reflections"))
    size = options.max_batch_size
    if size is None:
        a, b = (str(p.with_name(f"{p.stem}{ending}{p.suffix}")) for p in paths)
        write_pair(context, experiments, table, (a, b))
        return
    for k, numbers in enumerate(batches(len(experiments), size)):
        part, rows = choose(experiments, table, numbers)
        part = ExperimentList([attrs.evolve(e) for e in part], part.extra)
        a, b = (str(p.with_name(f"{p.stem}{ending}_{k:03}{p.suffix}")) for p in paths)
        write_pair(context, part, rows, (a, b))
