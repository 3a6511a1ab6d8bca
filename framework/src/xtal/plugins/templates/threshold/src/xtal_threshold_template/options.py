"""Options of the threshold ``template``; help reads them, so nothing heavy is imported here."""

from __future__ import annotations

from attrs import frozen

from xtal.options import option


@frozen
class TemplateOptions:
    """What users may change."""

    n_sigma: float = option(6.0, help="Height above the mean of the panel", unit="sigma", gt=0)
