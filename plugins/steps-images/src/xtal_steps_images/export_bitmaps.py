"""The step export_bitmaps."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from PIL import Image

from xtal.errors import OptionError
from xtal.files.atomic import writing
from xtal.models import Experiment
from xtal.run import Context
from xtal.run.images import FrameReader
from xtal.words import counted
from xtal_steps_images.colours import binned, colours, grey_levels
from xtal_steps_images.maps import display_map
from xtal_steps_images.mosaic import Mosaic
from xtal_steps_images.options import BitmapOptions
from xtal_steps_images.rings import Rings
from xtal_steps_images.written import telling_what_is_written

MASKED = -2.0
"""What masked pixels count as where they are shown: the scale of DIALS's pictures takes them in."""


def run(context: Context) -> None:
    """Draw the images of all experiments.

    Raises
    ------
    OptionError
        If an image is asked for that is not there, ``file`` is given for several, or a colour is unknown.
    """
    options: BitmapOptions = context.options
    if options.binning & (options.binning - 1):
        raise OptionError(f"binning={options.binning} is no power of 2.", advice="Take 1, 2, 4, 8 or 16.")
    written: list[Path] = []
    head, prefix = os.path.split(context.output_name("prefix"))
    whole = context.directory / head
    for number, experiment in enumerate(context.experiments):
        with context.frames(experiment) as reader:
            chosen = frames_of(reader, options)
            if options.output.file and (len(chosen) != 1 or len(context.experiments) > 1):
                raise OptionError("file= names one picture, but there are several.", advice="Give imageset_index= too.")
            painter = Painter(experiment, reader, options)
            folder = whole if len(context.experiments) == 1 else whole / f"experiment_{number}"
            folder.mkdir(parents=True, exist_ok=True)
            with context.progress(len(chosen), "images") as progress, telling_what_is_written(written):
                for z in chosen:
                    numbered = f"{prefix}{z + 1:0{options.padding}d}.{options.output.format}"
                    name = os.path.expanduser(options.output.file or numbered)
                    save(painter.picture(z), folder / name, options)
                    written.append(folder / name)
                    progress.advance(1)
            more = f" is the last of {len(chosen)} pictures" if len(chosen) > 1 else ""
            context.print(f"{written[-1]}{more}")
    context.summary(counted(len(written), "picture"))


def frames_of(reader: FrameReader, options: BitmapOptions) -> list[int]:
    """Array indices of the images to draw."""
    for wanted in options.imageset_index:
        if not reader.z0 < wanted <= reader.z1:
            raise OptionError(f"imageset_index={wanted}: the images are {reader.z0 + 1} to {reader.z1}.")
    return [n - 1 for n in options.imageset_index] or list(range(reader.z0, reader.z1))


class Painter:
    """Makes pictures of the frames of an experiment."""

    def __init__(self, experiment: Experiment, reader: FrameReader, options: BitmapOptions) -> None:
        self.reader, self.options = reader, options
        self.mosaic = Mosaic(experiment.detector, experiment.beam, options.projection)
        self.rings = Rings(experiment, self.mosaic, options)
        limits = [panel.trusted_range[1] for panel in experiment.detector]
        self.saturation = options.saturation or max(limits)

    def picture(self, z: int) -> Image.Image:
        """The frame of an array index."""
        o = self.options
        images = self.reader.read(z)
        masks = self.reader.mask(z, images)
        maps = [display_map(i.astype(np.float64), m, o) for i, m in zip(images, masks, strict=True)]
        masked = None
        if o.show_mask:
            maps = [np.where(mask, values, MASKED) for mask, values in zip(masks, maps, strict=True)]
            masked = binned(self.mosaic.place(masks, 0.0), o.binning) == 0
        values = self.mosaic.place(maps, 0.0)
        small = binned(values, o.binning)
        grey = grey_levels(small, values, o.brightness)
        picture = Image.fromarray(colours(grey, o.colour_scheme, small > self.saturation, masked))
        self.rings.draw(picture)
        return picture


def save(picture: Image.Image, path: Path, options: BitmapOptions) -> None:
    """Write a picture; it takes the place of an older one only when it is whole."""
    more = {"compress_level": options.png.compress_level} if options.output.format == "png" else {}
    if options.output.format == "jpeg":
        more = {"quality": options.jpeg.quality}
    with writing(path) as temporary:
        picture.save(temporary, format=options.output.format, **more)
