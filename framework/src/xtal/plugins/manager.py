"""Discovery: the entry points of the group ``xtal``, each registered with pluggy.

The loop is our own: pluggy's skips a name that is taken without a word and stops at the
first import that fails. Here one that fails is listed with its cause and harms nobody.
"""

from __future__ import annotations

from collections.abc import Iterable
from copy import copy
from functools import cache, cached_property
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import pluggy
from attrs import frozen

from xtal.errors import PluginError, XtalError
from xtal.hooks import API_VERSIONS, KINDS, Descriptor, Step
from xtal.hooks.specs import Hooks
from xtal.options.convert import did_you_mean
from xtal.plugins.policy import Policy, load_policy

GROUP = "xtal"
DENIED = "denied by the site's policy"


@frozen
class Installed:
    """A descriptor and where it comes from."""

    kind: str
    descriptor: Descriptor
    distribution: str
    entry: str


@frozen
class Problem:
    """An entry point that cannot be used, and why."""

    entry: str
    distribution: str
    cause: str
    denied: bool = False


class Plugins:
    """All plugins that the policy lets in.

    Parameters
    ----------
    policy
        Default: that of this machine, user and folder.
    points
        Entry points; default: all installed of the group ``xtal``.
    """

    def __init__(self, policy: Policy | None = None, points: Iterable[EntryPoint] | None = None) -> None:
        self.policy = load_policy() if policy is None else policy
        self.problems: list[Problem] = []
        self.manager = pluggy.PluginManager("xtal")
        self.manager.add_hookspecs(Hooks)
        self._by_kind: dict[str, dict[str, list[Installed]]] = {kind: {} for kind in KINDS}
        self._points: dict[str, EntryPoint] = {}
        found = entry_points(group=GROUP) if points is None else points
        for point in sorted(found, key=lambda p: (p.name, _distribution(p))):
            self._register(point)

    # --- discovery --------------------------------------------------------------

    def _register(self, point: EntryPoint) -> None:
        distribution = _distribution(point)
        name = f"{distribution}:{point.name}"
        if name in self._points:
            return
        if not self.policy.allows(point.name, distribution):
            self.problems.append(Problem(point.name, distribution, DENIED, denied=True))
            return
        try:
            module = point.load()
            self.manager.register(module, name=name)
            offered = list(self._offers(module))
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # whatever a manifest does wrong, leaving the program too, must not harm others
            self.problems.append(Problem(point.name, distribution, _cause(error)))
            if self.manager.has_plugin(name):
                self.manager.unregister(name=name)
            return
        self._points[name] = point
        for kind, descriptor in offered:
            self._add(Installed(kind, descriptor, distribution, point.name))

    def _offers(self, module: Any) -> Iterable[tuple[str, Descriptor]]:
        known = {f"xtal_{kind}s": kind for kind in KINDS}
        implemented = [n for n in vars(module) if self.manager.parse_hookimpl_opts(module, n) is not None]
        for name in implemented:
            if name not in known:
                raise PluginError(f"it implements {name}, which is no hook.", advice=did_you_mean(name, known))
            kind = known[name]
            for descriptor in getattr(module, name)():
                if not isinstance(descriptor, KINDS[kind]):
                    raise PluginError(f"{name} returned {descriptor!r}, which is no {KINDS[kind].__name__}.")
                yield kind, descriptor
        if not implemented:
            raise PluginError("it implements no hook of xtal.")

    def _add(self, found: Installed) -> None:
        """Take in one plugin of an entry point, unless it alone is denied or too new."""
        kind, descriptor = found.kind, found.descriptor
        label = f"{kind}:{descriptor.name}"
        if self.policy.denies(label):
            self.problems.append(Problem(label, found.distribution, DENIED, denied=True))
        elif descriptor.api > API_VERSIONS[kind]:
            cause = (
                f"it is written for version {descriptor.api} of the hook of {kind}s, and this xtal has version "
                f"{API_VERSIONS[kind]}: update xtal-framework"
            )
            self.problems.append(Problem(label, found.distribution, cause))
        else:
            self._by_kind[kind].setdefault(descriptor.name, []).append(found)

    # --- answers ----------------------------------------------------------------

    def installed(self, kind: str) -> list[Installed]:
        """All plugins of a kind: steps in the order of the flow, others by name."""
        every = [i for name in self._by_kind[kind] for i in self._by_kind[kind][name]]
        return sorted(every, key=lambda i: (getattr(i.descriptor, "order", 0), i.descriptor.name, i.distribution))

    def all(self, kind: str) -> list[Any]:
        """Descriptors of a kind, one per name; names that several offer are left out (see `conflicts`)."""
        return [self.find(kind, name) for name in self.names(kind) if self._serving(kind, name) is not None]

    def names(self, kind: str) -> list[str]:
        """Names of a kind."""
        return list(dict.fromkeys(i.descriptor.name for i in self.installed(kind)))

    def _serving(self, kind: str, name: str) -> Installed | None:
        """The one that serves a name: the only one, or the one that the site prefers."""
        found = self._by_kind[kind].get(name, [])
        preferred = self.policy.prefer.get(f"{kind}:{name}")
        wanted = [one for one in found if preferred in (one.distribution, f"{one.distribution}:{one.entry}")]
        return found[0] if len(found) == 1 else wanted[0] if len(wanted) == 1 else None

    def find_installed(self, kind: str, name: str) -> Installed:
        """The plugin of this kind and name.

        Raises
        ------
        PluginError
            If there is none (with the nearest name, or why it is missing), or several and the site prefers none.
        """
        if not self._by_kind[kind].get(name):
            raise self._missing(kind, name)
        serving = self._serving(kind, name)
        if serving is None:
            raise self._conflict(kind, name)
        return serving

    def _conflict(self, kind: str, name: str) -> PluginError:
        found = self._by_kind[kind][name]
        apart = len({one.distribution for one in found}) == len(found)
        offers = [one.distribution if apart else f"{one.distribution}:{one.entry}" for one in found]
        preferred = self.policy.prefer.get(f"{kind}:{name}")
        but = f", and {preferred}, which the site prefers, is not among them" if preferred else ""
        return PluginError(
            f"The {kind} {name!r} is offered by {', '.join(offers[:-1])} and {offers[-1]}{but}.",
            advice=f'Uninstall one, or write into xtal.toml: [plugins.prefer] "{kind}:{name}" = "{offers[0]}".',
        )

    def conflicts(self) -> list[PluginError]:
        """Names that several distributions offer, the site preferring none."""
        every = [(kind, name) for kind in KINDS for name in self.names(kind)]
        return [self._conflict(kind, name) for kind, name in every if self._serving(kind, name) is None]

    def _missing(self, kind: str, name: str) -> PluginError:
        near = did_you_mean(name, self.names(kind))
        for problem in self.problems:
            if problem.entry in (f"{kind}-{name}", f"{kind}-{name}".replace("_", "-"), f"{kind}:{name}"):
                return PluginError(f"The {kind} {name!r} of {problem.distribution} cannot be used: {problem.cause}.")
        available = ", ".join(self.names(kind)) or "none"
        return PluginError(f"There is no {kind} {name!r}.", advice=near or f"Installed: {available}.")

    def find(self, kind: str, name: str) -> Any:
        """The descriptor of a plugin; see `find_installed`."""
        return self.find_installed(kind, name).descriptor

    def manifest(self, kind: str, name: str) -> str:
        """The module that offers a plugin; see `find_installed`."""
        found = self.find_installed(kind, name)
        return self._points[f"{found.distribution}:{found.entry}"].module

    def options_class(self, kind: str, name: str) -> type | None:
        """The options class of a plugin, or None where it has none."""
        descriptor = self.find(kind, name)
        return resolve(descriptor.options, f"{kind} {name!r}") if descriptor.options else None

    def factory(self, kind: str, name: str) -> Any:
        """What the descriptor's factory names, imported."""
        return resolve(self.find(kind, name).factory, f"{kind} {name!r}")

    def load(self, kind: str, name: str, options: Any = None) -> Any:
        """The plugin, constructed with ``options`` (None: its defaults).

        Raises
        ------
        PluginError
            If it cannot be found, imported or constructed; names it and the cause.
        """
        factory = self.factory(kind, name)
        cls = self.options_class(kind, name)
        try:
            if cls is None:
                return factory()
            return factory(cls() if options is None else options)
        except XtalError:
            raise
        except Exception as error:
            raise PluginError(f"The {kind} {name!r} cannot be constructed: {_cause(error)}.") from error

    def with_step(self, step: Step) -> Plugins:
        """These plugins and a step that need not be installed, for a run of it."""
        found = copy(self)
        found._by_kind = self._by_kind | {
            "step": self._by_kind["step"] | {step.name: [Installed("step", step, "not installed", "")]}
        }
        return found

    # --- versions, lock ---------------------------------------------------------

    @cached_property
    def versions(self) -> dict[str, str]:
        """Distribution to version of all that registered."""
        found = {_distribution(p): p.dist.version if p.dist else "0" for p in self._points.values()}
        return dict(sorted(found.items()))

    def check(self) -> None:
        """Raise PluginError if a required plugin is missing or the set differs from a lock that is enforced."""
        for requirement in self.policy.required:
            problem = next((p for p in self.problems if p.distribution == requirement.name), None)
            if problem is not None and requirement.name not in self.versions:
                raise PluginError(
                    f"{requirement.source} requires {requirement.text}, which cannot be used: {problem.cause}."
                )
            requirement.check(self.versions)
        differences = self.lock_differences
        if differences and self.policy.lock is not None and self.policy.lock.enforced:
            raise PluginError(
                f"The plugins are not those that {self.policy.lock.path} locks: {'; '.join(differences)}.",
                advice="Install the locked set, or write it anew with `xtal plugins lock`.",
            )

    @cached_property
    def lock_differences(self) -> list[str]:
        """How the installed set differs from the site's lock: empty where there is no lock, or no difference."""
        if self.policy.lock is None:
            return []
        from xtal.plugins.lock import differences

        return differences(self, self.policy.lock.path)


def _cause(error: BaseException) -> str:
    """What an error says, in one line."""
    text = str(error) if isinstance(error, PluginError) else f"{type(error).__name__}: {error}"
    return " ".join(text.split()).rstrip(".:")


def _distribution(point: EntryPoint) -> str:
    """Normalised name of the distribution of an entry point, without reading its metadata where possible."""
    if point.dist is None:
        return "unknown"
    name = getattr(point.dist, "_normalized_name", None) or point.dist.name
    return str(name).lower().replace("_", "-")


def resolve(target: str, what: str) -> Any:
    """The attribute that "module:attribute" names.

    Raises
    ------
    PluginError
        If it cannot be imported; names the plugin and the cause.
    """
    module, _, attribute = target.partition(":")
    try:
        value: Any = import_module(module)
        for part in attribute.split("."):
            value = getattr(value, part)
    except XtalError:
        raise
    except Exception as error:
        raise PluginError(f"The {what} cannot be loaded from {target}: {_cause(error)}.") from error
    return value


@cache
def default_plugins() -> Plugins:
    """The plugins of this process, discovered once."""
    return Plugins()
