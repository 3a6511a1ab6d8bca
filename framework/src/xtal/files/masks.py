"""Masks of pixels: our own HDF5 form, DIALS's pickles (read without running them) and numpy's files.

Every form holds one array per panel, (slow, fast), True where a pixel is good. The own form,
which any program that knows HDF5 reads:

- attributes of the file: ``format`` = "xtal mask", ``version`` = 1, ``meaning`` = "1 good, 0 masked";
- datasets ``panel_000``, ``panel_001``, ... of uint8, in the order of the detector's panels.
"""

from __future__ import annotations

import io
import re
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from xtal.errors import DataError
from xtal.files.atomic import writing
from xtal.files.hdf5 import look_over
from xtal.files.inflate import InflateError, inflated
from xtal.files.masks_pickle import dump_flat_maps, dump_masks, load_masks

Shapes = Sequence[tuple[int, int]]
Masks = list[NDArray[np.bool_]]

HDF5_SUFFIXES = (".h5", ".hdf5", ".hdf")
PICKLE_SUFFIXES = (".mask", ".pickle", ".pkl")
FORMAT, VERSION, MEANING = "xtal mask", 1, "1 good, 0 masked"

_HDF5 = b"\x89HDF\r\n\x1a\n"
_LARGEST_CHUNK = 2**28
"""Most bytes of a chunk that is read: the writer of a file chooses them, not its reader."""
_LARGEST_HEADER = 10_000
"""Most bytes of the header of a file of numpy; in an archive a few bytes unpack to gigabytes."""
_DAMAGE = (
    ValueError, EOFError, KeyError, RuntimeError, zipfile.BadZipFile, zlib.error, InflateError, tokenize.TokenError
)  # fmt: skip
_ACCEPTED = "Give a mask of xtal (.h5), of DIALS (.mask, .pickle) or of numpy (.npy, .npz), True where pixels are good."


def read_mask(path: str | Path, shapes: Shapes) -> Masks:
    """A mask, in whichever form.

    Parameters
    ----------
    path
        The file; its form is known by its content.
    shapes
        (slow, fast) of each panel of the detector.

    Returns
    -------
    one (slow, fast) bool array per panel, True is good

    Raises
    ------
    DataError
        If the file is no mask, is damaged, or is one of another detector.
    """
    return _read(Path(path), [(int(slow), int(fast)) for slow, fast in shapes])


def write_mask(path: str | Path, masks: Sequence[NDArray[np.bool_]]) -> None:
    """Write a mask in the form that the ending of its name asks for: .h5 (our own) or .mask, .pickle (DIALS's).

    Raises
    ------
    DataError
        If the name has another ending, or the disk is full.
    """
    path = Path(path)
    writers: dict[str, Callable[[Path], None]] = {
        **dict.fromkeys(HDF5_SUFFIXES, lambda p: _write_hdf5(p, masks)),
        **dict.fromkeys(PICKLE_SUFFIXES, lambda p: _write_pickle(p, masks)),
    }
    write = writers.get(path.suffix)
    if write is None:
        raise DataError(f"The mask {path} has no ending that tells its form.", advice="End it in .h5 or .mask (DIALS).")
    with writing(path) as temporary:
        write(temporary)


def write_gain_map(path: str | Path, shapes: Shapes, gain: float) -> None:
    """Write a map of one gain for all pixels in the form of DIALS, whose import takes it as ``lookup.gain=``."""
    with writing(path) as temporary:
        temporary.write_bytes(dump_flat_maps(shapes, gain))


def _read(path: Path, shapes: Shapes) -> Masks:
    """Panels of a file, whose shapes are checked before they are read."""
    try:
        with open(path, "rb") as file:
            head = file.read(8)
            file.seek(0)
            if head == _HDF5:
                look_over(str(path))
                return _read_hdf5(path, shapes)
            if head[:6] == b"\x93NUMPY":
                return [_read_npy(file, shapes)]
            if head[:4] == b"PK\x03\x04":
                return _read_npz(file, shapes)
            if head[:1] in (b"\x80", b"(", b"c"):
                return load_masks(file, shapes)
    except OSError as error:
        cause = error.strerror or "it is damaged"
        raise DataError(f"The mask {path} cannot be read: {cause}.", advice=_ACCEPTED) from error
    except _DAMAGE as error:
        raise DataError(f"The mask {path} cannot be read: {error}.", advice=_ACCEPTED) from error
    raise DataError(f"{path} is no mask.", advice=_ACCEPTED)


