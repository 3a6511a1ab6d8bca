"""Every installed plugin against the contract of its kind: ``pytest --pyargs xtal.testing``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from xtal.hooks import KINDS
from xtal.plugins import default_plugins
from xtal.testing.conformance import check

INSTALLED = [(kind, name) for kind in KINDS for name in default_plugins().names(kind)]


@pytest.mark.parametrize(("kind", "name"), INSTALLED, ids=[f"{k}-{n}" for k, n in INSTALLED])
def test_contract(kind: str, name: str, request: pytest.FixtureRequest) -> None:
    data: dict[str, Any] = {}
    if (kind, name) == ("format", "cbf_mini") and "simulate" in default_plugins().names("step"):
        data["sample"], *data["others"] = sorted(Path(request.getfixturevalue("tiny_scan")).glob("*.cbf"))[:3]
    check(kind, name, **data)


def test_no_plugin_is_broken() -> None:
    broken = [f"{p.entry} ({p.distribution}): {p.cause}" for p in default_plugins().problems if not p.denied]
    assert not broken, "\n".join(broken)
