"""Options of export_bitmaps and merge_cbf, named as in DIALS."""

from __future__ import annotations

from typing import Literal

from attrs import frozen

from xtal.options import option, scope


@frozen
class ResolutionRingOptions:
    """Rings of equal resolution."""

    show: bool = option(False, help="Draw rings of resolution")
    number: int = option(5, help="How many, evenly spaced in 1/d²", ge=1, level=1)
    d_spacings: tuple[float, ...] = option((), help="Where instead", unit="Å", level=1)
    fontsize: int = option(30, help="Size of their labels (0: none)", unit="px", ge=0, level=1)
    fill: str = option("red", help="Their colour", level=1)


@frozen
class IceRingOptions:
    """Powder rings, by default of hexagonal ice."""

    show: bool = option(False, help="Draw powder rings")
    fontsize: int = option(0, help="Size of their labels (0: none)", unit="px", ge=0, level=1)
    unit_cell: tuple[float, ...] = option(
        (4.498, 4.498, 7.338, 90.0, 90.0, 120.0), help="Cell of the powder", unit="Å, deg", size=6, level=1
    )
    space_group: str = option("194", help="Space group of the powder", level=1)
    fill: str = option("blue", help="Their colour", level=1)


@frozen
class PngOptions:
    """PNG files."""

    compress_level: int = option(1, help="0 (none) to 9 (smallest)", ge=0, le=9)


@frozen
class JpegOptions:
    """JPEG files."""

    quality: int = option(75, help="1 (worst) to 95 (best)", ge=1, le=95)


@frozen
class BitmapOutput:
    """The files, besides the start of their names."""

    file: str | None = option(None, help="Name of the picture, where one image is drawn", level=1, writes=True)
    format: Literal["png", "jpeg", "tiff"] = option("png", help="Kind of files")


@frozen
class BitmapOptions:
    """All options of export_bitmaps."""

    binning: int = option(1, help="Take the highest of blocks of so many pixels a side; a power of 2", ge=1)
    brightness: float = option(100.0, help="Brightness in percent", gt=0)
    colour_scheme: Literal["greyscale", "rainbow", "heatmap", "inverse_greyscale"] = option(
        "greyscale", help="Colours of values"
    )
    projection: Literal["lab", "image"] = option(
        "image",
        help="Where several panels lie: as in the raw image, or as seen along the beam",
        level=1,
    )
    padding: int = option(4, help="Digits of the number in the names", ge=1, level=1)
    imageset_index: tuple[int, ...] = option(
        (), help="Draw only these images, by their numbers; may be repeated", multiple=True
    )
    display: Literal[
        "image", "mean", "variance", "dispersion", "sigma_b", "sigma_s", "threshold", "global_threshold"
    ] = option("image", help="What is drawn: values, or what the search for spots makes of them")
    nsigma_b: float = option(6.0, help="As sigma_background of find_spots", gt=0, level=1)
    nsigma_s: float = option(3.0, help="As sigma_strong of find_spots", gt=0, level=1)
    global_threshold: float = option(0.0, help="Values above this may be strong", level=1)
    kernel_size: tuple[int, ...] = option((3, 3), help="Half size of the window", unit="px", size=2, ge=1, level=1)
    min_local: int = option(2, help="Fewest good pixels in a window (0: all)", ge=0, level=1)
    gain: float = option(1.0, help="ADU per photon", gt=0, level=1)
    saturation: float = option(0.0, help="Draw values above this as saturated (0: the trusted limit)", ge=0, level=1)
    show_mask: bool = option(False, help="Draw masked pixels in a colour of their own")
    resolution_rings: ResolutionRingOptions = scope(ResolutionRingOptions)
    ice_rings: IceRingOptions = scope(IceRingOptions)
    png: PngOptions = scope(PngOptions)
    jpeg: JpegOptions = scope(JpegOptions)
    output: BitmapOutput = scope(BitmapOutput)


@frozen
class MergeCbfOptions:
    """All options of merge_cbf."""

    merge_n_images: int = option(2, help="Images that make one", ge=1)
