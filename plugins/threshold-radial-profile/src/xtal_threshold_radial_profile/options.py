"""Options of the threshold, named as in DIALS."""

from __future__ import annotations

from typing import Literal

from attrs import frozen

from xtal.options import option


@frozen
class RadialProfileOptions:
    """What the user may set."""

    n_iqr: float = option(6.0, help="Interquartile ranges by which a pixel must exceed its shell's median", gt=0)
    blur: Literal["narrow", "wide"] | None = option(
        None, help="Smooth the image first, by 3x3 (narrow) or 5x5 pixels (wide)"
    )
    n_bins: int = option(100, help="Shells of the scattering angle", ge=1, le=60000, level=1)
