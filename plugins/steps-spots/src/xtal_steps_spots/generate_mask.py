"""The step generate_mask."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from xtal.errors import DataError
from xtal.files import read_mask, write_experiments, write_mask
from xtal.models import Experiment, ExperimentList
from xtal.run import Context
from xtal_steps_spots.imagesets import imagesets
from xtal_steps_spots.mask_step_options import GenerateMaskOptions
from xtal_steps_spots.masks import Mask, drawn_parts, hardly_any, limits_against_detector

LARGEST_SIDE = 1000
"""Pixels of the side of a panel in the picture."""
WIDTH, TITLE = 8.0, 0.4
"""Inches: of the picture, and what title and numbers take above and below a panel."""


def run(context: Context) -> None:
    """Write a mask for each set of images."""
    options: GenerateMaskOptions = context.options
    sets = imagesets(context.experiments)
    names = numbered(context.output_name("mask"), len(sets))
    plots = numbered(options.plot, len(sets)) if options.plot else []
    for number, (members, name) in enumerate(zip(sets, names, strict=True)):
        masks = mask_of(context, members[0], f"Masked pixels of {name}")
        with context.writing("mask", name) as path:
            write_mask(path, masks)
        attach(members, context.directory / name)
        if plots:
            with context.writing("plot", plots[number]) as path:
                draw(masks, path)
        bad, total = sum(int((~m).sum()) for m in masks), sum(m.size for m in masks)
        context.summary(f"{name}: {bad} of {total} pixels ({100 * bad / total:.2f} %) masked")
    if options.output.experiments:
        with context.writing("experiments", options.output.experiments) as path:
            write_experiments(context.experiments, path)
    else:
        context.print(
            f"It masks nothing yet: xtal run apply_mask FILE.expt {names[0]}, or import images with mask={names[0]}"
        )


def numbered(name: str, n: int) -> list[str]:
    """The name, or name_1 and so on where there are several, padded with zeros."""
    path = Path(name)
    names = [path.with_name(f"{path.stem}_{k:0{len(str(n))}}{path.suffix}") for k in range(1, n + 1)]
    return [name] if n == 1 else list(map(str, names))


def attach(experiments: ExperimentList, path: Path) -> None:
    """Let the images of experiments have this mask."""
    for experiment in experiments:
        if experiment.images is not None:
            experiment.images.mask = str(path.absolute())


def mask_of(context: Context, experiment: Experiment, title: str) -> list[Mask]:
    """Per panel (slow, fast), True is good: all causes together, each of which is told in a table.

    Raises
    ------
    OptionError
        If limits contradict one another, or a shape is not on the detector.
    DataError
        If a mask to combine is none of this detector, or the images of ``merge_imageset_mask`` cannot be read.
    """
    shapes = [(p.image_size[1], p.image_size[0]) for p in experiment.detector]
    parts = list(drawn_parts(experiment, context.options))
    parts += [(path.name, read_mask(path, shapes)) for path in context.images]
    if context.options.merge_imageset_mask:
        with context.frames(experiment) as reader:
            parts.append(("the images' own mask", [m.copy() for m in reader.static_mask()]))
    masks = [np.ones(shape, bool) for shape in shapes]
    total, rows = sum(m.size for m in masks), []
    for cause, part in parts:
        alone = sum(int((~p).sum()) for p in part)
        new = sum(int((m & ~p).sum()) for m, p in zip(masks, part, strict=True))
        rows.append([cause, str(alone), str(new), f"{100 * new / total:.2f}"])
        for mask, p in zip(masks, part, strict=True):
            mask &= p
    if not rows:
        context.warn("No option asks for a mask: every pixel is good. See xtal run generate_mask --help.")
    else:
        context.table(title, ["by", "pixels", "of them new", "new (%)"], rows)
    if not any(mask.any() for mask in masks):
        raise DataError(
            "The mask leaves no pixel of the detector.",
            advice=limits_against_detector(experiment, context.options) or "Change the shapes or the border.",
        )
    if hardly_any(masks):
        told = limits_against_detector(experiment, context.options)
        context.warn(f"The mask leaves {sum(int(m.sum()) for m in masks)} of {total} pixels. {told}".rstrip())
    return masks


def draw(masks: list[Mask], path: Path) -> None:
    """The panels side by side, masked pixels dark, as PNG; a coarse picture keeps every masked pixel visible."""
    from matplotlib.figure import Figure

    aspect = max(mask.shape[0] / mask.shape[1] for mask in masks)
    columns = min(math.ceil(math.sqrt(len(masks) * aspect)), len(masks))
    rows = math.ceil(len(masks) / columns)
    figure = Figure(figsize=(WIDTH, rows * (WIDTH / columns * aspect + TITLE)), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for ax in axes[len(masks) :]:
        ax.set_axis_off()
    for number, (ax, mask) in enumerate(zip(axes, masks, strict=False)):
        slow, fast = mask.shape
        ax.imshow(coarse(mask), cmap="gray", vmin=-0.3, vmax=1, extent=(0, fast, slow, 0), interpolation="nearest")
        if len(masks) > 1:
            ax.set_title(f"panel {number}", fontsize=8)
    figure.savefig(path, format="png", dpi=120)


def coarse(mask: Mask) -> Mask:
    """Blocks of pixels, good where all of them are."""
    step = max(math.ceil(max(mask.shape) / LARGEST_SIDE), 1)
    slow, fast = (math.ceil(n / step) * step for n in mask.shape)
    padded = np.ones((slow, fast), bool)
    padded[: mask.shape[0], : mask.shape[1]] = mask
    return np.asarray(padded.reshape(slow // step, step, fast // step, step).all(axis=(1, 3)))
