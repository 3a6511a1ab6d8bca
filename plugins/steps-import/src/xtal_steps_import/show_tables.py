"""Reflection tables: range and mean of each column, flags, rows."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from xtal.run import Context
from xtal.table import Flag, ReflectionTable, Shoeboxes
from xtal.table.shoebox import MaskBit
from xtal.words import counted
from xtal_steps_import.fit import fitting_table
from xtal_steps_import.options import ShowOptions

INTENSITIES = (
    "miller_index", "d", "intensity.prf.value", "intensity.prf.variance", "intensity.sum.value",
    "intensity.sum.variance", "background.mean", "profile.correlation", "profile.rmsd",
)  # fmt: skip
CENTROIDS = (
    "miller_index", "d", "xyzcal.mm", "xyzcal.px", "xyzobs.mm.value", "xyzobs.mm.variance", "xyzobs.px.value",
    "xyzobs.px.variance",
)  # fmt: skip
PROFILE_FIT = ("miller_index", "d", "partiality", "profile.correlation", "profile.rmsd")
USUAL = ("miller_index", "id", "xyzobs.px.value", "xyzcal.px", "intensity.sum.value", "intensity.prf.value", "d")
NOT_IN_ROWS = ("shoebox",)


def show_reflections(context: Context, table: ReflectionTable, options: ShowOptions) -> None:
    """Range and mean of each column, flags, identifiers, rows."""
    context.print(counted(len(table), "reflection"))
    rows = [row for name in table.columns() for row in _column_rows(name, table[name])]
    fitting_table(context, "Columns", ["column", "min", "max", "mean"], rows)
    if "flags" in table and (options.show_flags or len(table)):
        context.table("Flags", ["flag", "reflections", "%"], flag_rows(table))
    if options.show_identifiers:
        context.table("Identifiers", ["id", "identifier"], [[str(k), v] for k, v in table.identifiers.items()])
    wanted = _columns_of_rows(table, options)
    if wanted:
        n = len(table) if options.max_reflections is None else min(options.max_reflections, len(table))
        rows = [[str(k), *(_value(table[name][k]) for name in wanted)] for k in range(n)]
        fitting_table(context, "Reflections", ["row", *wanted], rows)


def _columns_of_rows(table: ReflectionTable, options: ShowOptions) -> list[str]:
    """Columns to print row by row: what was asked for, in the order of asking, each once."""
    wanted: list[str] = []
    for asked, names in (
        (options.show_intensities, INTENSITIES),
        (options.show_profile_fit, PROFILE_FIT),
        (options.show_centroids, CENTROIDS),
        (options.show_all_reflection_data, tuple(table.columns())),
    ):
        wanted += names if asked else ()
    if not wanted and options.max_reflections:
        wanted += USUAL
    return [name for name in dict.fromkeys(wanted) if name in table and name not in NOT_IN_ROWS]


def _value(value: Any) -> str:
    parts = np.atleast_1d(value)
    return ", ".join(f"{x:.6g}" if parts.dtype.kind == "f" else str(x) for x in parts.ravel())


def _column_rows(name: str, column: Any) -> list[list[str]]:
    """A row per component of the column, so that wide columns fit a terminal."""
    if isinstance(column, Shoeboxes):
        return _shoebox_rows(column)
    values = np.asarray(column)
    if not len(values) or values.dtype.kind not in "iufb":
        return [[name, "", "", ""]]
    values = values.reshape(len(values), -1)
    if values.shape[1] == 1:
        return [_row(name, values[:, 0])]
    return [_row(f"{name} [{k}]", values[:, k]) for k in range(values.shape[1])]


def _shoebox_rows(boxes: Shoeboxes) -> list[list[str]]:
    """Sum of counts, pixels and good foreground pixels of the boxes."""
    n = np.diff(boxes.offsets)
    if not n.sum():
        return [["shoebox", "", "", ""]]
    valid = MaskBit.VALID | MaskBit.FOREGROUND
    good = (boxes.mask & int(valid)) == int(valid)
    return [
        _row("shoebox: summed I", _per_box(boxes.data.astype(np.float64), boxes)),
        _row("shoebox: pixels", n),
        _row("shoebox: valid foreground", _per_box(good.astype(np.int64), boxes)),
    ]


def _per_box(values: NDArray[Any], boxes: Shoeboxes) -> NDArray[Any]:
    total = np.concatenate([[0], np.cumsum(values)])
    return np.asarray(total[boxes.offsets[1:]] - total[boxes.offsets[:-1]])


def _row(name: str, values: np.ndarray) -> list[str]:
    if values.dtype.kind in "iub":
        return [name, f"{values.min()}", f"{values.max()}", f"{values.astype(float).mean():.1f}"]
    finite = values[np.isfinite(values)]
    if not len(finite):
        return [name, "nan", "nan", "nan"]
    return [name, f"{finite.min():.5g}", f"{finite.max():.5g}", f"{finite.mean():.5g}"]


def flag_rows(table: ReflectionTable) -> list[list[str]]:
    """Flag, how many reflections have it, and per cent; those of none are left out.

    A flag made of several counts the reflections that have all of them; its parts stand below it, indented.
    """
    flags = np.asarray(table["flags"], dtype=np.int64)
    combined = [f for f in Flag.__members__.values() if int(f) & (int(f) - 1)]
    first = {part: whole for whole in reversed(combined) for part in Flag if int(part) & int(whole)}
    rows: list[list[str]] = []
    told: set[Flag] = set()
    for flag in Flag:
        whole = first.get(flag)
        for one in (whole, flag) if whole is not None and whole not in told else (flag,):
            told.add(one)
            n = int(np.count_nonzero((flags & int(one)) == int(one)))
            if n:
                indent = "  " if one is flag and whole is not None else ""
                rows.append([indent + str(one.name).lower(), str(n), f"{100 * n / len(flags):.1f}"])
    return rows
