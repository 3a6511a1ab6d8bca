"""Wrong formats, all made of that of miniCBF."""

from __future__ import annotations

import os
import pickle
import re
import time
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from attrs import evolve

from xtal.errors import DataError, ImageWarning
from xtal.files import notes
from xtal.models import Detector, Goniometer, Scan
from xtal_format_cbf_mini.source import CbfMini, CbfMiniImage

RIGHT = "cbf_mini"


def source(**members: Any) -> type:
    """Right but for what is put in place of members of its source."""
    image = type("WrongImage", (CbfMiniImage,), members)
    return type("Wrong", (CbfMini,), {"open": lambda self, path: image(Path(path))})


def models(spoil: Callable[..., Any]) -> type:
    """Right until ``spoil(beam, detector, goniometer, scan)`` changes the models."""
    return source(models=lambda self: spoil(*CbfMiniImage.models(self)))


def panel(**changes: Any) -> type:
    """One whose panels differ."""
    return models(lambda b, detector, g, s: (b, Detector([evolve(p, **changes) for p in detector]), g, s))


def telling(wanted: Callable[[Any], bool]) -> type:
    """One that says only some of what it reads."""

    def silenced(self: Any) -> Any:
        with notes.listening() as heard:
            found = CbfMiniImage.models(self)
        for note in filter(wanted, heard):
            (notes.read if note.kind == "read" else notes.assumed)(note.what, note.value, note.where)
        return found

    return source(models=silenced)


class ClaimsAll(CbfMini):
    def sniff(self, head: bytes, path: Path) -> int:
        return 1


class Stumbles(CbfMini):
    def sniff(self, head: bytes, path: Path) -> int:
        return 5 * (head.index(b"###CBF") == 0)


class BelowZero(CbfMini):
    def sniff(self, head: bytes, path: Path) -> int:
        return super().sniff(head, path) or -1


class OverSure(CbfMini):
    def sniff(self, head: bytes, path: Path) -> int:
        return 3 * super().sniff(head, path)


class Kept(CbfMiniImage):
    """Has one set of models for all openings."""

    known: Any = None

    def models(self) -> Any:
        Kept.known = Kept.known or super().models()
        return Kept.known


class Drifts(CbfMiniImage):
    """Takes what the header lacks from the clock."""

    def models(self) -> Any:
        beam, detector, goniometer, scan = super().models()
        return beam, detector, goniometer, Scan(scan.image_range, scan.oscillation_deg, epochs=np.array([time.time()]))


class Latin(CbfMiniImage):
    """Hands the name of a file to a library of old."""

    def models(self) -> Any:
        str(self.path).encode("latin-1")
        return super().models()


class Lossy(CbfMiniImage):
    """Finds no file where it cannot spell the name, and does not mind."""

    def read(self, frame: int, out: Any) -> None:
        super().read(frame, out)
        if not str(self.path).isascii():
            out[0][:] = 0


class LeavesCorner(CbfMiniImage):
    def read(self, frame: int, out: Any) -> None:
        corner = out[0][0, 0]
        super().read(frame, out)
        out[0][0, 0] = corner


class Recycles(CbfMiniImage):
    """Takes the first array for its own buffer."""

    buffer: Any = None

    def read(self, frame: int, out: Any) -> None:
        super().read(frame, out)
        if self.buffer is None:
            self.buffer = out[0]
        self.buffer += 1


class Squeezes(CbfMiniImage):
    """Fills what there is of an array."""

    def read(self, frame: int, out: Any) -> None:
        slow, fast = self.raw_shape
        whole = np.empty((slow, fast), self.dtype)
        super().read(frame, [whole])
        out[0][:slow, :fast] = whole


class Nameless(CbfMiniImage):
    def read(self, frame: int, out: Any) -> None:
        if out[0].shape != self.raw_shape:
            raise DataError("The image is of another size.")
        super().read(frame, out)


class Placeless(CbfMiniImage):
    def models(self) -> Any:
        notes.read("detector", "Pilatus", "")
        return super().models()


class Container(CbfMiniImage):
    """Gives its only frame whatever is asked for."""

    container = True


