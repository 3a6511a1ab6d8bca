"""Manifest: the exporter ``template``."""

from __future__ import annotations

from xtal.hooks import Exporter, hookimpl


@hookimpl
def xtal_exporters() -> list[Exporter]:
    """Offer it."""
    return [
        Exporter(
            name="template",
            summary="Indices, intensities and their sigmas as comma-separated text",
            factory="xtal_exporter_template.algorithm:TemplateExporter",
            options="xtal_exporter_template.options:TemplateOptions",
            extension=".csv",
        )
    ]
