"""Manifest: the step ``template``."""

from __future__ import annotations

from xtal.hooks import Step, hookimpl


@hookimpl
def xtal_steps() -> list[Step]:
    """Offer it."""
    return [
        Step(
            name="template",
            summary="Keep the reflections that are well measured",
            factory="xtal_step_template.algorithm:run",
            options="xtal_step_template.options:TemplateOptions",
            order=150,
            inputs=("reflections", "experiments?"),
            outputs={"reflections": "template.refl"},
        )
    ]
