"""What a step is given: its options, its input files, its outputs, and ways to compute and to speak."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import attrs

from xtal.errors import DataError, UsageError
from xtal.hooks import Step
from xtal.options import Choice
from xtal.plugins import Plugins
from xtal.run.budget import cores, memory_budget
from xtal.run.report import Progress, Reporter

if TYPE_CHECKING:
    from xtal.hooks.protocols import BlockExecutor
    from xtal.models import Experiment, ExperimentList
    from xtal.run.images import FrameReader
    from xtal.table import ReflectionTable


class Context:
    """Given to ``run(context)`` of a step.

    Attributes
    ----------
    step : descriptor of the step
    options : typed options object of the step
    images : image files as given (files, folders, templates, globs)
    plugins : all installed plugins
    directory : folder of the outputs
    outputs : role to the path that was written; further paths of the role stand by their names
    summary_lines : what `summary` was given
    used : plugins that had a part, "kind:name" to distribution and version
    changed : options that differ from their defaults, full name to text
    site : options whose values are the site's, full name to who says so
    """

    def __init__(
        self,
        step: Step,
        options: Any,
        inputs: dict[str, list[Path]],
        plugins: Plugins,
        reporter: Reporter,
        *,
        run: Any,
        outputs: Any,
        changed: dict[str, str],
        site: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.step, self.options, self.plugins = step, options, plugins
        self.inputs = inputs
        self.images = inputs.get("images", [])
        self.reporter = reporter
        self.directory = Path(os.path.expanduser(outputs.directory))
        self.outputs: dict[str, Path] = {}
        self.summary_lines: list[str] = []
        self.changed, self.site = changed, dict(site)
        self._run, self._output_options = run, outputs
        self.used: dict[str, str] = {}
        self._note("step", step.name)

    # --- inputs -----------------------------------------------------------------

    @cached_property
    def _loaded(self) -> tuple[ExperimentList, list[int]]:
        from xtal.run.inputs import load_experiments

        if not self.inputs.get("experiments"):
            raise UsageError(f"The step {self.step.name} needs an experiment list (.expt).")
        return load_experiments(self.inputs["experiments"])

    @property
    def experiments(self) -> ExperimentList:
        """The experiments of all inputs."""
        return self._loaded[0]

    @cached_property
    def reflections(self) -> ReflectionTable:
        """The reflections of all inputs; ``id`` counts `experiments`, columns are read when first used.

        Raises
        ------
        DataError
            If they do not belong to the experiments.
        """
        from xtal.run.inputs import load_reflections

        paths = self.inputs.get("reflections", [])
        if not paths:
            raise UsageError(f"The step {self.step.name} needs a reflection table (.refl).")
        expt_paths = self.inputs.get("experiments", [])
        experiments, counts = self._loaded if expt_paths else (None, [])
        return load_reflections(paths, experiments, counts, expt_paths)

    def has(self, role: str) -> bool:
        """Whether files of an input role were given."""
        return bool(self.inputs.get(role))

    def frames(self, experiment: Experiment) -> FrameReader:
        """Reader of the images of an experiment."""
        from xtal.run.images import open_images

        return open_images(experiment, self.plugins)

    def use_mask(self, name: str | Path, experiments: ExperimentList | None = None) -> tuple[int, int]:
        """Put a mask file in the place of the one that the experiments name, and say how much it masks.

        Parameters
        ----------
        name
            A mask in any form (`xtal.files.masks`), which must fit the detector of each experiment.
        experiments
            Those that get it; None: the inputs'.

        Returns
        -------
        masked, all : pixels of the first detector

        Raises
        ------
        DataError
            If the file is absent, no mask or one of another detector.
        """
        from xtal.files import read_mask

        path = Path(os.path.expanduser(name)).absolute()
        counts: dict[int, tuple[int, int]] = {}
        for e in self.experiments if experiments is None else experiments:
            if id(e.detector) not in counts:
                masks = read_mask(path, [(p.image_size[1], p.image_size[0]) for p in e.detector])
                counts[id(e.detector)] = sum(int((~m).sum()) for m in masks), sum(m.size for m in masks)
            if e.images is not None:
                e.images.mask = str(path)
        masked, total = next(iter(counts.values()), (0, 1))
        self.print(f"Mask {path.name}: {masked} of {total} pixels ({100 * masked / total:.2f} %) left out.")
        return masked, total

    # --- computing --------------------------------------------------------------

    @cached_property
    def nproc(self) -> int:
        """Threads to use."""
        wanted = self._run.nproc
        if self._run.executor.name == "serial":
            return 1
        return cores() if wanted == "auto" else int(wanted)

    @cached_property
    def memory(self) -> int:
        """Bytes that the step may use, whatever the number of frames."""
        return memory_budget(self._run.memory)

    @cached_property
    def executor(self) -> BlockExecutor:
        """Runs blocks: ``context.executor.map(function, blocks)``."""
        choice: Choice = self._run.executor
        options = choice.options
        if options is not None and hasattr(options, "nproc"):
            options = attrs.evolve(options, nproc=self.nproc)
        self._note("executor", choice.name)
        executor: BlockExecutor = self.plugins.load("executor", choice.name, options)
        return executor

    def plugin(self, choice: Choice) -> Any:
        """The plugin that an option chose, constructed with its options."""
        return self.load(choice.kind, choice.name, choice.options)

    def load(self, kind: str, name: str, options: Any = None) -> Any:
        """A plugin by its name, constructed with ``options`` (None: its defaults)."""
        self._note(kind, name)
        return self.plugins.load(kind, name, options)

    def _note(self, kind: str, name: str) -> None:
        distribution = self.plugins.find_installed(kind, name).distribution
        self.used[f"{kind}:{name}"] = f"{distribution} {self.plugins.versions.get(distribution, '')}".strip()

    # --- speaking ---------------------------------------------------------------

    def print(self, text: str = "") -> None:
        """A line to the terminal and the log."""
        self.reporter.say(text)

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """A table to the terminal and the log."""
        self.reporter.table(title, columns, rows)

    def warn(self, text: str) -> None:
        """A warning, shown also where little else is."""
        self.reporter.warn(text)

    def summary(self, *lines: str) -> None:
        """At most three lines that tell the outcome; `xtal process` shows them."""
        self.summary_lines += lines

    def progress(self, total: int, unit: str = "blocks") -> Progress:
        """Progress of ``total`` units: ``with context.progress(n, "frames") as p: p.advance(k)``."""
        return self.reporter.progress(total, unit)

    # --- outputs ----------------------------------------------------------------

    def path(self, role: str) -> Path:
        """Path of the output of a role, in the folder of the outputs.

        Raises
        ------
        KeyError
            If the step's descriptor does not list the role (a defect of the step).
        """
        return self.directory / self.output_name(role)

    def output_name(self, role: str) -> str:
        """Name of the output of a role as the options give it: from the folder of the outputs on, or absolute.

        Raises
        ------
        KeyError
            If the step's descriptor does not list the role (a defect of the step).
        """
        if not hasattr(self._output_options, role):
            raise KeyError(f"the step {self.step.name} lists no output {role!r}")
        return os.path.expanduser(str(getattr(self._output_options, role)))

    @cached_property
    def _inputs_record(self) -> dict[str, Any]:
        from xtal.run.provenance import record

        made = record(self.step.name, self.changed, self.inputs, {}, self.plugins.versions)
        lock = self.plugins.policy.lock
        if self.site:
            made["site"] = self.site
        if lock is not None:
            made["lock"] = {"file": str(lock.path), "differences": self.plugins.lock_differences}
        return made

    @property
    def made(self) -> dict[str, Any]:
        """How the outputs of this run are made (`xtal.run.provenance`)."""
        return {**self._inputs_record, "plugins": dict(self.used)}

    def write_experiments(self, experiments: ExperimentList, role: str = "experiments") -> Path:
        """Write an experiment list, with how it was made under its key ``xtal``."""
        from xtal.files import write_experiments
        from xtal.run.provenance import KEY

        path = self.path(role)
        experiments.extra[KEY] = self.made
        write_experiments(experiments, path)
        return self._wrote(role, path)

    def write_reflections(self, table: ReflectionTable, role: str = "reflections") -> Path:
        """Write a reflection table, and how it was made beside it."""
        from xtal.files import write_reflections
        from xtal.run.provenance import write_made

        path = self.path(role)
        write_made(path, self.made, write_reflections(table, path))
        return self._wrote(role, path)

    @contextmanager
    def writing(self, role: str, name: str | None = None) -> Iterator[Path]:
        """A temporary path for an output; it takes the output's place when the block ends without error.

        ``name`` (from the folder of the outputs on, or absolute) replaces that of the options, where it follows from
        the data.
        """
        from xtal.files.atomic import writing
        from xtal.run.provenance import write_made

        path = self.directory / os.path.expanduser(name) if name else self.path(role)
        with writing(path) as temporary:
            yield temporary
            if not temporary.exists():
                raise DataError(f"Nothing was written to {path}.")
        write_made(path, self.made)
        self._wrote(role, path)

    def _wrote(self, role: str, path: Path) -> Path:
        self.outputs[path.name if role in self.outputs else role] = path
        return path
