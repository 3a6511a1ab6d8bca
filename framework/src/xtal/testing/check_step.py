"""Checks of steps: what the descriptor promises, the options, and a run on next to nothing."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from functools import cached_property
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory

from attrs import frozen

from xtal.errors import XtalError
from xtal.files import write_experiments, write_reflections
from xtal.hooks import Step
from xtal.hooks.protocols import StepFunction
from xtal.models import ExperimentList, Images
from xtal.options import Assignment, entries
from xtal.plugins import default_plugins
from xtal.run import run_step
from xtal.run.help import help_of
from xtal.run.settings import step_classes
from xtal.testing.conformance import Case, ensure, expects
from xtal.testing.data import observations, tiny_experiment

ROLES = ("images", "experiments", "reflections")
TAKEN = ("log", "directory")
"""Names in the scope ``output`` that are the runner's."""


@frozen
class Run:
    """What a run of a step left.

    Attributes
    ----------
    error : that ended it, if any
    summary : its lines
    printed : to the terminal, where it was to be silent but for warnings
    spoilt : input files that were changed
    strays : files that are neither outputs nor the log
    unlike : outputs that a second run on the same files writes otherwise
    """

    error: Exception | None
    summary: tuple[str, ...]
    printed: str
    spoilt: list[str]
    strays: list[str]
    unlike: list[str]


class StepCase(Case):
    """A step. Where it reads files it is run on next to nothing: tables of few rows and of none, no images."""

    kind = "step"
    protocol = StepFunction
    descriptor: Step

    @property
    def usable(self) -> bool:
        return False  # a step speaks and writes

    @cached_property
    def runs(self) -> list[Run]:
        """A run on a table of some rows and one on none, if it reads files."""
        return [self._run(n) for n in (40, 0)] if self.descriptor.inputs else []

    def _run(self, n_rows: int) -> Run:
        with TemporaryDirectory() as folder, _unheard() as said:
            given, output = Path(folder) / "given", Path(folder) / "output"
            files = _inputs(given, n_rows)
            before, here = _contents(given), _visible(Path())
            words = [str(files[role.removesuffix("?")]) for role in self.descriptor.inputs]
            error, summary, known = self._outcome(words, output)
            after = _contents(given)
            strays = _visible(output) - known | _visible(Path()) - here | set(after) - set(before)
            spoilt = [one for one in before if after.get(one) != before[one]]
            wrote = _written(output)
            if wrote:
                self._outcome(words, output)
            unlike = [one for one, content in _written(output).items() if wrote.get(one) != content]
            return Run(error, summary, said.getvalue(), spoilt, sorted(strays), unlike)

    def _outcome(self, words: list[str], output: Path) -> tuple[Exception | None, tuple[str, ...], set[str]]:
        """How a run ends: its error, or summary and the files that it may leave."""
        name, log = self.descriptor.name, f"xtal.{self.descriptor.name}.log"
        folder = Assignment("output.directory", str(output))
        try:
            done = run_step(default_plugins().with_step(self.descriptor), name, [folder], words, verbosity=0)
        except Exception as error:
            return error, (), {log}
        wrote = {path.name for path in done.outputs.values()}
        return None, done.summary, {log, *wrote, *(f"{one}.made.json" for one in wrote)}


@contextmanager
def _unheard() -> Iterator[StringIO]:
    """Warnings are of no interest; what goes to the terminal is kept."""
    with warnings.catch_warnings(action="ignore"), redirect_stderr(StringIO()), redirect_stdout(StringIO()) as said:
        yield said


def _inputs(folder: Path, n_rows: int) -> dict[str, Path]:
    """A file for each role; the images of the experiment are not there."""
    files = {"experiments": folder / "given.expt", "reflections": folder / "given.refl", "images": folder / "given.cbf"}
    folder.mkdir()
    experiment = tiny_experiment()
    experiment.images = Images(str(folder / "absent_####.cbf"))
    write_experiments(ExperimentList([experiment]), files["experiments"])
    write_reflections(observations(experiment, n_rows), files["reflections"])
    files["images"].write_bytes(b"no image")
    return files


def _visible(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if not path.name.startswith(".")} if folder.exists() else set()


def _written(folder: Path) -> dict[str, bytes]:
    """Outputs of a run by name; its log tells the time."""
    return {n: c for n, c in _contents(folder).items() if not n.endswith(".log")} if folder.exists() else {}


def _contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@expects("step", "read roles that the runner knows, each once")
def inputs(case: StepCase) -> None:
    roles = [role.removesuffix("?") for role in case.descriptor.inputs]
    bad = [role for role in roles if role not in ROLES or roles.count(role) > 1]
    ensure(not bad, f"its inputs are {', '.join(case.descriptor.inputs)}")


@expects("step", "read experiments if images may stand in their place")
def imports(case: StepCase) -> None:
    roles = [role.removesuffix("?") for role in case.descriptor.inputs]
    ensure(not case.descriptor.imports or "experiments" in roles, "it reads none")


@expects("step", "name the roles of its outputs so that output.ROLE= can be typed")
def outputs(case: StepCase) -> None:
    bad = [role for role in case.descriptor.outputs if not role.isidentifier() or role in TAKEN]
    ensure(not bad, f"it writes {', '.join(bad)}")


@expects("step", "have default names of outputs without folders, each its own")
def names(case: StepCase) -> None:
    found = list(case.descriptor.outputs.values())
    bad = [name for name in found if not name or "/" in name or found.count(name) > 1]
    ensure(not bad, f"they are {', '.join(map(repr, found))}")


@expects("step", "have no option that the runner adds to every step")
def options(case: StepCase) -> None:
    paths = [e.path for cls in step_classes(case.descriptor, case.options) for e in entries(cls, default_plugins())]
    twice = sorted({p for p in paths if paths.count(p) > 1})
    ensure(not twice, f"{', '.join(twice)} are the runner's")


@expects("step", "show at most 16 options in --help, keeping the rarer ones for -v by level=1")
def short_help(case: StepCase) -> None:
    n = sum(
        " = " in line for line in help_of(default_plugins().with_step(case.descriptor), case.descriptor, 0).split("\n")
    )
    ensure(n <= 16, f"it shows {n}")


@expects("step", "end in outputs or an error of xtal.errors where there is next to nothing to work on")
def ends(case: StepCase) -> None:
    for run in case.runs:
        good = run.error is None or isinstance(run.error, XtalError)
        ensure(good, f"it raised {type(run.error).__name__}: {run.error}")


@expects("step", "leave its input files as they were")
def inputs_kept(case: StepCase) -> None:
    for run in case.runs:
        ensure(not run.spoilt, f"it changed {', '.join(run.spoilt)}")


@expects("step", "write nothing but the outputs that it names")
def strays(case: StepCase) -> None:
    for run in case.runs:
        ensure(not run.strays, f"it left {', '.join(run.strays)}")


@expects("step", "write the same again from the same files, which process counts on where it resumes")
def again(case: StepCase) -> None:
    for run in case.runs:
        ensure(not run.unlike, f"it writes {', '.join(run.unlike)} otherwise")


@expects("step", "tell its outcome in at most three lines")
def brief(case: StepCase) -> None:
    for run in case.runs:
        ensure(len(run.summary) <= 3, f"it takes {len(run.summary)}")


@expects("step", "speak through its context alone, which is silent when it is told to be")
def silence(case: StepCase) -> None:
    for run in case.runs:
        ensure(not run.printed, f"it printed {run.printed[:60]!r}")
