"""Options of predict, named as in DIALS."""

from __future__ import annotations

from attrs import frozen

from xtal.options import option


@frozen
class PredictOptions:
    """All options of the step."""

    d_min: float | None = option(
        None, help="High-resolution limit (None: that of the detector's corners)", unit="Å", gt=0
    )
    force_static: bool = option(False, help="Ignore how the crystal varies over the scan")
    buffer_size: int = option(0, help="Images by which the scan is widened at both ends", ge=0)
