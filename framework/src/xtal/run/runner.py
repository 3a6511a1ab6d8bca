"""Running one step: options, inputs, log, provenance."""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from attrs import define, field, frozen

import xtal
from xtal.errors import DataError, OptionError, XtalError
from xtal.hooks import Step
from xtal.kernel_cache import announced_by
from xtal.options import Assignment, differences, files_written, of_command, parse_all
from xtal.options.parsing import Parsed
from xtal.plugins import Plugins
from xtal.run import interrupt
from xtal.run.budget import memory_budget
from xtal.run.context import Context
from xtal.run.inputs import images_to_import, sort_inputs
from xtal.run.report import Reporter
from xtal.run.settings import step_classes
from xtal.run.site import SiteOption, site_options, site_values

SHOWN = 6
"""Outputs that the last line names, where a step wrote many."""


@frozen
class Outcome:
    """What a step left.

    Attributes
    ----------
    step : its name
    outputs : role to file
    summary : at most three lines
    seconds : wall clock
    tables : as text
    skipped : whether the outputs were there already
    used : the plugins that had a part in it, each with its distribution and version
    """

    step: str
    outputs: dict[str, Path]
    summary: tuple[str, ...]
    seconds: float
    tables: tuple[str, ...] = ()
    skipped: bool = False
    used: dict[str, str] = field(factory=dict)


@define
class Prepared:
    """A step with its options and input files, ready to run."""

    step: Step
    parsed: Parsed
    changed: dict[str, str]
    inputs: dict[str, list[Path]]
    site: dict[str, SiteOption] = field(factory=dict)

    @property
    def output_options(self) -> Any:
        return self.parsed.objects[1].output

    @property
    def directory(self) -> Path:
        return Path(os.path.expanduser(self.output_options.directory))


def prepare(plugins: Plugins, name: str, assignments: Sequence[Assignment], files: Sequence[str]) -> Prepared:
    """Options and inputs of a step, checked.

    Raises
    ------
    OptionError, DataError, UsageError, PluginError
    """
    step: Step = plugins.find("step", name)
    plugins.check()
    parsed, site = step_options(plugins, step, assignments)
    changed: dict[str, str] = {}
    for options in parsed.objects:
        changed.update(differences(options))
    inputs = sort_inputs(step, files, _named(parsed))
    _keep_from_log(parsed, [path for paths in inputs.values() for path in paths])
    return Prepared(step, parsed, changed, inputs, site)


def _named(parsed: Parsed) -> dict[str, Sequence[str]]:
    """Role to the files given by ``input.<role>=``."""
    return {role: getattr(parsed.objects[2].input, role) for role in ("experiments", "reflections")}


def step_options(
    plugins: Plugins, step: Step, assignments: Sequence[Assignment]
) -> tuple[Parsed, dict[str, SiteOption]]:
    """Options objects of a step: the site's defaults, then the user's settings, then what the site enforces.

    Returns
    -------
    parsed, site
        ``site`` holds the options whose values are the site's, by their full names.

    Raises
    ------
    OptionError
        If a setting is wrong, or names a file to be written in a folder that is not there, or the user asks for
        something else than the site enforces.
    """
    classes = step_classes(step, plugins.options_class("step", step.name))
    settings = site_options(plugins, step, classes)
    defaults = [one.assignment for one in settings if not one.enforced]
    enforced = [one.assignment for one in settings if one.enforced]
    asked = parse_all(classes, [*defaults, *assignments], plugins)
    if asked.objects[2].memory is not None:
        memory_budget(asked.objects[2].memory)
    _check_files_written(asked)
    mine = asked.given[len(defaults) :]
    site = {path: one for path, one in site_values(settings).items() if one.enforced or path not in mine}
    if not enforced:
        return asked, site
    final = parse_all(classes, [*defaults, *assignments, *enforced], plugins)
    before, after = _all_differences(asked), _all_differences(final)
    for path in mine:
        if before.get(path) != after.get(path):
            source = next((a.where for a in enforced if a.key == path), enforced[-1].where)
            raise OptionError(f"{source} enforces {path}={after.get(path, 'its default')}.", advice="Leave it out.")
    return final, site


