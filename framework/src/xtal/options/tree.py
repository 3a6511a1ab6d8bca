"""The tree of an options class, flattened to full names."""

from __future__ import annotations

import builtins
import sys
import typing
from collections.abc import Mapping
from typing import Any, Protocol

import attrs
from attrs import frozen

from xtal.options.fields import KEY, Choice, Spec


class PluginSource(Protocol):
    """What options need to know of the installed plugins (`xtal.plugins.Plugins` knows it)."""

    def names(self, kind: str) -> list[str]:
        """Names of the plugins of a kind."""

    def options_class(self, kind: str, name: str) -> type | None:
        """Options of a plugin, or None where it has none."""


@frozen
class Entry:
    """An option under its full name.

    Attributes
    ----------
    path : full dotted name
    kind : annotated type, resolved
    default : default value
    spec : help, unit, range; its level includes those of the scopes above
    repeated : full name of the scope that may be repeated and holds the option, "" where none does
    plugin : (path of the choice, name) where the option belongs to a plugin
    """

    path: str
    kind: Any
    default: Any
    spec: Spec
    plugin: tuple[str, str] | None = None
    is_choice: bool = False
    repeated: str = ""


def entries(
    cls: type,
    plugins: PluginSource | None = None,
    chosen: Mapping[str, str] | None = None,
    *,
    prefix: str = "",
    level: int = 0,
    plugin: tuple[str, str] | None = None,
) -> list[Entry]:
    """All options of a class in the order of their declaration.

    Parameters
    ----------
    cls
        An attrs class of `option`, `scope` and `plugin_choice`.
    plugins
        Where options of chosen plugins come from; None leaves them out.
    chosen
        Path of a choice to the name of its plugin, where that is not the default.
    """
    found: list[Entry] = []
    for attribute in attrs.fields(cls):
        spec: Spec | None = attribute.metadata.get(KEY)
        if spec is None:
            continue
        path, deeper = prefix + attribute.name, level + spec.level
        if spec.scope is not None:
            inside = entries(spec.scope, plugins, chosen, prefix=path + ".", level=deeper, plugin=plugin)
            found += [attrs.evolve(e, repeated=path) for e in inside] if spec.multiple else inside
        elif spec.kind:
            found += _choice_entries(attribute, spec, plugins, chosen, path, deeper, plugin)
        else:
            kind = resolve(attribute.type, cls)
            found.append(Entry(path, kind, attribute.default, attrs.evolve(spec, level=deeper), plugin))
    return found


def _choice_entries(
    attribute: Any, spec: Spec, plugins: Any, chosen: Any, path: str, level: int, plugin: tuple[str, str] | None
) -> list[Entry]:
    default: Choice = attribute.default
    names = tuple(plugins.names(spec.kind)) if plugins is not None else ()
    own = attrs.evolve(spec, level=level, choices=names)
    found = [Entry(f"{path}.algorithm", str, default.name, own, plugin, True)]
    name = (chosen or {}).get(path, default.name)
    cls = plugins.options_class(spec.kind, name) if plugins is not None and name in names else None
    if cls is not None:
        found += entries(cls, plugins, chosen, prefix=f"{path}.{name}.", level=level, plugin=(path, name))
    return found


def resolve(kind: Any, cls: type) -> Any:
    """A field's type, also where annotations are strings."""
    if not isinstance(kind, str):
        return kind
    for base in cls.__mro__:
        space = vars(sys.modules.get(base.__module__, builtins))
        try:
            return typing.get_type_hints(_Holder(kind), globalns={**vars(typing), **space})["value"]
        except NameError:
            continue
    raise TypeError(f"the type {kind!r} of an option of {cls.__name__} cannot be resolved")


class _Holder:
    """Something with one annotation, which `typing.get_type_hints` can resolve."""

    def __init__(self, kind: str) -> None:
        self.__annotations__ = {"value": kind}
