"""Options of the step ``template``; help reads them, so nothing heavy is imported here."""

from __future__ import annotations

from attrs import frozen

from xtal.options import option


@frozen
class TemplateOptions:
    """What users may change."""

    min_ratio: float = option(3.0, help="Lowest intensity over its sigma", ge=0)
