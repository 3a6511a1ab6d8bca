"""Reflection tables as DIALS stores them: MessagePack envelope of version 1.

The layout: ``[ "dials::af::reflection_table", version, {identifiers, nrows, data} ]`` where
data maps a column name to ``[ type name, [ rows, bytes ] ]``. Columns are read when they are
first used; nothing is ever unpickled and no size in the file is trusted.
"""

from __future__ import annotations

import gzip
import mmap
import os
import struct
import weakref
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO

import msgpack
import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from xtal.errors import DataError
from xtal.files.atomic import writing
from xtal.files.digest import Digest
from xtal.table import ReflectionTable, Shoeboxes
from xtal.table.shoebox import box_sizes
from xtal.table.table import Column

MAGIC = "dials::af::reflection_table"
SHOEBOX = "Shoebox<>"
SHOEBOX_HEADER = struct.Struct("<7iB")  # panel, bbox, tag
MAX_RATIO, ALWAYS_UNPACKED = 100, 1 << 26
"""A compressed table may unpack to so many times its size, or to 64 MiB: more is no table but a bomb."""
MAX_ROWS = 1 << 40
SMALL = 1 << 24
"""Bytes of a file up to which it is read whole."""
BYTES_PER_WRITE = 1 << 20
"""Bytes of shoeboxes, about, that are put together before they are written: few calls, but parts that stay in a
processor's cache, and for which the system finds room among small pieces of memory (writing took ten times as long in
parts of 4 MB)."""

TYPES: dict[str, tuple[str, int]] = {
    "bool": ("?", 1),
    "int": ("<i4", 1),
    "std::size_t": ("<u8", 1),
    "double": ("<f8", 1),
    "vec2<double>": ("<f8", 2),
    "vec3<double>": ("<f8", 3),
    "mat3<double>": ("<f8", 9),
    "int6": ("<i4", 6),
    "cctbx::miller::index<>": ("<i4", 3),
}
SIZE_T_COLUMNS = {"flags", "panel", "partial_id", "original_index"}
FLOAT_TYPES = {1: "double", 2: "vec2<double>", 3: "vec3<double>", 9: "mat3<double>"}
INT_TYPES = {1: "int", 3: "cctbx::miller::index<>", 6: "int6"}


# --- reading ------------------------------------------------------------------


@frozen(eq=False, weakref_slot=True)
class _Walker:
    """Steps through MessagePack without copying byte strings; every length is checked."""

    buffer: Any
    file: int | None
    path: Path

    def fail(self, why: str) -> DataError:
        return DataError(
            f"{self.path} is no reflection table that xtal can read: {why}.",
            advice="Give a .refl file written by xtal or DIALS.",
        )

    def _take(self, at: int, size: int) -> int:
        if at + size > len(self.buffer):
            raise self.fail("it ends too early (truncated?)")
        return int.from_bytes(self.buffer[at : at + size], "big")

    def head(self, at: int) -> tuple[str, int, int]:
        """Kind ("map", "array", "str", "bin", "int"), its length or value, and where the content starts."""
        code = self._take(at, 1)
        at += 1
        if code < 0x80:
            return "int", code, at
        if code < 0x90:
            return "map", code & 0x0F, at
        if code < 0xA0:
            return "array", code & 0x0F, at
        if code < 0xC0:
            return "str", code & 0x1F, at
        sized = {
            0xC4: ("bin", 1), 0xC5: ("bin", 2), 0xC6: ("bin", 4),
            0xD9: ("str", 1), 0xDA: ("str", 2), 0xDB: ("str", 4),
            0xDC: ("array", 2), 0xDD: ("array", 4), 0xDE: ("map", 2), 0xDF: ("map", 4),
            0xCC: ("int", 1), 0xCD: ("int", 2), 0xCE: ("int", 4), 0xCF: ("int", 8),
        }  # fmt: skip
        if code not in sized:
            raise self.fail(f"unexpected byte {code:#x}")
        kind, width = sized[code]
        return kind, self._take(at, width), at + width

    def expect(self, at: int, wanted: str) -> tuple[int, int]:
        kind, size, at = self.head(at)
        if kind != wanted:
            raise self.fail(f"{wanted} expected where a {kind} stands")
        if kind in ("str", "bin") and at + size > len(self.buffer):
            raise self.fail("it ends too early (truncated?)")
        return size, at

    def text(self, at: int) -> tuple[str, int]:
        size, at = self.expect(at, "str")
        return bytes(self.buffer[at : at + size]).decode("utf-8", "replace"), at + size


