"""Options of find_spots, named as in DIALS."""

from __future__ import annotations

from typing import Any

from attrs import frozen

from xtal.options import Choice, option, plugin_choice, scope
from xtal_steps_spots.mask_options import MaskOptions


def trusted_limit() -> Any:
    """The option ``maximum_trusted_value``, of find_spots and of a request to its server."""
    return option(None, help="Mask pixels above this, in place of the limit that was imported", unit="ADU", level=1)


@frozen
class BackgroundGradientOptions:
    """Spots on a steep background."""

    filter: bool = option(False, help="Drop spots on a steep background; reads the images once more", level=1)
    background_size: int = option(
        2, help="How far outside of the spot the background is taken", unit="px", ge=0, level=1
    )
    gradient_cutoff: float = option(4.0, help="Steepest background", unit="ADU/px", gt=0, level=1)


@frozen
class SpotDensityOptions:
    """Crowded places."""

    filter: bool = option(False, help="Drop spots in places that are far more crowded than the rest", level=1)


@frozen
class FilterOptions(MaskOptions):
    """Which pixels are searched and which spots are kept."""

    min_spot_size: int | None = option(
        None,
        help="Fewest strong pixels of a spot (None: 3, of electrons also two neighbours that are alone on their image "
        "and hold 9 counts; 6 if the detector is no pixel array)",
        unit="px",
        ge=1,
    )
    max_spot_size: int = option(1000, help="Most strong pixels of a spot", unit="px", ge=1, level=1)
    max_separation: float = option(
        2.0, help="Largest distance of a spot's highest pixel from its centroid", unit="px", gt=0, level=1
    )
    max_strong_pixel_fraction: float = option(
        0.25, help="Stop when more of an image's pixels than this are strong (1: never)", gt=0, level=1
    )
    warm_pixels: bool = option(
        True, help="Drop spots of scans on pixels that hold spots of one pixel's width again and again", level=1
    )
    background_gradient: BackgroundGradientOptions = scope(BackgroundGradientOptions)
    spot_density: SpotDensityOptions = scope(SpotDensityOptions)


@frozen
class LookupOptions:
    """Files that go with the images."""

    mask: str | None = option(None, help="Mask of pixels, in place of the one that was imported", level=1)


@frozen
class SpotfinderOptions:
    """The search."""

    threshold: Choice = plugin_choice(
        "threshold", default="dispersion_extended", help="How strong pixels are told from background"
    )
    filter: FilterOptions = scope(FilterOptions)
    lookup: LookupOptions = scope(LookupOptions)
    scan_range: tuple[tuple[int, int], ...] = option(
        (), help="First and last image to search (all); may be repeated", multiple=True, size=2
    )
    exclude_images: tuple[str, ...] = option(
        (), help="Images to pass over, experiment:first:last or first:last; may be repeated", multiple=True, level=1
    )
    exclude_images_multiple: int | None = option(
        None, help="Pass over the images whose number is a multiple of this", ge=2, level=1
    )
    skip_bad_images: bool = option(
        False, help="Name images that are missing, damaged or masked throughout, and go on without them", level=1
    )
    region_of_interest: tuple[int, ...] | None = option(
        None, help="x0,x1,y0,y1: search only these pixels of every panel", unit="px", size=4, level=1
    )
    force_2d: bool = option(False, help="Do not join spots over successive images of a scan", level=1)
    compute_mean_background: bool = option(False, help="Tell the mean of what is not strong", level=1)
    write_hot_mask: bool = option(False, help="Write a mask of pixels that are strong on almost every image", level=1)
    hot_mask_prefix: str = option(
        "hot_mask", help="Its name: PREFIX_0.h5 for experiment 0 and so on", level=1, writes=True
    )
    hot_fraction: float = option(
        0.9, help="A pixel is hot that is strong on this part of the images, 10 of them at least", gt=0, le=1, level=1
    )


@frozen
class FindSpotsOutput:
    """What is written, besides the spots."""

    shoeboxes: bool = option(True, help="Keep the pixels of spots in the table", level=1)
    experiments: str | None = option(
        None, help="Write the experiments, with the mask of hot pixels, to this file", level=1, writes=True
    )


@frozen
class FindSpotsOptions:
    """All options of the step."""

    spotfinder: SpotfinderOptions = scope(SpotfinderOptions)
    maximum_trusted_value: float | None = trusted_limit()
    per_image_statistics: bool = option(False, help="Print spots and intensity of each image", level=1)
    plot: str | None = option(None, help="Draw spots per image into this PNG file", writes=True)
    output: FindSpotsOutput = scope(FindSpotsOutput)
