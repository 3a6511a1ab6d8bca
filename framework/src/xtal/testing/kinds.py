"""The contract of each kind of plugin, as functions that third parties call in one line.

Each takes the name of an installed plugin, or a descriptor, and raises an AssertionError
that says what is wrong.
"""

from __future__ import annotations

from xtal.testing.check_data import check_background, check_exporter, check_profile, check_scaling
from xtal.testing.check_images import check_format, check_indexing, check_threshold
from xtal.testing.check_running import check_executor, check_step

__all__ = [
    "check_background",
    "check_executor",
    "check_exporter",
    "check_format",
    "check_indexing",
    "check_profile",
    "check_scaling",
    "check_step",
    "check_threshold",
]
