"""Helpers for the tests of xtal and of third parties' plugins.

In a plugin's own tests, one line checks it against the contract of its kind::

    from xtal.testing import check_threshold

    def test_conformance():
        check_threshold("my_threshold")

The pytest plugin `xtal.testing.plugin` (found by itself) gives the fixtures ``conformance``,
``tiny_scan`` and ``run_step``.
"""

from xtal.testing.conformance import check, checks
from xtal.testing.data import load_module, shared_dir, simulated, tiny_experiment
from xtal.testing.kinds import (
    check_background,
    check_executor,
    check_exporter,
    check_format,
    check_indexing,
    check_profile,
    check_scaling,
    check_step,
    check_threshold,
)

__all__ = [
    "check",
    "check_background",
    "check_executor",
    "check_exporter",
    "check_format",
    "check_indexing",
    "check_profile",
    "check_scaling",
    "check_step",
    "check_threshold",
    "checks",
    "load_module",
    "shared_dir",
    "simulated",
    "tiny_experiment",
]
