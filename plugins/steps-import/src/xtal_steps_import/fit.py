"""Tables that fit the terminal."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Sequence
from typing import Any

from xtal.run import Context

PLAIN_WIDTH = 132
"""Characters of a line where the output is no terminal."""
GAP = 2
"""Blanks in front of every column."""


def width(context: Context) -> int:
    """Characters of a line."""
    return shutil.get_terminal_size((PLAIN_WIDTH, 24)).columns if context.reporter.is_terminal else PLAIN_WIDTH


def fitting_table(context: Context, title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """A table; where it is too wide its columns go below one another, each part with the first column."""
    sizes = [max([len(c), *(len(str(row[k])) for row in rows)]) + GAP for k, c in enumerate(columns)]
    room = width(context) - sizes[0]
    parts: list[list[int]] = [[]]
    for k in range(1, len(columns)):
        if parts[-1] and sum(sizes[j] for j in parts[-1]) + sizes[k] > room:
            parts.append([])
        parts[-1].append(k)
    for number, part in enumerate(parts):
        chosen = [0, *part]
        heading = title if number == 0 else ""
        context.table(heading, [columns[k] for k in chosen], [[row[k] for k in chosen] for row in rows])


def named_values(context: Context, title: str, rows: Sequence[tuple[str, str]]) -> None:
    """Names with their values, long values on several lines."""
    first = max([len("model"), *(len(name) for name, _ in rows)]) + 2 * GAP
    room = max(width(context) - first, 20)
    wrapped = [
        (name if k == 0 else "", line)
        for name, value in rows
        for k, line in enumerate(textwrap.wrap(value, room, break_on_hyphens=False) or [""])
    ]
    context.table(title, ["model", "value"], wrapped)
