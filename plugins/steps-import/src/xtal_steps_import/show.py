"""The step show: print what experiments, reflection tables and images hold."""

from __future__ import annotations

import os
from pathlib import Path

from xtal.errors import OptionError, UsageError
from xtal.models import Experiment
from xtal.run import Context
from xtal.run.formats import Formats
from xtal.run.images import FrameReader
from xtal_steps_import.collect import collect
from xtal_steps_import.draw import LARGEST_PNG, Grid, as_letters, colours, draw_grid, print_colours, write_png
from xtal_steps_import.fit import named_values, width
from xtal_steps_import.images import experiment_of, show_statistics, summary_rows
from xtal_steps_import.options import ShowOptions
from xtal_steps_import.show_models import experiment_rows, show_experiments
from xtal_steps_import.show_tables import show_reflections


def run(context: Context) -> None:
    """Show the files that were given."""
    options: ShowOptions = context.options
    if not (context.has("experiments") or context.has("reflections") or context.images):
        raise UsageError(
            "The step show needs an experiment list (.expt), a reflection table (.refl) or images.",
            advice="See xtal run show --help.",
        )
    formats = Formats(context.plugins)
    experiments = context.experiments if context.has("experiments") else []
    if experiments:
        show_experiments(context, context.experiments, options)
    if context.has("reflections"):
        show_reflections(context, context.reflections, options)
    files = [f for s in collect(context.images) for f in s.files.values()] if context.images else []
    shown = [experiment_of(Path(file), formats) for file in files]
    show_statistics(context, [*experiments, *(e for _, e in shown)], options)
    for name, experiment in shown:
        _show_image(context, experiment, formats, name)
    if not shown and experiments and (options.image is not None or options.output.png):
        _show_image(context, _with(experiments, options.image), formats, "")


def _with(experiments: list[Experiment], number: int | None) -> Experiment:
    """The experiment that has an image of this number."""
    for e in experiments:
        if number is None or e.scan is None or e.scan.image_range[0] <= number <= e.scan.image_range[1]:
            return e
    raise OptionError(f"No experiment has an image {number}.")


def _show_image(context: Context, experiment: Experiment, formats: Formats, form: str) -> None:
    """The models of one image, its statistics and the image itself, small."""
    options: ShowOptions = context.options
    with FrameReader(experiment, formats) as reader:
        z = reader.z0 if options.image is None else options.image - 1
        if not reader.z0 <= z < reader.z1:
            raise OptionError(f"There is no image {z + 1}: there are {reader.z0 + 1} to {reader.z1}.")
        path = reader.path(z)
        arrays = reader.read(z)
        masks = reader.mask(z, arrays)
    title = path.name + (f", image {z + 1} of {reader.z1 - reader.z0}" if reader.z1 - reader.z0 > 1 else "")
    if form:
        rows = [("format", form), *experiment_rows(experiment)[1:], *summary_rows(arrays, masks)]
    else:
        rows = summary_rows(arrays, masks)
    named_values(context, title, rows)
    columns = min(width(context) - 2, 100)
    grid, beam = draw_grid(arrays, masks, experiment.detector, experiment.beam, columns)
    letters = as_letters(grid, beam)
    context.reporter.log(letters)
    if context.reporter.verbosity >= 2:
        _draw(context, grid, beam, letters)
    if options.output.png:
        target = context.directory / os.path.expanduser(options.output.png)
        large, beam = draw_grid(arrays, masks, experiment.detector, experiment.beam, LARGEST_PNG)
        write_png(target, colours(large, beam))
        context.outputs["png"] = target


def _draw(context: Context, grid: Grid, beam: tuple[int, int] | None, letters: str) -> None:
    """In colours where the terminal has at least 256, else in letters."""
    if context.reporter.is_terminal:
        from rich.console import Console

        console = Console(file=context.reporter.stream)
        if console.color_system in ("256", "truecolor"):
            print_colours(console, colours(grid, beam))
            return
    print(letters, file=context.reporter.stream)
