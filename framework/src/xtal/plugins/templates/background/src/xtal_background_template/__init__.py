"""Manifest: the background ``template``."""

from __future__ import annotations

from xtal.hooks import Background, hookimpl


@hookimpl
def xtal_backgrounds() -> list[Background]:
    """Offer it."""
    return [
        Background(
            name="template",
            summary="Mean of the voxels that are no outliers",
            factory="xtal_background_template.algorithm:TemplateBackground",
            options="xtal_background_template.options:TemplateOptions",
        )
    ]
