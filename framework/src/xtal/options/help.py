"""What ``--help`` shows of options."""

from __future__ import annotations

import types
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Union, get_args, get_origin

from attrs import frozen

from xtal.options.convert import format_value
from xtal.options.tree import Entry, PluginSource, entries


@frozen
class HelpRow:
    """An option as help shows it."""

    path: str
    default: str
    kind: str
    help: str
    level: int


def help_rows(
    classes: Sequence[type],
    plugins: PluginSource | None = None,
    level: int = 0,
    chosen: Mapping[str, str] | None = None,
) -> list[HelpRow]:
    """Options up to a level, in the order of their declaration; ``chosen`` as for `entries`."""
    known = [e for cls in classes for e in entries(cls, plugins, chosen)]
    return [row(e) for e in known if e.spec.level <= level]


def n_hidden(
    classes: Sequence[type],
    plugins: PluginSource | None = None,
    level: int = 0,
    chosen: Mapping[str, str] | None = None,
) -> int:
    """How many options are above the level."""
    return sum(e.spec.level > level for cls in classes for e in entries(cls, plugins, chosen))


def row(entry: Entry) -> HelpRow:
    """An option's row: its choices and unit stand with the sentence."""
    spec = entry.spec
    text = spec.help.rstrip(".")
    notes = [spec.unit] if spec.unit else []
    if spec.choices:
        notes.append(" | ".join(spec.choices))
    notes += [f"{sign} {v:g}" for sign, v in ((">=", spec.ge), (">", spec.gt), ("<=", spec.le), ("<", spec.lt))
              if v is not None]  # fmt: skip
    if spec.multiple:
        notes.append("may be repeated")
    if notes:
        text += f" [{', '.join(notes)}]"
    return HelpRow(entry.path, format_value(entry.default), short_type(entry.kind), text, spec.level)


def short_type(kind: Any) -> str:
    """bool, int, float, text, ints, floats ... without None and Auto."""
    if get_origin(kind) in (Union, types.UnionType):
        parts = [short_type(k) for k in get_args(kind) if k is not type(None) and get_origin(k) is not Literal]
        return "|".join(parts) or "text"
    if get_origin(kind) is tuple:
        return short_type(get_args(kind)[0]) + "s"
    return {str: "text"}.get(kind, getattr(kind, "__name__", "text"))
