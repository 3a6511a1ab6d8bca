"""The exact set of plugins, written to a file and compared with it."""

from __future__ import annotations

import tomllib
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xtal.errors import OptionError
from xtal.hooks import KINDS

if TYPE_CHECKING:
    from xtal.plugins.manager import Plugins

SHOWN = 4
"""Differences that are told one by one."""


def lock_set(plugins: Plugins) -> dict[str, dict[str, str]]:
    """Distributions with their versions, and per kind which one serves each name.

    Raises
    ------
    PluginError
        If several distributions offer one name: then there is no exact set.
    """
    found = {"distributions": {"xtal-framework": version("xtal-framework"), **plugins.versions}}
    for kind in KINDS:
        serving = {name: plugins.find_installed(kind, name).distribution for name in plugins.names(kind)}
        if serving:
            found[kind] = serving
    return found


def lock_text(plugins: Plugins) -> str:
    """The set as TOML."""
    lines = ["# The exact set of plugins; `plugins.lock = FILE` in a site file asks for it."]
    for table, names in lock_set(plugins).items():
        lines += ["", f"[{table}]", *(f'{name} = "{value}"' for name, value in names.items())]
    return "\n".join(lines) + "\n"


def read_lock(path: Path) -> dict[str, dict[str, str]]:
    """The set that a file holds.

    Raises
    ------
    OptionError
        If it is no lock file; names the file and the key.
    """
    try:
        found: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise OptionError(f"The lock file {path} cannot be read: {error}.") from None
    for table, names in found.items():
        if table not in (*KINDS, "distributions") or not isinstance(names, dict):
            raise OptionError(
                f"The lock file {path} has a wrong entry {table}.", advice="Write it with xtal plugins lock."
            )
        for name, value in names.items():
            if not isinstance(value, str):
                raise OptionError(
                    f"The lock file {path} has a wrong entry {table}.{name}.", advice="Write it with xtal plugins lock."
                )
    return found


def differences(plugins: Plugins, path: Path) -> list[str]:
    """What differs between the installed set and that of a file, some of it in words."""
    wanted, have = read_lock(path), lock_set(plugins)
    found = []
    for table in ("distributions", *KINDS):
        one, other = wanted.get(table, {}), have.get(table, {})
        for name in sorted(set(one) | set(other)):
            if one.get(name) != other.get(name):
                what = name if table == "distributions" else f"{table} {name}"
                found.append(f"{what}: locked {one.get(name, 'absent')}, here {other.get(name, 'absent')}")
    return found if len(found) <= SHOWN else [*found[:SHOWN], f"and {len(found) - SHOWN} more"]
