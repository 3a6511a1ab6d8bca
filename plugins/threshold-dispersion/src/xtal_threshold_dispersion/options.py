"""Options of the dispersion thresholds, named as in DIALS."""

from __future__ import annotations

from typing import Literal

from attrs import frozen

from xtal.options import option


@frozen
class DispersionOptions:
    """What the user may set."""

    gain: float | None = option(None, help="Flat gain of the detector used in the tests", unit="ADU/photon", gt=0)
    kernel_size: tuple[int, ...] = option(
        (3, 3), help="Half widths of the window (slow, fast)", unit="px", size=2, ge=1, le=64
    )
    sigma_background: float = option(
        6.0, help="Standard deviations by which the index of dispersion must exceed that of background", ge=0
    )
    sigma_strong: float = option(
        3.0, help="Standard deviations by which a pixel must exceed the local mean", level=1, gt=0
    )
    min_local: int = option(
        2, help="Fewest good pixels in the window; 0 or less asks for all of them", unit="px", level=1
    )
    global_threshold: float | Literal["auto"] = option(
        0.0, help="A strong pixel must exceed this (Auto: estimated from the first image)", unit="ADU", level=1
    )
