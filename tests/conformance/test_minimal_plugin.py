"""The third party's plugin of ``examples/``: installed into a fresh environment, seen, used, and conforming."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "minimal_plugin"
Run = Callable[..., str]


def test_it_is_short() -> None:
    lines = [
        line
        for path in sorted((EXAMPLE / "src").rglob("*.py"))
        for line in path.read_text().splitlines()
        if line.strip()
    ]
    assert len(lines) < 40


def test_it_is_seen(run: Run, fresh: Path, tmp_path: Path) -> None:
    out = run(fresh, "-m", "xtal.cli", "plugins", "list", cwd=tmp_path)
    assert re.search(r"threshold +brightest +acme-xtal-threshold 0\.1\.0", out)
    assert "n_sigma = 6" in run(fresh, "-m", "xtal.cli", "plugins", "info", "brightest", cwd=tmp_path)


def test_it_is_used_by_find_spots(run: Run, fresh: Path, tiny_scan: Path, tmp_path: Path) -> None:
    first = sorted(tiny_scan.glob("*.cbf"))[:5]
    run(fresh, "-m", "xtal.cli", "run", "import", *first, cwd=tmp_path)
    words = ("run", "find_spots", "imported.expt", "threshold=brightest", "n_sigma=5")
    out = run(fresh, "-m", "xtal.cli", *words, cwd=tmp_path)
    assert "threshold.algorithm = brightest" in out and "brightest.n_sigma = 5" in out
    assert (tmp_path / "strong.refl").stat().st_size > 1000
    assert "acme-xtal-threshold 0.1.0" in (tmp_path / "strong.refl.made.json").read_text()


def test_its_own_tests_pass(run: Run, fresh: Path, tmp_path: Path) -> None:
    tests = shutil.copytree(EXAMPLE / "tests", tmp_path / "tests", ignore=shutil.ignore_patterns("__pycache__"))
    out = run(fresh, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", tmp_path, tests, cwd=tmp_path)
    assert "1 passed" in out


def test_the_site_can_deny_it(run: Run, fresh: Path, tmp_path: Path) -> None:
    policy = str(ROOT / "examples" / "site" / "src" / "acme_site" / "site.toml")
    out = run(fresh, "-m", "xtal.cli", "plugins", "list", cwd=tmp_path, XTAL_SITE=policy)
    assert re.search(r"denied +threshold-brightest +\(acme-xtal-threshold\)", out)
    assert "policy: " in out
