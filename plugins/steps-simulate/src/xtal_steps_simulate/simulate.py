"""The step ``simulate``: a seeded rotation scan, image by image."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from attrs import define
from numpy.typing import NDArray

from xtal.words import counted
from xtal_steps_simulate.cbf import CUTOFF, write_cbf
from xtal_steps_simulate.crossings import REACH, Crossings, find_crossings
from xtal_steps_simulate.detector import NODE_WEIGHTS, background, pixel_status
from xtal_steps_simulate.intensities import Integers, Intensities, draw_intensities, lattice_points
from xtal_steps_simulate.kernels import draw_background, draw_spots, spoil
from xtal_steps_simulate.model import Array, Model, preset
from xtal_steps_simulate.truth import Tally, describe, truth_columns, write_truth

HOT_COUNT = 20_000.0
"""Mean count of hot pixels in every image; no mask names them."""


@define(eq=False)
class Simulation:
    """All that does not change from image to image; `draw` is safe in several threads.

    Attributes
    ----------
    status : (slow, fast) see `detector`; background : (slow, fast) photons
    spots : (n, 15) see `kernels.draw_spots`
    order, offsets : rows of crossings image by image: ``order[offsets[i]:offsets[i + 1]]``
    """

    model: Model
    intensities: Intensities
    crossings: Crossings
    status: NDArray[np.int8]
    background: Array
    spots: Array
    order: Integers
    offsets: Integers
    scales: Array

    def rows(self, frame: int) -> Integers:
        """Crossings that may reach an image (0-based)."""
        return self.order[self.offsets[frame] : self.offsets[frame + 1]]

    def draw(self, frame: int, ceiling: int = CUTOFF) -> tuple[NDArray[np.int32], Array]:
        """(image, out): counts (slow, fast), and what `kernels.draw_spots` notes of `rows`.

        The random stream belongs to (seed, image), so that the order of calls does not matter.
        """
        rows = self.rows(frame)
        image = np.empty(self.status.shape, dtype=np.int32)
        out = np.zeros((len(rows), 4))
        state = self.model.rng("image", frame).integers(0, 2**64, size=1, dtype=np.uint64)
        scale = self.scales[frame]
        draw_background(self.background, scale, state, image)
        draw_spots(frame, rows, self.spots, NODE_WEIGHTS, self.background, scale, self.status, state, image, out)
        spoil(self.status, HOT_COUNT, ceiling, state, image)
        return image, out


def prepare(model: Model) -> Simulation:
    """Draw the intensities and find all crossings."""
    hkl = lattice_points(model)
    intensities = draw_intensities(model, hkl)
    crossings = find_crossings(model, hkl, intensities)
    status = pixel_status(model)
    order, offsets = rows_by_image(crossings, model.n_images)
    edges = model.scale_table()
    return Simulation(
        model=model,
        intensities=intensities,
        crossings=crossings,
        status=status,
        background=background(model, status),
        spots=spot_parameters(crossings),
        order=order,
        offsets=offsets,
        scales=(edges[1:] + edges[:-1]) / 2,
    )


def spot_parameters(crossings: Crossings) -> Array:
    """(n, 15) what `kernels.draw_spots` needs of each crossing."""
    c = crossings.covariance
    sigma = np.sqrt(c[:, 2, 2])
    slope = c[:, :2, 2] / sigma[:, None]
    fixed = c[:, :2, :2] - slope[:, :, None] * slope[:, None, :]
    return np.column_stack(
        [
            crossings.xyz, sigma, slope, fixed[:, 0, 0], fixed[:, 0, 1], fixed[:, 1, 1],
            crossings.shift, crossings.depth, crossings.photons,
        ]
    )  # fmt: skip


def rows_by_image(crossings: Crossings, n_images: int) -> tuple[Integers, Integers]:
    """(order, offsets) of crossings that reach each image, in the order of rows within an image."""
    z, reach = crossings.xyz[:, 2], REACH * np.sqrt(crossings.covariance[:, 2, 2])
    first = np.clip(np.floor(z - reach), 0, n_images).astype(np.int64)
    last = np.clip(np.floor(z + reach) + 1, 0, n_images).astype(np.int64)
    number = np.maximum(last - first, 0)
    row = np.repeat(np.arange(len(z)), number)
    frame = np.arange(len(row)) - np.repeat(np.cumsum(number) - number - first, number)
    order = np.argsort(frame, kind="stable")
    offsets = np.searchsorted(frame[order], np.arange(n_images + 1))
    return row[order], offsets


def simulate(
    model: Model,
    directory: Path,
    file_format: str = "cbf",
    run_blocks: Callable[[Callable[[int], Any], Iterable[int]], Iterable[Any]] = map,
    advance: Callable[[int], Any] = lambda number: None,
) -> Simulation:
    """Write the images of a scan and the truth behind them into a folder.

    Parameters
    ----------
    file_format : "cbf" or "nxmx"
    run_blocks : like ``map``; may work in several threads but must keep the order
    advance : told of every image that is done

    Raises
    ------
    DataError
        If the disk is full or the folder cannot be written.
    """
    directory.mkdir(parents=True, exist_ok=True)
    _forget_earlier(directory, model.name)
    scene = prepare(model)
    tally = Tally(len(scene.crossings))
    if file_format == "nxmx":
        images = _write_nxmx(scene, directory, tally, run_blocks, advance)
    else:
        images = _write_cbf(scene, directory, tally, run_blocks, advance)
    columns = truth_columns(model, scene.crossings, tally, scene.background)
    write_truth(directory, describe(model, images), columns, scene.intensities, scene.status)
    return scene


def _forget_earlier(directory: Path, name: str) -> None:
    """Remove what an earlier run left: the truth first, and images that this run may not write again."""
    (directory / "truth.json").unlink(missing_ok=True)
    for pattern in (f"{name}_[0-9][0-9][0-9][0-9][0-9].cbf", f"{name}_data_[0-9]*.h5", f"{name}_master.h5"):
        for path in directory.glob(pattern):
            path.unlink()


def _write_cbf(scene: Simulation, directory: Path, tally: Tally, run_blocks: Any, advance: Any) -> str:
    def work(frame: int) -> Array:
        image, out = scene.draw(frame)
        write_cbf(scene.model, frame, image, directory)
        return out

    for frame, out in enumerate(run_blocks(work, range(scene.model.n_images))):
        tally.add(frame, scene.rows(frame), out)
        advance(1)
    return f"{scene.model.name}_#####.cbf"


def _write_nxmx(scene: Simulation, directory: Path, tally: Tally, run_blocks: Any, advance: Any) -> str:
    from xtal_steps_simulate.nxmx import CEILING, NxmxWriter

    writer = NxmxWriter(scene.model, scene.status, directory)
    drawn = run_blocks(lambda frame: scene.draw(frame, CEILING), range(scene.model.n_images))
    for frame, (image, out) in enumerate(drawn):
        writer.write(image)
        tally.add(frame, scene.rows(frame), out)
        advance(1)
    writer.close()
    return f"{scene.model.name}_master.h5"


def model_of(options: Any) -> Model:
    """The preset with the options that were given."""
    names = (
        "n_images", "width", "photons", "seed", "space_group", "unit_cell", "image_size", "distance", "wavelength",
        "d_min", "mosaicity", "background", "anomalous", "beam_error", "distance_error",
    )  # fmt: skip
    given = {name: getattr(options, name) for name in names}
    return preset(options.preset, **{name: value for name, value in given.items() if value is not None})


def run(context: Any) -> None:
    """Write a simulated scan."""
    model = model_of(context.options)
    directory = Path(context.directory)
    with context.progress(model.n_images, "images") as progress:
        scene = simulate(model, directory, context.options.format, context.executor.map, progress.advance)
    crossings = scene.crossings
    seen = (crossings.xyz[:, 2] >= 0) & (crossings.xyz[:, 2] < model.n_images)
    total = model.n_images * model.width
    context.summary(
        f"{counted(model.n_images, 'image')} of {model.width:g} degrees, "
        f"{model.image_size[0]} x {model.image_size[1]} px, in {directory}",
        f"{model.group.hm}, cell {' '.join(f'{v:g}' for v in model.unit_cell)}; {int(seen.sum())} reflections "
        f"({seen.sum() / total:.0f} per degree) to {crossings.d.min():.2f} Å",
        "The truth is in truth.json and truth.npz there",
    )
