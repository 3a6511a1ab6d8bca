"""The step slice_sequence."""

from __future__ import annotations

import attrs
import numpy as np

from xtal.errors import OptionError, UsageError
from xtal.models import ExperimentList
from xtal.run import Context
from xtal.table import ReflectionTable
from xtal.words import counted
from xtal_steps_tables.outputs import derived_identifier, write_pair
from xtal_steps_tables.slice_options import SliceOptions
from xtal_steps_tables.slicing import Range, block_ranges, cut_experiments, cut_table, need_frames, ranges_between

PATTERN = "STEM_FIRST_LAST"


def run(context: Context) -> None:
    """Cut what was given and write it under a name that tells the range."""
    options: SliceOptions = context.options
    if not context.has("experiments") and not context.has("reflections"):
        raise UsageError(
            "The step slice_sequence needs an experiment list (.expt), a reflection table (.refl) or both."
        )
    experiments = context.experiments if context.has("experiments") else None
    table = context.reflections if context.has("reflections") else None
    if table is not None:
        need_frames(table, experiments)
    if options.exclude_images_multiple or options.block_size:
        experiments, table, ranges = _into_pieces(experiments, table, options)
    else:
        experiments, table, ranges = _to_ranges(experiments, table, options)
    write_pair(context, experiments, table, _names(context, ranges))
    what = [counted(len(x), kind) for x, kind in ((experiments, "experiment"), (table, "reflection")) if x is not None]
    shown = [f"{a}-{b}" for a, b in ranges]
    shown = shown if len(shown) < 6 else [*shown[:2], "...", shown[-1]]
    context.summary(f"images {', '.join(shown)}: {', '.join(what)}")


def _to_ranges(
    experiments: ExperimentList | None, table: ReflectionTable | None, options: SliceOptions
) -> tuple[ExperimentList | None, ReflectionTable | None, list[Range]]:
    ranges: list[Range] = list(options.image_range)
    if not ranges:
        raise OptionError(
            "slice_sequence was not told where to cut.", advice="Give image_range=FIRST,LAST or block_size=DEGREES."
        )
    if experiments is not None:
        if len(ranges) != len(experiments):
            raise OptionError(
                f"{counted(len(ranges), 'image range')} for {counted(len(experiments), 'experiment')}.",
                advice="Give image_range= once for each experiment, in their order.",
            )
        experiments = _same_extra(cut_experiments(experiments, ranges), experiments)
    if table is not None:
        rows = [cut_table(table, k, wanted) for k, wanted in enumerate(ranges)]
        table = table.select(np.concatenate(rows))
    return experiments, table, ranges


def _into_pieces(
    experiments: ExperimentList | None, table: ReflectionTable | None, options: SliceOptions
) -> tuple[ExperimentList, ReflectionTable | None, list[Range]]:
    """Each piece becomes an experiment of its own."""
    multiple = options.exclude_images_multiple
    if experiments is None or (multiple and table is None):
        needed = (
            "an experiment list (.expt) and a reflection table (.refl)" if multiple else "an experiment list (.expt)"
        )
        raise UsageError(f"Cutting scans into pieces needs {needed}.")
    if not multiple and len(experiments) != 1:
        raise OptionError(
            f"block_size= cuts one scan, and {len(experiments)} were given.", advice="Give one experiment at a time."
        )
    pieces, ranges, rows, ids = ExperimentList(), [], [], []
    for k, experiment in enumerate(experiments):
        if experiment.scan is None:
            raise OptionError(f"Experiment {k} has no scan to cut.")
        found = (
            ranges_between(experiment.scan, multiple)
            if multiple
            else block_ranges(experiment.scan, options.block_size or 0)
        )
        for wanted in found:
            (piece,) = cut_experiments([experiment], [wanted])
            pieces.append(attrs.evolve(piece, identifier=derived_identifier(experiment.identifier, wanted)))
            ranges.append(wanted)
            if table is not None:
                rows.append(cut_table(table, k, wanted))
                ids.append(np.full(len(rows[-1]), len(pieces) - 1, np.int32))
    if table is not None:
        table = table.select(np.concatenate(rows))
        table["id"] = np.concatenate(ids)
        table.identifiers = {k: e.identifier for k, e in enumerate(pieces)}
    return _same_extra(pieces, experiments), table, ranges


def _same_extra(new: ExperimentList, old: ExperimentList) -> ExperimentList:
    new.extra = dict(old.extra)
    return new


def _names(context: Context, ranges: list[Range]) -> tuple[str, str]:
    """``<stem>_<first>_<last>`` for one range, else ``<stem>_sliced``; names that the user gave stay."""
    ending = "_{}_{}".format(*ranges[0]) if len(ranges) == 1 else "_sliced"
    names = []
    for role in ("experiments", "reflections"):
        given, files = context.path(role), context.inputs.get(role, [])
        keep = given.stem != PATTERN or not files
        names.append("" if keep else files[0].stem + ending + given.suffix)
    return names[0], names[1]
