"""Step ``export`` (manifest)."""

from __future__ import annotations

from xtal.hooks import Step, hookimpl


@hookimpl
def xtal_steps() -> list[Step]:
    """Offer the step."""
    return [
        Step(
            name="export",
            summary="Write reflections for other programs",
            factory="xtal_steps_export.export:run",
            options="xtal_steps_export.options:ExportOptions",
            order=90,
            inputs=("experiments", "reflections"),
            outputs={"exported": "auto"},
        )
    ]
