"""Every option of DIALS 3.12 is here with its name and default, or stands in the manual with what takes its place."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from fnmatch import fnmatch
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from xtal.options import help_rows
from xtal.plugins import default_plugins
from xtal.run.settings import step_classes

pytestmark = [
    pytest.mark.peer,
    pytest.mark.skipif(shutil.which("dials.import") is None, reason="DIALS 3.12 is not installed: no peer to ask"),
]

MANUAL = Path(__file__).parents[2] / "docs" / "how-to" / "from-dials.md"
STEPS = (
    "import", "show", "combine_experiments", "slice_sequence", "reindex", "filter_reflections",
    "compare_orientation_matrices", "import_xds", "generate_mask", "apply_mask", "find_spots", "spot_counts_per_image",
    "estimate_gain", "export_bitmaps", "merge_cbf", "find_hot_pixels", "detect_blanks", "find_spots_server",
)  # fmt: skip

ASK = """
import json, subprocess, sys
from libtbx import phil
found = {}
for step in sys.argv[1:]:
    done = subprocess.run([f"dials.{step}", "-c", "-a0", "-e10"], capture_output=True, text=True, check=True)
    scope = phil.parse(done.stdout.split("expert_level = 10", 1)[1])
    found[step] = {d.path: [word.value for word in d.object.words] for d in scope.all_definitions()}
print(json.dumps(found))
"""


@cache
def asked() -> dict[str, dict[str, list[str]]]:
    """By step: name of each option to the words of its default."""
    program = Path(shutil.which("dials.import") or "")
    python = program.read_text().splitlines()[0].removeprefix("#!").split()
    done = subprocess.run([*python, "-c", ASK, *STEPS], capture_output=True, text=True, check=True)
    found: dict[str, dict[str, list[str]]] = json.loads(done.stdout.splitlines()[-1])
    return found


@cache
def manual() -> dict[str, dict[str, str]]:
    """By step: option of DIALS (an asterisk for all of a scope) to the default that it has there, "" if untold."""
    rows = re.findall(r"^\| (\w+) \| `([\w.*]+)(?:=(\w+))?` \| (.+) \|$", MANUAL.read_text(), re.MULTILINE)
    found: dict[str, dict[str, str]] = {step: {} for step in STEPS}
    for step, name, value, _ in rows:
        found[step][name] = value
    return found


def plain(words: list[str]) -> Any:
    """A default as a number, or as text without quotes, stars and case."""
    chosen = [word[1:] for word in words if word.startswith("*")] or words
    text = ",".join(" ".join(chosen).replace(",", " ").split()).strip("'\"").lower()
    try:
        return float(text)
    except ValueError:
        return text


@pytest.mark.parametrize("step", STEPS)
def test_every_option_is_here_or_in_the_manual(step: str) -> None:
    plugins = default_plugins()
    descriptor = plugins.find("step", step)
    classes = step_classes(descriptor, plugins.options_class("step", step))
    chosen = ({"spotfinder.threshold": name} for name in plugins.names("threshold"))  # each has options of its own
    rows = [row for choice in chosen for row in help_rows(classes, plugins, level=9, chosen=choice)]
    ours = {re.sub(r"\[\d*\]", "", row.path): plain([row.default]) for row in rows}
    differs = {
        name
        for name, words in asked()[step].items()
        if name != "output.log" and (name not in ours or ours[name] != plain(words))
    }
    told = manual()[step]
    assert {name for name in differs if not any(fnmatch(name, pattern) for pattern in told)} == set()
    assert {pattern for pattern in told if not any(fnmatch(name, pattern) for name in differs)} == set()
    for name, value in told.items():
        if value:
            assert plain(asked()[step][name]) == plain([value]) != ours[name]


def test_what_takes_the_place_of_another_is_an_option() -> None:
    """The manual names options of ours alone where it gives another name."""
    plugins = default_plugins()
    rows = re.findall(r"^\| (\w+) \| `[\w.*]+` \| `([\w.]+)` \|$", MANUAL.read_text(), re.MULTILINE)
    assert len(rows) >= 6
    for step, name in rows:
        descriptor = plugins.find("step", step)
        classes = step_classes(descriptor, plugins.options_class("step", step))
        assert name in {row.path for row in help_rows(classes, plugins, level=9)}, (step, name)
