"""Arrays of pixels out of binary sections."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xtal.errors import DataError
from xtal_format_cbf_imgcif.detector import Tile
from xtal_format_cbf_imgcif.sections import Section
from xtal_format_cbf_imgcif.tables import Tables

PACKED_PREFIX = 32
"""Bytes before the stream of packed pixels: their number, least, highest and a reserved value."""

MOST_IN_A_BYTE = 128
"""Packed blocks of zeros hold up to 2^7 pixels in 6 bits: more pixels than that to a byte are a lie."""

_PLAIN = {
    "signed 32-bit integer": "i4", "unsigned 32-bit integer": "u4", "signed 16-bit integer": "i2",
    "unsigned 16-bit integer": "u2", "signed 8-bit integer": "i1", "unsigned 8-bit integer": "u1",
}  # fmt: skip


def arrays_of(
    content: memoryview, sections: Sequence[Section], tables: Tables, tiles: Sequence[Tile], out: Sequence[NDArray[Any]]
) -> dict[str, NDArray[Any]]:
    """The arrays of pixels by identifier, each decoded at once.

    An array that is one panel as a whole is decoded into the panel's place in ``out`` and is that
    object; others are new, (depth, slow, fast).

    Raises
    ------
    DataError
        If an array has no section, or of another size, or it is cut off or compressed otherwise.
    """
    rows = tables.rows("diffrn_data_frame") + tables.rows("array_data")
    by_number = {section.number: section for section in sections}
    found: dict[str, NDArray[Any]] = {}
    for tile, target in zip(tiles, out, strict=True):
        if tile.array in found:
            continue
        row = next((r for r in rows if r.get("array_id") == tile.array), {})
        section = by_number.get(tables.integer(row, "binary_id", 1))
        if section is None:
            raise DataError(f"The image {tables.path} has no pixels for {tile.array}.", advice="Copy it again.")
        if tile.section:
            _check_claim(section, tables)
            found[tile.array] = np.empty((section.depth, section.slow, section.fast), np.int32)
        elif section.elements == target.size and section.fast == target.shape[1]:
            found[tile.array] = target
        else:
            height, width = target.shape
            raise DataError(
                f"The image {tables.path} has {section.fast} x {section.slow} pixels, "
                f"but its tables say {width} x {height}."
            )
        _decode(content, section, found[tile.array].reshape(-1), tables)
    return found


def _check_claim(section: Section, tables: Tables) -> None:
    if section.elements > MOST_IN_A_BYTE * section.size:
        raise DataError(f"The image {tables.path} claims {section.elements} pixels in {section.size} bytes.")


def _decode(content: memoryview, section: Section, flat: NDArray[Any], tables: Tables) -> None:
    data = np.frombuffer(content, np.uint8)[section.start : section.start + section.size]
    data.flags.writeable = False  # as it is for unpacked files: one signature of the kernels
    if section.conversion == "x-cbf_byte_offset":
        # kernels come with their compiler: only a reader of pixels pays for that
        from xtal_format_cbf_mini.kernels import decode_byte_offset

        done = int(decode_byte_offset(data, flat))
    elif section.conversion in ("x-cbf_packed", "x-cbf_packed_v2"):
        if "flat" in section.flags or "uncorrelated" in section.flags:
            raise DataError(f"The pixels of {tables.path} are packed with {section.flags.strip(' ;')}, unknown here.")
        from xtal_format_cbf_imgcif.kernels import decode_packed

        version = 2 if section.conversion.endswith("v2") else 1
        done = int(decode_packed(data[PACKED_PREFIX:], version, section.fast, section.slow, flat))
    elif section.conversion == "x-cbf_none" and section.element_type in _PLAIN:
        dtype = np.dtype((">" if section.big_endian else "<") + _PLAIN[section.element_type])
        done = min(len(data) // dtype.itemsize, flat.size)
        flat[:done] = data[: done * dtype.itemsize].view(dtype)
    else:
        raise DataError(
            f"The pixels of {tables.path} are {section.element_type} compressed with {section.conversion}, "
            "unknown to cbf_imgcif."
        )
    if done < flat.size:
        raise DataError(f"The image {tables.path} is truncated: pixels are missing.", advice="Copy it again.")
