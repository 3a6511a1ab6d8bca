"""Options of the executor ``template``; help reads them, so nothing heavy is imported here."""

from __future__ import annotations

from attrs import frozen

from xtal.options import option


@frozen
class TemplateOptions:
    """What users may change."""

    nproc: int = option(1, help="Threads; set by the step's nproc", level=2, ge=1)
