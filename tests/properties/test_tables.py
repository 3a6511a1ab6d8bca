"""Tables: rows selected, joined, written and read keep their values, whatever the columns."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from xtal.files import read_reflections, write_reflections
from xtal.table import ReflectionTable, Shoeboxes

KINDS = {  # dtype and width of the types that .refl files have
    "bool": (np.bool_, 1), "int": (np.int32, 1), "size_t": (np.uint64, 1), "double": (np.float64, 1),
    "vec2": (np.float64, 2), "vec3": (np.float64, 3), "mat3": (np.float64, 9), "hkl": (np.int32, 3),
    "int6": (np.int32, 6),
}  # fmt: skip
NAMES = st.text("abcdefghijklmnopqrstuvwxyz._0123456789åß", min_size=1, max_size=12)


@st.composite
def tables(draw: st.DrawFn, n: int | None = None, columns: dict[str, str] | None = None) -> ReflectionTable:
    """A table of random columns (or of these), with shoeboxes of which some are empty."""
    n = draw(st.integers(0, 12)) if n is None else n
    kinds = columns if columns is not None else draw(st.dictionaries(NAMES, st.sampled_from(list(KINDS)), max_size=5))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    table = ReflectionTable(n_rows=n, identifiers=draw(st.dictionaries(st.integers(0, 40), NAMES, max_size=3)))
    for name, kind in kinds.items():
        dtype, width = KINDS[kind]
        raw = rng.integers(0, 256, (n, width * np.dtype(dtype).itemsize), dtype=np.uint8)
        column = (raw & 1).view(dtype) if dtype is np.bool_ else np.frombuffer(raw.tobytes(), dtype).reshape(n, width)
        if dtype is np.float64:
            column = np.where(np.isnan(column), 0.0, column)
        table[name] = column[:, 0].copy() if width == 1 else column.copy()
    if columns is None and draw(st.booleans()):
        table["shoebox"] = boxes(rng, n)
    return table


def boxes(rng: np.random.Generator, n: int) -> Shoeboxes:
    low, size = rng.integers(-5, 50, (n, 3)), rng.integers(0, 4, (n, 3))
    found = Shoeboxes.allocate(
        rng.integers(0, 3, n), np.stack([low, low + size], axis=2).reshape(n, 6).astype(np.int32)
    )
    found.data[:], found.background[:] = rng.random(len(found.data)), rng.random(len(found.data))
    found.mask[:] = rng.integers(0, 64, len(found.mask))
    return found


def equal(a: ReflectionTable, b: ReflectionTable) -> None:
    assert a.columns() == b.columns()
    assert len(a) == len(b)
    for name in a:
        if isinstance(a[name], Shoeboxes):
            for part in ("panel", "bbox", "offsets", "data", "mask", "background"):
                np.testing.assert_array_equal(getattr(a[name], part), getattr(b[name], part))
        else:
            np.testing.assert_array_equal(a[name], b[name])
            assert a[name].dtype == b[name].dtype


@settings(max_examples=100, deadline=None)
@given(tables())
def test_written_tables_are_read_back(tmp_path_factory, table):
    path = tmp_path_factory.mktemp("table") / "a.refl"
    write_reflections(table, path)
    read = read_reflections(path)
    equal(read, table)
    assert read.identifiers == table.identifiers
    first = path.read_bytes()
    write_reflections(read, path)
    assert path.read_bytes() == first


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_selecting_is_indexing_every_column(data):
    table = data.draw(tables())
    rows = np.array(data.draw(st.lists(st.integers(0, max(len(table) - 1, 0)), max_size=20 if len(table) else 0)), int)
    chosen = table.select(rows)
    for name in table:
        if isinstance(table[name], Shoeboxes):
            for new, old in enumerate(rows):
                for x, y in zip(chosen[name].box(new), table[name].box(old), strict=True):
                    np.testing.assert_array_equal(x, y)
        else:
            np.testing.assert_array_equal(chosen[name], table[name][rows])


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_parts_of_a_table_join_to_the_whole(data):
    table = data.draw(tables())
    cut = data.draw(st.integers(0, len(table)))
    rows = np.arange(len(table))
    whole = ReflectionTable.concatenate([table.select(rows[:cut]), table.select(rows[cut:])])
    equal(whole, table)
    assert whole.identifiers == table.identifiers


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_mask_and_its_indices_select_alike(data):
    table = data.draw(tables())
    mask = np.array(data.draw(st.lists(st.booleans(), min_size=len(table), max_size=len(table))), dtype=bool)
    equal(table.select(mask), table.select(np.flatnonzero(mask)))
    both = ReflectionTable.concatenate([table.select(mask), table.select(~mask)])
    order = np.concatenate([np.flatnonzero(mask), np.flatnonzero(~mask)])
    equal(both.select(np.argsort(order)), table)
