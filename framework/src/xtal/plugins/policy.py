"""What a site, a user and a project decide about plugins and defaults.

Read in this order, each overriding the one before: ``/etc/xtal/site.toml``, the file named by
``$XTAL_SITE``, the user's ``~/.config/xtal/site.toml``, the project's ``./xtal.toml``::

    [plugins]
    allow = ["*"]                                  # entry or distribution names, with * and ?
    deny = ["threshold-slow"]                      # never imported
    required = ["xtal-format-nxmx>=0.1"]
    prefer = { "threshold:dispersion" = "xtal-threshold-dispersion" }
    lock = "xtal.lock.toml"                        # exact set, from `xtal plugins lock`

    [options.find_spots]                           # "*" for every step
    "filter.d_min" = 2.0

    [enforced.plugins]                             # the same tables; nobody after may change these
    deny = ["acme-*"]

    [enforced.options.scale]
    anomalous = true

Whether a plugin may be used is decided by the last file that speaks of it. A file speaks of all plugins
if it has ``allow`` (what the list leaves out is denied), else of those that it denies. What a file
enforces goes before everything, and the first file that enforces wins. Requirements add up.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from attrs import define, field, frozen

from xtal.errors import OptionError
from xtal.hooks import KINDS
from xtal.options.convert import did_you_mean
from xtal.plugins.requirements import Requirement

SYSTEM = Path("/etc/xtal/site.toml")
"""What all who use a machine share."""
MAX_BYTES = 1_000_000
"""A site file is a page; one of this size is a mistake."""


@frozen
class Setting:
    """A default of an option that a file gives."""

    step: str
    name: str
    value: str
    source: str


@frozen
class Rule:
    """Which plugins a file lets in: ``allow`` is None where it does not say."""

    allow: tuple[str, ...] | None = None
    deny: tuple[str, ...] = ()

    def verdict(self, *names: str) -> bool | None:
        """Whether a plugin of these names (entry, distribution) may be used; None: not this file's concern."""
        if _among(self.deny, names):
            return False
        return None if self.allow is None else _among(self.allow, names)


def _among(patterns: tuple[str, ...], names: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns for name in names)


@frozen
class Lock:
    """A file that holds the exact set of plugins; where it is not enforced a difference is only told."""

    path: Path
    enforced: bool = False


@define
class Policy:
    """What all files together say.

    Attributes
    ----------
    rules : which plugins are let in, the rule that decides first comes first
    required : requirements, all of them
    prefer : "kind:name" to the distribution that wins
    defaults : option defaults, earlier files first
    enforced : option settings that users cannot change, earlier files first
    lock : the exact set of plugins, or None
    sources : files that were read
    """

    rules: list[Rule] = field(factory=list)
    required: list[Requirement] = field(factory=list)
    prefer: dict[str, str] = field(factory=dict)
    defaults: list[Setting] = field(factory=list)
    enforced: list[Setting] = field(factory=list)
    lock: Lock | None = None
    sources: list[str] = field(factory=list)
    _enforced_rules: int = 0
    _enforced_names: set[str] = field(factory=set)

    def allows(self, entry: str, distribution: str) -> bool:
        """Whether an entry point may be imported."""
        verdicts = (rule.verdict(entry, distribution) for rule in self.rules)
        return next((v for v in verdicts if v is not None), True)

    def denies(self, label: str) -> bool:
        """Whether one plugin ("kind:name") of an entry point that is allowed is denied by itself."""
        return any(_among(rule.deny, (label,)) for rule in self.rules)

    def read(self, path: Path) -> None:
        """Apply a file.

        Raises
        ------
        OptionError
            If its syntax, a key or a value is wrong; names the file and the key.
        """
        data = _load(path)
        say = _complaints(path)
        _known_keys(data, ("plugins", "options", "enforced"), "", say)
        enforced = _table(data, "enforced", "", say)
        _known_keys(enforced, ("plugins", "options"), "enforced.", say)
        self._plugins(_table(enforced, "plugins", "enforced.", say), path, say, enforced=True)
        self._plugins(_table(data, "plugins", "", say), path, say, enforced=False)
        self.defaults += _settings(_table(data, "options", "", say), "options", path, say)
        self.enforced += _settings(_table(enforced, "options", "enforced.", say), "enforced.options", path, say)
        self.sources.append(str(path))

    def _plugins(self, table: Mapping[str, Any], path: Path, say: Complain, *, enforced: bool) -> None:
        prefix = "enforced.plugins." if enforced else "plugins."
        _known_keys(table, ("allow", "deny", "required", "prefer", "lock"), prefix, say)
        allow = _texts(table, "allow", prefix, say) if "allow" in table else None
        rule = Rule(allow, _texts(table, "deny", prefix, say))
        if rule != Rule():
            self.rules.insert(self._enforced_rules, rule)
            self._enforced_rules += enforced
        for text in _texts(table, "required", prefix, say):
            requirement = Requirement.parse(text, str(path))
            if requirement is None:
                raise say(f"{prefix}required", f"{text!r} is no requirement such as xtal-format-nxmx>=0.1")
            self.required.append(requirement)
        for label, distribution in _prefer(table, prefix, say):
            if label not in self._enforced_names:
                self.prefer[label] = distribution
                self._enforced_names |= {label} if enforced else set()
        if "lock" in table:
            if not isinstance(table["lock"], str) or not table["lock"]:
                raise say(f"{prefix}lock", "a file's name is needed")
            if self.lock is None or not self.lock.enforced:
                self.lock = Lock(path.parent / table["lock"], enforced)

    def options_for(self, step: str) -> list[Setting]:
        """Defaults for a step, in the order in which they override one another."""
        return [s for s in self.defaults if s.step in ("*", step)]

    def enforced_for(self, step: str) -> list[Setting]:
        """Enforced settings for a step; of two of one name the earlier file's comes last, so that it wins."""
        return [s for s in reversed(self.enforced) if s.step in ("*", step)]


