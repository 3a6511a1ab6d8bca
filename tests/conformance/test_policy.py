"""Site policy over distributions that are really installed: denied, broken, required, twice, locked."""

from __future__ import annotations

import shutil
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

MANIFEST = """
{before}
from xtal.hooks import Threshold, hookimpl

@hookimpl
def xtal_thresholds():
    return [Threshold(name={name!r}, summary="Of the tests", factory="acme_threshold.brightest:Brightest")]
"""


def wheel(folder: Path, distribution: str, name: str, before: str = "") -> Path:
    """A distribution with one threshold, as pip installs it."""
    module = distribution.replace("-", "_")
    info = f"{module}-1.0.dist-info"
    files = {
        f"{module}.py": MANIFEST.format(before=before, name=name),
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": f"[xtal]\nthreshold-{name} = {module}\n",
    }
    files[f"{info}/RECORD"] = "".join(f"{path},,\n" for path in [*files, f"{info}/RECORD"])
    path = folder / f"{module}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for at, text in files.items():
            archive.writestr(at, text)
    return path


@pytest.fixture(scope="module")
def crowded(fresh: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The fresh environment with a plugin that kills the interpreter, a broken one, and two of one name."""
    if not shutil.which("uv"):
        pytest.skip("uv is not there to install the wheels")
    folder = tmp_path_factory.mktemp("wheels")
    wheels = [
        wheel(folder, "acme-killer", "killer", "import os\nos.abort()"),
        wheel(folder, "acme-broken", "broken", "import nowhere_to_be_found"),
        wheel(folder, "acme-leaver", "leaver", "import sys\nsys.exit(5)"),
        wheel(folder, "acme-first", "same"),
        wheel(folder, "acme-second", "same"),
    ]
    words = ["uv", "pip", "--quiet", "--python", str(fresh), "--offline"]
    install = [*words[:2], "install", *words[2:], "--no-deps", *map(str, wheels)]
    subprocess.run(install, check=True, capture_output=True)
    yield fresh
    names = [w.name.split("-")[0] for w in wheels]
    subprocess.run([*words[:2], "uninstall", *words[2:], *names], check=True, capture_output=True)


class Xtal:
    """The command in the environment, under a site file."""

    def __init__(self, python: Path, folder: Path) -> None:
        self.python, self.folder = python, folder

    def __call__(self, site: str, *words: str) -> subprocess.CompletedProcess[str]:
        (self.folder / "xtal.toml").write_text(site)
        command = [str(self.python), "-m", "xtal.cli", *words]
        return subprocess.run(command, cwd=self.folder, capture_output=True, text=True, check=False)


@pytest.fixture
def xtal(crowded: Path, tmp_path: Path) -> Xtal:
    return Xtal(crowded, tmp_path)


SAFE = '[plugins]\ndeny = ["threshold-killer"]\n'


def test_a_denied_plugin_is_never_imported(xtal: Xtal) -> None:
    assert xtal("", "plugins", "list").returncode < 0, "the plugin should kill the interpreter where it is let in"
    for site in (SAFE, '[plugins]\nallow = ["xtal-*"]\n', '[enforced.plugins]\ndeny = ["acme-killer"]\n'):
        done = xtal(site, "plugins", "list")
        assert done.returncode == 0, done.stderr
        assert "denied  threshold-killer  (acme-killer)" in done.stdout


def test_broken_ones_are_listed_with_their_cause_and_harm_nobody(xtal: Xtal) -> None:
    out = xtal(SAFE, "plugins", "list").stdout
    assert "broken  threshold-broken  (acme-broken): ModuleNotFoundError" in out and "nowhere_to_be_found" in out
    assert "broken  threshold-leaver  (acme-leaver): SystemExit: 5" in out
    assert "acme-xtal-threshold 0.1.0" in out
    assert xtal(SAFE, "run", "find_spots", "--help").returncode == 0


def test_two_of_one_name_are_named_unless_the_site_prefers(xtal: Xtal) -> None:
    done = xtal(SAFE, "plugins", "info", "same")
    assert done.returncode == 1 and "acme-first and acme-second" in done.stderr
    assert "conflict  The threshold 'same'" in xtal(SAFE, "plugins", "list").stdout
    prefer = SAFE + 'prefer = { "threshold:same" = "acme_second" }\n'
    assert "acme-second 1.0" in xtal(prefer, "plugins", "info", "same").stdout


@pytest.mark.parametrize(
    ("requirement", "said"),
    [
        ("acme-absent", "requires the plugin acme-absent, which is not installed"),
        ("acme-first>=2", "requires acme-first>=2, but acme-first 1.0 is installed"),
        ("acme-broken", "requires acme-broken, which cannot be used: ModuleNotFoundError"),
        ("acme-killer", "requires acme-killer, which cannot be used: denied"),
    ],
)
def test_what_is_required_and_missing_stops_a_run(xtal: Xtal, requirement: str, said: str) -> None:
    done = xtal(SAFE + f'required = ["{requirement}"]\n', "run", "import", "nothing.cbf")
    assert done.returncode == 1 and said in done.stderr and "Traceback" not in done.stderr


def test_lock_and_site_defaults_are_told_and_recorded(xtal: Xtal, tiny_scan: Path) -> None:
    prefer = SAFE + 'prefer = { "threshold:same" = "acme-second" }\n'
    image = str(min(tiny_scan.glob("*.cbf")))
    assert xtal(prefer, "plugins", "lock").returncode == 0
    locked = prefer + 'lock = "xtal.lock.toml"\n[options."*"]\nnproc = 1\n'
    done = xtal(locked, "run", "import", image)
    assert done.returncode == 0 and "locks" not in done.stdout + done.stderr
    assert "nproc = 1   (from xtal.toml)" in done.stdout
    assert '"site":' in (xtal.folder / "imported.expt").read_text()
    other = locked.replace('"acme-second"', '"acme-first"')
    done = xtal(other, "run", "import", image, "output.experiments=other.expt")
    assert done.returncode == 0
    difference = "threshold same: locked acme-second, here acme-first"
    assert difference in done.stdout + done.stderr
    assert difference in (xtal.folder / "other.expt").read_text()
    enforced = other + '[enforced.plugins]\nlock = "xtal.lock.toml"\n'
    done = xtal(enforced, "run", "import", image)
    assert done.returncode == 1 and difference in done.stderr
    assert "nproc = 1   (from xtal.toml)" in xtal(locked, "run", "find_spots", "--help").stdout
