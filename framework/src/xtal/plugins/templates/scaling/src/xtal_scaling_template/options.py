"""Options of the scaling ``template``; help reads them, so nothing heavy is imported here."""

from __future__ import annotations

from attrs import frozen

from xtal.options import option


@frozen
class TemplateOptions:
    """What users may change."""

    degree: int = option(3, help="Of the polynomial along the scan", level=1, ge=1, le=20)
    restraint: float = option(2.0, help="Standard deviation to which parameters are restrained", level=1, gt=0)
