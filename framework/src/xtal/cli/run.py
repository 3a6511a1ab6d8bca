"""``xtal run``: the steps, their help, and running one."""

from __future__ import annotations

import os
import stat
import sys

from xtal.errors import UsageError
from xtal.hooks import Step
from xtal.options import split_tokens
from xtal.plugins import Plugins, default_plugins

LONGEST_LIST = 2**26
"""Characters that are read of a list of images."""


def main(words: list[str]) -> int:
    """List the steps, show a step's help, or run it."""
    flags = {"help": False, "verbose": False, "quiet": False}
    names = {"-h": "help", "--help": "help", "-v": "verbose", "-q": "quiet", "--quiet": "quiet"}
    rest = []
    for word in words:
        if word in names:
            flags[names[word]] = True
        else:
            rest.append(word)
    plugins = default_plugins()
    if not rest:
        print(list_of_steps(plugins))
        return 0
    name, tokens = rest[0], rest[1:]
    step = find_step(plugins, name)
    files_wanted = bool(step.inputs) and not tokens
    listed = "images" in (role.rstrip("?") for role in step.inputs) and files_wanted and has_list()
    if flags["help"] or (files_wanted and not listed):
        from xtal.run.help import help_of

        print(help_of(plugins, step, 1 if flags["verbose"] else 0))
        return 0 if flags["help"] else UsageError.exit_code
    assignments, files = split_tokens(tokens if not listed else ["-"])
    from xtal.run import run_step

    run_step(plugins, name, assignments, with_list(files), verbosity=0 if flags["quiet"] else 2)
    return 0


def has_list() -> bool:
    """Whether the standard input is a pipe or a file, which may list images."""
    try:
        mode = os.fstat(sys.stdin.fileno()).st_mode
    except (OSError, ValueError, AttributeError):
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISREG(mode)


def with_list(files: list[str]) -> list[str]:
    """Files, a single ``-`` among them replaced by the paths on the standard input, one a line."""
    if "-" not in files:
        return files
    lines = [line.strip() for line in sys.stdin.read(LONGEST_LIST).splitlines()]
    listed = [line for line in lines if line]
    if not listed:
        raise UsageError("The standard input lists no file.", advice="Give images, or a list of them, one a line.")
    return [one for file in files for one in (listed if file == "-" else [file])]


def find_step(plugins: Plugins, name: str) -> Step:
    """The step, or a UsageError with the nearest names."""
    if name not in plugins.names("step"):
        from xtal.options.convert import did_you_mean

        plain = name.replace("-", "_")
        if plain in plugins.names("step"):
            name = plain
        elif any(p.entry for p in plugins.problems if not p.denied) or not plugins.names("step"):
            found: Step = plugins.find("step", name)
            return found
        else:
            near = did_you_mean(name, plugins.names("step"))
            raise UsageError(f"There is no step {name!r}.", advice=near or "See xtal run for the list.")
    step: Step = plugins.find("step", name)
    return step


def list_of_steps(plugins: Plugins) -> str:
    """One line per step, in the order of the flow."""
    steps = plugins.all("step")
    width = max((len(s.name) for s in steps), default=0)
    lines = [f"  {s.name.ljust(width)}  {s.summary}" for s in steps]
    head = "Steps, in the order of the flow (xtal run STEP --help):" if steps else "No steps are installed."
    return "\n".join([head, *lines, *problem_lines(plugins)])


def problem_lines(plugins: Plugins) -> list[str]:
    """What could not be used, one line each."""
    broken = [f"  ! {p.entry} ({p.distribution}): {p.cause}" for p in plugins.problems if not p.denied]
    return broken + [f"  ! {conflict}" for conflict in plugins.conflicts()]
