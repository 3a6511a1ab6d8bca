"""CBF files as bytes: text, byte-offset pixels, what follows; and the text of a sum (IUCr imgCIF; Bernstein 2005)."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path

import fabio.compression
import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from xtal.errors import DataError
from xtal.files.raw import read_whole

MARK = b"\x0c\x1a\x04\xd5"
"""What stands between text and pixels."""

_COMMENT = re.compile(
    r"^(#\s*(?:Exposure_time|Exposure_period|Angle_increment|Phi_increment|Omega_increment|Chi_increment|Count_cutoff)"
    r"[\s:=]+)([-+.\deE]+)",
    re.MULTILINE,
)
_COLUMNS = {
    "_diffrn_scan_axis.angle_range",
    "_diffrn_scan_axis.angle_increment",
    "_diffrn_scan_axis.displacement_range",
    "_diffrn_scan_axis.displacement_increment",
    "_diffrn_scan_frame.integration_time",
    "_diffrn_scan_frame.exposure_time",
    "_array_intensities.overload",
}
_WORD = re.compile(r"'[^']*'(?=\s|$)|\"[^\"]*\"(?=\s|$)|\S+")


@frozen
class Cbf:
    """A file: its text, its pixels (slow, fast), what follows them."""

    text: str
    pixels: NDArray[np.int32]
    trailer: bytes


def read_cbf(path: Path) -> Cbf:
    """A file of one image of byte offsets, which may be compressed by gzip or bzip2.

    Raises
    ------
    DataError
        If it cannot be read, is no such file, or is damaged.
    """
    content = bytes(read_whole(path))
    start = content.find(MARK)
    text = content[: max(start, 0)].decode("latin-1")
    if start < 0 or "x-CBF_BYTE_OFFSET" not in text:
        raise DataError(
            f"{path} is no CBF file of byte offsets: only such images are added up.",
            advice="Other images are not: CBF files of packed pixels, SMV, TIFF, HDF5.",
        )
    size, fast, slow = (
        _number(text, key, path) for key in ("", "-Fastest-Dimension", "-Second-Dimension")
    )  # a pixel takes a byte at least
    data = content[start + 4 : start + 4 + size]
    if len(data) < size or fast < 1 or slow < 1 or fast * slow > size:
        raise DataError(f"The image {path} is damaged: {fast} x {slow} pixels in {len(data)} of {size} bytes.")
    pixels = fabio.compression.decByteOffset(data, fast * slow)
    if len(pixels) < fast * slow:
        raise DataError(f"The image {path} is damaged: it holds {len(pixels)} of {fast * slow} pixels.")
    return Cbf(text, np.asarray(pixels[: fast * slow], np.int32).reshape(slow, fast), content[start + 4 + size :])


def _number(text: str, key: str, path: Path) -> int:
    found = re.search(rf"^X-Binary-Size{key}:\s*(\d+)\s*$", text, re.MULTILINE)
    if found is None:
        raise DataError(f"The image {path} does not say the size of its pixels (X-Binary-Size{key}).")
    return int(found[1])


def summed(first: Cbf, pixels: NDArray[np.int32], n: int) -> bytes:
    """The file of a sum of n images: exposures, rotations and limits of the first one's text n times as large."""
    data = bytes(fabio.compression.compByteOffset(pixels.ravel().astype(np.int64)))  # its differences need the room
    text = _COMMENT.sub(lambda found: found[1] + _times(found[2], n), first.text)
    text = _with_loops(text, n)
    text = re.sub(r"^(X-Binary-Size:\s*)\d+", rf"\g<1>{len(data)}", text, flags=re.MULTILINE)
    digest = base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()
    text = re.sub(r"^(Content-MD5:\s*)[^\r\n]*", lambda found: found[1] + digest, text, flags=re.MULTILINE)
    return text.encode("latin-1") + MARK + data + first.trailer


def _times(number: str, n: int) -> str:
    """A number n times as large, written as it was: whole, or with as many decimals and at least six."""
    if re.fullmatch(r"[-+]?\d+", number):
        return str(n * int(number))
    try:
        return f"{n * float(number):.{max(6, len(number.partition('.')[2]))}f}"
    except ValueError:
        return number


def _with_loops(text: str, n: int) -> str:
    """The text with the columns of full imgCIF that add up n times as large."""
    lines, columns, head = text.split("\n"), list[str](), False
    for k, line in enumerate(lines):
        word = line.strip()
        if word == "loop_":
            columns, head = [], True
        elif head and word.startswith("_"):
            columns += word.split()
        elif not word or word[0] in "#;_" or word.startswith("data_"):
            columns = columns if word.startswith("#") else []
        elif _COLUMNS & set(columns):
            head = False
            lines[k] = _row(line, columns, n)
        else:
            head = False
    return "\n".join(lines)


def _row(line: str, columns: list[str], n: int) -> str:
    """A row of a loop with the values of its columns that add up multiplied."""
    words = list(_WORD.finditer(line))
    if len(words) != len(columns):
        return line
    out, end = "", 0
    for name, word in zip(columns, words, strict=True):
        value = _times(word[0], n) if name in _COLUMNS else word[0]
        out, end = out + line[end : word.start()] + value, word.end()
    return out + line[end:]
