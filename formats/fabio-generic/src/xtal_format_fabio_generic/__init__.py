"""Image plates, laboratory CCDs and others that fabio reads."""

from xtal.hooks import Format, hookimpl


@hookimpl
def xtal_formats() -> list[Format]:
    return [
        Format(
            name="fabio_generic",
            summary="mar345, R-AXIS, Bruker, Oxford Diffraction, EDF, Esperanto, DM3: what fabio reads",
            factory="xtal_format_fabio_generic.source:FabioGeneric",
            extensions=(".mar2300", ".mar3450", ".osc", ".sfrm", ".img", ".edf", ".esp", ".dm3"),
            reference="Knudsen et al. (2013), J. Appl. Cryst. 46, 537",
        )
    ]
