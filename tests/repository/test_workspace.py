"""The workspace holds together: every member is depended on, pins stand once, packages are complete."""

from __future__ import annotations

import importlib.util
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MEMBERS = sorted(
    p.parent for pattern in ("framework", "formats/*", "plugins/*") for p in ROOT.glob(f"{pattern}/pyproject.toml")
)


def load(path: Path) -> dict:
    return tomllib.loads(path.read_text())


def test_every_member_is_a_dependency_and_a_source_of_the_suite():
    root = load(ROOT / "pyproject.toml")
    names = {load(m / "pyproject.toml")["project"]["name"] for m in MEMBERS}
    assert set(root["project"]["dependencies"]) == names
    assert set(root["tool"]["uv"]["sources"]) == names


def test_every_member_stands_under_the_import_contracts():
    contracts = load(ROOT / "pyproject.toml")["tool"]["importlinter"]
    packages = {p.name for m in MEMBERS for p in (m / "src").iterdir() if (p / "__init__.py").exists()}
    assert set(contracts["root_packages"]) == packages


def test_constraints_for_pip_equal_the_pins():
    spec = importlib.util.spec_from_file_location("constraints", ROOT / "tools" / "constraints.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert (ROOT / "constraints.txt").read_text() == module.constraints()


@pytest.mark.parametrize("member", MEMBERS, ids=lambda m: m.name)
def test_members_are_complete(member):
    project = load(member / "pyproject.toml")["project"]
    assert project["license"] == "BSD-3-Clause"
    assert (member / "README.md").read_text().strip()
    assert list((member / "tests").glob("**/test_*.py")), f"{member.name} has no tests of its own"
