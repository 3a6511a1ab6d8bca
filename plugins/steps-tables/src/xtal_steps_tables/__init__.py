"""Steps that join, cut, filter and import experiment lists and tables (manifest)."""

from xtal.hooks import Step, hookimpl


@hookimpl
def xtal_steps() -> list[Step]:
    """Offer the steps."""
    return [
        Step(
            name="combine_experiments",
            summary="Join several data sets into one experiment list and one table",
            factory="xtal_steps_tables.combine:run",
            options="xtal_steps_tables.combine_options:CombineOptions",
            order=200,
            inputs=("experiments", "reflections?"),
            outputs={"experiments": "combined.expt", "reflections": "combined.refl"},
        ),
        Step(
            name="slice_sequence",
            summary="Cut scans and their reflections to ranges of images, or into blocks",
            factory="xtal_steps_tables.slice_sequence:run",
            options="xtal_steps_tables.slice_options:SliceOptions",
            order=202,
            inputs=("experiments?", "reflections?"),
            outputs={"experiments": "STEM_FIRST_LAST.expt", "reflections": "STEM_FIRST_LAST.refl"},
        ),
        Step(
            name="filter_reflections",
            summary="Select reflections by flags, experiment, panel, resolution, partiality, ice rings",
            factory="xtal_steps_tables.filter_reflections:run",
            options="xtal_steps_tables.filter_options:FilterOptions",
            order=204,
            inputs=("reflections", "experiments?"),
            outputs={"reflections": "filtered.refl"},
        ),
        Step(
            name="import_xds",
            summary="Make an experiment list and a table of what XDS wrote",
            factory="xtal_steps_tables.import_xds:run",
            options="xtal_steps_tables.xds_options:ImportXdsOptions",
            reference="Kabsch (2010), Acta Cryst. D66, 125",
            order=14,
            inputs=("images",),
            files="XDS_FOLDER",
            outputs={"experiments": "xds_models.expt", "reflections": "integrate_hkl.refl"},
        ),
    ]
