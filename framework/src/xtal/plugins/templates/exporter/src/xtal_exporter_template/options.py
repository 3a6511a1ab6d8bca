"""Options of the exporter ``template``; help reads them, so nothing heavy is imported here."""

from __future__ import annotations

from attrs import frozen

from xtal.options import option


@frozen
class TemplateOptions:
    """What users may change."""

    separator: str = option(",", help="Between the columns", level=1, choices=(",", ";"))
