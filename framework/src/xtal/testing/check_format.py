"""Checks of formats: claims without a file, all else on a sample."""

from __future__ import annotations

import gzip
import json
import os
import re
import shutil
import struct
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import cached_property, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

from xtal.errors import DataError, ImageWarning
from xtal.files.encode import encode_list
from xtal.files.notes import Note, listening
from xtal.files.raw import read_head
from xtal.hooks.protocols import ImageFormat, ImageSource
from xtal.models import Beam, Detector, Experiment, ExperimentList, Goniometer, Scan
from xtal.testing.check_every import alike, check_methods
from xtal.testing.conformance import Broken, Case, Function, ensure
from xtal.testing.conformance import expects as expects_of
from xtal.testing.limits import ends_badly

HEAD = 4096
TEXT = b"This is a text and no image.\n" * 150
FOREIGN = (b"", b"\0" * HEAD, TEXT[:HEAD], bytes(range(256)) * 16)
"""Beginnings of files that are no images."""
HEADER = 1 << 16
"""Bytes in which the header of a sample ends, or nearly."""
MANY = 1_000_000
"""Pixels that no side of a detector has."""
ROWS_AT_ONCE = 7
BINARY = {"<H": 2**16 - 1, ">H": 2**16 - 1, "<I": MANY, ">I": MANY, "<Q": MANY, ">Q": MANY}
"""Ways to write the number of pixels of a side, and the number that is put in its place."""

Arrays = list[NDArray[Any]]


