"""Manifest: the scaling ``template``."""

from __future__ import annotations

from xtal.hooks import Scaling, hookimpl


@hookimpl
def xtal_scalings() -> list[Scaling]:
    """Offer it."""
    return [
        Scaling(
            name="template",
            summary="A scale that changes smoothly along the scan",
            factory="xtal_scaling_template.algorithm:TemplateScaling",
            options="xtal_scaling_template.options:TemplateOptions",
        )
    ]
