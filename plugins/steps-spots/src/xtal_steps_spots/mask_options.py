"""Options of masks that are drawn or follow from resolution, named as in DIALS."""

from __future__ import annotations

from attrs import frozen

from xtal.options import option, scope, scopes


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
class UntrustedOptions:
    """A region of a panel that is masked; a panel without a shape is masked as a whole."""

    panel: int | None = option(None, help="Panel of the shapes (None: 0)", ge=0, level=1)
    circle: tuple[int, ...] | None = option(None, help="x, y, radius", unit="px", size=3, level=1)
    rectangle: tuple[int, ...] | None = option(
        None, help="x0, x1, y0, y1, of which x1 and y1 are outside", unit="px", size=4, level=1
    )
    polygon: tuple[int, ...] | None = option(
        None, help="x1, y1, x2, y2, ... of three or more corners", unit="px", level=1
    )
    pixel: tuple[int, ...] | None = option(None, help="y, x of one pixel (in this order)", unit="px", size=2, level=1)


@frozen
class MaskOptions:
    """Which pixels take no part."""

    d_min: float | None = option(None, help="High-resolution limit", unit="Å", gt=0)
    d_max: float | None = option(None, help="Low-resolution limit", unit="Å", gt=0)
    resolution_range: tuple[tuple[float, float], ...] = option(
        (), help="Mask this range of resolution; may be repeated", unit="Å", multiple=True, size=2, level=1
    )
    disable_parallax_correction: bool = option(
        False, help="Take no account of the depth of absorption where a limit of resolution lies", level=1
    )
    border: int = option(0, help="Mask this many pixels at the edges of every panel", unit="px", ge=0, level=1)
    untrusted: tuple[UntrustedOptions, ...] = scopes(UntrustedOptions, help="Regions to mask", level=1)
    ice_rings: IceRingOptions = scope(IceRingOptions)
