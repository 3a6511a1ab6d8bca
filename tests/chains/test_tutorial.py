"""The Python tutorial is run as it stands, block after block."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TUTORIAL = Path(__file__).parents[2] / "docs" / "tutorial" / "chain-in-python.md"


def blocks() -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", TUTORIAL.read_text(), flags=re.MULTILINE | re.DOTALL)


def test_the_tutorial_in_python_runs(tmp_path, monkeypatch, capsys):
    pytest.importorskip("pandas")
    monkeypatch.chdir(tmp_path)
    found = blocks()
    assert len(found) > 8
    names: dict[str, object] = {}
    for number, block in enumerate(found):
        exec(compile(block, f"{TUTORIAL.name}, block {number}", "exec"), names)
    told = capsys.readouterr().out
    assert "P 21 21 21" in told
    assert "did you mean indexed" in told
    assert (tmp_path / "merged.mtz").is_file()
    assert float(names["is_indexed"].mean()) > 0.9  # type: ignore[attr-defined]  # an array, as the page makes it