def read_reflections(path: str | Path) -> ReflectionTable:
    """Read a reflection table; its columns are loaded when they are first used.

    Raises
    ------
    DataError
        If the file is absent, is a pickle, or is not a whole table; names the file.
    """
    path = Path(path)
    walker = _Walker(*_open(path), path)
    if walker.file is not None:
        weakref.finalize(walker, os.close, walker.file)
    if bytes(walker.buffer[:1]) == b"\x80":
        raise DataError(
            f"{path} is a Python pickle, which xtal never opens (it could run any code).",
            advice="Rewrite it with a current DIALS: it saves MessagePack.",
        )
    size, at = walker.expect(0, "array")
    magic, at = walker.text(at)
    if size != 3 or magic != MAGIC:
        raise walker.fail("it does not start as one")
    version, at = walker.expect(at, "int")
    if version not in (1, 2):
        raise walker.fail(f"version {version} is unknown")
    table = _read_body(walker, at)
    return table


def _open(path: Path) -> tuple[Any, int | None]:
    """Content of a file, and a descriptor of it where that is better read piece by piece.

    Small files are read whole: a descriptor for each of thousands of tables would be too many.
    """
    try:
        with open(path, "rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            if stream.read(2) == b"\x1f\x8b":
                stream.seek(0)
                return memoryview(_unzipped(stream, path, size)), None
            if not size:
                raise ValueError("empty")
            if size < SMALL:
                stream.seek(0)
                return memoryview(stream.read()), None
            content = memoryview(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ))
            return content, os.dup(stream.fileno())
    except (OSError, ValueError, EOFError, zlib.error) as error:
        reason = "it is empty" if isinstance(error, ValueError) else getattr(error, "strerror", None) or str(error)
        raise DataError(f"{path} cannot be read: {reason}.", advice="Check the name of the file.") from error


def _unzipped(stream: BinaryIO, path: Path, size: int) -> bytes:
    limit = max(MAX_RATIO * size, ALWAYS_UNPACKED)
    content = gzip.GzipFile(fileobj=stream).read(limit + 1)
    if len(content) > limit:
        raise DataError(
            f"{path} unpacks to more than {MAX_RATIO} times its size, which no reflection table does.",
            advice="If it is one, unpack it with gunzip first.",
        )
    return content


def _read_body(walker: _Walker, at: int) -> ReflectionTable:
    identifiers: dict[int, str] = {}
    n_rows = 0
    columns: dict[str, Column | Callable[[], Column]] = {}
    lengths: set[int] = set()
    entries, at = walker.expect(at, "map")
    for _ in range(entries):
        key, at = walker.text(at)
        if key == "nrows":
            n_rows, at = walker.expect(at, "int")
        elif key == "identifiers":
            count, at = walker.expect(at, "map")
            for _ in range(count):
                number, at = walker.expect(at, "int")
                identifiers[number], at = walker.text(at)
        elif key == "data":
            columns, lengths, at = _read_columns(walker, at)
        else:
            raise walker.fail(f"it has an unknown part {key!r}")
    if lengths - {n_rows} or n_rows > MAX_ROWS:
        raise walker.fail(f"it says it has {n_rows} rows, and its columns have {sorted(lengths)[:3] or 'none'}")
    return ReflectionTable(columns, identifiers, n_rows)


