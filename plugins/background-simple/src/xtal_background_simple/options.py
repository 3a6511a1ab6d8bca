"""Options of the background model ``simple``, named as in DIALS."""

from __future__ import annotations

from attrs import frozen

from xtal.options import option, scope


@frozen
class NsigmaOptions:
    """Limits in standard deviations of the pixels."""

    lower: float = option(3.0, help="Below the mean", level=1, gt=0)
    upper: float = option(3.0, help="Above the mean", level=1, gt=0)


@frozen
class OutlierOptions:
    """Rejection of outliers among the background pixels."""

    algorithm: str = option("nsigma", help="Rejection of outliers", level=1, choices=("null", "nsigma"))
    nsigma: NsigmaOptions = scope(NsigmaOptions)


@frozen
class ModelOptions:
    """Shape of the background."""

    algorithm: str = option(
        "constant3d", help="Level per box or per frame, or linear in x and y per frame or in x, y, z per box", level=1,
        choices=("constant3d", "constant2d", "linear3d", "linear2d"),
    )  # fmt: skip


@frozen
class SimpleOptions:
    """Options of ``background.simple``."""

    outlier: OutlierOptions = scope(OutlierOptions)
    model: ModelOptions = scope(ModelOptions)
    min_pixels: int = option(10, help="Fewest pixels", level=1, ge=2)
