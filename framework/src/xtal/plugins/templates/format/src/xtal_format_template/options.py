"""Options of the format ``template``; help reads them, so nothing heavy is imported here."""

from __future__ import annotations

from attrs import frozen

from xtal.options import option


@frozen
class TemplateOptions:
    """What users may change."""

    axis_reversed: bool = option(False, help="Whether the goniometer turns the other way", level=1)
