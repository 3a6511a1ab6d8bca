"""Text to values of an option's type, and back; nothing is evaluated."""

from __future__ import annotations

import types
from typing import Any, Literal, Union, get_args, get_origin

from xtal.errors import OptionError
from xtal.options.fields import Spec

TRUE = {"true", "yes", "on", "1"}
FALSE = {"false", "no", "off", "0"}
SEE_HELP = "See --help -v for what it takes."


def of_command(advice: str, command: str) -> str:
    """Advice to see --help, naming the command whose help it is."""
    return advice.replace("See --help", f"See {command} --help")


def convert(text: str, kind: Any, spec: Spec, path: str) -> Any:
    """Value of ``text`` for an option.

    Parameters
    ----------
    text
        As the user typed it; may be quoted.
    kind
        The annotated type, resolved.
    spec, path
        Of the option; the path is for messages.

    Raises
    ------
    OptionError
        If the text does not fit the type, the choices or the range.
    """
    text = text.strip()
    if spec.multiple:
        return _multiple(text, kind, spec, path)
    value = _convert(text, kind, spec, path)
    complaint = spec.complaint(value)
    if complaint:
        raise OptionError(f"{path}={text} {complaint}.", advice=SEE_HELP)
    return value


def _multiple(text: str, kind: Any, spec: Spec, path: str) -> tuple[Any, ...] | None:
    """What one of several assignments adds; None or nothing clears what was there (by returning None)."""
    if text.lower() in ("none", ""):
        return None
    lists = _members(kind, tuple)
    element: Any = next(iter(get_args(lists[0])), str) if lists else str
    whole = get_origin(element) is tuple or element is str
    one = _convert(text, element if whole else lists[0], spec, path)
    values = (one,) if whole else one
    complaint = spec.complaint(values)
    if complaint:
        raise OptionError(f"{path}={text} {complaint}.", advice=SEE_HELP)
    return tuple(values)


def _members(kind: Any, wanted: Any = None) -> list[Any]:
    parts = list(get_args(kind)) if get_origin(kind) in (Union, types.UnionType) else [kind]
    return parts if wanted is None else [p for p in parts if get_origin(p) is wanted or p is wanted]


def _convert(text: str, kind: Any, spec: Spec, path: str) -> Any:
    members = _members(kind)
    words = [w for m in members if get_origin(m) is Literal for w in get_args(m)]
    if text.lower() == "none" and "none" not in (spec.choices or words):
        return _none(members, spec, path)
    if text.lower() == "auto" and ("auto" in words or type(None) in members):
        return "auto" if "auto" in words else None
    choices = spec.choices or tuple(str(w) for w in words if w != "auto")
    plain = [m for m in members if m is not type(None) and get_origin(m) is not Literal]
    if choices and not any(get_origin(m) is tuple for m in members):
        if not (words and plain and not spec.choices):
            return _choice(text, choices, path)
        if unquote(text).lower() in [c.lower() for c in choices]:
            return _choice(text, choices, path)
    for member in sorted(plain, key=_precedence):
        try:
            return _one(text, member, spec, path)
        except ValueError:
            continue
    expected = " or ".join(type_name(m) for m in members if m is not type(None))
    raise OptionError(f"{path}={text} is not {expected}.", advice=SEE_HELP)


def _none(members: list[Any], spec: Spec, path: str) -> tuple[()] | None:
    """What None means: no value where that is allowed, nothing chosen where any number of words may be."""
    if type(None) in members:
        return None
    if spec.choices and any(get_origin(m) is tuple for m in members):
        return ()
    expected = " or ".join(type_name(m) for m in members)
    raise OptionError(f"{path} needs a value ({expected}), it cannot be None.", advice=SEE_HELP)


def _precedence(kind: Any) -> int:
    order = [bool, int, float, tuple]
    return next((i for i, k in enumerate(order) if kind is k or get_origin(kind) is k), len(order))


