"""Options of the indexing ``template``; help reads them, so nothing heavy is imported here."""

from __future__ import annotations

from attrs import frozen

from xtal.options import option


@frozen
class TemplateOptions:
    """What users may change."""

    n_directions: int = option(6000, help="Directions of half a sphere to try", level=1, ge=100)
    tolerance: float = option(
        0.15, help="Distance from a whole number that still explains a point", level=1, gt=0, lt=0.5
    )
