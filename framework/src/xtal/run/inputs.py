"""Input files: recognised by content, loaded when asked for, joined and checked to belong together."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xtal.errors import DataError, UsageError
from xtal.hooks import Step

if TYPE_CHECKING:
    from xtal.models import ExperimentList
    from xtal.table import ReflectionTable

TABLE_MARK = b"dials::af::reflection_table"
PICKLED_TABLE = b"dials_array_family_flex_ext"
RECORD_SUFFIX = ".made.json"
"""End of the names of the records beside outputs (`xtal.run.provenance`)."""
EXAMPLES = {
    "experiments": "an experiment list (.expt)",
    "reflections": "a reflection table (.refl)",
    "images": "images",
}


def role_of(path: Path) -> str:
    """ "experiments", "reflections" or "images", by the first bytes of a file.

    What is named as a table, or is one that was pickled, is a table: its reader says what is wrong with it.
    """
    try:
        with open(path, "rb") as stream:
            head = stream.read(4096)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.", advice="Check its name and rights.") from None
    if TABLE_MARK in head[:64] or PICKLED_TABLE in head[:64] or path.suffix == ".refl":
        return "reflections"
    if head.lstrip()[:1] == b"{" and (b'"__id__"' in head or path.suffix in (".expt", ".json")):
        return "experiments"
    return "images"


def sort_inputs(step: Step, files: Iterable[str], named: Mapping[str, Iterable[str]]) -> dict[str, list[Path]]:
    """Files by role.

    Parameters
    ----------
    step
        Says which roles it reads.
    files
        Given bare on the command line.
    named
        Role to the files given by ``input.<role>=``.

    Raises
    ------
    DataError
        If a file is absent, or is not of a kind that the step reads.
    UsageError
        If a needed role has no file.
    """
    roles = {role.rstrip("?"): not role.endswith("?") for role in step.inputs}
    found: dict[str, list[Path]] = {role: [] for role in roles}
    for role, names in named.items():
        for name in names:
            _add(step, found, role, _existing(name))
    for name in files:
        if name.endswith(RECORD_SUFFIX):
            continue  # a shell's integrated.* names them too
        if "images" in roles and stands_for_many(name):
            found["images"].append(Path(name))
            continue
        path = _existing(name)
        role = "images" if path.is_dir() else role_of(path)
        if role not in roles and role == "experiments" and "images" in roles:
            role = "images"
        _add(step, found, role, path)
    for role, needed in roles.items():
        if needed and not found[role]:
            example = step.files or EXAMPLES.get(role, role) + (" or images" if step.imports else "")
            raise UsageError(f"The step {step.name} needs {example}.", advice=f"See xtal run {step.name} --help.")
    return found


def images_to_import(step: Step, files: Iterable[str], named: Mapping[str, Iterable[str]]) -> list[str]:
    """Those files that are images given in the place of experiments; none where experiments are given too.

    Raises
    ------
    DataError
        If a file is absent.
    """
    if not step.imports or any(named.get("experiments", ())):
        return []
    roles = {name: "images" if stands_for_many(name) else role_of(_existing(name)) for name in files}
    return [] if "experiments" in roles.values() else [name for name, role in roles.items() if role == "images"]


def stands_for_many(name: str) -> bool:
    """Whether a name is that of a folder, a template or a glob."""
    return is_pattern(name) or Path(os.path.expanduser(name)).is_dir()


def is_pattern(name: str) -> bool:
    """Whether a name stands for many files: a template with # or a glob."""
    return not Path(name).exists() and ("#" in name or glob.has_magic(name))


def _existing(name: str) -> Path:
    path = Path(os.path.expanduser(name))
    if not path.exists():
        raise DataError(f"The file {name} does not exist.", advice="Check its name; settings are given as name=value.")
    return path


