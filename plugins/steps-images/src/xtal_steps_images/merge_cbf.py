"""The step merge_cbf."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from xtal.errors import DataError
from xtal.files.atomic import writing
from xtal.run import Context
from xtal.words import counted
from xtal_steps_images.cbf import read_cbf, summed
from xtal_steps_images.written import telling_what_is_written


def run(context: Context) -> None:
    """Add each ``merge_n_images`` successive images up; images that are left over make none.

    Raises
    ------
    DataError
        If there are several scans, too few images, or one that is no CBF file of byte offsets.
    """
    n = context.options.merge_n_images
    if len(context.experiments) != 1:
        raise DataError(
            f"These are {len(context.experiments)} experiments: the images of one at a time are added up.",
            advice="Give the images of one.",
        )
    with context.frames(context.experiments[0]) as reader:
        paths = [reader.path(z) for z in range(reader.z0, reader.z1)]
    count = len(paths) // n
    if count == 0:
        there = "is one image" if len(paths) == 1 else f"are {len(paths)} images"
        raise DataError(f"There {there}, fewer than merge_n_images={n}.")
    context.directory.mkdir(parents=True, exist_ok=True)
    prefix = context.output_name("image_prefix")
    names = [context.directory / f"{prefix}{k + 1:0{len(str(count))}d}.cbf" for k in range(count)]
    written: list[Path] = []
    with context.progress(count, "images") as progress, telling_what_is_written(written):
        for k, name in enumerate(names):
            write_sum(paths[k * n : (k + 1) * n], name)
            written.append(name)
            progress.advance(1)
    left = len(paths) - count * n
    named = names[0].name if count == 1 else f"{names[0].name} to {names[-1].name}"
    context.summary(
        f"{named}: {counted(count, 'image,', 'images, each')} the sum of {n}"
        + (f"; the last {counted(left, 'is', 'are')} in none" if left else "")
    )


def write_sum(paths: list[Path], name: Path) -> None:
    """Write the sum of images, under the header of the first.

    Pixels that are negative in any image (gaps, dead pixels) keep the first negative value.
    """
    if any(name.absolute() == path.absolute() for path in paths):
        raise DataError(f"{name} is one of the images that are added up.", advice="Give another output.image_prefix=.")
    first = read_cbf(paths[0])
    total = first.pixels.astype(np.int64)
    for path in paths[1:]:
        pixels = read_cbf(path).pixels
        if pixels.shape != total.shape:
            raise DataError(f"{path} has {pixels.shape} pixels, {paths[0]} has {total.shape}.")
        total = np.where((total < 0) | (pixels < 0), np.where(total < 0, total, pixels), total + pixels)
    with writing(name) as temporary:
        temporary.write_bytes(summed(first, np.minimum(total, np.iinfo(np.int32).max).astype(np.int32), len(paths)))
