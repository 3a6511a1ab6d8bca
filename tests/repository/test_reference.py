"""The pages of docs/reference say what the installed plugins say."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from xtal.plugins import default_plugins

ROOT = Path(__file__).parents[2]


def test_the_reference_is_up_to_date():
    spec = importlib.util.spec_from_file_location("reference", ROOT / "tools" / "reference.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    written = {p.relative_to(module.FOLDER).as_posix(): p.read_text() for p in module.FOLDER.rglob("*.md")}
    assert written == module.pages(default_plugins()), "run python tools/reference.py"
