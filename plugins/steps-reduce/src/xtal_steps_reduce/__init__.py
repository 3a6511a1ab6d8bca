"""Steps ``symmetry``, ``scale`` and ``merge`` (manifest)."""

from __future__ import annotations

from xtal.hooks import Step, hookimpl

_TABLES = ("experiments", "reflections")


@hookimpl
def xtal_steps() -> list[Step]:
    """Offer the steps."""
    return [
        Step(
            name="symmetry",
            summary="Find the Laue group and the space group, reindex to the conventional setting",
            factory="xtal_steps_reduce.symmetry:run",
            options="xtal_steps_reduce.options:SymmetryOptions",
            reference="Evans (2006), Acta Cryst. D62, 72-82; Evans (2011), Acta Cryst. D67, 282-292",
            order=60,
            inputs=_TABLES,
            outputs={"experiments": "symmetrized.expt", "reflections": "symmetrized.refl"},
        ),
        Step(
            name="scale",
            summary="Put all observations on one scale, reject outliers, correct the error estimates",
            factory="xtal_steps_reduce.scale:run",
            options="xtal_steps_reduce.options:ScaleOptions",
            reference="Beilsten-Edmands et al. (2020), Acta Cryst. D76, 385-399",
            order=70,
            inputs=_TABLES,
            outputs={"experiments": "scaled.expt", "reflections": "scaled.refl"},
        ),
        Step(
            name="merge",
            summary="Merge equivalent observations, amplitudes, free set; write an MTZ file",
            factory="xtal_steps_reduce.merge:run",
            options="xtal_steps_reduce.options:MergeOptions",
            reference="French & Wilson (1978), Acta Cryst. A34, 517-525",
            order=80,
            inputs=_TABLES,
            outputs={"mtz": "merged.mtz"},
        ),
    ]
