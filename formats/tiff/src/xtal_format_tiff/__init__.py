"""TIFF images of Rayonix and MarCCD, Pilatus, and cameras."""

from xtal.hooks import Format, hookimpl


@hookimpl
def xtal_formats() -> list[Format]:
    return [
        Format(
            name="tiff",
            summary="TIFF: Rayonix and MarCCD, Pilatus; others with the geometry given at import",
            factory="xtal_format_tiff.source:Tiff",
            extensions=(".tif", ".tiff", ".mccd"),
        )
    ]
