"""Options of the MTZ export, named as in DIALS."""

from __future__ import annotations

from attrs import frozen

from xtal.options import option


@frozen
class MtzOptions:
    """What the user may set."""

    merged: bool = option(False, help="Write merged intensities and amplitudes (scaled data only)")
    intensity: str = option(
        "auto",
        help="Which intensities of unmerged data (auto: scaled ones, else profile-fitted and summed)",
        choices=("auto", "scale", "profile", "sum", "profile+sum"),
    )
    d_min: float | None = option(None, help="High-resolution limit", unit="Å", gt=0)
    partiality_threshold: float = option(0.4, help="Least recorded fraction of a reflection", ge=0, le=1, level=1)
    min_isigi: float = option(-5.0, help="Least I/sigma of an observation", level=1)
    force_static_model: bool = option(False, help="Give every batch the mean orientation in place of its own", level=1)
    crystal_name: str = option("XTAL", help="Name of the crystal in the header", level=1)
    project_name: str = option("XTAL", help="Name of the project in the header", level=1)
    best_unit_cell: tuple[float, ...] | None = option(
        None, help="Cell for all records (None: the median of the experiments)", unit="Å, deg", size=6, level=1
    )
