"""Options of the background model ``glm``, named as in DIALS."""

from __future__ import annotations

from attrs import frozen

from xtal.options import option, scope


@frozen
class RobustOptions:
    """Robustness."""

    tuning_constant: float = option(1.345, help="Residuals beyond so many sigma are cut to it", level=1, gt=0)


@frozen
class ModelOptions:
    """Shape of the background."""

    algorithm: str = option(
        "constant3d", help="One level per box or one per frame of a box", level=1, choices=("constant3d", "constant2d")
    )


@frozen
class GlmOptions:
    """Options of ``background.glm``."""

    robust: RobustOptions = scope(RobustOptions)
    model: ModelOptions = scope(ModelOptions)
    min_pixels: int = option(10, help="Fewest pixels", level=1, ge=1)
