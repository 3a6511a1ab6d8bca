"""SMV images of CCDs, Timepix quads and simulations."""

from xtal.hooks import Format, hookimpl


@hookimpl
def xtal_formats() -> list[Format]:
    return [
        Format(
            name="smv",
            summary="SMV (ADSC of either byte order, Timepix quads, simulations)",
            factory="xtal_format_smv.source:Smv",
            extensions=(".img",),
        )
    ]
