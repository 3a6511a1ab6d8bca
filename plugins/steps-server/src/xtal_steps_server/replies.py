"""Answers: a dictionary as JSON, or as the XML of DIALS's client."""

from __future__ import annotations

from typing import Any
from xml.sax.saxutils import escape

import numpy as np

from xtal.models.crystal import cell_of

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
LATTICES = (
    ("n_indexed", "n_indexed", "{}"),
    ("fraction_indexed", "fraction_indexed", "{:.2f}"),
    ("integrated_intensity", "integrated_intensity", "{:.0f}"),
)
"""The same of an image that was indexed."""


def as_xml(reply: dict[str, Any]) -> str:
    """The answer as XML; an error is its text alone."""
    if "error" in reply:
        return f"<response>\n{escape(str(reply['error']))}\n</response>"
    lines = [_element(name, form.format(reply[key])) for name, key, form in FIELDS]
    for lattice in reply.get("lattices", ()):
        cell = cell_of_lattice(lattice)
        lines.append(_element("unit_cell", " ".join(f"{v:.6g}" for v in cell)))
    lines += [_element(name, form.format(reply[key])) for name, key, form in LATTICES if key in reply]
    return "\n".join(["<response>", *lines, "</response>"])


def _element(name: str, text: str) -> str:
    return f"<{name}>{escape(text)}</{name}>"


def cell_of_lattice(lattice: dict[str, Any]) -> tuple[float, ...]:
    """Lengths and angles of the cell of a lattice in an answer."""
    axes = [lattice["crystal"][f"real_space_{name}"] for name in "abc"]
    return tuple(cell_of(np.linalg.inv(np.array(axes, float))).parameters)
