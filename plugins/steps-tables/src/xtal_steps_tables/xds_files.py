"""What XDS writes, as numbers: keywords, XPARM.XDS, columns, blocks of INTEGRATE.LP.

The formats are those of Kabsch (2010), Acta Cryst. D66, 125, and of the documentation of XDS.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from attrs import define, field
from numpy.typing import NDArray

from xtal.errors import DataError

F = NDArray[np.float64]
_KEYWORD = re.compile(r"([A-Z][A-Z0-9_\-/'.()]*)=")
MAX_BYTES = 1 << 32
"""Larger text files are no XDS files."""


@define(eq=False)
class Segment:
    """A part of the detector: pixels (x1, x2, y1, y2), counted from 1, both ends included."""

    pixels: tuple[int, int, int, int]
    origin: tuple[float, float] = (0.0, 0.0)
    distance: float = 0.0
    x_axis: F = field(factory=lambda: np.array([1.0, 0.0, 0.0]))
    y_axis: F = field(factory=lambda: np.array([0.0, 1.0, 0.0]))


@define(eq=False)
class Geometry:
    """Experiment in the frame of XDS: lengths in mm and angstrom, angles in degrees, pixels counted from 1."""

    wavelength: float
    beam: F
    axis: F
    start_frame: int
    start_angle: float
    width: float
    size: tuple[int, int]
    pixel: tuple[float, float]
    org: tuple[float, float]
    distance: float
    x_axis: F
    y_axis: F
    space_group: int = 1
    real_axes: F | None = None
    segments: list[Segment] = field(factory=list)
    divergence: float | None = None
    mosaicity: float | None = None
    variance_model: tuple[float, float] | None = None


def read_text(path: Path) -> str:
    """Content of a text file.

    Raises
    ------
    DataError
        If it cannot be read, is no text, or is too large to be one of XDS's.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise DataError(f"{path} is too large to be a file of XDS.")
        text = path.read_text(encoding="latin-1")
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.", advice="Check its name and rights.") from None
    if "\0" in text[:4096]:
        raise DataError(f"{path} is no text file, so no file of XDS.")
    return text


