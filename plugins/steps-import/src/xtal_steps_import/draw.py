"""An image drawn small: in colours on a terminal, in letters elsewhere, as PNG in full."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from xtal.models import Beam, Detector, Panel

if TYPE_CHECKING:
    from rich.console import Console

Grid = NDArray[np.float64]
LETTERS = " .:-=+*#%@"
TILTED = 0.95
"""Cosine between the normals of panels below which the detector is unrolled instead of projected."""
LARGEST_PNG = 4096
"""Pixels of a PNG's longer side; larger images are drawn smaller."""
MASKED_COLOUR, BEAM_COLOUR = (70, 100, 160), (220, 40, 40)


def draw_grid(
    arrays: Sequence[NDArray[Any]], masks: Sequence[NDArray[np.bool_]], detector: Detector, beam: Beam, size: int
) -> tuple[Grid, tuple[int, int] | None]:
    """The image on a grid of square cells, each with the greatest good value in it.

    Parameters
    ----------
    arrays, masks
        Values and good pixels of each panel, (slow, fast).
    detector, beam
        Where panels are, and where the beam meets them.
    size
        Cells of the longer side, at most.

    Returns
    -------
    grid
        (rows, columns) float64; -inf where all pixels are masked, nan where there is no panel.
    beam
        Row and column of the cell that the beam meets, or None.
    """
    if len(detector) == 1:
        return _draw_panel(arrays[0], masks[0], detector, beam, size)
    right = np.array([1.0, 0.0, 0.0])
    right = right - (right @ beam.direction) * beam.direction
    right /= np.linalg.norm(right)
    paper = np.array([right, -np.cross(beam.direction, right)])
    places = [_place(panel, detector, beam, paper) for panel in detector]
    points = np.concatenate([origin + np.array([0 * f, f, s, f + s]) for origin, f, s in places])
    low, high = points.min(axis=0), points.max(axis=0)
    finest = min(
        min(float(np.linalg.norm(f)) / a.shape[1], float(np.linalg.norm(s)) / a.shape[0])
        for a, (_, f, s) in zip(arrays, places, strict=True)
    )
    cell = max(float((high - low).max()) / size, finest)
    columns, rows = np.maximum(np.ceil((high - low) / cell - 1e-6).astype(int), 1)
    grid = np.full((rows, columns), np.nan)
    for values, mask, (origin, fast, slow) in zip(arrays, masks, places, strict=True):
        _fill(grid, values, mask, (origin - low) / cell, fast / cell, slow / cell)
    column, row = (int(x) for x in -low / cell)
    return grid, (row, column) if 0 <= row < rows and 0 <= column < columns else None