# --- reading ----------------------------------------------------------------------------

Complain = Callable[[str, str], OptionError]


def _complaints(path: Path) -> Complain:
    def say(key: str, what: str) -> OptionError:
        return OptionError(f"The site file {path} has a wrong entry {key}: {what}.", advice="See docs/how-to/site.md.")

    return say


def _load(path: Path) -> dict[str, Any]:
    try:
        with open(path, "rb") as stream:
            content = stream.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise OptionError(f"The site file {path} is larger than {MAX_BYTES} bytes: it is no site file.")
        return tomllib.loads(content.decode("utf-8"))
    except RecursionError:
        raise OptionError(f"The site file {path} cannot be read: it is nested too deeply.") from None
    except OSError as error:
        raise OptionError(f"The site file {path} cannot be read: {error.strerror or error}.") from None
    except ValueError as error:  # of TOML, of UTF-8, of a number with too many digits
        raise OptionError(f"The site file {path} cannot be read: {str(error).rstrip('.')}.") from None


def _known_keys(table: Mapping[str, Any], known: tuple[str, ...], prefix: str, say: Complain) -> None:
    for key in table:
        if key not in known:
            near = did_you_mean(key, known).rstrip(".")
            raise say(prefix + key, near or f"known are {', '.join(known)}")


def _table(data: Mapping[str, Any], key: str, prefix: str, say: Complain) -> Mapping[str, Any]:
    value = data.get(key, {})
    if not isinstance(value, dict):
        raise say(prefix + key, "a table is needed")
    return value


def _texts(table: Mapping[str, Any], key: str, prefix: str, say: Complain) -> tuple[str, ...]:
    value = table.get(key, [])
    if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
        raise say(prefix + key, "a list of texts is needed")
    return tuple(value)


def _prefer(table: Mapping[str, Any], prefix: str, say: Complain) -> list[tuple[str, str]]:
    found = []
    for label, distribution in _table(table, "prefer", prefix, say).items():
        if label.partition(":")[0] not in KINDS or not label.partition(":")[2]:
            raise say(f"{prefix}prefer", f"{label!r} is not KIND:NAME, such as threshold:dispersion")
        if not isinstance(distribution, str):
            raise say(f"{prefix}prefer.{label}", "the name of a distribution is needed")
        found.append((label, distribution.lower().replace("_", "-")))
    return found


def _settings(tables: Mapping[str, Any], prefix: str, path: Path, say: Complain) -> list[Setting]:
    found = []
    for step in tables:
        table = _table(tables, step, prefix + ".", say)
        for name, value in _leaves(table, f"{prefix}.{step}", say):
            found.append(Setting(step, name, value, str(path)))
    return found


def _leaves(table: Mapping[str, Any], above: str, say: Complain, prefix: str = "") -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for name, value in table.items():
        full = prefix + name
        if isinstance(value, dict):
            found += _leaves(value, above, say, full + ".")
            continue
        values = value if isinstance(value, list) else [value]
        if not all(isinstance(v, (str, bool, int, float)) for v in values):
            raise say(f"{above}.{full}", "a text, a number, true, false or a list of these is needed")
        found.append((full, ",".join(map(str, values))))
    return found


def policy_files() -> list[Path]:
    """The files that may hold a policy, in the order of reading."""
    files = [SYSTEM]
    if os.environ.get("XTAL_SITE"):
        files.append(Path(os.environ["XTAL_SITE"]))
    config = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    return [*files, Path(config) / "xtal" / "site.toml", Path("xtal.toml")]


def load_policy(files: list[Path] | None = None) -> Policy:
    """The policy of this machine, user and folder."""
    policy = Policy()
    named = os.environ.get("XTAL_SITE")
    if files is None and named and not os.path.isfile(named):
        raise OptionError(f"The site file {named} that XTAL_SITE names does not exist.")
    for path in policy_files() if files is None else files:
        if path.is_file():
            policy.read(path)
    return policy
