"""Reflection tables as pandas frames."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from xtal.errors import DataError, UsageError
from xtal.table.shoebox import Shoeboxes

if TYPE_CHECKING:
    import pandas

    from xtal.table.table import ReflectionTable

PARTS = {"miller_index": ("h", "k", "l"), "bbox": tuple(f"bbox.{e}{n}" for e in "xyz" for n in (0, 1))}
"""Names of the parts of columns that have names of their own."""


def to_pandas(table: ReflectionTable, columns: Iterable[str] | None = None) -> pandas.DataFrame:
    """A frame with one row per reflection.

    A column of vectors becomes one column per part: ``miller_index`` is ``h``, ``k``, ``l``;
    ``xyzobs.px.value`` is ``xyzobs.px.value.x``, ``.y``, ``.z``; ``bbox`` is ``bbox.x0`` to ``bbox.z1``;
    a matrix is ``ub_matrix.0`` to ``ub_matrix.8``, row by row. ``frame.attrs["identifiers"]`` is the
    table's map of ``id`` to identifier.

    Parameters
    ----------
    columns
        Which ones, in this order (None: all but shoeboxes). Only these are read from a file.

    Raises
    ------
    UsageError
        If pandas is not installed.
    DataError
        If a column is absent, or holds shoeboxes, which have no place in a frame.
    """
    try:
        import pandas
    except ImportError:
        raise UsageError(
            "pandas is not installed, and to_pandas() needs it.", advice="pip install pandas, then try again."
        ) from None
    parts: dict[str, Any] = {}
    for name in table.columns() if columns is None else columns:
        if columns is None and name == "shoebox":
            continue
        parts.update(_parts(name, table[name]))
    frame = pandas.DataFrame(parts, index=pandas.RangeIndex(len(table)))
    frame.attrs["identifiers"] = dict(table.identifiers)
    return frame


def _parts(name: str, column: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(column, Shoeboxes):
        raise DataError(f"The column {name!r} holds shoeboxes, which have no place in a pandas frame.")
    if column.ndim == 1:
        yield name, column
        return
    width = column.shape[1]
    endings = "xyz"[:width] if width <= 3 else map(str, range(width))
    names = PARTS.get(name) or [f"{name}.{e}" for e in endings]
    yield from zip(names, np.ascontiguousarray(column.T), strict=True)