def _draw_panel(
    values: NDArray[Any], mask: NDArray[np.bool_], detector: Detector, beam: Beam, size: int
) -> tuple[Grid, tuple[int, int] | None]:
    """One panel as it is stored: fast to the right, slow down."""
    step = -(-max(values.shape) // size)
    grid = block_max(values, mask, step, step)
    index, xy = detector.intersect(beam.s0[None])
    if index[0] < 0:
        return grid, None
    x, y = xy[0] / np.array(detector[0].pixel_size) / step
    return grid, (int(y), int(x))


def _place(panel: Panel, detector: Detector, beam: Beam, paper: Grid) -> tuple[Grid, Grid, Grid]:
    """Position of the first corner on paper, and the panel's two edges."""
    f, s = np.array(panel.image_size) * panel.pixel_size
    points = [panel.origin, panel.origin + f * panel.fast_axis, panel.origin + s * panel.slow_axis]
    normals = np.array([p.normal for p in detector])
    unrolled = np.abs(normals @ normals[0]).min() < TILTED
    a, b, c = (_on_paper(p, beam, paper, unrolled=bool(unrolled)) for p in points)
    return a, b - a, c - a


def _on_paper(point: Grid, beam: Beam, paper: Grid, *, unrolled: bool) -> Grid:
    """A laboratory point projected along the beam; or at its scattering angle where panels are tilted."""
    flat = np.asarray(paper @ point)
    length = np.linalg.norm(flat)
    if not unrolled or length == 0:
        return flat
    angle = np.arccos(np.clip(-point @ beam.direction / np.linalg.norm(point), -1.0, 1.0))
    return flat / length * angle


def _fill(grid: Grid, values: NDArray[Any], mask: NDArray[np.bool_], origin: Grid, fast: Grid, slow: Grid) -> None:
    """Put the greatest good values of a panel into the cells of the grid."""
    slow_step, fast_step = (
        max(1, int(n / max(float(np.linalg.norm(edge)), 1e-9)))
        for edge, n in zip((slow, fast), values.shape, strict=True)
    )
    small = block_max(values, mask, slow_step, fast_step)
    rows, columns = np.indices(small.shape) + 0.5
    u = (columns * fast_step / values.shape[1])[..., None]
    v = (rows * slow_step / values.shape[0])[..., None]
    at = np.floor(origin + np.minimum(u, 1) * fast + np.minimum(v, 1) * slow - 1e-9).astype(int)
    x, y = np.clip(at[..., 0], 0, grid.shape[1] - 1), np.clip(at[..., 1], 0, grid.shape[0] - 1)
    np.fmax.at(grid, (y.ravel(), x.ravel()), small.ravel())


def block_max(values: NDArray[Any], mask: NDArray[np.bool_], rows: int, columns: int) -> Grid:
    """Greatest good value of each block of pixels; -inf where none is good."""
    slow, fast = -(-values.shape[0] // rows), -(-values.shape[1] // columns)
    # the type has room for a value below all of them: those of pixels that are not good
    lowest: float = -np.inf if values.dtype.kind == "f" else np.iinfo(np.int64).min
    kind = np.dtype(np.float64 if values.dtype.kind == "f" else np.int64)
    found = np.full((slow, fast), lowest, kind)
    for row in range(slow):
        part, good = values[row * rows : (row + 1) * rows], mask[row * rows : (row + 1) * rows]
        tops = np.where(good, part.astype(kind), np.asarray(lowest, kind)).max(axis=0)
        found[row] = np.maximum.reduceat(tops, np.arange(0, values.shape[1], columns))
    result = found.astype(np.float64)
    result[found == lowest] = -np.inf
    return result


def levels(grid: Grid) -> Grid:
    """Darkness from 0 to 1 of each cell, by the square root above the median; nan where there is no good pixel."""
    finite = np.isfinite(grid)
    shades = np.full(grid.shape, np.nan)
    if finite.any():
        low, high = np.percentile(grid[finite], (50.0, 99.9))
        high = max(high, low + 1.0)
        shades[finite] = np.sqrt(np.clip((grid[finite] - low) / (high - low), 0.0, 1.0))
    return shades


def as_letters(grid: Grid, beam: tuple[int, int] | None) -> str:
    """Two rows of cells in one line of letters: blank is background, @ the strongest, / masked, X the beam."""
    shades = levels(grid)
    lines = []
    for row in range(0, len(grid), 2):
        pair = shades[row : row + 2]
        seen = np.isfinite(pair)
        best = np.max(np.where(seen, pair, -1.0), axis=0)
        outside: NDArray[np.bool_] = np.all(np.isnan(grid[row : row + 2]), axis=0)
        line = [
            " " if out else "/" if shade < 0 else LETTERS[min(int(shade * len(LETTERS)), len(LETTERS) - 1)]
            for shade, out in zip(best.tolist(), outside.tolist(), strict=True)
        ]
        if beam is not None and beam[0] // 2 == row // 2:
            line[beam[1]] = "X"
        lines.append("".join(line).rstrip())
    return "\n".join(lines)


def colours(grid: Grid, beam: tuple[int, int] | None) -> NDArray[np.uint8]:
    """(rows, columns, 3) colours: dark spots on white, masked pixels blue, the beam red."""
    shades = levels(grid)
    light = np.nan_to_num(255.0 * (1.0 - shades), nan=0.0).astype(np.uint8)
    found = np.repeat(light[..., None], 3, axis=2)
    found[np.isneginf(grid)] = MASKED_COLOUR
    found[np.isnan(grid)] = (255, 255, 255)
    if beam is not None:
        found[beam] = BEAM_COLOUR
    return found


def print_colours(console: Console, pixels: NDArray[np.uint8]) -> None:
    """Draw on a terminal: each character is two cells, the upper half block of one colour on the other."""
    from rich.color import Color
    from rich.segment import Segment, Segments
    from rich.style import Style

    styles: dict[tuple[Any, Any], Style] = {}
    parts = []
    for row in range(0, len(pixels), 2):
        below = pixels[row + 1] if row + 1 < len(pixels) else np.full_like(pixels[row], 255)
        for upper, lower in zip(map(tuple, pixels[row].tolist()), map(tuple, below.tolist()), strict=True):
            style = styles.get((upper, lower))
            if style is None:
                style = styles[upper, lower] = Style(color=Color.from_rgb(*upper), bgcolor=Color.from_rgb(*lower))
            parts.append(Segment("\u2580", style))
        parts.append(Segment.line())
    console.print(Segments(parts), end="")


def write_png(path: Path, pixels: NDArray[np.uint8]) -> None:
    """Write colours as PNG."""
    from PIL import Image

    from xtal.files import writing

    with writing(path) as temporary:
        Image.fromarray(pixels).save(temporary, format="PNG")
