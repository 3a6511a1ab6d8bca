"""Steps of the geometry of diffraction (manifest)."""

from __future__ import annotations

from xtal.hooks import Step, hookimpl


@hookimpl
def xtal_steps() -> list[Step]:
    """Offer the steps."""
    return [
        Step(
            name="index",
            summary="Find the lattice and its orientation, give spots their indices, refine the geometry",
            factory="xtal_steps_geometry.index:run",
            options="xtal_steps_geometry.index_options:IndexOptions",
            reference="Sauter et al. (2004), J. Appl. Cryst. 37, 399",
            order=30,
            inputs=("experiments", "reflections"),
            outputs={"experiments": "indexed.expt", "reflections": "indexed.refl"},
        )
    ]
