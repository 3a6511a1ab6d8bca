"""The nine kinds of plugin: hookspecs, descriptors, protocols.

A manifest imports this package and nothing heavier::

    from xtal.hooks import Threshold, hookimpl

    @hookimpl
    def xtal_thresholds():
        return [Threshold(name="mine", summary="...", factory="my_package.algorithm:Mine",
                          options="my_package.options:MineOptions")]
"""

from xtal.hooks.descriptors import (
    KINDS,
    Background,
    Descriptor,
    Executor,
    Exporter,
    Format,
    Indexing,
    Profile,
    Scaling,
    Step,
    Threshold,
)
from xtal.hooks.specs import API_VERSIONS, hookimpl, hookspec

__all__ = [
    "API_VERSIONS",
    "KINDS",
    "Background",
    "Descriptor",
    "Executor",
    "Exporter",
    "Format",
    "Indexing",
    "Profile",
    "Scaling",
    "Step",
    "Threshold",
    "hookimpl",
    "hookspec",
]
