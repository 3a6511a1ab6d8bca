"""Typed options: declared once, set as users of DIALS type them.

::

    @frozen
    class FilterOptions:
        d_min: float | None = option(None, help="High-resolution limit", unit="Å", gt=0)

    @frozen
    class FindSpotsOptions:
        filter: FilterOptions = scope(FilterOptions)
        threshold: Choice = plugin_choice("threshold", default="dispersion_extended")

    parse(FindSpotsOptions, ["d_min=2", "threshold.algorithm=dispersion"], plugins)

This package knows attrs and `xtal.errors` only, so that help is quick.
"""

from xtal.options.convert import convert, format_value, of_command
from xtal.options.fields import Choice, Spec, option, plugin_choice, scope, scopes
from xtal.options.help import HelpRow, help_rows, n_hidden
from xtal.options.parsing import Parsed, differences, files_written, parse, parse_all
from xtal.options.text import Assignment, parse_text, split_tokens
from xtal.options.tree import Entry, PluginSource, entries

__all__ = [
    "Assignment",
    "Choice",
    "Entry",
    "HelpRow",
    "Parsed",
    "PluginSource",
    "Spec",
    "convert",
    "differences",
    "entries",
    "files_written",
    "format_value",
    "help_rows",
    "n_hidden",
    "of_command",
    "option",
    "parse",
    "parse_all",
    "parse_text",
    "plugin_choice",
    "scope",
    "scopes",
    "split_tokens",
]
