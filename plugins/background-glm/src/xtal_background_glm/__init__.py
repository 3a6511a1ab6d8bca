"""Plugin: background model ``glm``."""

from __future__ import annotations

from xtal.hooks import Background, hookimpl


@hookimpl
def xtal_backgrounds() -> list[Background]:
    """Offer the background model."""
    return [
        Background(
            name="glm",
            summary="Mean by robust Poisson regression, for photon-counting detectors",
            factory="xtal_background_glm.glm:Glm",
            options="xtal_background_glm.options:GlmOptions",
            reference="Parkhurst et al. (2016) J. Appl. Cryst. 49, 1912",
        )
    ]
