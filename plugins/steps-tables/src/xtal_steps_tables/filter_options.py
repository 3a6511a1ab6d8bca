"""Options of filter_reflections, named as in DIALS."""

from __future__ import annotations

from attrs import frozen

from xtal.options import option, scope


@frozen
class PartialityOptions:
    """Limits of the column ``partiality``."""

    min: float | None = option(None, help="Lowest partiality to keep", ge=0, le=1)
    max: float | None = option(None, help="Highest partiality to keep", ge=0, le=1)


@frozen
class DeadTimeOptions:
    """Detector dead time at the end of each exposure."""

    value: float = option(0.0, help="Dead time of the detector at the end of each image", unit="ms", ge=0)
    reject_fraction: float = option(
        0.0, help="Leave out reflections of which more than this part of the rotation falls into dead time", ge=0, le=1
    )


@frozen
class IceRingOptions:
    """Powder rings that are left out."""

    filter: bool = option(False, help="Leave out reflections on powder rings, by default those of hexagonal ice")
    unit_cell: tuple[float, ...] = option(
        (4.498, 4.498, 7.338, 90.0, 90.0, 120.0), help="Cell of the powder", unit="Å, deg", size=6, level=1
    )
    space_group: str = option("194", help="Space group of the powder", level=1)
    width: float = option(0.002, help="Width of a ring in 1/d²", unit="1/Å²", gt=0, level=1)
    d_min: float | None = option(None, help="Finest ring (None: the data's limit)", unit="Å", gt=0, level=1)


@frozen
class FilterOptions:
    """All options of the step; they act in this order."""

    flag_expression: str | None = option(
        None, help="Flags joined by & | ~ ( ), for example 'integrated & ~reference_spot'"
    )
    id: tuple[int, ...] | None = option(None, help="Experiments to keep", level=1)
    panel: tuple[int, ...] | None = option(None, help="Panels to keep", level=1)
    d_min: float | None = option(None, help="High-resolution limit", unit="Å", gt=0)
    d_max: float | None = option(None, help="Low-resolution limit", unit="Å", gt=0)
    partiality: PartialityOptions = scope(PartialityOptions, level=1)
    select_good_intensities: bool = option(
        False, help="Keep integrated intensities of positive variance and partiality of at least 0.99"
    )
    remove_by_index: tuple[int, ...] | None = option(None, help="Rows to remove, counted from 0", level=1)
    dead_time: DeadTimeOptions = scope(DeadTimeOptions, level=1)
    ice_rings: IceRingOptions = scope(IceRingOptions)
