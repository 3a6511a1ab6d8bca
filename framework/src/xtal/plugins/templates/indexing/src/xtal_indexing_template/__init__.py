"""Manifest: the indexing ``template``."""

from __future__ import annotations

from xtal.hooks import Indexing, hookimpl


@hookimpl
def xtal_indexings() -> list[Indexing]:
    """Offer it."""
    return [
        Indexing(
            name="template",
            summary="Periods of the points projected on many directions",
            factory="xtal_indexing_template.algorithm:TemplateIndexing",
            options="xtal_indexing_template.options:TemplateOptions",
            reference="Steller, Bolotovsky & Rossmann (1997) J. Appl. Cryst. 30, 1036-1040",
        )
    ]
