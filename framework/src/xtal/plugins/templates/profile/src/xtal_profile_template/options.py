"""Options of the profile ``template``; help reads them, so nothing heavy is imported here."""

from __future__ import annotations

from attrs import frozen

from xtal.options import option


@frozen
class TemplateOptions:
    """What users may change."""

    n_sigma: float = option(3.0, help="Reach of the foreground", unit="sigma", level=1, gt=0)
    min_spots: int = option(20, help="Fewest strong spots to learn the widths from", level=1, ge=1)