def _read_columns(walker: _Walker, at: int) -> tuple[dict[str, Column | Callable[[], Column]], set[int], int]:
    """Columns, their numbers of rows, and where the next part starts."""
    columns: dict[str, Column | Callable[[], Column]] = {}
    lengths: set[int] = set()
    count, at = walker.expect(at, "map")
    for _ in range(count):
        name, at = walker.text(at)
        _, at = walker.expect(at, "array")
        type_name, at = walker.text(at)
        _, at = walker.expect(at, "array")
        rows, at = walker.expect(at, "int")
        lengths.add(rows)
        size, at = walker.expect(at, "bin")
        content = walker.buffer[at : at + size]
        at += size
        if type_name == SHOEBOX:
            columns[name] = partial(_unpack_shoeboxes, walker, content, rows)
        elif type_name in TYPES:
            dtype, width = TYPES[type_name]
            if size != rows * width * np.dtype(dtype).itemsize:
                raise walker.fail(f"column {name!r} has {size} bytes, which is not {rows} rows of {type_name}")
            columns[name] = partial(_unpack_column, walker, at - size, size, dtype, width)
        else:
            raise walker.fail(f"column {name!r} has the type {type_name!r}, which no program can read back")
    return columns, lengths, at


def _unpack_column(walker: _Walker, start: int, size: int, dtype: str, width: int) -> NDArray[Any]:
    """A column as an array of its own; reading it costs a fifth of copying it from a mapping for the first time."""
    column = np.empty(size // np.dtype(dtype).itemsize, dtype)
    target = column.view(np.uint8).data
    if walker.file is None:
        target[:] = walker.buffer[start : start + size]
    done = size if walker.file is None else 0
    while done < size:
        got = os.preadv(walker.file, [target[done:]], start + done)  # type: ignore[arg-type]  # None is done above
        if not got:
            raise walker.fail("it was cut short while it was read")
        done += got
    return column if width == 1 else column.reshape(-1, width)


def _unpack_shoeboxes(walker: _Walker, content: Any, rows: int) -> Shoeboxes:
    """Parse the headers one after another, then gather the voxels box by box."""
    header = np.empty((rows, 8), np.int64)
    starts, at = np.empty(rows, np.int64), 0
    if rows * SHOEBOX_HEADER.size > len(content):
        raise walker.fail("its shoeboxes are cut short")
    for i in range(rows):
        if at + SHOEBOX_HEADER.size > len(content):
            raise walker.fail("its shoeboxes are cut short")
        _, x0, x1, y0, y1, z0, z1, tag = header[i] = SHOEBOX_HEADER.unpack_from(content, at)
        at += SHOEBOX_HEADER.size
        starts[i] = at
        if tag > 2 or x1 < x0 or y1 < y0 or z1 < z0:
            raise walker.fail("a shoebox has a nonsensical header")
        if tag:
            at += int((x1 - x0) * (y1 - y0) * (z1 - z0)) * (12 if tag == 1 else 9)
    if at > len(content):
        raise walker.fail("its shoeboxes are cut short")
    bbox = header[:, 1:7].astype(np.int32)
    sizes = np.where(header[:, 7] > 0, box_sizes(bbox), 0)
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    boxes = Shoeboxes(
        header[:, 0].astype(np.uint32), bbox, offsets,
        np.empty(offsets[-1], np.float32), np.empty(offsets[-1], np.int32), np.empty(offsets[-1], np.float32),
    )  # fmt: skip
    for i, (start, size, tag) in enumerate(zip(starts.tolist(), sizes.tolist(), header[:, 7].tolist(), strict=True)):
        part = slice(offsets[i], offsets[i + 1])
        width = 4 if tag == 1 else 1
        boxes.data[part] = np.frombuffer(content, "<f4", size, start)
        boxes.mask[part] = np.frombuffer(content, "<i4" if tag == 1 else "u1", size, start + 4 * size)
        boxes.background[part] = np.frombuffer(content, "<f4", size, start + (4 + width) * size)
    return boxes


# --- writing ------------------------------------------------------------------


def write_reflections(table: ReflectionTable, path: str | Path) -> str:
    """Write a table that xtal and every DIALS from 3.0 on can read.

    Returns
    -------
    str
        The digest of the file (`xtal.files.digest`).

    Raises
    ------
    DataError
        If the disk is full or the folder cannot be written.
    ValueError
        If a column has a shape or type that the format lacks.
    """
    digest = Digest()
    with writing(path) as temporary, open(temporary, "wb") as stream:
        for part in _parts(table):
            stream.write(part)
            digest.update(part)
    return digest.hexdigest()


def _parts(table: ReflectionTable) -> Iterator[bytes | memoryview]:
    """The content of the file."""
    packer = msgpack.Packer()
    yield packer.pack_array_header(3) + packer.pack(MAGIC) + packer.pack(1) + packer.pack_map_header(3)
    yield packer.pack("identifiers") + packer.pack(dict(sorted(table.identifiers.items())))
    yield packer.pack("nrows") + packer.pack(len(table))
    names = table.columns()
    yield packer.pack("data") + packer.pack_map_header(len(names))
    for name in names:
        column = table[name]
        if isinstance(column, Shoeboxes):
            type_name, size = SHOEBOX, SHOEBOX_HEADER.size * len(column) + 12 * int(column.offsets[-1])
            parts: Iterator[bytes | memoryview] = _packed_boxes(column)
        else:
            type_name = _type_name(name, column)
            content = np.ascontiguousarray(column, TYPES[type_name][0]).tobytes()
            size, parts = len(content), iter([content])
        if size >= 1 << 32:
            raise DataError(
                f"Column {name!r} is larger than 4 GiB, which the .refl format cannot hold.",
                advice="Work on fewer images at a time, or without shoeboxes.",
            )
        yield packer.pack(name) + packer.pack_array_header(2) + packer.pack(type_name)
        yield packer.pack_array_header(2) + packer.pack(len(table)) + _bin_header(size)
        yield from parts


def _bin_header(size: int) -> bytes:
    """What stands before ``size`` bytes of a MessagePack bin, which are then written in parts."""
    if size < 1 << 8:
        return b"\xc4" + size.to_bytes(1, "big")
    return b"\xc5" + size.to_bytes(2, "big") if size < 1 << 16 else b"\xc6" + size.to_bytes(4, "big")


def _type_name(name: str, column: NDArray[Any]) -> str:
    """DIALS's name of a column's type, by its dtype and width."""
    width = column.shape[1] if column.ndim == 2 else 1
    if column.dtype.kind == "b" and width == 1:
        return "bool"
    if column.dtype.kind in "iu" and width == 1 and (name in SIZE_T_COLUMNS or column.dtype == np.uint64):
        return "std::size_t"
    names = {"f": FLOAT_TYPES, "i": INT_TYPES, "u": INT_TYPES}.get(column.dtype.kind, {})
    if width not in names or column.ndim > 2:
        raise ValueError(f"column {name!r} of dtype {column.dtype} and shape {column.shape} has no type in .refl files")
    return names[width]


def _packed_boxes(boxes: Shoeboxes) -> Iterator[bytes | memoryview]:
    """The content of the column, some hundred boxes at a time."""
    from xtal.files.kernels import pack_boxes

    data, mask, background = (
        np.ascontiguousarray(values, kind).view(np.uint8)
        for values, kind in ((boxes.data, "<f4"), (boxes.mask, "<i4"), (boxes.background, "<f4"))
    )
    starts = SHOEBOX_HEADER.size * np.arange(len(boxes)) + 12 * boxes.offsets[:-1]
    edges = np.flatnonzero(np.diff(starts // BYTES_PER_WRITE, prepend=-1))
    for first, end in pairwise([*edges.tolist(), len(boxes)]):
        rows = slice(first, end)
        offsets = np.asarray(boxes.offsets[first : end + 1], np.int64)
        numbers = np.column_stack([boxes.panel[rows], boxes.bbox[rows]]).astype("<i4")
        headers = np.column_stack([numbers.view(np.uint8), np.diff(offsets) > 0]).astype(np.uint8)
        out = np.empty(headers.size + 12 * int(offsets[-1] - offsets[0]), np.uint8)
        pack_boxes(headers, offsets, data, mask, background, out)
        yield out.data
