"""Lattices and intensities of one image: the steps index and integrate on the spots that were found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from xtal.errors import OptionError, XtalError
from xtal.files import read_experiments, read_reflections, write_experiments, write_reflections
from xtal.files.encode import encode_crystal
from xtal.models import Experiment, ExperimentList
from xtal.options import Assignment, Entry, entries
from xtal.options.match import entry_score, match
from xtal.plugins import Plugins
from xtal.run import run_step
from xtal.table import Flag, ReflectionTable
from xtal_steps_server.options import RequestOptions

SEARCH, STEPS = "search", ("index", "integrate")
FILES = ("lookup.mask",)
"""Options that name files, which a request may not: they need not lie in the folders that are served."""
QUIET = (Assignment("output.log", "None"), Assignment("nproc", "1"))


def known_options(plugins: Plugins) -> dict[str, list[Entry]]:
    """Options of a request's search and of the steps that it may ask for."""
    steps = {
        step: [e for e in known_entries(plugins.options_class("step", step), plugins) if not e.path.endswith(FILES)]
        for step in STEPS
    }
    return {SEARCH: known_entries(RequestOptions, plugins), **steps}


def shared_out(
    words: Sequence[str], known: Mapping[str, Sequence[Entry]]
) -> tuple[list[str], dict[str, list[Assignment]]]:
    """Settings of a request: those of the search, and those of each step with the full names of its options.

    A name that several have goes to the one in which it is the plainest, then to the first. Options of the runner
    (outputs, inputs, executors) belong to none.
    """
    mine: list[str] = []
    theirs: dict[str, list[Assignment]] = {step: [] for step in STEPS}
    for word in words:
        key, _, value = word.partition("=")
        fitting = {name: entry for name, some in known.items() if (entry := meant(key, some)) is not None}
        name = min(fitting, key=lambda n: (-entry_score(key, fitting[n]), fitting[n].spec.level), default=SEARCH)
        if name == SEARCH:
            mine.append(word)
        else:
            theirs[name].append(Assignment(fitting[name].path, value))
    return mine, theirs


def known_entries(cls: type | None, plugins: Plugins) -> list[Entry]:
    """All options of a class, with those of every plugin that may be chosen."""
    found = entries(cls, plugins) if cls else []
    for choice in [e for e in found if e.is_choice]:
        for name in choice.spec.choices:
            more = entries(cls, plugins, {choice.path.removesuffix(".algorithm"): name}) if cls else []
            found += [e for e in more if e not in found]
    return found


def meant(key: str, known: Sequence[Entry]) -> Entry | None:
    """The option that a name means among some, if any."""
    try:
        return match(key, known)[0]
    except OptionError:
        return None


def lattices_of(
    plugins: Plugins,
    experiment: Experiment,
    table: ReflectionTable,
    settings: Mapping[str, Sequence[Assignment]],
    *,
    integrate: bool,
) -> dict[str, Any]:
    """What the steps make of the spots of one image: fields of the answer, an error among them where they fail.

    Parameters
    ----------
    plugins
        Installed plugins.
    experiment, table
        The image and its spots.
    settings
        Options of each step.
    integrate
        Whether to integrate what was indexed.
    """
    with TemporaryDirectory(prefix="xtal-server-") as name:
        folder = Path(name)
        write_experiments(ExperimentList([experiment]), folder / "imported.expt")
        write_reflections(table, folder / "strong.refl")
        try:
            reply = _indexed(plugins, folder, settings["index"])
            if integrate:
                reply["integrated_intensity"] = _integrated(plugins, folder, settings["integrate"])
        except XtalError as error:
            return {"error": str(error)}
        return reply


def _indexed(plugins: Plugins, folder: Path, settings: Sequence[Assignment]) -> dict[str, Any]:
    made = _run(plugins, "index", folder, settings, "imported.expt", "strong.refl")
    experiments, table = read_experiments(made["experiments"]), read_reflections(made["reflections"])
    indexed = table.has_flags(Flag.INDEXED)
    numbers = [int((indexed & (table["id"] == k)).sum()) for k in range(len(experiments))]
    found = [
        {"crystal": encode_crystal(e.crystal), "n_indexed": n, "fraction_indexed": n / len(table)}
        for e, n in zip(experiments, numbers, strict=True)
        if e.crystal is not None
    ]
    return {"lattices": found, "n_indexed": sum(numbers), "fraction_indexed": sum(numbers) / len(table)}


def _integrated(plugins: Plugins, folder: Path, settings: Sequence[Assignment]) -> float:
    made = _run(plugins, "integrate", folder, settings, "indexed.expt", "indexed.refl")
    table = read_reflections(made["reflections"])
    good = table.has_flags(Flag.INTEGRATED_SUM)
    return float(np.sum(table["intensity.sum.value"], where=good))


def _run(plugins: Plugins, step: str, folder: Path, settings: Sequence[Assignment], *files: str) -> dict[str, Path]:
    words = [*settings, *QUIET, Assignment("output.directory", str(folder))]
    return run_step(plugins, step, words, [str(folder / f) for f in files], verbosity=0).outputs