class ZerosForMissing(CbfMiniImage):
    def models(self) -> Any:
        self._check_size = lambda: None
        return super().models()

    def read(self, frame: int, out: Any) -> None:
        try:
            super().read(frame, out)
        except DataError:
            out[0][:] = 0


class AsksTheSystem(CbfMini):
    def open(self, path: Path) -> Any:
        self.size = os.stat(path).st_size
        return super().open(path)


class Unpacks(CbfMiniImage):
    """Reads other values from compressed files."""

    def read(self, frame: int, out: Any) -> None:
        super().read(frame, out)
        out[0][:] += self.path.suffix == ".gz"


class Unpickles(CbfMiniImage):
    """Keeps what it knows of a file as a pickle."""

    def read(self, frame: int, out: Any) -> None:
        self.size = pickle.loads(pickle.dumps(self.raw_shape))
        super().read(frame, out)


class KeepsOpen(CbfMini):
    def open(self, path: Path) -> Any:
        self.descriptor = os.open(path, os.O_RDONLY)
        return super().open(path)

    def __del__(self) -> None:
        if hasattr(self, "descriptor"):
            os.close(self.descriptor)


class Caches(CbfMini):
    def open(self, path: Path) -> Any:
        if path.exists():
            path.with_suffix(".cache").write_text("cached")
        return super().open(path)


class Frames(CbfMiniImage):
    """Three frames that look alike."""

    n_frames = 3
    container = True


class LeavesCornerOfTheLast(Frames):
    def read(self, frame: int, out: Any) -> None:
        corner = out[0][0, 0]
        super().read(frame, out)
        if frame == 2:
            out[0][0, 0] = corner


class Streams(Frames):
    """Hands out rows."""

    def _number(self, frame: int) -> int:
        return frame

    def stream(self, frame: int) -> Any:
        number = self._number(frame)
        self.done = {**getattr(self, "done", {}), number: 0}
        image = [np.empty(self.raw_shape, self.dtype)]
        CbfMiniImage.read(self, 0, image)

        def read(out: Any) -> None:
            out[:] = image[0][self.done[number] :][: len(out)]
            self.done[number] += len(out)

        return SimpleNamespace(read=read)