def _check_files_written(parsed: Parsed) -> None:
    """See that the files to be written may be: the folder of the outputs is made, others must be there."""
    own, outputs, _ = parsed.objects
    directory = os.path.expanduser(outputs.output.directory)
    others: dict[str, str] = {}
    for name, value in {**files_written(own), **files_written(outputs)}.items():
        folder, file = os.path.split(os.path.join(directory, os.path.expanduser(value)))
        real = os.path.realpath(folder)  # one folder may have several names
        made = real == os.path.realpath(directory) and not os.path.isdir(directory)
        if not made and not os.path.isdir(folder):
            raise OptionError(f"{name}={value}: the folder {Path(folder)} does not exist.", advice="Create it first.")
        if name != "output.log" and not made and not os.access(folder, os.W_OK):  # a step that only looks needs no log
            raise OptionError(
                f"{name}={value}: the folder {Path(folder)} may not be written to.", advice="Give another folder."
            )
        if name.endswith("prefix"):
            continue
        if file in ("", ".", "..") or os.path.isdir(os.path.join(folder, file)):
            raise OptionError(f"{name}={value} is a folder.", advice="Give the name of a file.")
        if (other := others.setdefault(os.path.join(real, file), name)) != name:
            raise OptionError(f"{other} and {name} both name {value}.", advice="Give each file a name of its own.")


def _keep_from_log(parsed: Parsed, inputs: Sequence[str | Path]) -> None:
    """See that the log, which is begun before anything is read, takes the place of no input."""
    output = parsed.objects[1].output
    log = Path(os.path.expanduser(output.directory), output.log) if output.log else None
    if log is not None and log.exists() and any(os.path.exists(path) and log.samefile(path) for path in inputs):
        raise OptionError(f"output.log={output.log} is an input.", advice="Give the log a name of its own.")


def _all_differences(parsed: Parsed) -> dict[str, str]:
    found: dict[str, str] = {}
    for options in parsed.objects:
        found.update(differences(options))
    return found


def run_step(
    plugins: Plugins,
    name: str,
    assignments: Sequence[Assignment] = (),
    files: Sequence[str] = (),
    *,
    verbosity: int = 2,
) -> Outcome:
    """Run a step.

    Parameters
    ----------
    plugins
        Installed plugins.
    name
        Of the step.
    assignments, files
        From the command line (`xtal.options.split_tokens`).
    verbosity
        See `xtal.run.report.Reporter`.

    Raises
    ------
    XtalError
        What the data or the options cannot do. Any other exception is a defect; its traceback
        stands in the log, whose path the exception carries as ``xtal_log``.
    """
    with ExitStack() as stack:
        try:
            files = import_images(plugins, name, assignments, files, verbosity, stack)
            prepared = prepare(plugins, name, assignments, files)
        except OptionError as error:
            raise OptionError(error.message, advice=of_command(error.advice, f"xtal run {name}")) from None
        return run_prepared(plugins, prepared, verbosity=verbosity)


def import_images(
    plugins: Plugins,
    name: str,
    assignments: Sequence[Assignment],
    files: Sequence[str],
    verbosity: int,
    stack: ExitStack,
) -> list[str]:
    """The files of a step; where it takes images for experiments, they are imported, and the list takes their place.

    It stands beside the outputs. A step that makes no reflections to go with it takes no older list away: then it
    stands in a temporary folder as long as the stack is open.
    """
    step: Step = plugins.find("step", name)
    parsed, _ = step_options(plugins, step, assignments)
    images = images_to_import(step, files, _named(parsed))
    if not images:
        return list(files)
    _keep_from_log(parsed, images)
    folder = os.path.expanduser(parsed.objects[1].output.directory)
    older = Path(folder, plugins.find("step", "import").outputs["experiments"])
    if "reflections" not in step.outputs and older.exists():
        folder, verbosity = stack.enter_context(TemporaryDirectory(prefix="xtal-")), min(verbosity, 1)
    imported = run_step(plugins, "import", [Assignment("output.directory", folder)], images, verbosity=verbosity)
    return [str(imported.outputs["experiments"]), *(name for name in files if name not in images)]


