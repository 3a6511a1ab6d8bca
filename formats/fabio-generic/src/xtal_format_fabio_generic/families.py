"""The families of files: how each begins, who reads it, and whether the size that it claims can be.

fabio allocates what a header claims: it gets a file only after its claim is checked here against the file's size.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable

from attrs import frozen

from xtal.errors import DataError
from xtal.files.raw import LARGEST

PIXELS_PER_BYTE = 171
"""The packing of mar345 puts at most 128 pixels into 6 bits."""


class Claim(Exception):
    """A claim of a header that the file does not hold; the text says which."""


@frozen
class Family:
    """One family of files.

    Attributes
    ----------
    name : as users know it
    begins : whether a file that begins with these bytes is of it
    reader : "module:Class" of fabio, or one like it
    check : raises `Claim` (or ValueError, KeyError and so on) for content whose claims cannot be
    """

    name: str
    begins: Callable[[bytes], bool]
    reader: str
    check: Callable[[bytes], None]


def _bound(pixels: int, item: float, available: float) -> None:
    """Refuse more pixels than ``available`` bytes hold at ``item`` bytes each, or than any image has."""
    if pixels <= 0:
        raise Claim(f"it claims {pixels} pixels")
    if 4 * pixels > LARGEST:
        raise Claim(f"it claims {pixels} pixels, more than any image has")
    if pixels * item > available:
        raise Claim("it is truncated: pixels are missing")


def _mar_begins(head: bytes) -> bool:
    return head[:4] in (b"\xd2\x04\0\0", b"\0\0\x04\xd2") and b"mar research" in head


def _mar_check(content: bytes) -> None:
    order = "<" if content[:1] == b"\xd2" else ">"
    width, high = struct.unpack_from(order + "2i", content, 4)
    total = struct.unpack_from(order + "i", content, 20)[0]
    if not 0 < width <= 65536 or total != width * width:
        raise Claim(f"it claims {total} pixels in rows of {width}")
    start = content.find(b"CCP4 packed image", 4096)
    if start < 0 or f"X: {width:04d}, Y: {width:04d}\n".encode() not in content[start : start + 60]:
        raise Claim("it is truncated or damaged: its packed pixels do not begin as they should")
    if not 0 <= high <= total or 4096 + 8 * high > len(content):
        raise Claim(f"it claims {high} saturated pixels")
    _bound(total, 1 / PIXELS_PER_BYTE, len(content) - start)


def _raxis_check(content: bytes) -> None:
    fast, slow = struct.unpack_from(">2i", content, 768)
    _bound(fast * slow if min(fast, slow) > 0 else 0, 2, len(content) - 1024)


def bruker_header(content: bytes) -> dict[str, str]:
    """Keys of 80-character lines ``KEY    :value``; the first of each."""
    found: dict[str, str] = {}
    blocks = 15
    at = 0
    while at < min(512 * blocks, len(content)):
        line = content[at : at + 80].decode("latin-1")
        key, colon, value = line.partition(":")
        if colon:
            found.setdefault(key.strip(), value.strip())
            if key.strip() == "HDRBLKS":
                blocks = min(int(value), 1024)
        at += 80
    return found


def _bruker_check(content: bytes) -> None:
    header = bruker_header(content)
    rows, columns = int(header["NROWS"].split()[0]), int(header["NCOLS"].split()[0])
    item = int(header["NPIXELB"].split()[0])
    if item not in (1, 2, 4):
        raise Claim(f"it claims {item} bytes a pixel")
    room = len(content) - 512 * int(header["HDRBLKS"])
    _bound(rows * columns if min(rows, columns) > 0 else 0, item, room)
    overflows = [int(n) for n in header.get("NOVERFL", "0").split()]
    if max(overflows) * 2 > room or (header["FORMAT"] == "86" and 16 * overflows[0] > room - rows * columns * item):
        raise Claim(f"it claims {max(overflows)} overflows")


def _oxford_check(content: bytes) -> None:
    text = content[:256].decode("latin-1")
    found = re.search(r"COMPRESSION=(\w*)[^\n]*\nNX=\s*(\d+) NY=\s*(\d+) OI=\s*(\d+) OL=\s*(\d+)", text)
    header = re.search(r"NHEADER=\s*(\d+)", text)
    if found is None or header is None:
        raise Claim("its header has no size")
    kind = found[1]
    fast, slow, short, long = (int(n) for n in found.groups()[1:])
    if kind not in ("TY1", "TY5", "NO"):
        raise Claim(f"it is compressed by {kind}, which fabio does not read")
    room = len(content) - int(header[1])
    _bound(fast * slow, 4 if kind == "NO" else 1, room)
    if kind != "NO" and fast * slow + 2 * short + 4 * long > room:
        raise Claim("it is truncated: overflows are missing")


def edf_header(content: bytes) -> dict[str, str]:
    """Keys of the first block ``{ key = value ; ... }``, in lower case."""
    end = content.find(b"}", 0, 1 << 16)
    text = content[: max(end, 0)].decode("latin-1").lstrip("\r\n{ ")
    pairs = (item.partition("=") for item in text.split(";"))
    return {key.strip().lower(): value.strip() for key, equals, value in pairs if equals}


_EDF_BYTES = {
    **dict.fromkeys(("signedbyte", "unsignedbyte"), 1),
    **dict.fromkeys(("signedshort", "unsignedshort"), 2),
    **dict.fromkeys(("signedinteger", "unsignedinteger", "signedlong", "unsignedlong", "floatvalue", "float"), 4),
    **dict.fromkeys(("double", "doublevalue", "signed64", "unsigned64"), 8),
}


def _edf_check(content: bytes) -> None:
    header = edf_header(content)
    if header.get("compression", "none").lower() not in ("none", ""):
        raise Claim("its pixels are compressed within the file; unpack it first")
    kind = header["datatype"].lower()
    if kind not in _EDF_BYTES:
        raise Claim(f"its pixels are of type {kind}")
    fast, slow = int(header["dim_1"]), int(header["dim_2"])
    _bound(fast * slow if min(fast, slow) > 0 else 0, _EDF_BYTES[kind], len(content) - content.find(b"}"))


def _esperanto_check(content: bytes) -> None:
    found = re.search(rb"IMAGE\s+(\d+)\s+(\d+)\s+\d+\s+\d+\s+\"(\w+)\"", content[: 256 * 25])
    if found is None:
        raise Claim("its header has no size")
    item = 4 if found[3] == b"4BYTE_LONG" else 1 / 16
    _bound(int(found[1]) * int(found[2]), item, len(content) - 256 * 25)


def _dm3_check(content: bytes) -> None:
    if len(content) < 64:
        raise Claim("it is truncated")


FAMILIES = (
    Family("mar345", _mar_begins, "xtal_format_fabio_generic.mar345:Mar345", _mar_check),
    Family("R-AXIS", lambda h: h.startswith((b"R-AXIS", b"RAXIS")), "fabio.raxisimage:RaxisImage", _raxis_check),
    Family("Bruker 86", lambda h: bool(re.match(rb"FORMAT :\s*86", h)), "fabio.brukerimage:BrukerImage", _bruker_check),
    Family(
        "Bruker 100",
        lambda h: bool(re.match(rb"FORMAT :\s*100", h)),
        "fabio.bruker100image:Bruker100Image",
        _bruker_check,
    ),
    Family("Oxford Diffraction", lambda h: h.startswith(b"OD SAPPHIRE"), "fabio.OXDimage:OxdImage", _oxford_check),
    Family(
        "EDF",
        lambda h: h.lstrip(b"\r\n").startswith(b"{") and (b"EDF_" in h[:512] or b"HeaderID" in h[:512]),
        "fabio.edfimage:EdfImage",
        _edf_check,
    ),
    Family(
        "Esperanto",
        lambda h: h.startswith(b"ESPERANTO FORMAT"),
        "fabio.esperantoimage:EsperantoImage",
        _esperanto_check,
    ),
    Family(
        "Gatan DM3",
        lambda h: h[:4] == b"\0\0\0\3" and h[8:12] in (b"\0\0\0\0", b"\0\0\0\1") and h[4:8] != b"\0\0\0\0",
        "fabio.dm3image:Dm3Image",
        _dm3_check,
    ),
)


def family_of(head: bytes) -> Family | None:
    """The family of a file by its first bytes, None if it is of none."""
    return next((family for family in FAMILIES if family.begins(head)), None)


def check(family: Family, content: bytes, path: object) -> None:
    """Refuse content whose header claims what cannot be.

    Raises
    ------
    DataError
        Names the file and the claim.
    """
    try:
        family.check(content)
    except Claim as claim:
        raise DataError(f"The {family.name} image {path} cannot be read: {claim}.") from claim
    except (ValueError, KeyError, IndexError, struct.error) as error:
        raise DataError(
            f"The header of the {family.name} image {path} is truncated or damaged ({error}).", advice="Copy it again."
        ) from error
