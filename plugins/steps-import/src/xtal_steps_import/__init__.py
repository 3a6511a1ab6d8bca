"""The steps that begin: import and show."""

from xtal.hooks import Step, hookimpl


@hookimpl
def xtal_steps() -> list[Step]:
    return [
        Step(
            name="import",
            summary="Find out what the images are: group them into scans, write imported.expt",
            factory="xtal_steps_import.import_images:run",
            options="xtal_steps_import.options:ImportOptions",
            order=10,
            inputs=("images?",),
            outputs={"experiments": "imported.expt"},
        ),
        Step(
            name="show",
            summary="Print what experiments, reflection tables and images hold; draw images",
            factory="xtal_steps_import.show:run",
            options="xtal_steps_import.options:ShowOptions",
            order=12,
            inputs=("experiments?", "reflections?", "images?"),
        ),
    ]
