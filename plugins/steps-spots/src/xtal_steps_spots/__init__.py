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
            imports=True,
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
        Step(
            name="generate_mask",
            summary="Mask pixels by shapes, borders, resolution and ice rings",
            factory="xtal_steps_spots.generate_mask:run",
            options="xtal_steps_spots.mask_step_options:GenerateMaskOptions",
            order=240,
            inputs=("experiments", "images?"),
            imports=True,
            outputs={"mask": "pixels.mask"},
        ),
        Step(
            name="apply_mask",
            summary="Let the images of experiments have a mask",
            factory="xtal_steps_spots.apply_mask:run",
            options="xtal_steps_spots.mask_step_options:ApplyMaskOptions",
            order=242,
            inputs=("experiments", "images?"),
            outputs={"experiments": "masked.expt"},
        ),
        Step(
            name="find_hot_pixels",
            summary="Mask pixels that are strong on almost every image",
            factory="xtal_steps_spots.find_hot_pixels:run",
            options="xtal_steps_spots.mask_step_options:HotPixelOptions",
            order=244,
            inputs=("experiments", "reflections"),
            outputs={"mask": "hot_pixels.pickle"},
        ),
        Step(
            name="estimate_gain",
            summary="Estimate the gain from the scatter of the background",
            factory="xtal_steps_spots.estimate_gain:run",
            options="xtal_steps_spots.gain_options:GainOptions",
            order=246,
            inputs=("experiments",),
            imports=True,
        ),
        Step(
            name="detect_blanks",
            summary="Find images that show nothing",
            factory="xtal_steps_spots.detect_blanks:run",
            options="xtal_steps_spots.blanks_options:BlanksOptions",
            order=248,
            inputs=("experiments", "reflections"),
            outputs={"json": "blanks.json"},
        ),
    ]
