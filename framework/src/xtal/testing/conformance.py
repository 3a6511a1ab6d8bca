"""What every plugin must satisfy, whatever its kind."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any

import attrs

from xtal.hooks import API_VERSIONS, KINDS, Descriptor
from xtal.options import entries, help_rows, parse
from xtal.plugins import default_plugins
from xtal.plugins.manager import resolve

Found = tuple[Descriptor, Callable[..., Any]]


def describe(kind: str, plugin: str | Descriptor) -> Found:
    """Descriptor and a function that constructs the plugin (with options given by name), common checks done.

    Parameters
    ----------
    kind
        Of the plugin.
    plugin
        Name of an installed plugin, or a descriptor that need not be installed.
    """
    descriptor = default_plugins().find(kind, plugin) if isinstance(plugin, str) else plugin
    check_descriptor(kind, descriptor)
    factory = resolve(descriptor.factory, f"{kind} {descriptor.name!r}")
    options = resolve(descriptor.options, f"{kind} {descriptor.name!r}") if descriptor.options else None

    def construct(**settings: Any) -> Any:
        return factory() if options is None else factory(options(**settings))

    return descriptor, construct


def check_descriptor(kind: str, descriptor: Descriptor) -> None:
    """Name, summary, version and options of a descriptor."""
    assert isinstance(descriptor, KINDS[kind]), f"{descriptor!r} is no {KINDS[kind].__name__}"
    assert re.fullmatch(r"[a-z][a-z0-9_]*", descriptor.name), f"name {descriptor.name!r}: lower case with underscores"
    summary = descriptor.summary
    assert summary and "\n" not in summary and len(summary) <= 100, f"{descriptor.name}: summary of one line"
    assert not summary.endswith("."), f"{descriptor.name}: the summary ends without a full stop"
    assert 1 <= descriptor.api <= API_VERSIONS[kind], f"{descriptor.name}: version of the hooks"
    assert callable(resolve(descriptor.factory, descriptor.name)), f"{descriptor.name}: the factory cannot be called"
    if descriptor.options:
        check_options(resolve(descriptor.options, descriptor.name))


def check_options(cls: type) -> None:
    """An options class: defaults for all, help for all, types that can be typed on a command line."""
    assert attrs.has(cls), f"{cls.__name__} is no attrs class"
    plugins = default_plugins()
    assert parse(cls, [], plugins) is not None
    for entry in entries(cls, plugins):
        assert entry.spec.help, f"{cls.__name__}.{entry.path} has no help"
        if not entry.is_choice:
            assert not entry.spec.complaint(entry.default), f"{cls.__name__}.{entry.path}: its default is out of range"
    assert all(row.path for row in help_rows([cls], plugins, 9))


def check_methods(plugin: Any, protocol: type) -> None:
    """A plugin has the methods of its protocol, with their parameters in order."""
    for name, wanted in vars(protocol).items():
        if name.startswith("_") or not inspect.isfunction(wanted):
            continue
        have = getattr(plugin, name, None)
        assert callable(have), f"{type(plugin).__name__} has no method {name}"
        asked = [p for p in inspect.signature(wanted).parameters if p != "self"]
        given = [
            p.name
            for p in inspect.signature(have).parameters.values()
            if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
        ]
        assert given[: len(asked)] == asked, f"{type(plugin).__name__}.{name}{given} should take {asked}"


def checks() -> dict[str, Callable[..., None]]:
    """Kind to the function that checks a plugin of that kind."""
    from xtal.testing import kinds

    return {kind: getattr(kinds, f"check_{kind}") for kind in KINDS}


def check(kind: str, plugin: str | Descriptor, **data: Any) -> None:
    """Check a plugin against the contract of its kind; an AssertionError says what is wrong."""
    checks()[kind](plugin, **data)
