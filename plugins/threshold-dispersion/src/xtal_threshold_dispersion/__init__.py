"""Spot threshold ``dispersion`` (manifest)."""

from __future__ import annotations

from xtal.hooks import Threshold, hookimpl


@hookimpl
def xtal_thresholds() -> list[Threshold]:
    """Offer the threshold."""
    return [
        Threshold(
            name="dispersion",
            summary="Local mean and index of dispersion of a window round each pixel",
            factory="xtal_threshold_dispersion.dispersion:Dispersion",
            options="xtal_threshold_dispersion.options:DispersionOptions",
            reference="Winter et al. (2018), Acta Cryst. D74, 85-97",
        )
    ]
