"""Plugin: profile model ``gaussian_rs``."""

from __future__ import annotations

from xtal.hooks import Profile, hookimpl


@hookimpl
def xtal_profiles() -> list[Profile]:
    """Offer the profile model."""
    return [
        Profile(
            name="gaussian_rs",
            summary="Gaussian in the local frame of each reflection, corrected by learned shapes",
            factory="xtal_profile_gaussian_rs.model:GaussianRs",
            options="xtal_profile_gaussian_rs.options:GaussianRsOptions",
            reference="Kabsch (2010) Acta Cryst. D66, 133; Anderson & King (2000) PASP 112, 1360",
        )
    ]
