"""Descriptors: what a plugin says of itself before any of its code is imported."""

from __future__ import annotations

import re
from typing import Any

from attrs import field, frozen

_TARGET = re.compile(r"\w+(\.\w+)*:\w+(\.\w+)*")


def _name(_: Any, attribute: Any, value: Any) -> None:
    if not isinstance(value, str) or not re.fullmatch(r"[a-z][a-z0-9_]*", value):
        raise ValueError(f"{attribute.name}={value!r} is not lower case with underscores")


def _target(_: Any, attribute: Any, value: Any) -> None:
    if not isinstance(value, str) or not (_TARGET.fullmatch(value) or (attribute.name == "options" and not value)):
        raise ValueError(f"{attribute.name}={value!r} is not module:attribute")


def _typed(kind: type, of: type | None = None) -> Any:
    """A validator of the type of a value, and of what it holds."""

    def check(_: Any, attribute: Any, value: Any) -> None:
        inner = (*value, *value.values()) if isinstance(value, dict) else value
        if not isinstance(value, kind) or (of is not None and not all(isinstance(v, of) for v in inner)):
            raise ValueError(f"{attribute.name}={value!r} is no {kind.__name__}{f' of {of.__name__}' if of else ''}")

    return check


@frozen(kw_only=True)
class Descriptor:
    """What every kind of plugin says of itself.

    Attributes
    ----------
    name : the value that users give, lower case with underscores
    summary : one line for lists and help
    factory : "module:attribute", resolved when the plugin is first used
    options : "module:Class" of the plugin's options (`xtal.options`), or ""
    reference : where the method is published
    api : version of the hook that the plugin was written for
    """

    name: str = field(validator=_name)
    summary: str = field(validator=_typed(str))
    factory: str = field(validator=_target)
    options: str = field(default="", validator=_target)
    reference: str = field(default="", validator=_typed(str))
    api: int = field(default=1, validator=_typed(int))


@frozen(kw_only=True)
class Format(Descriptor):
    """A detector format; ``factory`` is a class of `xtal.hooks.protocols.ImageFormat`."""

    extensions: tuple[str, ...] = field(default=(), validator=_typed(tuple, str))


@frozen(kw_only=True)
class Threshold(Descriptor):
    """A spot threshold; ``factory`` is a class of `xtal.hooks.protocols.ThresholdAlgorithm`."""


@frozen(kw_only=True)
class Indexing(Descriptor):
    """An indexing method; ``factory`` is a class of `xtal.hooks.protocols.IndexingMethod`."""


@frozen(kw_only=True)
class Profile(Descriptor):
    """A profile model; ``factory`` is a class of `xtal.hooks.protocols.ProfileModel`."""


@frozen(kw_only=True)
class Background(Descriptor):
    """A background model; ``factory`` is a class of `xtal.hooks.protocols.BackgroundModel`."""


@frozen(kw_only=True)
class Scaling(Descriptor):
    """A scaling model; ``factory`` is a class of `xtal.hooks.protocols.ScalingModel`."""


@frozen(kw_only=True)
class Exporter(Descriptor):
    """An export format; ``factory`` is a class of `xtal.hooks.protocols.ExportFormat`."""

    extension: str = field(default="", validator=_typed(str))


@frozen(kw_only=True)
class Executor(Descriptor):
    """A way to run blocks of work; ``factory`` is a class of `xtal.hooks.protocols.BlockExecutor`."""


@frozen(kw_only=True)
class Step(Descriptor):
    """A step of the work; ``factory`` is a function ``run(context)`` (`xtal.run.Context`).

    Attributes
    ----------
    order : place in the flow (10 import, 20 find_spots, 30 index, 40 refine, 50 integrate,
        60 symmetry, 70 scale, 80 merge, 90 export; helpers between them)
    inputs : roles that it reads: "images", "experiments", "reflections"; a trailing "?"
        marks one that may be absent
    imports : whether images may stand in the place of "experiments": they are imported first
    files : what its help calls the files that it reads, where their roles do not say it: "XDS_FOLDER"
    outputs : role to the default file name, for example {"reflections": "strong.refl"};
        the user changes it with ``output.<role>=NAME``
    """

    order: int = field(default=100, validator=_typed(int))
    inputs: tuple[str, ...] = field(default=(), validator=_typed(tuple, str))
    imports: bool = field(default=False, validator=_typed(bool))
    files: str = field(default="", validator=_typed(str))
    outputs: dict[str, str] = field(factory=dict, validator=_typed(dict, str))


KINDS: dict[str, type[Descriptor]] = {
    "format": Format,
    "threshold": Threshold,
    "indexing": Indexing,
    "profile": Profile,
    "background": Background,
    "scaling": Scaling,
    "exporter": Exporter,
    "step": Step,
    "executor": Executor,
}
"""Kind to the class of its descriptors; the hook of a kind is ``xtal_<kind>s`` (``xtal_indexings`` and so on)."""
