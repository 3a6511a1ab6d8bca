"""Which format reads a file."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from xtal.errors import DataError, PluginError
from xtal.files.raw import read_head
from xtal.hooks.protocols import ImageFormat, ImageSource
from xtal.models import Beam, Detector
from xtal.plugins import Plugins

HEAD = 4096

_HDF5 = b"\x89HDF\r\n\x1a\n"
_UNREAD = (
    (b"OD SAPPHIRE", "an image of Oxford Diffraction / Rigaku (ROD)"),
    (b"II*\x00", "a TIFF image"),
    (b"MM\x00*", "a TIFF image"),
    (b"RAXIS", "an image plate of Rigaku (R-AXIS)"),
    (b"R-AXIS", "an image plate of Rigaku (R-AXIS)"),
    (b"mar research", "an image plate of mar (mar345)"),
    (b"DTREK_DATE_TIME", "an SMV image with a d*TREK header"),
    (b"DETECTOR_NAMES=", "an SMV image with a d*TREK header"),
    (b"FORMAT :", "an image of Bruker"),
    (b"\x00\x00\x00\x04\x00\x00\x00\x00", "an image of Gatan (DM4)"),
    (b"TRPX", "a Terse image"),
    (b"<Terse", "a Terse image"),
)
"""Beginnings of files that are images, but not of an installed format."""

_PACKED = ((b"\xfd7zXZ", "xz"), (b"\x28\xb5\x2f\xfd", "zstd"), (b"PK\x03\x04", "zip"), (b"7z\xbc\xaf", "7z"))
"""Beginnings of files whose content cannot be told without unpacking them."""


def lacking(beam: Beam, detector: Detector) -> list[tuple[str, str]]:
    """What models from a header lack (NaN), and the option of import that supplies it."""
    missing = []
    panel = detector[0]
    along, unknown = np.abs(panel.normal) > 0.5, ~np.isfinite(panel.origin)
    if not beam.wavelength > 0:
        missing.append(("wavelength", "geometry.beam.wavelength="))
    if not min(panel.pixel_size) > 0:
        missing.append(("pixel size", "geometry.detector.panel.pixel_size="))
    if np.any(unknown & along):
        missing.append(("distance", "geometry.detector.distance="))
    if np.any(unknown & ~along):
        missing.append(("beam centre", "geometry.detector.fast_slow_beam_centre="))
    return missing


class UnknownFormat(DataError):
    """A file that no installed format knows."""


class WithoutHeader(UnknownFormat):
    """An HDF5 file of images, most likely, that are read through another file."""


class Formats:
    """The installed formats.

    Parameters
    ----------
    plugins
        Installed plugins; those of the kind "format" are constructed when first asked.
    """

    def __init__(self, plugins: Plugins) -> None:
        self._formats: dict[str, ImageFormat] = {}
        self._broken: list[str] = []
        for name in plugins.names("format"):
            try:
                self._formats[name] = plugins.load("format", name)
            except PluginError as error:
                self._broken.append(str(error))

    @property
    def names(self) -> list[str]:
        return list(self._formats)

    def claims(self, path: Path) -> dict[str, int]:
        """What each format claims of a file, by its name: 0 nothing, up to 9.

        Raises
        ------
        DataError
            If the file cannot be read.
        """
        head = read_head(path, HEAD)
        return {name: self._claim(name, head, path) for name in self._formats}

    def recognise(self, path: Path) -> tuple[str, ImageFormat]:
        """The name of the format that makes the most specific claim to a file, and the format.

        Raises
        ------
        DataError
            If the file cannot be read, or no format knows it (`UnknownFormat`).
        PluginError
            If two formats claim it alike; names both.
        """
        claims = self.claims(path)
        best = max(claims.values(), default=0)
        if best <= 0:
            raise self._unknown(read_head(path, HEAD), path)
        names = [name for name, claim in claims.items() if claim == best]
        if len(names) > 1:
            raise PluginError(
                f"The formats {' and '.join(names)} claim the file {path} alike.",
                advice="Deny one of them in xtal.toml.",
            )
        return names[0], self._formats[names[0]]

    def _claim(self, name: str, head: bytes, path: Path) -> int:
        """What a format claims; one that fails claims nothing, and that is said where no other knows the file."""
        try:
            return int(self._formats[name].sniff(head, path))
        except Exception as error:
            self._broken.append(f"The format {name} failed ({type(error).__name__}: {error}).")
            return 0

    def open(self, path: Path) -> ImageSource:
        """Open a file with the format that knows it."""
        return self.recognise(path)[1].open(path)

    def _unknown(self, head: bytes, path: Path) -> DataError:
        what = next((what for start, what in _UNREAD if start in head[:512]), "")
        if head.startswith(b"###CBF") and b"_diffrn" in head:
            what = "a full imgCIF image"
        elif head.startswith(b"###CBF"):
            what = "a CBF image without a header convention that is known"
        installed = " ".join([f"Installed formats: {', '.join(self._formats) or 'none'}.", *self._broken])
        packed = next((by for start, by in _PACKED if head.startswith(start)), "")
        if head.startswith(_HDF5) and Path(path).suffix in (".gz", ".bz2"):
            packed = Path(path).suffix[1:]
        if packed:
            what = f"{path} is packed by {packed}, which is not undone here."
            return UnknownFormat(what, advice="Unpack it. Only single images may be packed, by gz or bz2.")
        if head.startswith(_HDF5):
            return WithoutHeader(
                f"{path} is an HDF5 file without NXmx images, which no installed format reads.",
                advice="Give the master, if this is a data file: its images are read through it.",
            )
        if what:
            return UnknownFormat(f"{path} is {what}, which no installed format reads.", advice=installed)
        if not head:
            return DataError(f"{path} is empty.", advice="Copy it again.")
        return UnknownFormat(
            f"{path} is no image that an installed format knows.",
            advice=f"Leave it out, or install a format that reads it. {installed}",
        )