def _one(text: str, kind: Any, spec: Spec, path: str) -> Any:
    if get_origin(kind) is tuple or kind is tuple:
        return _list(text, kind, spec, path)
    word = unquote(text)
    if kind is bool:
        if word.lower() in TRUE | FALSE:
            return word.lower() in TRUE
        raise ValueError(word)
    if kind is int:
        number = _number(word)
        if number != int(number):
            raise ValueError(word)
        return int(number)
    return float(_number(word)) if kind is float else word


def _number(text: str) -> float:
    """A number, or a fraction such as 1/3 (the one expression that is common in parameter files)."""
    if "/" in text:
        above, below = text.split("/", 1)
        if not float(below):
            raise ValueError(text)
        return float(above) / float(below)
    try:
        return int(text)
    except ValueError:
        number = float(text)
    if number in (float("inf"), float("-inf")):
        raise ValueError(text)
    return number


def _list(text: str, kind: Any, spec: Spec, path: str) -> tuple[Any, ...]:
    args = get_args(kind) or (str, ...)
    element = args[0]
    if spec.choices:
        parts = split_list(text.replace("+", " "))
        starred = [p for p in parts if p.startswith("*")]
        return tuple(_choice(p, spec.choices, path) for p in starred or parts)
    parts = split_list(text)
    if len(args) > 1 and args[1] is not Ellipsis and len(parts) != len(args):
        raise OptionError(f"{path}={text} needs {len(args)} values, not {len(parts)}.", advice=SEE_HELP)
    return tuple(_one(p, element, spec, path) for p in parts)


def split_list(text: str) -> list[str]:
    """Items separated by blanks or commas, with optional brackets round them; quoted items stay whole."""
    text = text.strip()
    if len(text) > 1 and text[0] in "'\"" and text[0] == text[-1] and text.count(text[0]) == 2:
        text = text[1:-1]
    if text[:1] in ("(", "[") and text[-1:] in (")", "]"):
        text = text[1:-1]
    items, item, quote = [], "", ""
    for c in text + " ":
        if quote:
            item, quote = (item, "") if c == quote else (item + c, quote)
        elif c in "'\"":
            quote = c
        elif c in ", \t;":
            items += [item] if item else []
            item = ""
        else:
            item += c
    return items


def _choice(text: str, choices: tuple[str, ...], path: str) -> str:
    parts = unquote(text).split()
    word = next((p for p in parts if p.startswith("*")), unquote(text)).lstrip("*")
    for c in choices:
        if c.lower() == word.lower():
            return c
    raise OptionError(
        f"{path}={text} is not among the choices: {', '.join(choices)}.", advice=did_you_mean(word, choices) or SEE_HELP
    )


def did_you_mean(word: str, known: Any) -> str:
    """ "Did you mean a or b?", or "" where nothing is near."""
    from difflib import get_close_matches

    by_lower = {str(k).lower(): str(k) for k in known}
    near = [by_lower[w] for w in get_close_matches(word.lower(), list(by_lower), n=3, cutoff=0.6)]
    return f"Did you mean {' or '.join(near)}?" if near else ""


def unquote(text: str) -> str:
    """Text without the quotes round it (single, double or triple)."""
    for quote in ('"""', "'''", '"', "'"):
        if len(text) >= 2 * len(quote) and text.startswith(quote) and text.endswith(quote):
            return text[len(quote) : -len(quote)]
    return text


def type_name(kind: Any) -> str:
    """A type as users read it."""
    names = {bool: "True or False", int: "a whole number", float: "a number", str: "text"}
    if get_origin(kind) is Literal:
        return " or ".join("Auto" if w == "auto" else str(w) for w in get_args(kind))
    if get_origin(kind) is tuple:
        element = get_args(kind)[0]
        inner = {int: "whole numbers", float: "numbers", str: "words"}.get(element, "lists")
        return f"a list of {inner}"
    return names.get(kind, str(kind))


def format_value(value: Any) -> str:
    """A value as it would be typed."""
    if value is None:
        return "None"
    if value == "auto" and isinstance(value, str):
        return "Auto"
    if isinstance(value, (tuple, list)):
        return ",".join(format_value(v) for v in value) if value else "None"
    if isinstance(value, float):
        return f"{value:.12g}"
    return str(value)