def _fit(found: Sequence[tuple[int, ...]], shapes: Shapes) -> None:
    """Refuse arrays that are not one per panel and of its size."""
    if [tuple(f) for f in found] != [tuple(s) for s in shapes]:
        text = ", ".join(" x ".join(map(str, f)) for f in found[:4]) + (" ..." if len(found) > 4 else "")
        wanted = ", ".join(f"{s} x {f}" for s, f in shapes[:4]) + (" ..." if len(shapes) > 4 else "")
        raise ValueError(f"it holds {text or 'nothing'} pixels (slow x fast), the detector has {wanted}")


def _read_hdf5(path: Path, shapes: Shapes) -> Masks:
    """Panels of our own form. No link is followed."""
    import h5py

    with h5py.File(path, "r") as file:
        if file.attrs.get("format") != FORMAT or file.attrs.get("version") != VERSION:
            raise ValueError("it is HDF5, but no mask of xtal that this version knows")
        names = [name for name in file if re.fullmatch(r"panel_\d+", str(name))]
        if any(not isinstance(file.get(name, getlink=True), h5py.HardLink) for name in names):
            raise ValueError("its panels are links to other files")
        panels = [file[name] for name in sorted(names, key=_natural)]
        if any(not isinstance(p, h5py.Dataset) or p.is_virtual or p.external for p in panels):
            raise ValueError("its panels do not stand in the file itself")
        _fit([p.shape or () for p in panels], shapes)
        if any(p.dtype != np.uint8 for p in panels):
            raise ValueError("its panels are not of uint8")
        return [_read_panel(p) != 0 for p in panels]


def _read_panel(panel: Any) -> NDArray[np.uint8]:
    """Pixels of a dataset. Its chunks are unpacked here: HDF5 sets no limit to what they unpack to."""
    import h5py

    filters = panel.id.get_create_plist()
    kinds = [filters.get_filter(k)[0] for k in range(filters.get_nfilters())]
    if not kinds:
        return np.asarray(panel[()])
    if kinds != [h5py.h5z.FILTER_DEFLATE]:
        raise ValueError("its panels are packed by another filter than deflate")
    values = np.zeros(panel.shape, np.uint8)
    rows, columns = panel.chunks
    if rows * columns > _LARGEST_CHUNK:
        raise ValueError("its chunks are larger than any panel")
    for k in range(panel.id.get_num_chunks()):
        row, column = panel.id.get_chunk_info(k).chunk_offset
        unfiltered, packed = panel.id.read_direct_chunk((row, column))
        content = packed if unfiltered else inflated(packed, rows * columns)
        if len(content) != rows * columns:
            raise ValueError("it is damaged")
        room = values[row : row + rows, column : column + columns]
        room[...] = np.frombuffer(content, np.uint8).reshape(rows, columns)[: room.shape[0], : room.shape[1]]
    return values


def _write_hdf5(path: Path, masks: Sequence[NDArray[np.bool_]]) -> None:
    import h5py

    with h5py.File(path, "w") as file:
        file.attrs.update({"format": FORMAT, "version": VERSION, "meaning": MEANING})
        for k, mask in enumerate(masks):
            values = np.asarray(mask, dtype=bool).astype(np.uint8)
            file.create_dataset(f"panel_{k:03}", data=values, compression="gzip", compression_opts=4)


def _write_pickle(path: Path, masks: Sequence[NDArray[np.bool_]]) -> None:
    path.write_bytes(dump_masks(masks))


def _read_npy(file: IO[bytes], shapes: Shapes) -> NDArray[np.bool_]:
    """An array of numpy's own file; its header is checked before room is made for it."""
    old = np.lib.format.read_magic(file) == (1, 0)
    length = file.read(2 if old else 4)
    if int.from_bytes(length, "little") > _LARGEST_HEADER:
        raise ValueError("its header is longer than that of any array")
    header = io.BytesIO(length + file.read(int.from_bytes(length, "little")))
    found, fortran, dtype = (np.lib.format.read_array_header_1_0 if old else np.lib.format.read_array_header_2_0)(
        header
    )
    _fit([found], shapes)
    if dtype != np.bool_:
        raise ValueError(f"its values are {dtype}, not bool")
    slow, fast = shapes[0]
    content = file.read(slow * fast)
    if len(content) < slow * fast:
        raise ValueError("it is truncated")
    return np.frombuffer(content, np.uint8).reshape((slow, fast), order="F" if fortran else "C") != 0


def _read_npz(file: IO[bytes], shapes: Shapes) -> Masks:
    with zipfile.ZipFile(file) as archive:
        names = sorted((name for name in archive.namelist() if name.endswith(".npy")), key=_natural)
        if len(names) != len(shapes):
            raise ValueError(f"its number of panels is {len(names)}, that of the detector {len(shapes)}")
        masks = []
        for name, shape in zip(names, shapes, strict=True):
            with archive.open(name) as member:
                masks.append(_read_npy(member, [shape]))
        return masks


def _natural(name: str) -> list[Any]:
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]
