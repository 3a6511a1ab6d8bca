"""Steps that turn images into pictures and sums (manifest)."""

from __future__ import annotations

from xtal.hooks import Step, hookimpl


@hookimpl
def xtal_steps() -> list[Step]:
    """Offer the steps."""
    return [
        Step(
            name="export_bitmaps",
            summary="Draw images, or their local statistics, as PNG, JPEG or TIFF",
            factory="xtal_steps_images.export_bitmaps:run",
            options="xtal_steps_images.options:BitmapOptions",
            order=250,
            inputs=("experiments",),
            imports=True,
            outputs={"prefix": "image"},
        ),
        Step(
            name="merge_cbf",
            summary="Add successive CBF images up",
            factory="xtal_steps_images.merge_cbf:run",
            options="xtal_steps_images.options:MergeCbfOptions",
            order=252,
            inputs=("experiments",),
            imports=True,
            outputs={"image_prefix": "sum_"},
        ),
    ]
