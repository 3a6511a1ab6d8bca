"""Binary sections of a CBF file, and the text around them."""

from __future__ import annotations

import re
from pathlib import Path

from attrs import frozen

from xtal.errors import DataError
from xtal.files.raw import read_head, read_whole
from xtal_format_cbf_mini.header import MAGIC

HEAD = 65536
MAX_HEAD = 1 << 24
"""Longest text before the pixels that is read, bytes."""

MAX_PADDING = 1 << 16
"""Most bytes that may follow a binary section, as its header says."""

_BEGIN = b"--CIF-BINARY-FORMAT-SECTION--"
_ITEM = re.compile(
    rb'^[ \t]*+(X-Binary-[A-Za-z-]++|Content-Transfer-Encoding)[ \t]*+:[ \t]*+"?([^"\r\n]*)', re.MULTILINE
)
_CONVERSION = re.compile(rb"conversions\s*=\s*\"?([A-Za-z0-9_-]+)\"?([^\r\n]*)", re.IGNORECASE)


@frozen
class Section:
    """A binary section: where its bytes start, how many, and what its header says of the pixels."""

    number: int
    start: int
    size: int
    elements: int
    fast: int
    slow: int
    depth: int
    element_type: str
    big_endian: bool
    conversion: str
    flags: str


def text_before_pixels(path: Path) -> bytes:
    """The file up to its first binary section, or all of it where there is none.

    Raises
    ------
    DataError
        If that is longer than any header.
    """
    size = HEAD
    while size <= MAX_HEAD:
        head = read_head(path, size)
        end = head.find(MAGIC)
        if end >= 0:
            return head[: end + len(MAGIC)]
        if len(head) < size:
            return head
        size *= 4
    raise DataError(f"The CBF image {path} has no pixels in its first {MAX_HEAD >> 20} MB.", advice="Is it an image?")


def _number(items: dict[str, bytes], key: str, default: int, path: Path) -> int:
    text = items.get(key, b"").decode("latin-1").strip()
    if not text:
        return default
    if not text.isdecimal() or len(text) > 18:
        raise DataError(f"The CBF image {path} has a binary section whose {key} is {text[:40]!r}, not a number.")
    return int(text)


def section_of(header: bytes, start: int, path: Path) -> tuple[Section, int]:
    """What the MIME lines before the pixels say, and the padding after them.

    Raises
    ------
    DataError
        If sizes are missing or contradict one another.
    """
    begin = header.rfind(_BEGIN)
    lines = header[begin if begin >= 0 else 0 :]
    items = {key.decode().lower(): value.strip() for key, value in _ITEM.findall(lines)}
    conversion = _CONVERSION.search(lines)
    encoding = items.get("content-transfer-encoding", b"BINARY").decode("latin-1").upper()
    if encoding != "BINARY":
        raise DataError(f"The pixels of {path} are written as text ({encoding}), which cbf_imgcif does not read.")
    size = _number(items, "x-binary-size", -1, path)
    elements = _number(items, "x-binary-number-of-elements", -1, path)
    fast = _number(items, "x-binary-size-fastest-dimension", -1, path)
    if size < 1 or elements < 1 or fast < 1:
        raise DataError(f"The CBF image {path} does not say the size of its pixels.")
    slow = _number(items, "x-binary-size-second-dimension", 1, path)
    depth = _number(items, "x-binary-size-third-dimension", 1, path) or 1
    if fast * slow * depth != elements:
        raise DataError(f"The CBF image {path} claims {fast} x {slow} x {depth} pixels and {elements} in all.")
    padding = _number(items, "x-binary-size-padding", 0, path)
    order = items.get("x-binary-element-byte-order", b"").decode("latin-1").upper()
    section = Section(
        _number(items, "x-binary-id", 1, path),
        start,
        size,
        elements,
        fast,
        slow,
        depth,
        items.get("x-binary-element-type", b"signed 32-bit integer").decode("latin-1").lower(),
        order == "BIG_ENDIAN",
        (conversion[1] if conversion else b"x-CBF_NONE").decode("latin-1").lower(),
        (conversion[2] if conversion else b"").decode("latin-1").lower(),
    )
    return section, min(padding, MAX_PADDING)


def split(content: memoryview, path: Path) -> tuple[list[Section], bytes]:
    """All binary sections of a file, and its text without them.

    Raises
    ------
    DataError
        If a section is longer than the rest of the file.
    """
    sections: list[Section] = []
    texts: list[bytes] = []
    at = 0
    whole = bytes(content)
    while True:
        magic = whole.find(MAGIC, at)
        if magic < 0:
            texts.append(whole[at:])
            return sections, b"".join(texts)
        start = magic + len(MAGIC)
        section, padding = section_of(whole[at:magic], start, path)
        if start + section.size > len(whole):
            raise DataError(f"The image {path} is truncated: pixels are missing.", advice="Copy it again.")
        sections.append(section)
        texts.append(whole[at:magic])
        at = start + section.size
        at += min(padding, len(whole[at : at + padding]) - len(whole[at : at + padding].lstrip(b"\0")))


def read_text(path: Path) -> bytes:
    """The tables of a CBF file, with empty text fields in place of its pixels.

    Only the text before the pixels is read where the tables stand there, as they nearly always do.
    """
    head = text_before_pixels(path)
    if head.endswith(MAGIC) and b"_array_structure_list." in head:
        return head[: -len(MAGIC)] + b"\n;\n"
    return split(read_whole(path), path)[1]
