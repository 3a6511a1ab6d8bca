"""Scaling model ``physical`` (manifest)."""

from __future__ import annotations

from xtal.hooks import Scaling, hookimpl


@hookimpl
def xtal_scalings() -> list[Scaling]:
    """Offer the model."""
    return [
        Scaling(
            name="physical",
            summary="Scale and decay along the scan, absorption as spherical harmonics",
            factory="xtal_scaling_physical.model:Physical",
            options="xtal_scaling_physical.options:PhysicalOptions",
            reference="Beilsten-Edmands et al. (2020), Acta Cryst. D76, 385-399; Evans (2006), Acta Cryst. D62, 72-82",
        )
    ]
