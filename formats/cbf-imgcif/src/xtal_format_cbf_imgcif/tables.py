"""Tables of a CIF text."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import gemmi

from xtal.errors import DataError

Row = dict[str, str]


class Tables:
    """The tables of the first data block; names in lower case, absent values are missing keys.

    Parameters
    ----------
    text
        CIF, of any encoding that agrees with ASCII.
    path
        Of the file, for messages.

    Raises
    ------
    DataError
        If the text is no CIF.
    """

    def __init__(self, text: bytes, path: Path) -> None:
        self.path = path
        clean = text.replace(b"\0", b" ").replace(b"\r\n", b"\n").decode("latin-1")
        try:
            document = gemmi.cif.read_string(clean)
        except (ValueError, RuntimeError) as error:
            raise self._unreadable(error) from error
        if len(document) == 0:
            raise DataError(f"The CBF image {path} has no tables.")
        self._block: Any = document[0]

    def _unreadable(self, error: Exception) -> DataError:
        return DataError(
            f"The tables of the CBF image {self.path} cannot be read: {str(error).splitlines()[0][:200]}.",
            advice="Copy it again.",
        )

    def rows(self, category: str) -> list[Row]:
        """All rows of a category, empty if there is none.

        Raises
        ------
        DataError
            If a loop holds tags of another category too.
        """
        try:
            table = self._block.find_mmcif_category(f"_{category}.")
        except RuntimeError as error:
            raise self._unreadable(error) from error
        names = [tag.split(".", 1)[1].lower() for tag in table.tags]
        found = []
        for row in table:
            values = zip(names, row, strict=True)
            found.append({n: gemmi.cif.as_string(v) for n, v in values if v not in (".", "?")})
        return found

    def first(self, category: str) -> Row:
        """The first row of a category, empty if there is none."""
        return next(iter(self.rows(category)), {})

    def number(self, row: Row, name: str, default: float = 0.0) -> float:
        """A number of a row.

        Raises
        ------
        DataError
            If what stands there is none.
        """
        text = row.get(name, "").strip()
        if not text:
            return default
        try:
            value = float(text.split("(")[0])  # 1.234(5) has its standard deviation in parentheses
        except ValueError:
            value = math.inf
        if not math.isfinite(value):
            raise DataError(f"The header of {self.path} has {name} = {text[:40]!r}, which is no number.")
        return value

    def integer(self, row: Row, name: str, default: int = 0) -> int:
        """A whole number of a row (see `number`)."""
        value = self.number(row, name, default)
        if value != int(value):
            raise DataError(f"The header of {self.path} has {name} = {value}, which is no whole number.")
        return int(value)
