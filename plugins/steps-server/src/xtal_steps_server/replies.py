"""Answers: a dictionary as JSON, or as the XML of DIALS's client."""

from __future__ import annotations

from typing import Any
from xml.sax.saxutils import escape

FIELDS = (
    ("image", "image", "{}"),
    ("spot_count", "n_spots_total", "{}"),
    ("spot_count_no_ice", "n_spots_no_ice", "{}"),
    ("d_min", "estimated_d_min", "{:.2f}"),
    ("d_min_method_1", "d_min_distl_method_1", "{:.2f}"),
    ("d_min_method_2", "d_min_distl_method_2", "{:.2f}"),
    ("total_intensity", "total_intensity", "{:.0f}"),
)
"""Element, field of the answer, and how it is written."""


def as_xml(reply: dict[str, Any]) -> str:
    """The answer as XML; an error is its text alone."""
    if "error" in reply:
        return f"<response>\n{escape(str(reply['error']))}\n</response>"
    lines = [f"<{name}>{escape(form.format(reply[key]))}</{name}>" for name, key, form in FIELDS]
    return "\n".join(["<response>", *lines, "</response>"])
