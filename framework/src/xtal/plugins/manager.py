"""Discovery: the entry points of the group ``xtal``, each registered with pluggy.

The loop is our own: pluggy's skips a name that is taken without a word and stops at the
first import that fails. Here one that fails is listed with its cause and harms nobody.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache, cached_property
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import pluggy
from attrs import frozen

from xtal.errors import PluginError, XtalError
from xtal.hooks import API_VERSION, KINDS, Descriptor
from xtal.hooks.specs import Hooks
from xtal.options.convert import did_you_mean
from xtal.plugins.policy import Policy, check_requirement, load_policy

GROUP = "xtal"


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
        for point in sorted(entry_points(group=GROUP) if points is None else points, key=lambda p: p.name):
            self._register(point)

    # --- discovery --------------------------------------------------------------

    def _register(self, point: EntryPoint) -> None:
        distribution = _distribution(point)
        name = f"{distribution}:{point.name}"
        if name in self._points:
            return
        if not self.policy.allows(point.name, distribution):
            self.problems.append(Problem(point.name, distribution, "denied by the site's policy", denied=True))
            return
        try:
            module = point.load()
            self.manager.register(module, name=name)
            offered = list(self._offers(module))
        except Exception as error:  # whatever a manifest does wrong must not harm the others
            cause = f"{type(error).__name__}: {error}"
            self.problems.append(Problem(point.name, distribution, cause))
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
                if descriptor.api > API_VERSION:
                    raise PluginError(
                        f"{kind} {descriptor.name!r} is written for version {descriptor.api} of the hooks, "
                        f"this xtal has version {API_VERSION}.",
                        advice="Update xtal-framework.",
                    )
                yield kind, descriptor
        if not implemented:
            raise PluginError("it implements no hook of xtal.")

    def _add(self, found: Installed) -> None:
        label = f"{found.kind}:{found.descriptor.name}"
        if label in self.policy.deny:
            self.problems.append(Problem(label, found.distribution, "denied by the site's policy", denied=True))
            return
        self._by_kind[found.kind].setdefault(found.descriptor.name, []).append(found)

    # --- answers ----------------------------------------------------------------

    def installed(self, kind: str) -> list[Installed]:
        """All plugins of a kind: steps in the order of the flow, others by name."""
        every = [i for name in self._by_kind[kind] for i in self._by_kind[kind][name]]
        return sorted(every, key=lambda i: (getattr(i.descriptor, "order", 0), i.descriptor.name, i.distribution))

    def all(self, kind: str) -> list[Any]:
        """Descriptors of a kind, one per name."""
        return [self.find(kind, name) for name in dict.fromkeys(i.descriptor.name for i in self.installed(kind))]

    def names(self, kind: str) -> list[str]:
        """Names of a kind."""
        return list(dict.fromkeys(i.descriptor.name for i in self.installed(kind)))

    def find_installed(self, kind: str, name: str) -> Installed:
        """The plugin of this kind and name.

        Raises
        ------
        PluginError
            If there is none (with the nearest name, or why it is missing), or several and the site prefers none.
        """
        found = self._by_kind[kind].get(name, [])
        if not found:
            raise self._missing(kind, name)
        if len(found) == 1:
            return found[0]
        preferred = self.policy.prefer.get(f"{kind}:{name}", "").lower().replace("_", "-")
        for one in found:
            if one.distribution == preferred:
                return one
        both = " and ".join(one.distribution for one in found)
        raise PluginError(
            f"The {kind} {name!r} is offered by {both}.",
            advice=f'Uninstall one, or set plugins.prefer = {{"{kind}:{name}" = "DISTRIBUTION"}} in xtal.toml.',
        )

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

    def options_class(self, kind: str, name: str) -> type | None:
        """The options class of a plugin, or None where it has none."""
        descriptor = self.find(kind, name)
        return resolve(descriptor.options, f"{kind} {name!r}") if descriptor.options else None

    def factory(self, kind: str, name: str) -> Any:
        """What the descriptor's factory names, imported."""
        return resolve(self.find(kind, name).factory, f"{kind} {name!r}")

    def load(self, kind: str, name: str, options: Any = None) -> Any:
        """The plugin, constructed with ``options`` (None: its defaults)."""
        factory = self.factory(kind, name)
        cls = self.options_class(kind, name)
        if cls is None:
            return factory()
        return factory(cls() if options is None else options)

    # --- versions, lock ---------------------------------------------------------

    @cached_property
    def versions(self) -> dict[str, str]:
        """Distribution to version of all that registered."""
        found = {_distribution(p): p.dist.version if p.dist else "0" for p in self._points.values()}
        return dict(sorted(found.items()))

    def check(self) -> None:
        """Raise PluginError if a required plugin is missing or the set differs from the site's lock."""
        for requirement, source in self.policy.required:
            check_requirement(requirement, self.versions, source)
        if self.policy.lock is not None:
            from xtal.plugins.lock import check_lock

            check_lock(self, self.policy.lock)


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
        raise PluginError(f"The {what} cannot be loaded from {target}: {type(error).__name__}: {error}.") from error
    return value


@cache
def default_plugins() -> Plugins:
    """The plugins of this process, discovered once."""
    return Plugins()