class FormatCase(Case):
    """A format; data: ``sample``, a file of this format, without which only claims are checked, and ``others``, more
    files of its scan."""

    kind = "format"
    protocol = ImageFormat
    threaded = True

    @property
    def usable(self) -> bool:
        return self.data.get("sample") is not None

    @cached_property
    def sample(self) -> Path:
        return Path(self.data["sample"])

    @cached_property
    def source(self) -> Any:
        """The sample, open."""
        return self.plugin.open(self.sample)

    @cached_property
    def models(self) -> tuple[Beam, Detector, Goniometer | None, Scan | None]:
        """Models of the sample."""
        models: tuple[Beam, Detector, Goniometer | None, Scan | None] = self.source.models()
        return models

    @cached_property
    def notes(self) -> list[Note]:
        """What it says while it opens the sample."""
        with listening() as notes:
            source = self.plugin.open(self.sample)
            source.models()
            source.close()
        return notes

    @property
    def container(self) -> bool:
        """Whether frames of the sample are numbered within it."""
        return bool(getattr(self.source, "container", self.source.n_frames > 1))

    @property
    def images(self) -> list[tuple[Path, int]]:
        """File and frame of several images of one scan: ends and middle of a container, or the files of the caller."""
        if self.container:
            last = self.source.n_frames - 1
            return [(self.sample, frame) for frame in sorted({0, last // 2, last})]
        return [(Path(path), 0) for path in (self.sample, *self.data.get("others", ()))]

    def image(self, path: Path, frame: int) -> Arrays:
        """A frame as the core reads it: of a container that stays open, or of a file that is opened for it."""
        return self.read(frame) if self.container else _pixels(self.plugin.open(path))

    def close(self) -> None:
        """Close the sample; it is opened again where it is needed."""
        self.source.close()
        del self.source

    def given(self) -> dict[str, Any]:
        return {"sample": np.frombuffer(self.sample.read_bytes(), np.uint8)}

    def exercise(self, given: dict[str, Any]) -> list[Any]:
        masks = [self.source.masks(), self.source.frame_mask(0)]
        return [self.read(0), *([] if m is None else list(m) for m in masks)]

    def read(self, frame: int, before: int = 0) -> Arrays:
        """A frame in new arrays that were full of a value before."""
        arrays = [np.full(shape, before, self.source.dtype) for shape in self.source.shapes]
        self.source.read(frame, arrays)
        return arrays

    def refused(self, work: Callable[[], Any], name: str, what: str) -> None:
        """Ensure that something ends in a DataError that names a file."""
        try:
            work()
        except DataError as error:
            ensure(name in str(error), f"its error does not name the file: {error}")
        except Exception as error:
            raise Broken(f"{what} raises {type(error).__name__}: {error}") from error
        else:
            raise Broken(f"{what} is read")


def expects(expected: str) -> Callable[[Function], Function]:
    """A check that needs a sample."""

    def register(function: Function) -> Function:
        def checked(case: FormatCase) -> None:
            if case.usable:
                function(case)

        checked.__name__ = function.__name__
        return expects_of("format", expected)(checked)

    return register


# --- claims -----------------------------------------------------------------------------


@expects_of("format", "claim no file that is no image")
def foreign(case: FormatCase) -> None:
    for extension in getattr(case.descriptor, "extensions", ()) or (".dat",):
        for head in FOREIGN:
            claim = case.plugin.sniff(head, Path("nothing" + extension))
            ensure(claim == 0, f"it claims {claim} for a file that begins with {head[:20]!r}")


@expects_of("format", "answer for any first bytes, be they cut short or noise")
def any_bytes(case: FormatCase) -> None:
    noise = np.random.default_rng(4).integers(0, 256, HEAD, dtype=np.uint8).tobytes()
    own = read_head(case.sample, HEAD) if case.usable else b"###CBF: VERSION"
    for head in (noise, *(own[:n] for n in (1, 3, 16, 100, 600)), own[:100] + noise):
        claim = case.plugin.sniff(head, Path("nothing"))
        ensure(0 <= claim <= 9, f"it claims {claim}")


@expects("claim its sample with a whole number from 1 (generic) to 9 (one instrument)")
def claim(case: FormatCase) -> None:
    claim = case.plugin.sniff(read_head(case.sample, HEAD), case.sample)
    ensure(isinstance(claim, int) and 1 <= claim <= 9, f"it claims {claim!r}")


# --- the source -------------------------------------------------------------------------


@expects("open a source with the methods of ImageSource")
def source_methods(case: FormatCase) -> None:
    check_methods(case.source, ImageSource)


@expects("have one frame at least")
def frames(case: FormatCase) -> None:
    n = case.source.n_frames
    ensure(isinstance(n, int) and n >= 1, f"n_frames is {n!r}")


@expects("give the shape (slow, fast) of each panel, the image_size of which is (fast, slow)")
def shapes(case: FormatCase) -> None:
    found, wanted = list(case.source.shapes), [(p.image_size[1], p.image_size[0]) for p in case.models[1]]
    ensure(found == wanted, f"shapes are {found} where the panels ask for {wanted}")


@expects("have pixels of an integer or floating type in the byte order of this machine")
def dtype(case: FormatCase) -> None:
    found = np.dtype(case.source.dtype)
    ensure(found.kind in "iuf" and found.isnative, f"they are {found.str}")


@expects("say with True or False whether frames are numbered within the file, if it says it")
def container(case: FormatCase) -> None:
    found = getattr(case.source, "container", True)
    ensure(isinstance(found, bool), f"container is {found!r}")


@expects("have a value_limit that leaves the trusted range a value, if it has one")
def value_limit(case: FormatCase) -> None:
    limit, low = getattr(case.source, "value_limit", None), max(p.trusted_range[0] for p in case.models[1])
    ensure(limit is None or limit >= low, f"it is {limit}, and trusted are values from {low:g}")


# --- models -----------------------------------------------------------------------------


@expects("give beam, detector, goniometer or None, and scan or None")
def models(case: FormatCase) -> None:
    kinds = (Beam, Detector, Goniometer | None, Scan | None)
    good = len(case.models) == 4 and all(isinstance(m, k) for m, k in zip(case.models, kinds, strict=True))
    ensure(good, f"it gives {', '.join(type(m).__name__ for m in case.models)}")


@expects("give a wavelength above 0, or NaN where the header has none")
def wavelength(case: FormatCase) -> None:
    value = case.models[0].wavelength
    ensure(value > 0 or np.isnan(value), f"it is {value:g}")


@expects("give panels with unit axes at right angles")
def axes(case: FormatCase) -> None:
    for number, panel in enumerate(case.models[1]):
        pair = np.array([panel.fast_axis, panel.slow_axis])
        ensure(np.allclose(pair @ pair.T, np.eye(2), atol=1e-6), f"those of panel {number} are {pair.tolist()}")


@expects("give a trusted range that holds values")
def trusted_range(case: FormatCase) -> None:
    for number, panel in enumerate(case.models[1]):
        low, high = panel.trusted_range
        ensure(low < high, f"that of panel {number} is {low:g} to {high:g}")


@expects("give panels a gain above 0 and a pedestal, by which counts are corrected")
def gain(case: FormatCase) -> None:
    for number, panel in enumerate(case.models[1]):
        good = 0 < panel.gain < np.inf and np.isfinite(panel.pedestal)
        ensure(good, f"panel {number} has a gain of {panel.gain:g} and a pedestal of {panel.pedestal:g}")


@expects("give goniometer and scan where there is a rotation, else neither")
def rotation(case: FormatCase) -> None:
    goniometer, scan = case.models[2:]
    ensure(
        (goniometer is None) == (scan is None), f"it gives the {'scan' if goniometer is None else 'goniometer'} alone"
    )


@expects("give a scan of as many images as the file has frames")
def scan_length(case: FormatCase) -> None:
    scan, n = case.models[3], case.source.n_frames
    ensure(scan is None or scan.n_images == n, f"{n} frames have a scan of {scan.n_images if scan else 0}")


@expects("number the frames of a container from 1, as the core counts them")
def scan_numbers(case: FormatCase) -> None:
    scan = case.models[3]
    ensure(scan is None or not case.container or scan.image_range[0] == 1, f"they are {scan and scan.image_range}")


@expects("turn about an axis that does not lie along the beam")
def axis(case: FormatCase) -> None:
    beam, _, goniometer, _ = case.models
    ensure(goniometer is None or abs(goniometer.axis @ beam.direction) < 0.999, "it does")


@expects("make new models at every opening, since import changes them")
def new_models(case: FormatCase) -> None:
    source = case.plugin.open(case.sample)
    again = source.models()
    source.close()
    shared = [type(a).__name__ for a, b in zip(case.models, again, strict=True) if a is b and a is not None]
    ensure(not shared, f"the {', '.join(shared)} of two openings is one object")


@expects("give the same models at every opening, from which identifiers are made")
def same_models(case: FormatCase) -> None:
    source = case.plugin.open(case.sample)
    again = source.models()
    source.close()
    one, other = (json.dumps(encode_list(ExperimentList([Experiment(*m)]))) for m in (case.models, again))
    ensure(one == other, "they differ")


@expects("say through xtal.files.notes what it reads, each with its value and place")
def notes(case: FormatCase) -> None:
    ensure(any(n.kind == "read" for n in case.notes), "it says nothing")
    bad = [note for note in case.notes if not (note.what and note.value and note.where)]
    ensure(not bad, f"it says {bad[:1]}")


@expects("say where the wavelength is from")
def notes_wavelength(case: FormatCase) -> None:
    told = any("wavelen" in f"{n.what} {n.where}".lower() for n in case.notes)
    ensure(told or np.isnan(case.models[0].wavelength), "it does not")


@expects("say where the rotation axis is from")
def notes_axis(case: FormatCase) -> None:
    told = any("axis" in f"{n.what} {n.where}".lower() for n in case.notes)
    ensure(told or case.models[2] is None, "it does not")


# --- pixels and masks -------------------------------------------------------------------


@expects("fill every pixel of the arrays that it is given, which are alike for all frames")
def fills(case: FormatCase) -> None:
    for frame in sorted({0, case.source.n_frames - 1}):
        one, other = case.read(frame, before=0), case.read(frame, before=1)
        n = sum(np.count_nonzero(a != b) for a, b in zip(one, other, strict=True))
        ensure(n == 0, f"{n} pixels of frame {frame + 1} keep what was there before")


@expects("read different images in several threads at once, each as it is read alone")
def images_at_once(case: FormatCase) -> None:
    alone = [case.image(*image) for image in case.images]
    with ThreadPoolExecutor(4) as pool:
        for k, found in enumerate(pool.map(lambda image: case.image(*image), 3 * case.images)):
            path, frame = case.images[k % len(alone)]
            ensure(alike(found, alone[k % len(alone)]), f"frame {frame + 1} of {path.name} comes out otherwise")


@expects("hand out the rows of a frame, where it does so, as it reads them at once, of two frames side by side")
def rows(case: FormatCase) -> None:
    stream, n = getattr(case.source, "stream", None), case.source.n_frames
    if stream is None:
        return
    streams = {frame: found for frame in sorted({0, n - 1}) if (found := stream(frame)) is not None}
    whole = {frame: case.read(frame, before=1) for frame in streams}
    ensure(all(len(panels) == 1 for panels in whole.values()), "its frames are of several panels")
    for first in range(0, case.source.shapes[0][0], ROWS_AT_ONCE):
        for frame, found in streams.items():
            expected = whole[frame][0][first : first + ROWS_AT_ONCE]
            out = np.zeros_like(expected)
            found.read(out)
            ensure(alike([out], [expected]), f"rows of frame {frame + 1} from {first} on are others")


@expects("put the same values into arrays of a wider type, as another file of a scan may ask for, or raise a DataError")
def other_type(case: FormatCase) -> None:
    if case.container or isinstance(getattr(type(case.source), "dtype", None), np.dtype):
        return  # one file is all of the scan, or all files are of one type
    arrays = [np.zeros(shape, np.float64) for shape in case.source.shapes]
    with suppress(DataError):
        case.source.read(0, arrays)
        ensure(alike(arrays, [array.astype(np.float64) for array in case.read(0)]), "they differ in float64")


@expects("leave alone the arrays that it filled before")
def earlier_arrays(case: FormatCase) -> None:
    first = case.read(0)
    kept = [array.copy() for array in first]
    case.read(case.source.n_frames - 1, before=1)
    ensure(alike(first, kept), "reading another frame changes them")


@expects("refuse arrays of another size with a DataError that names the file")
def other_size(case: FormatCase) -> None:
    arrays = [np.zeros((slow + 1, fast), case.source.dtype) for slow, fast in case.source.shapes]
    case.refused(lambda: case.source.read(0, arrays), case.sample.name, "a frame that does not fit")


@expects("refuse a frame beyond the last with a DataError that names the file")
def beyond(case: FormatCase) -> None:
    if case.container:
        n = case.source.n_frames
        for frame in (-1, n):
            case.refused(partial(case.read, frame), case.sample.name, f"frame {frame} of {n}")
            if hasattr(case.source, "stream"):
                case.refused(partial(case.source.stream, frame), case.sample.name, f"frame {frame} of {n}, by rows,")


@expects("give a bool mask of the shape of each panel, or None")
def static_mask(case: FormatCase) -> None:
    _check_masks(case, case.source.masks())


@expects("give a bool mask of a frame of the shape of each panel, or None")
def frame_mask(case: FormatCase) -> None:
    _check_masks(case, case.source.frame_mask(0))


def _check_masks(case: FormatCase, masks: Any) -> None:
    if masks is not None:
        found, wanted = [(m.shape, m.dtype.name) for m in masks], [(tuple(s), "bool") for s in case.source.shapes]
        ensure(found == wanted, f"it gives {found[:2]} where {wanted[:2]} fit")


# --- files ------------------------------------------------------------------------------


def _pixels(source: Any) -> Arrays:
    """The first frame; the source is closed."""
    try:
        arrays = [np.zeros(shape, source.dtype) for shape in source.shapes]
        source.read(0, arrays)
        return arrays
    finally:
        source.close()


def _whole(case: FormatCase, path: Path) -> Arrays:
    """Open a file and ask for everything."""
    source = case.plugin.open(path)
    try:
        source.models()
        source.masks()
    except BaseException:
        source.close()
        raise
    return _pixels(source)


@expects("refuse a file that was cut short with a DataError that names it")
def truncated(case: FormatCase) -> None:
    content = case.sample.read_bytes()
    with TemporaryDirectory() as folder:
        short = Path(folder) / case.sample.name
        for size in (0, 50, min(400, len(content) // 4), len(content) // 2):
            short.write_bytes(content[:size])
            case.refused(lambda: _whole(case, short), short.name, f"a file cut to {size} bytes")


@expects("refuse a file that is not there with a DataError that names it")
def missing(case: FormatCase) -> None:
    path = case.sample.with_name("absent" + case.sample.suffix)
    case.refused(lambda: _whole(case, path), path.name, "a file that is not there")


@expects("read a .gz copy as the file itself, or not claim it")
def compressed(case: FormatCase) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / (case.sample.name + ".gz")
        path.write_bytes(gzip.compress(case.sample.read_bytes(), 1))
        if case.plugin.sniff(read_head(path, HEAD), path):
            ensure(alike(_whole(case, path), case.read(0)), "the pixels differ")


@expects("end in data or a DataError, within bounds, where a header claims more pixels than any image has")
def claims(case: FormatCase) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / case.sample.name
        for content in _claiming(case.sample.read_bytes(), case.source.shapes[0]):
            path.write_bytes(content)
            told = ends_badly(lambda: _whole(case, path))
            ensure(not told, told)


def _claiming(content: bytes, shape: tuple[int, int]) -> Iterator[bytes]:
    """The content with another number wherever its header may say how many pixels a side has, in one way of writing
    after another."""
    header, rest = content[:HEADER], content[HEADER:]
    words = "|".join(map(str, shape)).encode()
    ways = [re.sub(rb"(?<![\w.])(?:" + words + rb")(?![\w.])", b"%d" % MANY, header)]
    for code, many in BINARY.items():
        way = header
        for side in shape:
            if side < 2 ** (8 * struct.calcsize(code)):
                way = way.replace(struct.pack(code, side), struct.pack(code, many))
        ways.append(way)
    yield from (way + rest for way in ways if way != header)


@expects("end in data or a DataError, within bounds, where a .gz file that it claims unpacks to gigabytes")
def endless(case: FormatCase) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / (case.sample.name + ".gz")
        path.write_bytes(gzip.compress(case.sample.read_bytes(), 1) + 256 * gzip.compress(bytes(1 << 24), 9))
        if case.plugin.sniff(read_head(path, HEAD), path):
            told = ends_badly(lambda: _whole(case, path))
            ensure(not told, told)


@expects("say by an ImageWarning that it takes data from outside the folder of the file, before it opens them")
def links(case: FormatCase) -> None:
    with TemporaryDirectory() as folder:
        copy = Path(shutil.copy(case.sample, folder))
        with suppress(DataError):
            _whole(case, copy)
            return  # the sample is all that it needs
        case.close()
        home = case.sample.resolve().parent
        for other in home.iterdir():
            if other.name != copy.name:
                copy.with_name(other.name).symlink_to(other)
        with _told(home) as early, suppress(DataError):  # which a format may have for such links
            _whole(case, copy)
            ensure(early, "it says nothing")
        ensure(all(early), "it says so when they are open")


@contextmanager
def _told(home: Path) -> Iterator[list[bool]]:
    """For each ImageWarning, whether no more files of a folder are open by then."""
    early: list[bool] = []
    before = set(_open_files())

    def hear(message: Any, category: type[Warning], *_: Any, **__: Any) -> None:
        if issubclass(category, ImageWarning):
            early.append(all(path.parent != home for path in set(_open_files()) - before))

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = hear
        yield early


def _open_files() -> list[Path]:
    """Files that this process has open; none on a system that does not tell."""
    descriptors = Path("/proc/self/fd")
    return [Path(os.path.realpath(link)) for link in descriptors.iterdir()] if descriptors.exists() else []


@expects("unpickle nothing, since a file may come from anybody")
def unpickled(case: FormatCase) -> None:
    with patch("pickle.loads") as loads, patch("pickle.load") as load, patch("pickle.Unpickler") as unpickler:
        with suppress(Exception):  # whatever comes of a value that is no value
            _whole(case, case.sample)
        called = [name for name, mock in (("loads", loads), ("load", load), ("Unpickler", unpickler)) if mock.called]
    ensure(not called, f"it calls pickle.{', pickle.'.join(called)}")


@expects("read a file wherever it is: folders may have blanks and letters of any language")
def any_folder(case: FormatCase) -> None:
    with TemporaryDirectory() as folder:
        odd = Path(folder) / "Grüße an [1] 猫"
        odd.mkdir()
        copies = [Path(shutil.copy(case.sample, home)) for home in (folder, odd)]
        try:
            wanted = _whole(case, copies[0])
        except DataError:
            return  # it needs files beside it
        ensure(alike(_whole(case, copies[1]), wanted), "the pixels differ")


@expects("hold no file open after close()")
def closed(case: FormatCase) -> None:
    case.close()
    sample = case.sample.resolve()
    before = _open_files().count(sample)  # others may have it open
    source = case.plugin.open(case.sample)
    source.models()
    _pixels(source)
    ensure(_open_files().count(sample) <= before, "it is still open")


@expects("write nothing beside the file that it reads")
def writes_nothing(case: FormatCase) -> None:
    with TemporaryDirectory() as folder:
        copy = Path(shutil.copy(case.sample, folder))
        with suppress(DataError):  # of a master whose data stand elsewhere
            _whole(case, copy)
        others = [path.name for path in Path(folder).iterdir() if path != copy]
    ensure(not others, f"it wrote {', '.join(others)}")
