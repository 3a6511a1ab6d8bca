"""The format itself, without HDF5: files of other kinds are told apart before that is imported."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from xtal_format_nxmx.source import NXmxImages

HDF5 = b"\x89HDF\r\n\x1a\n"


def is_plain(path: Path) -> bool:
    """Whether a file begins as its head does, which may be that of a compressed file: the library reads no such."""
    try:
        with open(path, "rb") as file:
            return file.read(len(HDF5)) == HDF5
    except OSError:
        return False


class NXmx:
    """HDF5 files with an entry after the definition NXmx, or written by an Eiger of DECTRIS."""

    def sniff(self, head: bytes, path: Path) -> int:
        """5 for an HDF5 file with such an entry."""
        if not head.startswith(HDF5) or not is_plain(path):
            return 0
        from xtal_format_nxmx.source import holds_images

        return 5 if holds_images(path) else 0

    def open(self, path: Path) -> NXmxImages:
        """Open the file and find its frames.

        Raises
        ------
        DataError
            If a data file behind it is missing; names it.
        """
        from xtal_format_nxmx.source import NXmxImages

        return NXmxImages(Path(path))
