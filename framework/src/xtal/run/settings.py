"""Options that the runner adds to those of every step."""

from __future__ import annotations

from functools import cache
from typing import Any, Literal

import attrs
from attrs import frozen

from xtal.hooks import Step
from xtal.options import Choice, option, plugin_choice, scope


@frozen
class InputOptions:
    """Input files by role; files given bare are recognised by their content."""

    experiments: tuple[str, ...] = option((), help="Experiment lists (.expt)", multiple=True, level=1)
    reflections: tuple[str, ...] = option((), help="Reflection tables (.refl)", multiple=True, level=1)


@frozen
class RunOptions:
    """How a step is run; what comes out does not depend on it."""

    nproc: int | Literal["auto"] = option("auto", help="Threads (Auto: all cores that are ours)", ge=1)
    memory: str | None = option(
        None, help="Memory budget, for example 2GB (None: 60 % of what is available now)", level=1
    )
    executor: Choice = plugin_choice("executor", default="local", help="How blocks of work are run", level=1)
    input: InputOptions = scope(InputOptions)


@cache
def output_class(step: str, outputs: tuple[tuple[str, str], ...]) -> type:
    """A class of the scope ``output`` of a step: a name per role, the folder and the log."""
    fields = {role: option(name, help=_told(role), writes=True) for role, name in outputs}
    fields["directory"] = option(".", help="Folder of all outputs; made if absent", level=1)
    fields["log"] = option(f"xtal.{step}.log", help="Log file (None: no log)", level=1, writes=True)
    kinds = dict.fromkeys(fields, str) | {"log": str | None}
    inner = attrs.make_class("OutputOptions", {n: _typed(f, kinds[n]) for n, f in fields.items()}, frozen=True)
    return attrs.make_class("StepOutputs", {"output": scope(inner)}, frozen=True)


def _told(role: str) -> str:
    """What the name of an output is."""
    return "How names of files begin" if role.endswith("prefix") else f"File of the {role.replace('_', ' ')}"


def _typed(field: Any, kind: object) -> Any:
    field.type = kind
    return field


@frozen
class NoOptions:
    """Options of a step that has none."""


def step_classes(step: Step, own: type | None) -> list[type]:
    """The classes whose options ``xtal run STEP`` takes, the step's own first."""
    return [own or NoOptions, output_class(step.name, tuple(step.outputs.items())), RunOptions]


SILENT = ("nproc", "memory", "executor.", "output.", "input.experiments", "input.reflections")
"""Options that change no result; they are not compared when a run is resumed."""
