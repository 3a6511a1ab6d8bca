"""Steps that look for spots (manifest)."""

from __future__ import annotations

from xtal.hooks import Step, hookimpl


@hookimpl
def xtal_steps() -> list[Step]:
    """Offer the steps."""
    return [
        Step(
            name="find_spots",
            summary="Find strong spots on the images",
            factory="xtal_steps_spots.find_spots:run",
            options="xtal_steps_spots.options:FindSpotsOptions",
            reference="Winter et al. (2018), Acta Cryst. D74, 85-97",
            order=20,
            inputs=("experiments",),
            outputs={"reflections": "strong.refl"},
        ),
        Step(
            name="spot_counts_per_image",
            summary="Count spots per image and estimate how far they reach",
            factory="xtal_steps_spots.spot_counts:run",
            options="xtal_steps_spots.spot_counts_options:SpotCountsOptions",
            reference="Zhang et al. (2006), J. Appl. Cryst. 39, 112-119",
            order=22,
            inputs=("experiments", "reflections"),
        ),
    ]
