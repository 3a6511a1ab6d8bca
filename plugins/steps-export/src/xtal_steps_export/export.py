"""The step ``export``."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from xtal.run import Context


def run(context: Context) -> None:
    """Hand everything to the exporter chosen. The name "auto" becomes scaled or integrated by the data."""
    choice, table = context.options.format, context.reflections
    scaled = "intensity.scale.value" in table and "inverse_scale_factor" in table
    name = None
    if context.output_name("exported") == "auto":
        extension = getattr(context.plugins.find_installed("exporter", choice.name).descriptor, "extension", "")
        name = ("scaled" if scaled else "integrated") + (extension or f".{choice.name}")
    exporter = context.plugin(choice)
    with context.writing("exported", name) as path:
        exporter.export(context.experiments, table, path)
    context.summary(f"{'Scaled' if scaled else 'Integrated'} reflections as {choice.name}")