class StreamsByHalves(Streams):
    """Has two panels, but the rows of one."""

    shapes = property(lambda self: [(rows, self.raw_shape[1]) for rows in (self.raw_shape[0] // 2,) * 2])

    def read(self, frame: int, out: Any) -> None:
        whole = np.empty(self.raw_shape, self.dtype)
        super().read(frame, [whole])
        out[0][:], out[1][:] = whole[: len(out[0])], whole[-len(out[1]) :]


class StreamsOne(Streams):
    """Keeps the place of one frame alone."""

    def _number(self, frame: int) -> int:
        return 0


class StreamsBeyond(Streams):
    """Has rows of any frame."""

    def read(self, frame: int, out: Any) -> None:
        if not 0 <= frame < 3:
            raise DataError(f"{self.path} has no such frame.")
        super().read(frame, out)


class NumbersOn(Frames):
    """Counts the frames of a file from where those of another ended."""

    def models(self) -> Any:
        beam, detector, goniometer, scan = super().models()
        return beam, detector, goniometer, Scan((4, 6), scan.oscillation_deg)


class OneBuffer(CbfMiniImage):
    """Decodes all images into one array."""

    buffer: Any = None

    def read(self, frame: int, out: Any) -> None:
        if OneBuffer.buffer is None:
            OneBuffer.buffer = np.empty_like(out[0])
        super().read(frame, [OneBuffer.buffer])
        time.sleep(0.005)
        out[0][:] = OneBuffer.buffer


class CopiesBytes(CbfMiniImage):
    """Takes for granted that arrays have its own type."""

    dtype = property(lambda self: np.dtype(np.int32))

    def read(self, frame: int, out: Any) -> None:
        pixels = np.empty(self.raw_shape, np.int32)
        super().read(frame, [pixels])
        out[0].view(np.int32).reshape(-1)[: pixels.size] = pixels.reshape(-1)


class Believes(CbfMiniImage):
    """Makes room for as many pixels as the header says, before anything else."""

    def models(self) -> Any:
        size = re.search(rb"Fastest-Dimension: (\d+)\s+X-Binary-Size-Second-Dimension: (\d+)", self.path.read_bytes())
        assert size is not None
        self.pixels = np.zeros((int(size[2]), int(size[1])), np.int32)
        return super().models()


class Aborts(CbfMini):
    """Hands files to a library that ends the process over damage."""

    def open(self, path: Path) -> Any:
        if b"Dimension: 1000000" in path.read_bytes():
            os.abort()
        return super().open(path)


class MakesRoom(CbfMiniImage):
    """Makes room for all that a packed file may hold."""

    def models(self) -> Any:
        self.content = bytearray(self.path.stat().st_size * (1030 if self.path.suffix == ".gz" else 1))
        return super().models()


class Follows(CbfMiniImage):
    """Takes its pixels from another file of its folder."""

    def read(self, frame: int, out: Any) -> None:
        others = [path for path in self.path.parent.glob("*.cbf") if path != self.path]
        if not others:
            raise DataError(f"{self.path} needs another file.")
        with open(others[0], "rb"):
            self.say()
            CbfMiniImage(others[0]).read(frame, out)

    def say(self) -> None:
        pass


class SaysWhenOpen(Follows):
    def say(self) -> None:
        warnings.warn("The pixels are from elsewhere.", ImageWarning, stacklevel=1)


def opening(image: type) -> type:
    """A format of these images."""
    return type("Wrong", (CbfMini,), {"open": lambda self, path: image(Path(path))})


def named(words: Iterable[str]) -> Callable[[Any], bool]:
    """Whether a note speaks of none of these."""
    return lambda note: not any(word in f"{note.what} {note.where}".lower() for word in words)


WRONG = {
    "foreign": ClaimsAll,
    "any_bytes": [Stumbles, BelowZero],
    "claim": OverSure,
    "source_methods": source(frame_mask=None),
    "frames": source(n_frames=0),
    "shapes": source(shapes=property(lambda self: [self.raw_shape[::-1]])),
    "dtype": source(dtype=np.dtype(">i4")),
    "container": source(container="no"),
    "value_limit": source(value_limit=-10),
    "models": models(lambda beam, detector, goniometer, scan: (beam, detector, scan, goniometer)),
    "wavelength": models(lambda beam, *others: (evolve(beam, wavelength=-1.0), *others)),
    "axes": panel(fast_axis=(1.0, 0.1, 0.0)),
    "trusted_range": panel(trusted_range=(10, 0)),
    "rotation": models(lambda beam, detector, goniometer, scan: (beam, detector, None, scan)),
    "scan_length": models(lambda b, d, g, scan: (b, d, g, Scan((1, 2), scan.oscillation_deg))),
    "scan_numbers": opening(NumbersOn),
    "gain": panel(gain=0.0),
    "axis": models(lambda beam, detector, goniometer, scan: (beam, detector, Goniometer(beam.direction), scan)),
    "new_models": opening(Kept),
    "same_models": opening(Drifts),
    "notes": [telling(lambda note: False), opening(Placeless)],
    "notes_wavelength": telling(named(["wavelen"])),
    "notes_axis": telling(named(["axis"])),
    "fills": [opening(LeavesCorner), opening(LeavesCornerOfTheLast)],
    "images_at_once": opening(OneBuffer),
    "other_type": opening(CopiesBytes),
    "earlier_arrays": opening(Recycles),
    "other_size": [opening(Squeezes), opening(Nameless)],
    "beyond": [opening(Container), opening(StreamsBeyond)],
    "rows": [opening(StreamsByHalves), opening(StreamsOne)],
    "static_mask": source(masks=lambda self: [np.ones((3, 3), dtype=bool)]),
    "frame_mask": source(frame_mask=lambda self, frame: [np.ones(self.raw_shape, dtype=np.uint8)]),
    "truncated": opening(ZerosForMissing),
    "missing": AsksTheSystem,
    "compressed": opening(Unpacks),
    "claims": [opening(Believes), Aborts],
    "endless": opening(MakesRoom),
    "links": [opening(Follows), opening(SaysWhenOpen)],
    "unpickled": opening(Unpickles),
    "any_folder": [opening(Latin), opening(Lossy)],
    "closed": KeepsOpen,
    "writes_nothing": Caches,
}
