"""SMV images of CCDs, Rigaku's detectors, Timepix quads and simulations."""

from xtal.hooks import Format, hookimpl


@hookimpl
def xtal_formats() -> list[Format]:
    return [
        Format(
            name="smv",
            summary="SMV (ADSC, Rigaku d*TREK, Timepix quads, simulations; both byte orders)",
            factory="xtal_format_smv.source:Smv",
            extensions=(".img",),
        )
    ]
