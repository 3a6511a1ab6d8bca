"""Manifest: the profile ``template``."""

from __future__ import annotations

from xtal.hooks import Profile, hookimpl


@hookimpl
def xtal_profiles() -> list[Profile]:
    """Offer it."""
    return [
        Profile(
            name="template",
            summary="Gaussians of one width on the detector and one along the scan",
            factory="xtal_profile_template.algorithm:TemplateProfile",
            options="xtal_profile_template.options:TemplateOptions",
        )
    ]
