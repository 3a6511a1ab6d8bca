"""Spot threshold ``dispersion_extended`` (manifest)."""

from __future__ import annotations

from xtal.hooks import Threshold, hookimpl


@hookimpl
def xtal_thresholds() -> list[Threshold]:
    """Offer the threshold."""
    return [
        Threshold(
            name="dispersion_extended",
            summary="Dispersed regions, their pixels against the background outside of them",
            factory="xtal_threshold_dispersion_extended.extended:DispersionExtended",
            options="xtal_threshold_dispersion_extended.options:DispersionExtendedOptions",
            reference="Winter et al. (2018), Acta Cryst. D74, 85-97",
        )
    ]
