"""Plugin: the step ``integrate``."""

from __future__ import annotations

from xtal.hooks import Step, hookimpl


@hookimpl
def xtal_steps() -> list[Step]:
    """Offer the step."""
    return [
        Step(
            name="integrate",
            summary="Integrate all reflections: background, summation, profile fitting",
            factory="xtal_steps_integrate.integrate:run",
            options="xtal_steps_integrate.options:IntegrateOptions",
            reference="Kabsch (2010) Acta Cryst. D66, 133; Leslie (1999) Acta Cryst. D55, 1696",
            order=50,
            inputs=("experiments", "reflections?"),
            outputs={"experiments": "integrated.expt", "reflections": "integrated.refl"},
        )
    ]
