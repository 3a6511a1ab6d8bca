"""Detectors and goniometers of Diamond Light Source."""

from xtal.hooks import Format, hookimpl


@hookimpl
def xtal_formats() -> list[Format]:
    return [
        Format(
            name="diamond_p12m",
            summary="Pilatus 12M of Diamond I23: miniCBF of a half barrel of 24 rows",
            factory="xtal_format_site_diamond.p12m:P12M",
            extensions=(".cbf",),
            reference="Wagner, Duman, Henderson & Mykhaylyk (2016), Acta Cryst. D72, 430-439",
        ),
        Format(
            name="diamond_mini",
            summary="miniCBF of Diamond's other beamlines, with their goniometers (by serial number)",
            factory="xtal_format_site_diamond.mini:DiamondMini",
            extensions=(".cbf",),
        ),
    ]
