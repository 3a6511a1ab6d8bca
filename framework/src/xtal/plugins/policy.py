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

    [enforced.options.scale]                       # the same tables; nobody after may change these
    anomalous = true
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from attrs import define, field, frozen

from xtal.errors import OptionError, PluginError

_KEYS = {"allow": list, "deny": list, "required": list, "prefer": dict, "lock": str}


@frozen
class Setting:
    """A default of an option that a file gives."""

    step: str
    name: str
    value: str
    source: str


@define
class Policy:
    """What all files together say.

    Attributes
    ----------
    allow, deny : patterns of entry names or distributions
    required : requirements, each with the file that asks for it
    prefer : "kind:name" to the distribution that wins
    defaults : option defaults, earlier files first
    enforced : option settings that users cannot change
    lock : file of the exact set of plugins, or None
    sources : files that were read
    """

    allow: list[str] = field(factory=lambda: ["*"])
    deny: list[str] = field(factory=list)
    required: list[tuple[str, str]] = field(factory=list)
    prefer: dict[str, str] = field(factory=dict)
    defaults: list[Setting] = field(factory=list)
    enforced: list[Setting] = field(factory=list)
    lock: Path | None = None
    sources: list[str] = field(factory=list)
    _fixed: set[str] = field(factory=set)

    def allows(self, entry: str, distribution: str) -> bool:
        """Whether an entry point may be imported."""

        def among(patterns: list[str]) -> bool:
            return any(fnmatchcase(name, p) for p in patterns for name in (entry, distribution))

        return among(self.allow) and not among(self.deny)

    def read(self, path: Path) -> None:
        """Apply a file.

        Raises
        ------
        OptionError
            If its syntax or a key is wrong; names the file.
        """
        try:
            data = tomllib.loads(path.read_text(encoding="utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
            raise OptionError(f"The site file {path} cannot be read: {error}.") from None
        unknown = set(data) - {"plugins", "options", "enforced"}
        if unknown:
            raise OptionError(f"The site file {path} has an unknown table {sorted(unknown)[0]!r}.")
        source = str(path)
        self.sources.append(source)
        enforced = data.get("enforced", {})
        self._plugins({**data.get("plugins", {}), **enforced.get("plugins", {})}, path)
        self._fixed |= set(enforced.get("plugins", {}))
        self.defaults += _settings(data.get("options", {}), source)
        self.enforced += _settings(enforced.get("options", {}), source)

    def _plugins(self, table: Mapping[str, Any], path: Path) -> None:
        for key, value in table.items():
            if key not in _KEYS or not isinstance(value, _KEYS[key]):
                raise OptionError(f"The site file {path} has a wrong entry plugins.{key}.")
            if key == "required":
                self.required += [(requirement, str(path)) for requirement in value]
            elif key in self._fixed:
                continue
            elif key == "deny":
                self.deny += value
            elif key == "prefer":
                self.prefer.update(value)
            elif key == "lock":
                self.lock = path.parent / value
            else:
                self.allow = list(value)

    def options_for(self, step: str) -> list[Setting]:
        """Defaults for a step, in the order in which they override one another."""
        return [s for s in self.defaults if s.step in ("*", step)]

    def enforced_for(self, step: str) -> list[Setting]:
        """Enforced settings for a step; of two of one name the earlier file's comes last, so that it wins."""
        return [s for s in reversed(self.enforced) if s.step in ("*", step)]


def _settings(tables: Mapping[str, Any], source: str) -> list[Setting]:
    found = []
    for step, table in tables.items():
        if not isinstance(table, dict):
            raise OptionError(f"The site file {source} gives options.{step} a value where a table is needed.")
        found += [Setting(step, name, _text(value), source) for name, value in _leaves(table)]
    return found


def _leaves(table: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for name, value in table.items():
        found += _leaves(value, f"{prefix}{name}.") if isinstance(value, dict) else [(prefix + name, value)]
    return found


def _text(value: Any) -> str:
    return ",".join(map(_text, value)) if isinstance(value, list) else str(value)


def policy_files() -> list[Path]:
    """The files that may hold a policy, in the order of reading."""
    files = [Path("/etc/xtal/site.toml")]
    if os.environ.get("XTAL_SITE"):
        files.append(Path(os.environ["XTAL_SITE"]))
    config = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    return [*files, Path(config) / "xtal" / "site.toml", Path("xtal.toml")]


def load_policy(files: list[Path] | None = None) -> Policy:
    """The policy of this machine, user and folder."""
    policy = Policy()
    named = os.environ.get("XTAL_SITE")
    if files is None and named and not os.path.exists(named):
        raise OptionError(f"The site file {named} that XTAL_SITE names does not exist.")
    for path in policy_files() if files is None else files:
        if path.is_file():
            policy.read(path)
    return policy


def check_requirement(requirement: str, versions: Mapping[str, str], source: str) -> None:
    """Raise PluginError unless a distribution is installed in a version such as ``name>=0.2,<1``."""
    name, clauses = _split_requirement(requirement)
    version = versions.get(name)
    if version is None:
        raise PluginError(f"The plugin {name} that {source} requires is not installed.", advice="Install it with pip.")
    for sign, wanted in clauses:
        a, b = _numbers(version), _numbers(wanted)
        width = max(len(a), len(b))
        a, b = a + (0,) * (width - len(a)), b + (0,) * (width - len(b))
        ok = {"==": a == b, "!=": a != b, ">=": a >= b, "<=": a <= b, ">": a > b, "<": a < b}[sign]
        if not ok:
            raise PluginError(f"{source} requires {requirement}, but {name} {version} is installed.")


def _split_requirement(requirement: str) -> tuple[str, list[tuple[str, str]]]:
    for at, c in enumerate(requirement):
        if c in "<>=! ":
            name, rest = requirement[:at], requirement[at:].replace(" ", "")
            break
    else:
        name, rest = requirement, ""
    clauses = []
    for clause in filter(None, rest.split(",")):
        sign = next((s for s in ("==", "!=", ">=", "<=", ">", "<") if clause.startswith(s)), None)
        if sign is None:
            raise OptionError(f"The requirement {requirement!r} is not understood.")
        clauses.append((sign, clause[len(sign) :]))
    return name.lower().replace("_", "-"), clauses


def _numbers(version: str) -> tuple[int, ...]:
    numbers = []
    for part in version.split("."):
        digits = part[: next((i for i, c in enumerate(part) if not c.isdigit()), len(part))]
        if not digits:
            break
        numbers.append(int(digits))
    return tuple(numbers)
