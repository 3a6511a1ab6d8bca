"""The tutorials are run as they stand, block after block."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from xtal.cli.process import SHARED
from xtal.run.script import step

TUTORIALS = Path(__file__).parents[2] / "docs" / "tutorial"
TUTORIAL = TUTORIALS / "chain-in-python.md"


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), flags=re.MULTILINE | re.DOTALL)


def test_the_first_scan_is_as_the_page_says(tmp_path):
    """Each command in an empty folder; then the whole chain, which finds the same as the steps by hand."""
    commands = [line for block in blocks(TUTORIALS / "first-scan.md", "sh") for line in block.splitlines()]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    told = {}
    for command in commands:
        done = subprocess.run(
            ["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, env={**os.environ, "PATH": path}
        )
        assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
        told[re.sub("xtal (run )?", "", command).split()[0]] = done.stdout
    assert list(told)[-2:] == ["compare_truth", "process"] and len(told) == 12
    assert "####" in told["find_spots"], "no histogram"
    assert "Candidate lattices" in told["index"]
    assert re.search(r"R \d\.\d+ %, CC 0\.999", told["compare_truth"])
    merged = told["merge"].split("unique reflections")[0].split()[-1]
    assert f"{merged} unique reflections" in told["process"]

    page = (TUTORIALS / "first-scan.md").read_text()
    known = re.search(r"`(space_group=\S+ unit_cell=\S+)`", page)
    assert known is not None
    outcome = step(
        "index",
        tmp_path / "imported.expt",
        tmp_path / "strong.refl",
        verbosity=0,
        options=dict(word.split("=") for word in known[1].split()) | {"output.directory": str(tmp_path / "known")},
    )
    assert outcome.summary[1].startswith("P 43 21 2, cell 50.3")
    shared = re.search(r"left out .* has the option\. (.*) go to every step", page.replace("\n", " "))
    assert shared is not None
    assert {*re.findall(r"`(\w+)`", shared[1])} == {*SHARED}


def test_the_tutorial_in_python_runs(tmp_path, monkeypatch, capsys):
    pytest.importorskip("pandas")
    monkeypatch.chdir(tmp_path)
    found = blocks(TUTORIAL, "python")
    assert len(found) > 8
    names: dict[str, object] = {}
    for number, block in enumerate(found):
        exec(compile(block, f"{TUTORIAL.name}, block {number}", "exec"), names)
    told = capsys.readouterr().out
    assert "P 21 21 21" in told
    assert "did you mean indexed" in told
    assert (tmp_path / "merged.mtz").is_file()
    assert float(names["is_indexed"].mean()) > 0.9  # type: ignore[attr-defined]  # an array, as the page makes it
