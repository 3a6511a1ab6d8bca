"""A table of reflections, column by column."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from xtal.errors import DataError
from xtal.table.flags import Flag
from xtal.table.shoebox import Shoeboxes

if TYPE_CHECKING:
    import pandas

Column = NDArray[Any] | Shoeboxes


class ReflectionTable:
    """Columns of equal length by name, in order, with DIALS's names and meanings.

    Numeric columns are numpy arrays of shape (n,) or (n, k); ``shoebox`` is a `Shoeboxes`.
    A column may be given as a function without arguments, called when it is first used
    (files are read lazily so).

    Parameters
    ----------
    columns
        Name to array, `Shoeboxes` or function that returns one of them.
    identifiers
        Value of the column ``id`` to the identifier of its experiment.
    n_rows
        Needed only where there are no columns or only lazy ones.
    """

    def __init__(
        self,
        columns: dict[str, Column | Callable[[], Column]] | None = None,
        identifiers: dict[int, str] | None = None,
        n_rows: int | None = None,
    ) -> None:
        self._columns: dict[str, Any] = {}
        self.identifiers: dict[int, str] = dict(identifiers or {})
        self._n_rows = n_rows
        for name, column in (columns or {}).items():
            self._set(name, column)

    def __len__(self) -> int:
        return self._n_rows or 0

    def __contains__(self, name: object) -> bool:
        return name in self._columns

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def columns(self) -> list[str]:
        """Names of the columns in order."""
        return list(self._columns)

    def __getitem__(self, name: str) -> Any:
        try:
            column = self._columns[name]
        except KeyError:
            raise DataError(
                f"The reflection table has no column {name!r}.",
                advice="Give the table that the step before this one wrote.",
            ) from None
        if callable(column):
            column = self._columns[name] = column()
        return column

    def __setitem__(self, name: str, column: Column) -> None:
        self._set(name, column if isinstance(column, Shoeboxes) else np.asarray(column))

    def __delitem__(self, name: str) -> None:
        self._columns.pop(name, None)

    def _set(self, name: str, column: Any) -> None:
        if not callable(column):
            if self._n_rows is None:
                self._n_rows = len(column)
            if len(column) != self._n_rows:
                raise ValueError(f"column {name!r} has {len(column)} rows where the table has {self._n_rows}")
        self._columns[name] = column

    def has_flags(self, flags: Flag, *, any_of: bool = False) -> NDArray[np.bool_]:
        """(n,) rows with all of these flags set (or any of them)."""
        found = np.asarray(self["flags"], dtype=np.int64) & int(flags)
        return found != 0 if any_of else found == int(flags)

    def set_flags(self, rows: NDArray[Any], flags: Flag) -> None:
        """Set flags where ``rows`` (mask or indices) says so, keeping the others."""
        column = self["flags"]
        column[rows] |= column.dtype.type(int(flags))

    def clear_flags(self, rows: NDArray[Any], flags: Flag) -> None:
        """Clear flags where ``rows`` (mask or indices) says so."""
        column = self["flags"]
        column[rows] &= column.dtype.type(~int(flags) & 0xFFFFFFFF)

    def select(self, rows: NDArray[Any]) -> ReflectionTable:
        """A new table of these rows (mask or indices), all columns."""
        rows = np.asarray(rows)
        rows = np.flatnonzero(rows) if rows.dtype == bool else rows
        out = ReflectionTable(identifiers=self.identifiers, n_rows=len(rows))
        for name in self:
            column = self[name]
            out[name] = column.select(rows) if isinstance(column, Shoeboxes) else column[rows]
        return out

    def copy(self) -> ReflectionTable:
        """A table whose numeric columns are copies; shoeboxes are shared."""
        out = ReflectionTable(identifiers=self.identifiers, n_rows=len(self))
        for name in self:
            column = self[name]
            out[name] = column if isinstance(column, Shoeboxes) else column.copy()
        return out

    def to_pandas(self, columns: Iterable[str] | None = None) -> pandas.DataFrame:
        """A pandas frame of these columns (all but shoeboxes); see `xtal.table.frames`."""
        from xtal.table.frames import to_pandas

        return to_pandas(self, columns)

    @classmethod
    def concatenate(cls, tables: Iterable[ReflectionTable]) -> ReflectionTable:
        """Rows of all tables one after another; only the columns that all of them have."""
        tables = list(tables)
        if not tables:
            return cls(n_rows=0)
        out = cls(n_rows=sum(len(t) for t in tables))
        for name in tables[0]:
            if all(name in t for t in tables):
                parts = [t[name] for t in tables]
                shoeboxes = isinstance(parts[0], Shoeboxes)
                out[name] = Shoeboxes.concatenate(parts) if shoeboxes else np.concatenate(parts)
        for table in tables:
            out.identifiers.update(table.identifiers)
        return out
