"""Full imgCIF images."""

from xtal.hooks import Format, hookimpl


@hookimpl
def xtal_formats() -> list[Format]:
    return [
        Format(
            name="cbf_imgcif",
            summary="full imgCIF (CBF with tables of axes; one or many panels; byte-offset or packed)",
            factory="xtal_format_cbf_imgcif.source:CbfImgcif",
            extensions=(".cbf",),
            reference="Bernstein & Hammersley (2005), International Tables for Crystallography G, 2.3 and 3.7",
        )
    ]
