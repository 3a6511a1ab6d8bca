"""From what the user names to image files: folders, globs, templates, lists."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from attrs import define, field, frozen

from xtal.errors import DataError
from xtal.run.provenance import OURS

_NUMBERED = (
    re.compile(r"^(.*?)(\d+)()$"),  # ends in digits: name0026
    re.compile(r"^(.*?)(\d+)(\.[^.]*)$"),  # digits before the extension
    re.compile(r"^(.*_)(\d+)(\..*)$"),
    re.compile(r"^(.*?)(\d+)(\..*)$"),
)
_COMPRESSED = re.compile(r"(?:\.gz|\.bz2)?$")
_HASHES = re.compile(r"#+")
_RANGE = re.compile(r"^(.*):(\d+):(\d+)$")


@frozen
class NumberedFile:
    """A file's template (None without a number in its name) and its image number."""

    path: str
    template: str | None
    number: int


@define
class Series:
    """Files of one template, by number; or one file without a number.

    Attributes
    ----------
    named : whether the user named the files one by one (in a folder, what is no image is left
        out, and said)
    whole : whether the user gave the template: then it is one scan, whatever the headers say
    limits : first and last image that the user gave with the template
    """

    template: str | None
    files: dict[int, str] = field(factory=dict)
    named: bool = True
    whole: bool = False
    limits: tuple[int, int] | None = None

    @property
    def name(self) -> str:
        """For messages: the template's last part."""
        return os.path.basename(self.template or next(iter(self.files.values())))


def parse_name(path: str) -> NumberedFile:
    """Template and number of a file name: the last digits in front of its extension."""
    folder, name = os.path.split(path)
    packed = _COMPRESSED.search(name)
    name, suffix = (name, "") if packed is None else (name[: packed.start()], packed[0])
    for pattern in _NUMBERED:
        found = pattern.match(name)
        if found:
            start, digits, end = found.groups()
            return NumberedFile(path, os.path.join(folder, start + "#" * len(digits) + end + suffix), int(digits))
    return NumberedFile(path, None, 1)


def files_of_template(template: str) -> list[NumberedFile]:
    """All files of a template, in order; a template without # is one file.

    Raises
    ------
    DataError
        If there is none.
    """
    runs = list(_HASHES.finditer(template))
    if not runs:
        if not os.path.isfile(template):
            raise DataError(
                f"The template {template} has no # and is no file.", advice="Each # stands for one digit of the number."
            )
        return [NumberedFile(template, None, 1)]
    last = runs[-1]
    before, after = template[: last.start()], template[last.end() :]
    pattern = glob.escape(before) + "[0-9]" * len(last[0]) + glob.escape(after)
    found = sorted(glob.glob(pattern))
    if not found:
        raise DataError(
            f"No image fits the template {template}.", advice="Each # stands for one digit: check how many there are."
        )
    return [NumberedFile(f, template, int(f[last.start() : last.end()])) for f in found]


def _of_template(text: str) -> Series:
    """The series of a template, with or without ``:FIRST:LAST``."""
    found = None if os.path.exists(text) else _RANGE.match(text)
    limits = (int(found[2]), int(found[3])) if found else None
    template = os.path.abspath(os.path.expanduser(found[1] if found else text))
    if limits is not None and limits[0] > limits[1]:
        raise DataError(f"The images {limits[0]} to {limits[1]} of {text} are no range.", advice="Give FIRST:LAST.")
    files = files_of_template(template)
    named = files[0].template
    return Series(named or template, {f.number: f.path for f in files}, whole=named is not None, limits=limits)


def _expand(path: Path) -> tuple[list[str], bool]:
    """Files that a path stands for, and whether they were named one by one."""
    text = os.path.expanduser(str(path))
    if os.path.isdir(text):
        with os.scandir(text) as entries:
            names = [e.path for e in entries if e.is_file() and not e.name.startswith(".")]
        names = sorted(n for n in names if os.path.splitext(n)[1] not in OURS)
        if not names:
            raise DataError(f"There is no image in the folder {path}.", advice="Folders within it are not searched.")
        return names, False
    if os.path.exists(text):
        return [text], True
    found = [f for f in sorted(glob.glob(text, recursive=True)) if os.path.isfile(f)]
    if not found:
        raise DataError(f"No file is named {path}.", advice="Check the path; patterns are given as name_*.cbf.")
    return found, True


def collect(paths: Iterable[Path], templates: Sequence[str] = (), folders: Sequence[str] = ()) -> list[Series]:
    """Image files grouped by template, in the natural order of their names.

    Raises
    ------
    DataError
        If a name stands for no file, or the images of a template are not all there.
    """
    found: dict[str, Series] = {}
    for text in [*templates, *(str(p) for p in paths if _is_template(p))]:
        series = _of_template(text)
        found[f"{series.template}:{series.limits}"] = series
    for path in [*(p for p in paths if not _is_template(p)), *map(Path, folders)]:
        files, named = _expand(path)
        for file in files:
            one = parse_name(os.path.abspath(file))
            if any(s.whole and s.template == one.template and s.files.get(one.number) for s in found.values()):
                continue  # the template has it
            series = found.setdefault(one.template or one.path, Series(one.template, named=named))
            series.files[one.number] = one.path
    for series in found.values():
        series.files = dict(sorted(series.files.items()))
    return [found[key] for key in sorted(found, key=natural)]


def _is_template(path: Path) -> bool:
    return "#" in path.name and not path.exists()


def natural(name: str) -> list[Any]:
    """Key that sorts names as people do: numbers by their value."""
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.split(r"(\d+)", name)]


def runs_of(numbers: Sequence[int]) -> list[tuple[int, int]]:
    """First and last of each run of consecutive numbers."""
    runs: list[tuple[int, int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1] = runs[-1][0], number
        else:
            runs.append((number, number))
    return runs


def missing_of(numbers: Sequence[int], limits: tuple[int, int] | None = None) -> str:
    """The numbers that are missing between the first and the last (or within limits), as text; "" for none."""
    runs = runs_of(numbers)
    first, last = limits or (runs[0][0], runs[-1][1])
    edges = [(first - 1, first - 1), *(r for r in runs if r[1] >= first and r[0] <= last), (last + 1, last + 1)]
    holes = [(a[1] + 1, b[0] - 1) for a, b in pairwise(edges) if b[0] > a[1] + 1]
    texts = [str(low) if low == high else f"{low}-{high}" for low, high in holes]
    return ", ".join(texts[:10]) + (" ..." if len(texts) > 10 else "")
