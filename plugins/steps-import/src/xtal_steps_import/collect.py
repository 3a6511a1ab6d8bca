"""From what the user names to image files: folders, globs, templates, lists."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

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


@frozen
class NumberedFile:
    """A file's template (None without a number in its name) and its image number."""

    path: str
    template: str | None
    number: int


@define
class Series:
    """Files of one template, by number; or one file without a number.

    ``named`` is whether the user named the files one by one (in a folder, what is no image
    is left out without ado).
    """

    template: str | None
    files: dict[int, str] = field(factory=dict)
    named: bool = True


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


def files_of_template(template: str) -> list[str]:
    """All files of a template, in order.

    Raises
    ------
    DataError
        If there is none.
    """
    runs = list(_HASHES.finditer(template))
    if not runs:
        return [template]
    last = runs[-1]
    before, after = template[: last.start()], template[last.end() :]
    pattern = glob.escape(before) + "[0-9]" * len(last[0]) + glob.escape(after)
    found = sorted(glob.glob(pattern))
    if not found:
        raise DataError(
            f"No image fits the template {template}.", advice="Each # stands for one digit: check how many there are."
        )
    return found


def _expand(path: Path) -> tuple[list[str], bool]:
    """Files that a path stands for, and whether they were named one by one."""
    text = os.path.expanduser(str(path))
    if os.path.isdir(text):
        with os.scandir(text) as entries:
            names = [e.path for e in entries if e.is_file() and not e.name.startswith(".")]
        return sorted(n for n in names if os.path.splitext(n)[1] not in OURS), False
    if os.path.exists(text):
        return [text], True
    if "#" in text:
        return files_of_template(text), True
    found = sorted(glob.glob(text, recursive=True))
    if not found:
        raise DataError(f"No file is named {path}.", advice="Check the path; patterns are given as name_*.cbf.")
    return [f for f in found if os.path.isfile(f)], True


def collect(paths: Iterable[Path], templates: Sequence[str] = (), folders: Sequence[str] = ()) -> list[Series]:
    """Image files grouped by template, templates in the order of their names.

    Raises
    ------
    DataError
        If a name stands for no file.
    """
    found: dict[str, Series] = {}
    for path in [*paths, *map(Path, templates), *map(Path, folders)]:
        files, named = _expand(path)
        for file in files:
            one = parse_name(os.path.abspath(file))
            series = found.setdefault(one.template or one.path, Series(one.template, named=named))
            series.files[one.number] = one.path
    if not any(series.files for series in found.values()):
        raise DataError("There are no images among the inputs.", advice="Give image files, a folder or a template.")
    for series in found.values():
        series.files = dict(sorted(series.files.items()))
    return [found[key] for key in sorted(found)]


def runs_of(numbers: Sequence[int]) -> list[tuple[int, int]]:
    """First and last of each run of consecutive numbers."""
    runs: list[tuple[int, int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1] = runs[-1][0], number
        else:
            runs.append((number, number))
    return runs
