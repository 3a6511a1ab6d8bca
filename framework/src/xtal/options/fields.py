"""How options are declared."""

from __future__ import annotations

from typing import Any

from attrs import field, frozen

from xtal.errors import OptionError

KEY = "xtal"
"""Key of an option's `Spec` in the metadata of its attrs field."""


@frozen
class Choice:
    """A plugin that was chosen: its kind, name and options (None: its defaults)."""

    kind: str
    name: str
    options: Any = None


@frozen(kw_only=True)
class Spec:
    """What is known of an option besides its name, type and default."""

    help: str = ""
    unit: str = ""
    level: int = 0
    ge: float | None = None
    gt: float | None = None
    le: float | None = None
    lt: float | None = None
    choices: tuple[str, ...] = ()
    multiple: bool = False
    size: int | None = None
    writes: bool = False
    scope: type | None = None
    kind: str = ""

    def complaint(self, value: Any) -> str:
        """Why the value is out of range, or "" where it is well."""
        if value is None or isinstance(value, (str, bool)):
            if isinstance(value, str) and self.choices and value != "auto" and value not in self.choices:
                return f"must be one of {', '.join(self.choices)}"
            return ""
        if isinstance(value, (tuple, list)):
            if self.size is not None and len(value) != self.size and not (self.multiple and not value):
                if not self.multiple:
                    return f"needs {self.size} values, not {len(value)}"
                bad = [v for v in value if not isinstance(v, (tuple, list)) or len(v) != self.size]
                if bad:
                    return f"needs {self.size} values each time"
            return next((c for c in map(self.complaint, _flat(value)) if c), "")
        if not isinstance(value, (int, float)):
            return ""
        return self._range_complaint(value)

    def _range_complaint(self, value: float) -> str:
        checks = [
            (self.ge, lambda limit: value >= limit, "at least"),
            (self.gt, lambda limit: value > limit, "more than"),
            (self.le, lambda limit: value <= limit, "at most"),
            (self.lt, lambda limit: value < limit, "less than"),
        ]
        failed = [f"{words} {limit:g}" for limit, ok, words in checks if limit is not None and not ok(limit)]
        return f"must be {failed[0]}" if failed else ""


def _flat(value: Any) -> Any:
    for item in value:
        if isinstance(item, (tuple, list)):
            yield from item
        else:
            yield item


def _check(_instance: Any, attribute: Any, value: Any) -> None:
    complaint = attribute.metadata[KEY].complaint(value)
    if complaint:
        raise OptionError(f"{attribute.name}={value} {complaint}.")


def option(
    default: Any,
    *,
    help: str,
    unit: str = "",
    level: int = 0,
    ge: float | None = None,
    gt: float | None = None,
    le: float | None = None,
    lt: float | None = None,
    choices: tuple[str, ...] | list[str] = (),
    multiple: bool = False,
    size: int | None = None,
    writes: bool = False,
) -> Any:
    """Declare an option as an attribute of an attrs class; its annotation is its type.

    Parameters
    ----------
    default
        Value when the user says nothing; of the annotated type.
    help
        One sentence for ``--help``.
    unit
        Shown in help: "Å", "px", "deg".
    level
        0 is shown by ``--help``, 1 with ``-v``.
    ge, gt, le, lt
        Range, for every number of a list.
    choices
        Allowed words. With the type ``tuple[str, ...]`` several may be chosen (``a+c``).
    multiple
        The option may be repeated; values are appended to a tuple.
    size
        Length of a list (of each value, where ``multiple``).
    writes
        The value names a file that is written, from the folder of the outputs on: before work begins, its folder is
        looked for. A name that ends in ``prefix`` is how names of files begin.
    """
    spec = Spec(
        help=help, unit=unit, level=level, ge=ge, gt=gt, le=le, lt=lt,
        choices=tuple(choices), multiple=multiple, size=size, writes=writes,
    )  # fmt: skip
    default = tuple(default) if isinstance(default, list) else default
    return field(default=default, metadata={KEY: spec}, validator=_check)


def scope(cls: type, *, help: str = "", level: int = 0) -> Any:
    """Declare a scope: an attribute that holds another options class. Its level adds to those inside."""
    return field(factory=cls, metadata={KEY: Spec(scope=cls, help=help, level=level)})


def scopes(cls: type, *, help: str = "", level: int = 0) -> Any:
    """Declare a scope that may be repeated: an attribute that holds a tuple of objects of the class.

    In a parameter file each block ``name { ... }`` is one object. Elsewhere a setting begins a new
    object where the one before has it already: ``panel.id=0 panel.gain=1 panel.id=1 panel.gain=2``.
    """
    return field(default=(), metadata={KEY: Spec(scope=cls, multiple=True, help=help, level=level)})


def plugin_choice(kind: str, default: str, *, help: str = "", level: int = 0) -> Any:
    """Declare a choice between the plugins of a kind.

    The attribute is a `Choice`. Users set ``<name>.algorithm=NAME`` and, below the plugin's
    name, its own options: ``<name>.NAME.<option>=``.
    """
    spec = Spec(kind=kind, help=help or f"Plugin of the kind {kind!r}", level=level)
    return field(default=Choice(kind, default), metadata={KEY: spec})
