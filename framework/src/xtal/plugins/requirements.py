"""Requirements such as ``xtal-format-nxmx>=0.2,<1``, compared with what is installed.

Versions are compared by their release numbers (1.2 is 1.2.0); what follows them ("rc1", ".dev0") is not looked at.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from attrs import frozen

from xtal.errors import PluginError

_REQUIREMENT = re.compile(r"([A-Za-z0-9][\w.-]*)((?:(?:==|!=|>=|<=|>|<)\d+(?:\.\d+)*[\w.+]*(?:,|$))*)")
_LONGEST = 256
"""Characters of a requirement: what is longer is none."""
_CLAUSE = re.compile(r"(==|!=|>=|<=|>|<)([^,]+)")


@frozen
class Requirement:
    """A distribution in some versions, and the file that asks for it."""

    text: str
    name: str
    clauses: tuple[tuple[str, str], ...]
    source: str

    @classmethod
    def parse(cls, text: str, source: str) -> Requirement | None:
        """The requirement that a text says, or None where it is none."""
        found = _REQUIREMENT.fullmatch(text.replace(" ", "")) if len(text) <= _LONGEST else None
        if found is None:
            return None
        return cls(text, found[1].lower().replace("_", "-"), tuple(_CLAUSE.findall(found[2])), source)

    def check(self, versions: Mapping[str, str]) -> None:
        """Raise PluginError unless the distribution is among those installed, in a version that will do."""
        version = versions.get(self.name)
        if version is None:
            raise PluginError(
                f"{self.source} requires the plugin {self.text}, which is not installed.",
                advice=f"Install it: pip install '{self.text}'.",
            )
        for sign, wanted in self.clauses:
            if not _holds(_numbers(version), sign, _numbers(wanted)):
                raise PluginError(
                    f"{self.source} requires {self.text}, but {self.name} {version} is installed.",
                    advice=f"Install the version asked for: pip install '{self.text}'.",
                )


def _holds(have: tuple[int, ...], sign: str, wanted: tuple[int, ...]) -> bool:
    width = max(len(have), len(wanted))
    a, b = have + (0,) * (width - len(have)), wanted + (0,) * (width - len(wanted))
    return {"==": a == b, "!=": a != b, ">=": a >= b, "<=": a <= b, ">": a > b, "<": a < b}[sign]


def _numbers(version: str) -> tuple[int, ...]:
    """Leading whole numbers of a version: (1, 2, 0) of "1.2.0rc1"."""
    numbers: list[int] = []
    for part in version.split("."):
        digits = re.match(r"\d+", part)
        if digits is None:
            break
        numbers.append(int(digits[0]))
        if digits[0] != part:
            break
    return tuple(numbers)
