"""How an output was made: program, plugins, options that differ from the defaults, digests of the inputs."""

from __future__ import annotations

import glob
import json
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import xtal
from xtal.files.atomic import writing
from xtal.files.digest import Digest, digest
from xtal.run.inputs import RECORD_SUFFIX
from xtal.run.settings import SILENT

KEY = "xtal"
"""Top-level key of .expt files."""


def images_digest(paths: Iterable[Path]) -> str:
    """Digest of names, sizes and times of image files: reading them all would cost as much as finding spots."""
    h = Digest()
    for path in paths:
        try:
            found = path.stat()
            h.update(f"{path.absolute()}\0{found.st_size}\0{found.st_mtime_ns}\n".encode())
        except OSError:
            h.update(f"{path}\0absent\n".encode())
    return h.hexdigest()


OURS = {".expt", ".refl", ".json", ".log", ".mtz", ".phil", ".toml", ".html", ".part"}
"""Suffixes of files that runs write: in a folder of images they are no images."""


IMAGE_OPTIONS = ("template", "directory")
"""Last parts of the names of options that stand for images."""
_RANGE = re.compile(r":\d+:\d+$")


def expanded(paths: Iterable[Path]) -> list[Path]:
    """The files that folders, globs and templates stand for now."""
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            found += sorted(p for p in path.iterdir() if p.is_file() and p.suffix not in OURS)
        elif path.exists():
            found.append(path)
        else:
            pattern = _RANGE.sub("", str(path)).replace("#", "[0-9]")
            found += sorted(map(Path, glob.glob(os.path.expanduser(pattern))))
    return found


def record(
    step: str,
    options: Mapping[str, str],
    inputs: Mapping[str, list[Path]],
    used: Mapping[str, str],
    installed: Mapping[str, str],
) -> dict[str, Any]:
    """The JSON object that goes with each output of a run."""
    files: list[dict[str, Any]] = [
        {"role": role, "file": path.name, "digest": digest(path)}
        for role, paths in inputs.items()
        if role != "images"
        for path in paths
    ]
    if inputs.get("images"):
        paths = expanded(inputs["images"])
        first = paths[0].name if paths else ""
        files.append({"role": "images", "file": first, "n": len(paths), "digest": images_digest(paths)})
    files += files_of_options(options)
    return {
        "program": f"xtal {xtal.__version__}",
        "step": step,
        "options": dict(options),
        "inputs": files,
        "plugins": dict(used),
        "installed": dict(installed),
    }


def files_of_options(options: Mapping[str, str]) -> list[dict[str, Any]]:
    """The files that options name (a mask, a reference), so that a change of them is noticed."""
    found: list[dict[str, Any]] = []
    for name, value in telling(options).items():
        if name.rpartition(".")[2] in IMAGE_OPTIONS:
            paths = expanded([Path(os.path.expanduser(text)) for text in value.split(",")])
            found.append({"role": name, "file": value, "n": len(paths), "digest": images_digest(paths)})
            continue
        path = Path(os.path.expanduser(value))
        try:
            if path.is_file():
                found.append({"role": name, "file": path.name, "digest": digest(path)})
        except OSError:  # too long for a name, or not ours to read: no file
            continue
    return found


def made_path(path: Path) -> Path:
    """Where the record of an output other than .expt stands."""
    return path.with_name(path.name + RECORD_SUFFIX)


def write_made(path: Path, made: Mapping[str, Any], digest_of_file: str | None = None) -> None:
    """Write the record of ``path`` beside it; its digest is found anew where it is not given."""
    text = json.dumps({**made, "output": {"file": path.name, "digest": digest_of_file or digest(path)}}, indent=1)
    with writing(made_path(path)) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def read_made(path: Path) -> dict[str, Any] | None:
    """The record of an output, or None where there is none or the file has changed since."""
    try:
        if path.suffix == ".expt":
            found = json.loads(path.read_text(encoding="utf-8")).get(KEY)
        else:
            found = json.loads(made_path(path).read_text(encoding="utf-8"))
            if found["output"]["digest"] != digest(path):
                return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return found if isinstance(found, dict) and "step" in found else None


def same_run(made: Mapping[str, Any], wanted: Mapping[str, Any], versions: Mapping[str, str]) -> bool:
    """Whether an output was made by this step from these inputs with these options and plugins."""
    return (
        made.get("step") == wanted["step"]
        and made.get("program") == wanted["program"]
        and telling(made.get("options", {})) == telling(wanted["options"])
        and _digests(made) == _digests(wanted)
        and all(_same_version(text, versions) for text in made.get("plugins", {}).values())
    )


def telling(options: Mapping[str, str]) -> dict[str, str]:
    """The options that can change a result."""
    return {k: v for k, v in options.items() if not k.startswith(SILENT)}


def _digests(made: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(i.get("role", ""), i.get("digest", "")) for i in made.get("inputs", [])]


def _same_version(text: str, versions: Mapping[str, str]) -> bool:
    name, _, version = text.partition(" ")
    return versions.get(name, "") == version
