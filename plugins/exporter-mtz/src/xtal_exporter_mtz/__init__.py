"""Export format ``mtz`` (manifest)."""

from __future__ import annotations

from xtal.hooks import Exporter, hookimpl


@hookimpl
def xtal_exporters() -> list[Exporter]:
    """Offer the format."""
    return [
        Exporter(
            name="mtz",
            summary="CCP4 MTZ: unmerged with a batch header per image, or merged",
            factory="xtal_exporter_mtz.mtz:MtzExport",
            options="xtal_exporter_mtz.options:MtzOptions",
            extension=".mtz",
        )
    ]
