"""The hookspecs: one per kind, each returning descriptors."""

from __future__ import annotations

from collections.abc import Iterable

import pluggy

from xtal.hooks.descriptors import (
    KINDS,
    Background,
    Executor,
    Exporter,
    Format,
    Indexing,
    Profile,
    Scaling,
    Step,
    Threshold,
)

API_VERSIONS = dict.fromkeys(KINDS, 1)
"""Version of the hook of each kind; a descriptor that asks for a newer one is refused."""

hookspec = pluggy.HookspecMarker("xtal")
hookimpl = pluggy.HookimplMarker("xtal")


class Hooks:
    """Called once when plugins are first needed. Implementations must not import their algorithms."""

    @hookspec
    def xtal_formats(self) -> Iterable[Format]:
        """Offer detector formats."""
        return ()

    @hookspec
    def xtal_thresholds(self) -> Iterable[Threshold]:
        """Offer spot thresholds."""
        return ()

    @hookspec
    def xtal_indexings(self) -> Iterable[Indexing]:
        """Offer indexing methods."""
        return ()

    @hookspec
    def xtal_profiles(self) -> Iterable[Profile]:
        """Offer profile models."""
        return ()

    @hookspec
    def xtal_backgrounds(self) -> Iterable[Background]:
        """Offer background models."""
        return ()

    @hookspec
    def xtal_scalings(self) -> Iterable[Scaling]:
        """Offer scaling models."""
        return ()

    @hookspec
    def xtal_exporters(self) -> Iterable[Exporter]:
        """Offer export formats."""
        return ()

    @hookspec
    def xtal_steps(self) -> Iterable[Step]:
        """Offer steps for ``xtal run``."""
        return ()

    @hookspec
    def xtal_executors(self) -> Iterable[Executor]:
        """Offer ways to run blocks of work."""
        return ()
