"""Parameter text: tokens of the command line and parameter files (the syntax of DIALS's .phil files)."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterable

from attrs import field, frozen

from xtal.errors import OptionError

PARAMETER_FILES = (".phil", ".param", ".params", ".eff", ".def")
_KEY = re.compile(r"[A-Za-z_][\w.]*\Z")
_TOKEN = re.compile(
    r"""(?P<quoted>\"{3}.*?\"{3}|'{3}.*?'{3}|"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')
      | (?P<comment>\#[^\n]*) | (?P<join>\\[ \t]*\n) | (?P<newline>\n) | (?P<mark>[{};=]) | (?P<blank>[ \t\r]+)
      | (?P<word>[^\s{};=\#"']+) | (?P<stray>["'])""",
    re.VERBOSE | re.DOTALL,
)


_numbers = itertools.count()


@frozen
class Assignment:
    """A name (in full or in part), the text of its value and where it was given ("" on the command line).

    ``blocks`` numbers the blocks ``{ ... }`` of a parameter file that hold it, the outermost first.
    """

    key: str
    value: str
    where: str = ""
    blocks: tuple[int, ...] = field(default=(), eq=False)


def split_tokens(tokens: Iterable[str]) -> tuple[list[Assignment], list[str]]:
    """Sort the words of a command line into settings and data files, in their order.

    ``name=value`` (blanks about the sign do not matter) and ``--name[=value]`` set an option, an existing parameter
    file (``*.phil``) and ``options=FILE`` are read; everything else is a data file.

    Returns
    -------
    assignments, files
    """
    assignments: list[Assignment] = []
    files: list[str] = []
    for token in tokens:
        name, equals, value = token.partition("=")
        bare, value = name.strip().lstrip("-"), value.strip()
        if token.endswith(PARAMETER_FILES) and os.path.isfile(token):
            assignments += read_file(token)
        elif equals and bare == "options":
            assignments += read_file(os.path.expanduser(value))
        elif equals and _KEY.match(bare) and "://" not in name:
            assignments.append(Assignment(bare, value))
        elif name.startswith("--") and not equals and _KEY.match(bare):
            assignments.append(Assignment(bare, "True"))
        elif name.startswith("-") and len(name) > 1 and not os.path.exists(token):
            raise OptionError(f"The option {token} is unknown.", advice="Options are given as name=value.")
        else:
            files.append(token)
    return assignments, files


def read_file(path: str, _seen: tuple[str, ...] = ()) -> list[Assignment]:
    """Settings of a parameter file.

    Raises
    ------
    OptionError
        If the file cannot be read or its syntax is wrong; names file and line.
    """
    real = os.path.realpath(path)
    if real in _seen:
        raise OptionError(f"The parameter file {path} includes itself.")
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except (OSError, UnicodeDecodeError) as error:
        cause = getattr(error, "strerror", None) or "it is not text"
        raise OptionError(
            f"The parameter file {path} cannot be read: {cause}.",
            advice="Check its name, its rights and what it holds.",
        ) from None
    return parse_text(text, path, (*_seen, real))


def parse_text(text: str, source: str = "", _seen: tuple[str, ...] = ()) -> list[Assignment]:
    """Settings of parameter text: ``scope { name = value }``, ``a.b = value``, ``#`` and ``!``, ``;``."""
    return _Parser(text, source, _seen).run()


class _Parser:
    """One pass over the tokens with a stack of open scopes."""

    def __init__(self, text: str, source: str, seen: tuple[str, ...]) -> None:
        self.source, self.seen = source, seen
        self.tokens = [
            (m.lastgroup or "", m.group(), text.count("\n", 0, m.start()) + 1)
            for m in _TOKEN.finditer(text + "\n")
            if m.lastgroup not in ("comment", "blank", "join")
        ]
        self.at = 0
        self.scopes: list[tuple[str, bool, int]] = []
        self.found: list[Assignment] = []

    def run(self) -> list[Assignment]:
        while self.at < len(self.tokens):
            self._statement()
        if self.scopes:
            raise self._error(f"the scope {self.scopes[-1][0]!r} is not closed", self.tokens[-1][2])
        return self.found

    def _error(self, what: str, line: int) -> OptionError:
        place = f"{self.source or 'parameter text'}, line {line}"
        return OptionError(f"{place}: {what}.")

    def _statement(self) -> None:
        group, text, line = self.tokens[self.at]
        self.at += 1
        if group == "newline" or text == ";":
            return
        if text == "}":
            if not self.scopes:
                raise self._error("a } without its {", line)
            self.scopes.pop()
            return
        if group != "word":
            raise self._error(f"unexpected {text}", line)
        if text == "include":
            self._include(line)
            return
        name, off = text.lstrip("!"), text.startswith("!")
        if not _KEY.match(name):
            raise self._error(f"{text!r} is not a name", line)
        self._after_name(name, off, line)

    def _after_name(self, name: str, off: bool, line: int) -> None:
        while self.at < len(self.tokens) and self.tokens[self.at][0] == "newline":
            self.at += 1
        mark = self.tokens[self.at][1] if self.at < len(self.tokens) else ""
        self.at += 1
        if mark == "{":
            self.scopes.append((name, off, next(_numbers)))
        elif mark == "=":
            value = self._value(line)
            path = ".".join([s for s, _, _ in self.scopes] + [name])
            if not off and not any(o for _, o, _ in self.scopes):
                where = f"{self.source}, line {line}" if self.source else ""
                self.found.append(Assignment(path, value, where, tuple(number for _, _, number in self.scopes)))
        else:
            raise self._error(f"{name!r} has neither = nor {{ after it", line)

    def _value(self, line: int) -> str:
        parts = []
        while self.at < len(self.tokens):
            group, text, _ = self.tokens[self.at]
            if group == "newline" or text in (";", "}"):
                break
            if group == "stray" or text == "{":
                raise self._error(f"unexpected {text}", line)
            parts.append(text)
            self.at += 1
        return " ".join(parts)

    def _include(self, line: int) -> None:
        words = self._value(line).split(None, 1)
        if len(words) != 2 or words[0] != "file":
            raise self._error("only 'include file NAME' is understood", line)
        path = words[1].strip("\"'")
        base = os.path.dirname(self.source) if self.source else ""
        self.found += read_file(os.path.join(base, path), self.seen)
