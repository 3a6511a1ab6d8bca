"""The text of a miniCBF: comment lines of the detector, and what describes the binary section."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from pathlib import Path

from attrs import frozen

from xtal.errors import DataError
from xtal.files import notes
from xtal.files.raw import check_claim

MAGIC = b"\x0c\x1a\x04\xd5"
"""What stands between the text and the pixels."""

_CONVENTION = re.compile(rb'_array_data\.header_convention\s+"?([^"\r\n]+)')
_FULL = re.compile(rb"^_diffrn(?:\.id|_source)", re.MULTILINE)
_COMMENT = re.compile(r"^;?#[ \t]*+([A-Za-z_][A-Za-z0-9_]*+)[ \t]*+[:=]?([^\n]*)", re.MULTILINE)
_TIME = re.compile(r"^;?#\s*(\d{4}[-/]\w{2,3}[-/]\d\d[T ]\d\d:\d\d:\d\d(?:\.\d+)?)", re.MULTILINE)
_NUMBER = re.compile(r"[-+]?\d+\.?\d*(?:[eE][-+]?\d+)?")
_BINARY = re.compile(rb'(X-Binary-[A-Za-z-]++|conversions)[ \t]*+[:=][ \t]*+"?([^"\r\n]++)')
_KNOWN = ("PILATUS", "SLS", "SSRL", "?", "XDS SPECIAL", "GENERIC_MINI", "ADSC", "EIGER")


def is_full_imgcif(head: bytes) -> bool:
    """Whether the header has the tables of full imgCIF, which say more than the comment lines."""
    return _FULL.search(head) is not None


def convention(head: bytes) -> str:
    """The header convention, upper case, or "" where none known is named."""
    found = _CONVENTION.search(head)
    name = found[1].decode("latin-1").strip().upper() if found else ""
    return name if name.startswith(_KNOWN) else ""


@frozen
class Binary:
    """The binary section: where it starts, its bytes, shape (slow, fast) and compression."""

    start: int
    size: int
    shape: tuple[int, int]
    conversion: str


def binary_section(head: bytes, path: Path) -> Binary:
    """What the header says of the pixels.

    Raises
    ------
    DataError
        If the section is missing, cut off, or claims more pixels than it has bytes.
    """
    start = head.find(MAGIC)
    if start < 0:
        raise DataError(f"The image {path} is truncated: it has no pixels.", advice="Copy it again.")
    items = {key.decode().lower(): value.strip() for key, value in _BINARY.findall(head[:start])}
    try:
        size = int(items["x-binary-size"])
        fast = int(items["x-binary-size-fastest-dimension"])
        slow = int(items["x-binary-size-second-dimension"])
        conversion = items.get("conversions", b"x-CBF_NONE").decode("latin-1").lower()
    except (KeyError, ValueError) as error:
        raise DataError(f"The CBF image {path} does not say the size of its pixels ({error}).") from error
    check_claim(path, slow, fast)
    if fast * slow > size:
        raise DataError(f"The CBF image {path} claims {fast} x {slow} pixels in {size} bytes.")
    return Binary(start + len(MAGIC), size, (slow, fast), conversion)


class Header:
    """Comment lines ``# key value`` of the header."""

    def __init__(self, text: str) -> None:
        self.values: dict[str, str] = {}
        for key, value in _COMMENT.findall(text):
            self.values.setdefault(key, value.strip())
        stamp = _TIME.search(text)
        self.time = stamp[1] if stamp else ""

    @property
    def detector(self) -> str:
        return self.values.get("Detector", "")

    def numbers(self, key: str, count: int = 1) -> list[float] | None:
        """The first numbers of a line, or None where there are fewer."""
        found = [float(n) for n in _NUMBER.findall(self.values.get(key, ""))]
        if len(found) < count:
            return None
        notes.read(key, self.values[key], f"# {key}")
        return found[:count]

    def number(self, key: str, default: float = float("nan")) -> float:
        found = self.numbers(key)
        if found:
            return found[0]
        if math.isfinite(default):
            notes.assumed(key, default, f"the header has no {key}")
        return default

    def sensor(self) -> tuple[str, float]:
        """Material ("" if none is named) and thickness (mm, 0 if not given) of the sensor."""
        for word, material in (("Silicon", "Si"), ("CdTe", "CdTe")):
            if word in self.values:
                notes.read("sensor", material, f"# {word}")
                thickness = self.numbers(word)
                return material, thickness[0] * 1000.0 if thickness else 0.0
        return "", 0.0

    def epoch(self) -> float:
        """Time stamp in seconds of UTC, 0 if there is none."""
        text = self.time.replace("/", "-").replace("T", " ")
        for layout in ("%Y-%m-%d %H:%M:%S", "%Y-%b-%d %H:%M:%S"):
            for fraction in (".%f", ""):
                try:
                    return datetime.strptime(text, layout + fraction).replace(tzinfo=UTC).timestamp()
                except ValueError:
                    continue
        return 0.0
