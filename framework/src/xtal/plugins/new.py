"""A ready package for a new plugin, from the templates beside this file.

Each template is a whole package of a plugin called ``template``; a new one differs by its name only.
"""

from __future__ import annotations

import re
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from xtal.errors import UsageError
from xtal.hooks import KINDS
from xtal.options.convert import did_you_mean

_PLACE = re.compile(r"-template|Template|template")


def new_plugin(kind: str, name: str, folder: Path) -> Path:
    """Write the package ``xtal-KIND-NAME``.

    Parameters
    ----------
    kind
        One of `xtal.hooks.KINDS`.
    name
        What users will write: lower case with underscores.
    folder
        Where the package's folder is to be.

    Returns
    -------
    Path
        The folder of the package.

    Raises
    ------
    UsageError
        If there is no such kind, the name cannot be one, or the folder of the package exists.
    """
    if kind not in KINDS:
        raise UsageError(
            f"There is no kind {kind!r}.", advice=did_you_mean(kind, KINDS) or f"Kinds: {', '.join(KINDS)}."
        )
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise UsageError(f"{name!r} cannot be a plugin's name.", advice="Use lower case with underscores.")
    package = folder / filled(f"xtal-{kind}-template", name)
    if package.exists():
        raise UsageError(f"{package} exists already.", advice="Choose another name, or move it away.")
    _copy(files("xtal.plugins") / "templates" / kind, package, name)
    return package


def filled(text: str, name: str) -> str:
    """A template's text with the name in place of ``template``: -my-name, MyName, my_name."""
    places = {
        "-template": "-" + name.replace("_", "-"),
        "Template": "".join(part.capitalize() for part in name.split("_")),
        "template": name,
    }
    return _PLACE.sub(lambda found: places[found[0]], text)


def _copy(source: Traversable, target: Path, name: str) -> None:
    target.mkdir(parents=True)
    for entry in source.iterdir():
        path = target / filled(entry.name, name)
        if entry.is_file():
            path.write_text(filled(entry.read_text(encoding="utf-8"), name), encoding="utf-8")
        elif entry.name != "__pycache__":
            _copy(entry, path, name)