def keywords(text: str) -> dict[str, list[str]]:
    """Every ``KEYWORD= value`` of XDS.INP or of a header, in order; ``!`` starts a comment."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        line = line.split("!", 1)[0]
        matches = list(_KEYWORD.finditer(line))
        ends = [*(m.start() for m in matches[1:]), len(line)]
        for match, end in zip(matches, ends, strict=bool(matches)):
            found.setdefault(match[1], []).append(line[match.end() : end].strip())
    return found


def header_of(path: Path) -> dict[str, list[str]]:
    """Keywords of the header of INTEGRATE.HKL or XDS_ASCII.HKL."""
    lines = []
    for line in read_text(path).splitlines():
        if not line.startswith("!"):
            break
        lines.append(line[1:])
    return keywords("\n".join(lines))


def numbers(keys: dict[str, list[str]], name: str, n: int, path: Path, default: F | None = None) -> F:
    """(n,) the numbers of a keyword.

    Raises
    ------
    DataError
        If it is absent and has no default, or is no n numbers.
    """
    if name not in keys:
        if default is not None:
            return default
        raise DataError(f"{path} lacks the keyword {name}=.", advice="Give the folder of a finished XDS run.")
    words = keys[name][-1].split()[:n]
    try:
        values = np.array(words, dtype=float)
    except ValueError:
        values = np.zeros(0)
    if len(values) != n or not np.isfinite(values).all():
        raise DataError(f"{path} has {name}={keys[name][-1]} where {n} numbers are expected.")
    return values


def geometry_of_header(keys: dict[str, list[str]], path: Path) -> Geometry:
    """Geometry from the keywords of XDS.INP, INTEGRATE.HKL or XDS_ASCII.HKL."""
    get = lambda name, n=1, default=None: numbers(keys, name, n, path, default)
    axes = None
    if "UNIT_CELL_A-AXIS" in keys:
        axes = np.array([get(f"UNIT_CELL_{letter}-AXIS", 3) for letter in "ABC"])
    optional = lambda name: float(get(name)[0]) if name in keys else None
    model = get("VARIANCE_MODEL", 2) if "VARIANCE_MODEL" in keys else None
    return Geometry(
        wavelength=float(get("X-RAY_WAVELENGTH")[0]),
        beam=get("INCIDENT_BEAM_DIRECTION", 3),
        axis=get("ROTATION_AXIS", 3),
        start_frame=int(get("STARTING_FRAME", 1, np.ones(1))[0]),
        start_angle=float(get("STARTING_ANGLE", 1, np.zeros(1))[0]),
        width=float(get("OSCILLATION_RANGE")[0]),
        size=(int(get("NX")[0]), int(get("NY")[0])),
        pixel=(float(get("QX")[0]), float(get("QY")[0])),
        org=(float(get("ORGX")[0]), float(get("ORGY")[0])),
        distance=float(get("DETECTOR_DISTANCE")[0]),
        x_axis=get("DIRECTION_OF_DETECTOR_X-AXIS", 3),
        y_axis=get("DIRECTION_OF_DETECTOR_Y-AXIS", 3),
        space_group=int(get("SPACE_GROUP_NUMBER", 1, np.ones(1))[0]),
        real_axes=axes,
        segments=_segments(keys, path),
        divergence=optional("BEAM_DIVERGENCE_E.S.D."),
        mosaicity=optional("REFLECTING_RANGE_E.S.D."),
        variance_model=None if model is None else (float(model[0]), float(model[1])),
    )


def _segments(keys: dict[str, list[str]], path: Path) -> list[Segment]:
    """The segments of the keywords; each repeats all of them."""
    found = []
    for k, text in enumerate(keys.get("SEGMENT", [])):
        each = lambda name, n, k=k: numbers({name: keys.get(name, [])[k : k + 1] or [""]}, name, n, path)
        x1, x2, y1, y2 = numbers({"SEGMENT": [text]}, "SEGMENT", 4, path).astype(int).tolist()
        found.append(
            Segment(
                (x1, x2, y1, y2),
                (float(each("SEGMENT_ORGX", 1)[0]), float(each("SEGMENT_ORGY", 1)[0])),
                float(each("SEGMENT_DISTANCE", 1)[0]),
                each("DIRECTION_OF_SEGMENT_X-AXIS", 3),
                each("DIRECTION_OF_SEGMENT_Y-AXIS", 3),
            )
        )
    return found


def geometry_of_xparm(path: Path) -> Geometry:
    """Geometry of XPARM.XDS or GXPARM.XDS, in the old layout (42 numbers) or the new one with its header word.

    Raises
    ------
    DataError
        If the file is neither.
    """
    lines = read_text(path).strip().splitlines()
    new = bool(lines) and "XPARM.XDS" in lines[0]
    try:
        rows = [[float(word) for word in line.split()] for line in lines[int(new) :]]
        widths = [len(row) for row in rows]
        if new and widths[:11] == [6, 4, 7, 3, 3, 3, 5, 3, 3, 3, 3]:
            scan, beam, cell, a, b, c, pixels, origin, x, y, _ = rows[:11]
            size, pixel, org, distance = pixels[1:3], pixels[3:5], origin[:2], origin[2]
            segments = _xparm_segments(rows[11:])
        elif not new and widths == [6, 4, 4, 3, 3, 3, 3, 7, 3, 3, 3]:
            scan, beam, pixels, origin, x, y, _, cell, a, b, c = rows
            size, pixel, org, distance, segments = pixels[:2], pixels[2:4], origin[1:], origin[0], []
        else:
            raise ValueError("the lines have other numbers of values")
    except ValueError as error:
        raise DataError(f"{path} is no XPARM.XDS: {error}.", advice="Give the folder of a finished XDS run.") from None
    return Geometry(
        wavelength=beam[0], beam=np.array(beam[1:]), axis=np.array(scan[3:]), start_frame=int(scan[0]),
        start_angle=scan[1], width=scan[2], size=(int(size[0]), int(size[1])), pixel=(pixel[0], pixel[1]),
        org=(org[0], org[1]), distance=distance, x_axis=np.array(x), y_axis=np.array(y), space_group=int(cell[0]),
        real_axes=np.array([a, b, c]), segments=segments,
    )  # fmt: skip


def _xparm_segments(rows: list[list[float]]) -> list[Segment]:
    """Pairs of lines: five integers, then origin, distance and two axes."""
    found = []
    for place, shape in zip(rows[::2], rows[1::2], strict=True):
        if len(place) != 5 or len(shape) != 9:
            raise ValueError("the lines of a segment have other numbers of values")
        x1, x2, y1, y2 = (int(v) for v in place[1:])
        axes = np.array(shape[3:]).reshape(2, 3)
        found.append(Segment((x1, x2, y1, y2), (shape[0], shape[1]), shape[2], axes[0], axes[1]))
    return found


def data_rows(path: Path, widths: tuple[int, ...]) -> F:
    """(n, k) the numbers of the lines that are no comment.

    Raises
    ------
    DataError
        If lines have different numbers of values, or another number than one of ``widths``.
    """
    lines = [line for line in read_text(path).splitlines() if line.strip() and not line.startswith("!")]
    if not lines:
        raise DataError(f"{path} holds no reflections.")
    try:
        rows = np.loadtxt(lines, ndmin=2)
    except ValueError as error:
        raise DataError(f"{path} cannot be read: {error}.") from None
    if rows.shape[1] not in widths or not np.isfinite(rows).all():
        wanted = " or ".join(map(str, widths))
        raise DataError(f"{path} has {rows.shape[1]} values in a line where {wanted} numbers are expected.")
    return rows


def varying_axes(path: Path) -> list[tuple[int, int, F]]:
    """First and last image of each block of INTEGRATE.LP, and the cell axes (3, 3) there, rows a, b, c.

    Raises
    ------
    DataError
        If the blocks and the axes do not match.
    """
    text = read_text(path)
    three = r"\s+(\S+)\s+(\S+)\s+(\S+)"
    blocks = re.findall(r"PROCESSING OF IMAGES\s+(\d+)\s*\.\.\.\s*(\d+)", text)
    axes = [re.findall(rf"COORDINATES OF UNIT CELL {letter}-AXIS{three}", text) for letter in "ABC"]
    try:
        values = np.array(axes, dtype=float)
    except ValueError:
        values = np.zeros(0)
    if not blocks or values.shape != (3, len(blocks), 3):
        raise DataError(
            f"{path} does not list one unit cell for each block of images.", advice="Leave out read_varying_crystal."
        )
    return [(int(first), int(last), values[:, k]) for k, (first, last) in enumerate(blocks)]
