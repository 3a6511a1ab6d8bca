"""Options of the physical scaling model, named as in DIALS."""

from __future__ import annotations

from typing import Literal

from attrs import frozen

from xtal.options import option


@frozen
class PhysicalOptions:
    """What the user may set."""

    scale_interval: float | Literal["auto"] = option(
        "auto", help="Rotation between parameters of the scale (auto: 1 to 15, by the scan)", unit="deg", gt=0
    )
    decay_interval: float | Literal["auto"] = option(
        "auto", help="Rotation between parameters of the B factor (auto: 1.5 to 20)", unit="deg", gt=0, level=1
    )
    decay_correction: bool = option(True, help="Whether to refine a relative B factor along the scan")
    decay_restraint: float = option(0.1, help="Weight that draws the B factors to 0", level=1, ge=0)
    absorption_correction: bool | Literal["auto"] = option(
        "auto", help="Whether to refine absorption (auto: for scans of more than 60 degrees, unless of electrons)"
    )
    lmax: int | Literal["auto"] = option("auto", help="Highest order of the harmonics (auto: 4)", level=1, ge=1, le=12)
    surface_weight: float | Literal["auto"] = option(
        "auto",
        help="Weight that draws the coefficients of the harmonics to 0; smaller allows more absorption (auto: 100, "
        "a prior standard deviation of 0.1)",
        level=1,
        ge=0,
    )
