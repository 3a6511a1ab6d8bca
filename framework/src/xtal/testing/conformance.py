"""The conformance kit: small named checks of what the core assumes of each kind of plugin.

A check is a function of a `Case` (one plugin, and what its checks share), registered by `expects` with what it
expects. Where a plugin falls short, check and plugin make one sentence: "The threshold brightest should mark no
masked pixel, but it marks 400."
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any, ClassVar

from attrs import frozen

from xtal.hooks import KINDS, Descriptor
from xtal.plugins import default_plugins
from xtal.plugins.manager import resolve

EVERY = ""
"""The kind of checks that hold for every kind of plugin."""


class Case:
    """One plugin under test. A kind's own class prepares what its checks share.

    Parameters
    ----------
    descriptor
        Of the plugin, which need not be installed.
    data
        What the caller gave besides.

    Attributes
    ----------
    kind : of the plugins that a class is for
    protocol : what they must have
    threaded : whether the core uses one of them in several threads at once
    """

    kind: ClassVar[str]
    protocol: ClassVar[type]
    threaded: ClassVar[bool] = False

    def __init__(self, descriptor: Descriptor, **data: Any) -> None:
        self.descriptor, self.data = descriptor, data

    @property
    def name(self) -> str:
        """Kind and name."""
        return f"{self.kind} {self.descriptor.name}"

    @property
    def factory(self) -> Callable[..., Any]:
        """What the descriptor names."""
        factory: Callable[..., Any] = resolve(self.descriptor.factory, self.name)
        return factory

    @property
    def options(self) -> type | None:
        """The class of its options, if it has any."""
        return resolve(self.descriptor.options, self.name) if self.descriptor.options else None

    def construct(self, **settings: Any) -> Any:
        """A new one with these options, the others at their defaults."""
        return self.factory() if self.options is None else self.factory(self.options(**settings))

    @cached_property
    def plugin(self) -> Any:
        """One with its default options, which the checks share."""
        return self.construct()

    @property
    def usable(self) -> bool:
        """Whether there is what `exercise` needs."""
        return True

    def given(self) -> dict[str, Any]:
        """New arguments of `exercise`: arrays, tables, boxes and models by name."""
        raise NotImplementedError

    def exercise(self, given: dict[str, Any]) -> list[Any]:
        """Let the plugin do its work, and collect what it answers as arrays or plain values."""
        raise NotImplementedError

    @cached_property
    def answer(self) -> list[Any]:
        """What it answers when it is asked alone."""
        return self.exercise(self.given())


Function = Callable[[Any], None]


@frozen
class Check:
    """One assumption of the core.

    Attributes
    ----------
    kind : of the plugins that it is for, or `EVERY`
    name : of the function
    expected : what a plugin should do, as it stands after "should"
    """

    kind: str
    name: str
    expected: str
    function: Function

    def __call__(self, case: Case) -> Failure | None:
        """The failure of a plugin; None where it does as expected."""
        try:
            self.function(case)
        except Broken as broken:
            return Failure(self, case.name, str(broken), broken)
        except Exception as error:  # whatever a plugin raises where it should not is its failure
            return Failure(self, case.name, f"it raised {type(error).__name__}: {error}", error)
        return None


@frozen
class Failure:
    """A check that a plugin fails; as text the sentence that says so.

    Attributes
    ----------
    plugin : its kind and name
    did : what it did in place of what was expected
    error : the exception that told it
    """

    check: Check
    plugin: str
    did: str
    error: Exception

    def __str__(self) -> str:
        return f"The {self.plugin} should {self.check.expected}, but {self.did}".rstrip(".") + "."


class Broken(Exception):
    """An expectation that a plugin did not fulfil; the text says what it did."""


def ensure(kept: Any, did: str) -> None:
    """Raise `Broken` with what the plugin did unless an expectation is kept."""
    if not kept:
        raise Broken(did)


_CHECKS: list[Check] = []


def expects(kind: str, expected: str) -> Callable[[Function], Function]:
    """Register a check of a kind; the order of declaration is the order of checking."""

    def register(function: Function) -> Function:
        _CHECKS.append(Check(kind, function.__name__, expected, function))
        return function

    return register


def case_of(kind: str, descriptor: Descriptor, **data: Any) -> Case:
    """A plugin under test, as the checks of its kind are given it."""
    from xtal.testing.kinds import CASES

    return CASES[kind](descriptor, **data)


def checks_of(kind: str) -> list[Check]:
    """All checks that a plugin of a kind is held to, those of every kind first."""
    from xtal.testing.kinds import CASES  # importing them registers the checks

    return [c for wanted in (EVERY, CASES[kind].kind) for c in _CHECKS if c.kind == wanted]


def failures(kind: str, plugin: str | Descriptor, **data: Any) -> Iterator[Failure]:
    """The checks of its kind that a plugin fails, one after another; of several with one cause the first.

    Parameters
    ----------
    kind
        Of the plugin.
    plugin
        Name of an installed plugin, or a descriptor that need not be installed.
    data
        What the checks of some kinds need: see `xtal.testing.kinds`. ``manifest`` is the module that offers the plugin,
        known where it is installed.
    """
    if isinstance(plugin, str):
        data.setdefault("manifest", default_plugins().manifest(kind, plugin))
    descriptor = default_plugins().find(kind, plugin) if isinstance(plugin, str) else plugin
    case, causes = case_of(kind, descriptor, **data), set()
    for one in checks_of(kind):
        failure = one(case)
        if failure is not None and failure.did not in causes:
            causes.add(failure.did)
            yield failure


def check(kind: str, plugin: str | Descriptor, **data: Any) -> None:
    """Hold a plugin to the contract of its kind; see `failures`.

    Raises
    ------
    AssertionError
        If it fails: one line for each check that it fails, saying what was expected and what the plugin did.
    """
    failed = list(failures(kind, plugin, **data))
    if failed:
        raise AssertionError("\n".join(map(str, failed))) from failed[0].error


def checks() -> dict[str, Callable[..., None]]:
    """Kind to the function that checks a plugin of that kind."""
    from xtal.testing import kinds

    return {kind: getattr(kinds, f"check_{kind}") for kind in KINDS}
