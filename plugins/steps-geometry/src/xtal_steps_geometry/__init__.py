"""Steps of geometry: index, refine, predict (manifest)."""

from __future__ import annotations

from xtal.hooks import Step, hookimpl


@hookimpl
def xtal_steps() -> list[Step]:
    """Offer the steps."""
    return [
        Step(
            name="index",
            summary="Find lattices and give the spots their indices",
            factory="xtal_steps_geometry.index:run",
            options="xtal_steps_geometry.index_options:IndexOptions",
            reference="Steller et al. (1997), J. Appl. Cryst. 30, 1036",
            order=30,
            inputs=("experiments", "reflections"),
            outputs={"experiments": "indexed.expt", "reflections": "indexed.refl"},
        ),
        Step(
            name="refine",
            summary="Refine beam, detector and crystals; choose the Bravais lattice",
            factory="xtal_steps_geometry.refine:run",
            options="xtal_steps_geometry.refine_options:RefineOptions",
            reference="Waterman et al. (2016), Acta Cryst. D72, 558",
            order=40,
            inputs=("experiments", "reflections"),
            outputs={"experiments": "refined.expt", "reflections": "refined.refl"},
        ),
        Step(
            name="predict",
            summary="List every reflection that the models put on the detector",
            factory="xtal_steps_geometry.predict:run",
            options="xtal_steps_geometry.predict_options:PredictOptions",
            order=45,
            inputs=("experiments",),
            outputs={"reflections": "predicted.refl"},
        ),
        Step(
            name="reindex",
            summary="Put crystals and indices on other axes, or into the setting of a reference",
            factory="xtal_steps_geometry.reindex:run",
            options="xtal_steps_geometry.reindex_options:ReindexOptions",
            reference="International Tables for Crystallography A, section 1.5",
            order=210,
            inputs=("experiments?", "reflections?"),
            outputs={"experiments": "reindexed.expt", "reflections": "reindexed.refl"},
        ),
        Step(
            name="compare_orientation_matrices",
            summary="Say by how much crystals are turned against one another",
            factory="xtal_steps_geometry.compare_orientations:run",
            options="xtal_steps_geometry.reindex_options:CompareOptions",
            order=212,
            inputs=("experiments",),
        ),
    ]
