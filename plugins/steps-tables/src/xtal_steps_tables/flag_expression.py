"""Expressions of flags: names joined by & | ~ and brackets. Nothing else, and nothing is evaluated."""

from __future__ import annotations

import difflib
import re

import numpy as np
from numpy.typing import NDArray

from xtal.errors import OptionError
from xtal.table import Flag, ReflectionTable

Rows = NDArray[np.bool_]
NAMES: dict[str, Flag] = {name.lower(): flag for name, flag in Flag.__members__.items()}
"""Every flag by the name that users give, the composites too."""

_TOKEN = re.compile(r"\s*(?:([A-Za-z_]\w*)|([&|~()])|(\S))")


def select_by_flags(expression: str, table: ReflectionTable) -> Rows:
    """(n,) rows for which an expression holds.

    ``~`` binds closest, then ``&``, then ``|``. A name of several bits (``integrated``) asks for all of them.

    Raises
    ------
    OptionError
        If the expression is none; says what is wrong with it.
    """
    return _Parser(expression, table).whole()


class _Parser:
    def __init__(self, expression: str, table: ReflectionTable) -> None:
        self.expression, self.table = expression, table
        self.tokens: list[str] = []
        for name, operator, other in _TOKEN.findall(expression):
            if other:
                raise self.fail(f"{other!r} is none of & | ~ ( )")
            self.tokens.append(name or operator)

    def fail(self, why: str) -> OptionError:
        return OptionError(
            f"flag_expression={self.expression} cannot be read: {why}.",
            advice="Join flags by & | ~ ( ), for example 'integrated & ~reference_spot'.",
        )

    def whole(self) -> Rows:
        rows = self.either()
        if self.tokens:
            raise self.fail(f"{self.tokens[0]!r} stands where & or | is expected")
        return rows

    def either(self) -> Rows:
        rows = self.both()
        while self.tokens[:1] == ["|"]:
            self.tokens.pop(0)
            rows = rows | self.both()
        return rows

    def both(self) -> Rows:
        rows = self.one()
        while self.tokens[:1] == ["&"]:
            self.tokens.pop(0)
            rows = rows & self.one()
        return rows

    def one(self) -> Rows:
        if not self.tokens:
            raise self.fail("it ends where a flag is expected")
        inverted = False
        while self.tokens[:1] == ["~"]:
            self.tokens.pop(0)
            inverted = not inverted
        rows = self.operand()
        return ~rows if inverted else rows

    def operand(self) -> Rows:
        token = self.tokens.pop(0) if self.tokens else ""
        if token == "(":
            rows = self.either()
            if self.tokens[:1] != [")"]:
                raise self.fail("a bracket is not closed")
            self.tokens.pop(0)
            return rows
        if token in NAMES:
            return self.table.has_flags(NAMES[token])
        if re.fullmatch(r"\w+", token):
            near = difflib.get_close_matches(token, NAMES, n=3)
            raise self.fail(f"{token!r} is no flag" + (f"; did you mean {' or '.join(near)}" if near else ""))
        raise self.fail(f"{token!r} stands where a flag is expected" if token else "it ends where a flag is expected")
