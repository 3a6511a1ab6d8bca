"""miniCBF images of Pilatus and Eiger detectors."""

from xtal.hooks import Format, hookimpl


@hookimpl
def xtal_formats() -> list[Format]:
    return [
        Format(
            name="cbf_mini",
            summary="miniCBF (Pilatus, Eiger and others with their header), byte-offset compressed",
            factory="xtal_format_cbf_mini.source:CbfMini",
            extensions=(".cbf",),
            reference="Bernstein & Hammersley (2005), International Tables for Crystallography G, 2.3",
        )
    ]
