"""``xtal run``: the steps, their help, and running one."""

from __future__ import annotations

from xtal.errors import UsageError
from xtal.hooks import Step
from xtal.options import split_tokens
from xtal.plugins import Plugins, default_plugins


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
    needed = [role for role in step.inputs if not role.endswith("?")]
    if flags["help"] or (needed and not tokens):
        from xtal.run.help import help_of

        print(help_of(plugins, step, 1 if flags["verbose"] else 0))
        return 0 if flags["help"] else UsageError.exit_code
    assignments, files = split_tokens(tokens)
    from xtal.run import run_step

    run_step(plugins, name, assignments, files, verbosity=0 if flags["quiet"] else 2)
    return 0


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
