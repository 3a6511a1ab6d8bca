"""The exact set of plugins, written to a file and compared with it."""

from __future__ import annotations

import tomllib
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from xtal.errors import PluginError
from xtal.hooks import KINDS

if TYPE_CHECKING:
    from xtal.plugins.manager import Plugins


def lock_text(plugins: Plugins) -> str:
    """Distributions with their versions, and which one serves each name."""
    lines = ["# The exact set of plugins; `plugins.lock = FILE` in a site file asks for it.", "[distributions]"]
    lines.append(f'xtal-framework = "{version("xtal-framework")}"')
    lines += [f'{name} = "{number}"' for name, number in plugins.versions.items()]
    for kind in KINDS:
        names = plugins.names(kind)
        if names:
            lines += ["", f"[{kind}]"]
            lines += [f'{name} = "{plugins.find_installed(kind, name).distribution}"' for name in names]
    return "\n".join(lines) + "\n"


def check_lock(plugins: Plugins, path: Path) -> None:
    """Raise PluginError where the installed set differs from the file; names the first difference."""
    try:
        wanted = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise PluginError(f"The lock file {path} cannot be read: {error}.") from None
    have = tomllib.loads(lock_text(plugins))
    for table in sorted(set(wanted) | set(have)):
        one, other = wanted.get(table, {}), have.get(table, {})
        for name in sorted(set(one) | set(other)):
            if one.get(name) != other.get(name):
                raise PluginError(
                    f"{path} locks {table} {name} to {one.get(name, 'nothing')}, "
                    f"but {other.get(name, 'nothing')} is installed.",
                    advice="Install the locked set, or write it anew with `xtal plugins lock`.",
                )
