"""Manifest: the threshold ``template``."""

from __future__ import annotations

from xtal.hooks import Threshold, hookimpl


@hookimpl
def xtal_thresholds() -> list[Threshold]:
    """Offer it."""
    return [
        Threshold(
            name="template",
            summary="Pixels that stand out of the mean of the whole panel",
            factory="xtal_threshold_template.algorithm:TemplateThreshold",
            options="xtal_threshold_template.options:TemplateOptions",
        )
    ]
