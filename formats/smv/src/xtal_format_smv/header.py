"""The header of an SMV image: ``{``, lines ``KEY=VALUE;``, ``}``, padded to HEADER_BYTES."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from attrs import frozen

from xtal.errors import DataError
from xtal.files import notes
from xtal.files.raw import check_claim

_ITEM = re.compile(r"^[ \t]*+([A-Za-z0-9_]++)[ \t]*+=([^\n]*)", re.MULTILINE)
_TYPES = {
    "unsigned_short": "u2",
    "unsigned_short_int": "u2",
    "signed_short": "i2",
    "short_int": "i2",
    "short_integer": "i2",
    "unsigned_long": "u4",
    "unsigned_long_int": "u4",
    "long_int": "i4",
    "long_integer": "i4",
    "signed_long": "i4",
    "float_ieee": "f4",
    "unsigned_char": "u1",
}
_LARGEST_NUMBER = 64
"""Characters of a number: what is longer is none."""


def is_smv(head: bytes) -> bool:
    """Whether the file begins as SMV does."""
    return head.startswith(b"{") and b"HEADER_BYTES" in head[:64]


@frozen
class Header:
    """Keys and values of the header of one file."""

    path: Path
    values: dict[str, str]

    @classmethod
    def parse(cls, head: bytes, path: Path) -> Header:
        end = head.find(b"}")
        text = head[: end if end >= 0 else len(head)].decode("latin-1")
        return cls(path, {key: value.strip().removesuffix(";").rstrip() for key, value in _ITEM.findall(text)})

    def number(self, *keys: str, default: float = float("nan")) -> float:
        """The first of these keys that stands in the header, as a number."""
        for key in keys:
            found = self.numbers(key)
            if found:
                return found[0]
        if math.isfinite(default):
            notes.assumed(keys[0], default, f"the header has no {' or '.join(keys)}")
        return default

    def numbers(self, key: str) -> list[float]:
        """All numbers of a key; none where one of them cannot be read."""
        words = self.values.get(key, "").split()
        try:
            found = [float(word) for word in words if len(word) <= _LARGEST_NUMBER]
        except ValueError:
            return []
        if found and len(found) == len(words):
            notes.read(key, self.values[key], key)
            return found
        return []

    def text(self, key: str) -> str:
        if key in self.values:
            notes.read(key, self.values[key] or "(empty)", key)
        return self.values.get(key, "")

    def needed(self, key: str) -> int:
        value = self.number(key)
        if not 0 < value < 1e6:
            raise DataError(f"The SMV image {self.path} has no usable {key} in its header.")
        return int(value)

    @property
    def shape(self) -> tuple[int, int]:
        """(slow, fast) pixels of the stored image."""
        slow, fast = self.needed("SIZE2"), self.needed("SIZE1")
        check_claim(self.path, slow, fast)
        return slow, fast

    @property
    def stored(self) -> np.dtype[np.int64]:
        """Type of the stored pixels with its byte order."""
        given = self.text("TYPE") or self.text("Data_type")
        name = "_".join(given.lower().split()) or "unsigned_short"
        if name not in _TYPES:
            raise DataError(f"The SMV image {self.path} has pixels of type {name!r}, which xtal does not read.")
        order = ">" if self.text("BYTE_ORDER").lower() == "big_endian" else "<"
        return np.dtype(order + _TYPES[name])

    def epoch(self) -> float:
        """DATE in seconds of UTC, 0 if there is none that can be read."""
        try:
            return datetime.strptime(self.text("DATE"), "%a %b %d %H:%M:%S %Y").replace(tzinfo=UTC).timestamp()
        except ValueError:
            return 0.0
