"""Options of the profile model ``gaussian_rs``, named as in DIALS."""

from __future__ import annotations

from attrs import frozen

from xtal.options import option, scope


@frozen
class ParametersOptions:
    """Size of spots."""

    n_sigma: float = option(3.0, help="Radius of the foreground in standard deviations", level=1, gt=0)
    sigma_b: float | None = option(
        None, help="Angular size of spots; with sigma_m it skips the estimation", unit="deg", level=1, gt=0
    )
    sigma_m: float | None = option(None, help="Rocking width of spots; goes with sigma_b", unit="deg", level=1, gt=0)


@frozen
class MinSpotsOptions:
    """How many spots are wanted for the estimation."""

    overall: int = option(50, help="With fewer spots than this the size is said to be uncertain", level=1, ge=0)


@frozen
class FilterOptions:
    """Spots that are left out."""

    min_zeta: float = option(
        0.05, help="Spots closer to the rotation axis are left out of the estimation", level=1, ge=0
    )


@frozen
class FittingOptions:
    """Learned shapes."""

    scan_step: float = option(5.0, help="Shapes are learned per so much rotation", unit="deg", level=1, gt=0)


@frozen
class GaussianRsOptions:
    """Options of ``profile.gaussian_rs``."""

    parameters: ParametersOptions = scope(ParametersOptions)
    min_spots: MinSpotsOptions = scope(MinSpotsOptions)
    filter: FilterOptions = scope(FilterOptions)
    fitting: FittingOptions = scope(FittingOptions)
