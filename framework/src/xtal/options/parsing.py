"""From settings to options objects."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import attrs
from attrs import frozen

from xtal.errors import OptionError, PluginError
from xtal.options.convert import convert, format_value
from xtal.options.fields import KEY, Choice, Spec
from xtal.options.match import match
from xtal.options.text import Assignment, split_tokens
from xtal.options.tree import Entry, PluginSource, entries

T = TypeVar("T")


@frozen
class Parsed:
    """Options objects, one per class asked for, what to tell the user, and the full name that each setting meant."""

    objects: tuple[Any, ...]
    warnings: tuple[str, ...]
    given: tuple[str, ...]


def parse(cls: type[T], tokens: Iterable[str], plugins: PluginSource | None = None) -> T:
    """An options object from words of the command line.

    Parameters
    ----------
    cls
        The options class.
    tokens
        ``name=value``, ``options=FILE``, ``*.phil``.
    plugins
        Needed where the class has a `plugin_choice`.

    Raises
    ------
    OptionError
        If a name or value cannot be used.
    """
    assignments, files = split_tokens(tokens)
    if files:
        raise OptionError(f"{files[0]!r} is not a setting.", advice="Settings are given as name=value.")
    result: T = parse_all([cls], assignments, plugins).objects[0]
    return result


def parse_all(
    classes: Sequence[type], assignments: Sequence[Assignment], plugins: PluginSource | None = None
) -> Parsed:
    """Options objects of several classes whose names form one space, from one list of settings."""
    chosen, known = _choose(classes, assignments, plugins)
    values: dict[str, Any] = {}
    warnings: list[str] = []
    given: list[str] = []
    blocks: dict[str, tuple[int, ...]] = {}
    for a in assignments:
        entry, warning = _find(a, known, chosen, classes, plugins)
        given.append(entry.path)
        if warning:
            warnings.append(warning)
        where = _place(a, entry, values, blocks)
        value = _value(a, entry)
        if entry.spec.multiple and value is not None:
            value = (*where.get(entry.path, ()), *value)
        elif entry.spec.multiple:
            value = ()
        where[entry.path] = value
    objects = tuple(_build(cls, values, chosen, plugins, "") for cls in classes)
    return Parsed(objects, tuple(warnings), tuple(given))


def _place(a: Assignment, entry: Entry, values: dict[str, Any], blocks: dict[str, tuple[int, ...]]) -> dict[str, Any]:
    """The values that a setting joins: all of them, or those of one object of a scope that may be repeated."""
    if not entry.repeated:
        return values
    objects: list[dict[str, Any]] = values.setdefault(entry.repeated, [])
    old = blocks.get(entry.repeated, ())
    apart = any(x != y for x, y in zip(a.blocks, old, strict=False))
    if not objects or apart or (entry.path in objects[-1] and not entry.spec.multiple):
        objects.append({})
    blocks[entry.repeated] = a.blocks
    return objects[-1]


def _value(a: Assignment, entry: Entry) -> Any:
    try:
        return convert(a.value, entry.kind, entry.spec, entry.path)
    except OptionError as error:
        if a.where:
            raise OptionError(f"{a.where}: {error.message}", advice=error.advice) from None
        raise


def _choose(
    classes: Sequence[type], assignments: Sequence[Assignment], plugins: PluginSource | None
) -> tuple[dict[str, str], list[Entry]]:
    """Which plugins are chosen; repeated, since a plugin's options may hold choices of their own."""
    chosen: dict[str, str] = {}
    while True:
        known = [e for cls in classes for e in entries(cls, plugins, chosen)]
        before = dict(chosen)
        for a in assignments:
            try:
                entry, _ = match(a.key, known)
            except OptionError:
                continue
            if entry.is_choice:
                chosen[entry.path.removesuffix(".algorithm")] = _value(a, entry)
        if chosen == before:
            return chosen, known


