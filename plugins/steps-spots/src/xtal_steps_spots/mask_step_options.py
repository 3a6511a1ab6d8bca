"""Options of generate_mask, apply_mask and find_hot_pixels, named as in DIALS."""

from __future__ import annotations

from attrs import frozen

from xtal.options import option, scope
from xtal_steps_spots.mask_options import MaskOptions


@frozen
class GenerateMaskOutput:
    """What is written, besides the mask."""

    experiments: str | None = option(None, help="Write the experiments, with the mask, to this file", writes=True)


@frozen
class GenerateMaskOptions(MaskOptions):
    """All options of generate_mask."""

    merge_imageset_mask: bool = option(
        False, help="Mask also what the images mask themselves: gaps, the format's mask, one that was imported", level=1
    )
    plot: str | None = option(None, help="Draw the mask into this PNG file", writes=True)
    output: GenerateMaskOutput = scope(GenerateMaskOutput)


@frozen
class ApplyMaskInput:
    """Masks that are given by name."""

    mask: tuple[str, ...] = option(
        (), help="A mask for each set of images, in their order; may be repeated", multiple=True
    )


@frozen
class ApplyMaskOptions:
    """All options of apply_mask."""

    input: ApplyMaskInput = scope(ApplyMaskInput)


@frozen
class HotPixelOptions:
    """All options of find_hot_pixels."""

    hot_fraction: float = option(
        0.9, help="A pixel is hot that is strong on this part of the images, 10 of them at least", gt=0, le=1
    )