def run_prepared(plugins: Plugins, prepared: Prepared, *, verbosity: int = 2) -> Outcome:
    """Run a step whose options and inputs are known; see `run_step`."""
    start = time.monotonic()
    make_directory(prepared.directory)
    reporter = _reporter(prepared, verbosity)
    try:
        with single_threaded_libraries(), announced_by(partial(reporter.say, least=1)):
            context = _context(plugins, prepared, reporter)
            _start(context, prepared)
            plugins.factory("step", prepared.step.name)(context)
            interrupt.check()
        for line in context.summary_lines:
            reporter.say(line)
        seconds = time.monotonic() - start
        paths = [str(p) for p in context.outputs.values()]
        more = f" and {len(paths) - SHOWN} more files" if len(paths) > SHOWN else ""
        wrote = ", ".join(paths[:SHOWN]) + more
        reporter.say(f"Wrote {wrote} in {seconds:.1f} s." if wrote else f"Done in {seconds:.1f} s.")
        summary, tables = tuple(context.summary_lines), tuple(reporter.tables)
        return Outcome(prepared.step.name, context.outputs, summary, seconds, tables, used=context.used)
    except OSError as error:
        raise _told(error, reporter) from error
    except BaseException as error:
        _log_failure(error, reporter)
        raise
    finally:
        reporter.close()


def _reporter(prepared: Prepared, verbosity: int) -> Reporter:
    """Messages to the terminal and the log; a step that only looks needs no folder in which one may write."""
    log = prepared.output_options.log
    try:
        return Reporter(verbosity, prepared.directory / log if log else None)
    except DataError as error:
        if prepared.step.outputs:
            raise
        reporter = Reporter(verbosity)
        reporter.warn(error.message)
        return reporter


def _context(plugins: Plugins, prepared: Prepared, reporter: Reporter) -> Context:
    own, _, run = prepared.parsed.objects
    return Context(
        prepared.step,
        own,
        prepared.inputs,
        plugins,
        reporter,
        run=run,
        outputs=prepared.output_options,
        changed=prepared.changed,
        site={path: one.note for path, one in prepared.site.items()},
    )


def _start(context: Context, prepared: Prepared) -> None:
    """Say what runs with which options, and check the inputs before work begins."""
    context.reporter.log(f"xtal {xtal.__version__} {prepared.step.name}   {time.strftime('%Y-%m-%d %H:%M:%S')}")
    for role, paths in prepared.inputs.items():
        shown = ", ".join(map(str, paths[:3])) + (f" and {len(paths) - 3} more" if len(paths) > 3 else "")
        context.reporter.log(f"{role}: {shown}")
    if prepared.changed:
        context.print("Options that differ from the defaults:")
        for name, value in prepared.changed.items():
            context.print(f"  {name} = {value}" + (f"   ({context.site[name]})" if name in context.site else ""))
    for warning in prepared.parsed.warnings:
        context.warn(warning)
    if context.plugins.lock_differences and context.plugins.policy.lock is not None:
        told = "; ".join(context.plugins.lock_differences)
        context.warn(f"The plugins are not those that {context.plugins.policy.lock.path} locks: {told}.")
    _check_inputs(context)


def _check_inputs(context: Context) -> None:
    """Read the heads of the files and check that they belong together, before work begins."""
    if context.has("experiments") and context.has("reflections"):
        context.reflections  # noqa: B018 (reading is the check)


def make_directory(path: Path) -> None:
    """Make the folder of the outputs."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(
            f"The folder {path} cannot be made: {error.strerror}.", advice="Give another output.directory."
        ) from None


def single_threaded_libraries() -> AbstractContextManager[Any]:
    """Keep BLAS and OpenMP from starting threads of their own: ours use all cores already."""
    if "numpy" not in sys.modules:
        for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLOSC_NTHREADS"):
            os.environ.setdefault(name, "1")
        return nullcontext()
    from threadpoolctl import threadpool_limits

    limits: AbstractContextManager[Any] = threadpool_limits(1)
    return limits


def _told(error: OSError, reporter: Reporter) -> Exception:
    """An error of the system as a sentence, where it is one that users can do something about."""
    import errno

    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        told = DataError(
            f"The disk is full: {error.filename or 'an output'} could not be written.",
            advice="Free some space, then run the same command again.",
        )
        reporter.log(str(told))
        return told
    _log_failure(error, reporter)
    return error


def _log_failure(error: BaseException, reporter: Reporter) -> None:
    if isinstance(error, XtalError):
        reporter.log(f"Stopped: {error}")
    elif isinstance(error, KeyboardInterrupt):
        reporter.log("Interrupted.")
    else:
        reporter.log(traceback.format_exc())
        vars(error)["xtal_log"] = reporter.log_path