def _add(step: Step, found: dict[str, list[Path]], role: str, path: Path) -> None:
    if role not in found:
        what = "neither an experiment list nor a reflection table" if role == "images" else EXAMPLES.get(role, role)
        reads = " and ".join(EXAMPLES.get(r, r) for r in found)
        if not reads:
            raise UsageError(
                f"The step {step.name} reads no files, so {path} is not for it.",
                advice=f"Its options may name files: see xtal run {step.name} --help.",
            )
        raise DataError(
            f"{path} is {what}; the step {step.name} reads {reads}.", advice="See xtal run for the order of the steps."
        )
    found[role].append(path)


def load_experiments(paths: list[Path]) -> tuple[ExperimentList, list[int]]:
    """All experiments of some files, and how many came from each.

    Raises
    ------
    DataError
        If a file holds no experiment, or two hold one of the same identifier.
    """
    from xtal.files import read_experiments
    from xtal.models import ExperimentList

    lists = [read_experiments(path) for path in paths]
    seen: dict[str, Path] = {}
    for path, experiments in zip(paths, lists, strict=True):
        if not experiments:
            raise DataError(f"{path} holds no experiment.", advice="Write it again with the step that made it.")
        for identifier in {e.identifier for e in experiments if e.identifier}:
            if identifier in seen:
                raise DataError(
                    f"{seen[identifier]} and {path} hold the same experiment {identifier}.",
                    advice="Give each data set once.",
                )
            seen[identifier] = path
    extra: dict[str, Any] = {}
    for experiments in lists:
        extra.update(experiments.extra)
    return ExperimentList([e for one in lists for e in one], extra), [len(one) for one in lists]


def load_reflections(
    paths: list[Path], experiments: ExperimentList | None, counts: list[int], expt_paths: list[Path]
) -> ReflectionTable:
    """All reflections of some files, their column ``id`` counting the joined experiments.

    Raises
    ------
    DataError
        If a table belongs to none of the experiments; names both files.
    """
    from xtal.files import read_reflections
    from xtal.table import ReflectionTable

    tables = [read_reflections(path) for path in paths]
    if experiments is None:
        return tables[0] if len(tables) == 1 else ReflectionTable.concatenate(tables)
    order = {e.identifier: k for k, e in enumerate(experiments) if e.identifier}
    sets = 0
    for k, (path, table) in enumerate(zip(paths, tables, strict=True)):
        offset = sum(counts[:k]) if len(counts) == len(paths) else 0
        _renumber(table, path, order, offset, len(experiments), expt_paths)
        if len(tables) > 1 and "imageset_id" in table and len(table):
            table["imageset_id"] = table["imageset_id"] + sets
            sets = int(table["imageset_id"].max()) + 1
    joined = tables[0] if len(tables) == 1 else ReflectionTable.concatenate(tables)
    # experiments without a reflection keep their identifier in the map, as DIALS asks
    joined.identifiers = {k: e.identifier for k, e in enumerate(experiments) if e.identifier}
    return joined


def _renumber(
    table: ReflectionTable, path: Path, order: dict[str, int], offset: int, n: int, expt_paths: list[Path]
) -> None:
    """Make ``id`` count the joined experiments."""
    import numpy as np

    files = ", ".join(map(str, expt_paths))
    foreign = DataError(
        f"{path} does not belong to {files}: the identifiers of the experiments differ.",
        advice="Give the .expt and the .refl that one step wrote together.",
    )
    known = {number: name for number, name in table.identifiers.items() if name}
    if known and order:
        if any(name not in order for name in known.values()):
            raise foreign
        change = {old: order[name] for old, name in known.items()}
    else:
        change = {k: k + offset for k in range(n - offset)}
    if all(old == new for old, new in change.items()):
        return
    old = np.asarray(table["id"])
    new = np.full(len(old), -1, dtype=old.dtype)
    for number, to in change.items():
        new[old == number] = to
    if np.any((old >= 0) & (new < 0)):
        raise foreign
    table["id"] = new
