"""The pages of docs/reference say what the installed plugins say."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

from xtal.plugins import default_plugins

ROOT = Path(__file__).parents[2]


def test_the_reference_is_up_to_date():
    spec = importlib.util.spec_from_file_location("reference", ROOT / "tools" / "reference.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    written = {p.relative_to(module.FOLDER).as_posix(): p.read_text() for p in module.FOLDER.rglob("*.md")}
    assert written == module.pages(default_plugins()), "run python tools/reference.py"


def test_the_readme_names_every_step_and_only_those():
    table = (ROOT / "README.md").read_text().split("| step | what it does |")[1].split("\n\n")[0]
    named = [name for line in table.splitlines() for name in re.findall(r"`(\w+)`", line.rpartition(" | ")[0])]
    assert sorted(named) == sorted(default_plugins().names("step"))


@pytest.mark.parametrize("page", [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))], ids=lambda p: p.stem)
def test_links_lead_somewhere(page: Path):
    targets = re.findall(r"\]\((?!https?:|#)([^)#\s]+)", page.read_text())
    assert not [target for target in targets if not (page.parent / target).exists()]
