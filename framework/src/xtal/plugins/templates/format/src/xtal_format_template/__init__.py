"""Manifest: the format ``template``."""

from __future__ import annotations

from xtal.hooks import Format, hookimpl


@hookimpl
def xtal_formats() -> list[Format]:
    """Offer it."""
    return [
        Format(
            name="template",
            summary="Plain images: a header of text and pixels of 32 bits",
            factory="xtal_format_template.algorithm:TemplateFormat",
            options="xtal_format_template.options:TemplateOptions",
            extensions=(".raw",),
        )
    ]
