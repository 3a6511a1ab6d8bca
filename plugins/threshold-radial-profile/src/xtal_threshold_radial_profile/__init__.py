"""Spot threshold ``radial_profile`` (manifest)."""

from __future__ import annotations

from xtal.hooks import Threshold, hookimpl


@hookimpl
def xtal_thresholds() -> list[Threshold]:
    """Offer the threshold."""
    return [
        Threshold(
            name="radial_profile",
            summary="Median and spread of shells of resolution, for electrons and noisy detectors",
            factory="xtal_threshold_radial_profile.radial_profile:RadialProfile",
            options="xtal_threshold_radial_profile.options:RadialProfileOptions",
            reference="Barty et al. (2014), J. Appl. Cryst. 47, 1118-1131",
        )
    ]
