"""Each how-to page has the same parts; its example is the template's own, which test_new_plugins installs and runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from xtal.hooks import KINDS

ROOT = Path(__file__).resolve().parents[2]
PARTS = ["What it is", "The protocol", "A complete example", "What the kit checks"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_page_holds_the_template(kind: str) -> None:
    template = ROOT / "framework" / "src" / "xtal" / "plugins" / "templates" / kind
    code = (template / "src" / f"xtal_{kind}_template" / "algorithm.py").read_text()
    assert f"```python\n{code}```\n" in (ROOT / "docs" / "how-to" / f"{kind}.md").read_text()


@pytest.mark.parametrize("kind", KINDS)
def test_the_page_has_its_parts(kind: str) -> None:
    lines = (ROOT / "docs" / "how-to" / f"{kind}.md").read_text().splitlines()
    assert [line.removeprefix("## ") for line in lines if line.startswith("## ")] == PARTS
