"""Options of ``export``."""

from __future__ import annotations

from attrs import frozen

from xtal.options import Choice, plugin_choice


@frozen
class ExportOptions:
    """What the user may set; each format has its own below its name."""

    format: Choice = plugin_choice("exporter", default="mtz", help="Format of the file")
