"""Options: those of the plain dispersion threshold and one more."""

from __future__ import annotations

from attrs import frozen

from xtal.options import option
from xtal_threshold_dispersion.options import DispersionOptions


@frozen
class DispersionExtendedOptions(DispersionOptions):
    """What the user may set."""

    masked_is_background: bool = option(
        False,
        help="Count masked pixels as background when regions are shrunk, as DIALS before 3.24 did: spots within 2 px "
        "of a gap are lost",
        level=1,
    )
