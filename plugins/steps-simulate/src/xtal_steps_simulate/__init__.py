"""Simulated scans with known truth: the steps ``simulate`` and ``compare_truth``."""

from __future__ import annotations

from xtal.hooks import Step, hookimpl


@hookimpl
def xtal_steps() -> list[Step]:
    """Offer the two steps."""
    return [
        Step(
            name="simulate",
            summary="Write a simulated rotation scan as image files, with its truth",
            factory="xtal_steps_simulate.simulate:run",
            options="xtal_steps_simulate.options:SimulateOptions",
            order=5,
        ),
        Step(
            name="compare_truth",
            summary="Say how close merged intensities came to the truth of a simulated scan",
            factory="xtal_steps_simulate.compare:run",
            options="xtal_steps_simulate.options:CompareTruthOptions",
            order=95,
        ),
    ]
