"""Options of find_spots, named as in DIALS."""

from __future__ import annotations

from attrs import frozen

from xtal.options import Choice, option, plugin_choice, scope


@frozen
class IceRingOptions:
    """Powder rings that are masked."""

    filter: bool = option(False, help="Mask powder rings, by default those of hexagonal ice")
    unit_cell: tuple[float, ...] = option(
        (4.498, 4.498, 7.338, 90.0, 90.0, 120.0), help="Cell of the powder", unit="Å, deg", size=6, level=1
    )
    space_group: str = option("194", help="Space group of the powder", level=1)
    width: float = option(0.002, help="Width of a ring in 1/d²", unit="1/Å²", gt=0, level=1)
    d_min: float | None = option(None, help="Finest ring (None: the detector's limit)", unit="Å", gt=0, level=1)


@frozen
class FilterOptions:
    """Which pixels are searched and which spots are kept."""

    min_spot_size: int | None = option(
        None, help="Fewest strong pixels of a spot (None: 3, or 6 if the detector is no pixel array)", unit="px", ge=1
    )
    max_spot_size: int = option(1000, help="Most strong pixels of a spot", unit="px", ge=1, level=1)
    max_separation: float = option(
        2.0, help="Largest distance of a spot's highest pixel from its centroid", unit="px", gt=0, level=1
    )
    max_strong_pixel_fraction: float = option(
        0.25, help="Stop when more of an image's pixels than this are strong (1: never)", gt=0, level=1
    )
    d_min: float | None = option(None, help="High-resolution limit of the search", unit="Å", gt=0)
    d_max: float | None = option(None, help="Low-resolution limit of the search", unit="Å", gt=0)
    resolution_range: tuple[tuple[float, float], ...] = option(
        (), help="Mask this range of resolution; may be repeated", unit="Å", multiple=True, size=2, level=1
    )
    border: int = option(0, help="Mask this many pixels at the edges of every panel", unit="px", ge=0, level=1)
    ice_rings: IceRingOptions = scope(IceRingOptions)


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
    region_of_interest: tuple[int, ...] | None = option(
        None, help="x0,x1,y0,y1: search only these pixels of every panel", unit="px", size=4, level=1
    )
    force_2d: bool = option(False, help="Do not join spots over successive images of a scan", level=1)
    shoeboxes: bool = option(True, help="Keep the pixels of spots in the table", level=1)


@frozen
class FindSpotsOptions:
    """All options of the step."""

    spotfinder: SpotfinderOptions = scope(SpotfinderOptions)
