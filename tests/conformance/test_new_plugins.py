"""``xtal plugins new``: what it writes is installed, seen, and keeps the contract of its kind as it stands."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from xtal.cli.plugins import main
from xtal.errors import UsageError
from xtal.hooks import KINDS
from xtal.plugins import default_plugins
from xtal.plugins.new import filled, new_plugin

NAME = "none_template"
"""A name that would trip a careless replacement."""


@pytest.fixture(scope="module")
def written(fresh: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder of nine new packages, installed into the fresh environment."""
    if not shutil.which("uv"):
        pytest.skip("uv is not there to install the packages")
    folder = tmp_path_factory.mktemp("new")
    for kind in KINDS:
        command = [str(fresh), "-m", "xtal.cli", "plugins", "new", kind, NAME]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    packages = sorted(folder.iterdir())
    words = ["uv", "pip", "install", "-q", "--python", str(fresh), "--no-deps"]
    words += ["--no-build-isolation"] if _has_hatchling(fresh) else []
    subprocess.run([*words, *map(str, packages)], check=True, capture_output=True)
    yield folder
    names = [package.name for package in packages]
    subprocess.run(["uv", "pip", "uninstall", "-q", "--python", str(fresh), *names], check=True, capture_output=True)


def _has_hatchling(python: Path) -> bool:
    return subprocess.run([str(python), "-c", "import hatchling"], capture_output=True, check=False).returncode == 0


def test_all_nine_are_seen_and_their_own_tests_pass(
    run: Callable[..., str], fresh: Path, written: Path, tmp_path: Path
) -> None:
    out = run(fresh, "-m", "xtal.cli", "plugins", "list", cwd=tmp_path)
    for kind in KINDS:
        assert f"xtal-{kind}-none-template 0.1.0" in out
    tests = [written / f"xtal-{kind}-none-template" / "tests" for kind in KINDS]
    words = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "--import-mode=importlib", "--rootdir", written)
    assert "10 passed" in run(fresh, *words, *tests, cwd=tmp_path)


def test_a_new_step_is_run(run: Callable[..., str], fresh: Path, written: Path, tmp_path: Path) -> None:
    assert "min_ratio = 3" in run(fresh, "-m", "xtal.cli", "run", NAME, "--help", cwd=tmp_path)


def test_the_chain_runs_with_them(
    run: Callable[..., str], fresh: Path, written: Path, tiny_scan: Path, tmp_path: Path
) -> None:
    """What passes the kit is good enough for the core."""

    def xtal(*words: str | Path) -> str:
        return run(fresh, "-m", "xtal.cli", "run", *words, cwd=tmp_path)

    xtal("import", *sorted(tiny_scan.glob("*.cbf")), f"executor={NAME}")
    xtal("find_spots", "imported.expt", f"threshold={NAME}", f"executor={NAME}")
    xtal("index", "imported.expt", "strong.refl", f"method={NAME}")
    xtal("refine", "indexed.expt", "indexed.refl")
    choices = (f"profile={NAME}", f"background={NAME}", f"executor={NAME}", "prediction.d_min=3")
    xtal("integrate", "refined.expt", "refined.refl", *choices)
    told = xtal("scale", "integrated.expt", "integrated.refl", f"model={NAME}")
    assert float(re.search(r"CC1/2 (\d\.\d+)", told)[1]) > 0.98
    xtal("export", "scaled.expt", "scaled.refl", f"format={NAME}", "output.exported=all.csv")
    assert len((tmp_path / "all.csv").read_text().splitlines()) > 1000


def test_a_distribution_is_checked(run: Callable[..., str], fresh: Path, written: Path, tmp_path: Path) -> None:
    out = run(fresh, "-m", "xtal.cli", "plugins", "check", "xtal-scaling-none-template", cwd=tmp_path)
    assert out == "passed  scaling  none_template\n"


def test_a_failing_plugin_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(default_plugins().factory("executor", "serial"), "n_workers", 0)
    assert main(["check", "xtal-executor-serial"]) == 1
    told = "The executor serial should have at least one worker, but n_workers is 0."
    assert f"failed  executor  serial: {told}\n" in capsys.readouterr().out
    with pytest.raises(UsageError, match="offers plugins"):
        main(["check", "xtal-executor-cereal"])


def test_nothing_of_the_template_is_left(tmp_path: Path) -> None:
    for kind in KINDS:
        folder = new_plugin(kind, "my_best", tmp_path)
        assert folder.name == f"xtal-{kind}-my-best"
        for path in folder.rglob("*"):
            assert "template" not in str(path.relative_to(tmp_path)).lower()
            assert path.is_dir() or "template" not in path.read_text().lower(), path
    assert filled("-template Template template", "my_template") == "-my-template MyTemplate my_template"


@pytest.mark.parametrize(
    ("kind", "name", "said"),
    [("treshold", "mine", "Did you mean"), ("step", "My Step", "cannot be a plugin"), ("step", "../up", "cannot be")],
)
def test_bad_words_are_told(kind: str, name: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        new_plugin(kind, name, tmp_path)
    assert said in f"{caught.value} {caught.value.advice}"
    assert not list(tmp_path.iterdir())


def test_a_name_that_is_taken_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Installed, it would take the place of the other."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="xtal-threshold-dispersion offers a threshold 'dispersion' already"):
        main(["new", "threshold", "dispersion"])
    assert not list(tmp_path.iterdir())
    assert main(["new", "format", "dispersion"]) == 0


@pytest.mark.parametrize(
    ("words", "advice"),
    [(["new", "step"], "new KIND NAME"), (["check"], "check DIST"), (["lock", "a", "b"], "lock [FILE]"),
     (["remove"], "plugins --help")],
)  # fmt: skip
def test_wrong_usage_names_the_right_one(words: list[str], advice: str) -> None:
    with pytest.raises(UsageError) as caught:
        main(words)
    assert advice in caught.value.advice


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    new_plugin("step", "mine", tmp_path)
    with pytest.raises(UsageError, match="exists already"):
        new_plugin("step", "mine", tmp_path)