def _find(
    a: Assignment,
    known: Sequence[Entry],
    chosen: Mapping[str, str],
    classes: Sequence[type],
    plugins: PluginSource | None,
) -> tuple[Entry, str]:
    try:
        return match(a.key, known)
    except OptionError as error:
        other = _of_other_plugin(a.key, known, chosen, classes, plugins) if "unknown" in error.message else None
        if other is not None:
            return other
        where = f"{a.where}: " if a.where else ""
        raise OptionError(where + error.message, advice=error.advice) from None


def _of_other_plugin(
    key: str, known: Sequence[Entry], chosen: Mapping[str, str], classes: Sequence[type], plugins: Any
) -> tuple[Entry, str] | None:
    """The chosen plugin's option of the same name, where the user named it by another plugin of the kind."""
    for choice in [e for e in known if e.is_choice]:
        path = choice.path.removesuffix(".algorithm")
        mine = chosen.get(path, choice.default)
        for name in choice.spec.choices:
            if name == mine:
                continue
            try:
                others = [e for cls in classes for e in entries(cls, plugins, {**chosen, path: name})]
                found, _ = match(key, [e for e in others if e.plugin == (path, name)])
            except (OptionError, PluginError):  # it has no such option, or is broken
                continue
            same = found.path.replace(f"{path}.{name}.", f"{path}.{mine}.", 1)
            for e in known:
                if e.path == same:
                    return e, f"Assuming {same} was meant by {key}: {choice.path} is {mine}."
            raise OptionError(
                f"{found.path} belongs to {name}, but {choice.path} is {mine}.",
                advice=f"Add {choice.path}={name}, or leave the option out.",
            )
    return None


def _build(cls: type, values: Mapping[str, Any], chosen: Mapping[str, str], plugins: Any, prefix: str) -> Any:
    arguments: dict[str, Any] = {}
    for attribute in attrs.fields(cls):
        spec = attribute.metadata.get(KEY)
        path = prefix + attribute.name
        if spec is None:
            continue
        if spec.scope is not None and spec.multiple:
            objects = values.get(path, ())
            arguments[attribute.name] = tuple(_build(spec.scope, one, chosen, plugins, path + ".") for one in objects)
        elif spec.scope is not None:
            arguments[attribute.name] = _build(spec.scope, values, chosen, plugins, path + ".")
        elif spec.kind:
            name = chosen.get(path, attribute.default.name)
            inner = plugins.options_class(spec.kind, name) if plugins and name in plugins.names(spec.kind) else None
            options = None if inner is None else _build(inner, values, chosen, plugins, f"{path}.{name}.")
            arguments[attribute.name] = Choice(spec.kind, name, options)
        elif path in values:
            arguments[attribute.name] = values[path]
    return cls(**arguments)


def differences(options: Any) -> dict[str, str]:
    """Full name to text of the options that differ from their defaults, in the order of declaration."""
    return {path: format_value(value) for path, _, value, default in _values(options) if value != default}


def files_written(options: Any) -> dict[str, str]:
    """Full name to value of the options that name files to be written."""
    return {path: value for path, spec, value, _ in _values(options) if spec.writes and value is not None}


def _values(options: Any, prefix: str = "") -> Iterator[tuple[str, Spec, Any, Any]]:
    """Full name, declaration, value and default of each option, in the order of declaration."""
    for attribute in attrs.fields(type(options)):
        spec = attribute.metadata.get(KEY)
        value = getattr(options, attribute.name)
        path = prefix + attribute.name
        if spec is None:
            continue
        if spec.scope is not None and spec.multiple:
            for number, one in enumerate(value):
                yield from _values(one, f"{path}[{number}].")
        elif spec.scope is not None:
            yield from _values(value, path + ".")
        elif spec.kind:
            yield f"{path}.algorithm", spec, value.name, attribute.default.name
            if value.options is not None:
                yield from _values(value.options, f"{path}.{value.name}.")
        else:
            yield path, spec, value, attribute.default
