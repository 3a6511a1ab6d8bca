"""Plugin: background model ``simple``."""

from __future__ import annotations

from xtal.hooks import Background, hookimpl


@hookimpl
def xtal_backgrounds() -> list[Background]:
    """Offer the background model."""
    return [
        Background(
            name="simple",
            summary="Mean or plane after rejection of outliers, for any detector",
            factory="xtal_background_simple.simple:Simple",
            options="xtal_background_simple.options:SimpleOptions",
            reference="Leslie (1999) Acta Cryst. D55, 1696",
        )
    ]
