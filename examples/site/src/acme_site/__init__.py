"""The facility's format; its policy is ``site.toml`` beside this file."""

from xtal.hooks import Format, hookimpl


@hookimpl
def xtal_formats():
    return [
        Format(
            name="acme_mini",
            summary="miniCBF of the facility's detector, whose axis turns the other way",
            factory="acme_site.format:AcmeMini",
            extensions=(".cbf",),
        )
    ]
