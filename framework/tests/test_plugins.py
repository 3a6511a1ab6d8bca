"""Discovery, conflicts, broken manifests, site policy, lock: with distributions made up on the spot."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint, distributions
from pathlib import Path

import pytest

from xtal.errors import OptionError, PluginError
from xtal.hooks import Threshold
from xtal.plugins import Plugins, Policy, load_policy
from xtal.plugins.lock import lock_text

MANIFEST = """
from xtal.hooks import Threshold, hookimpl

@hookimpl
def xtal_thresholds():
    return [Threshold(name={name!r}, summary="A fake", factory="{module}_algorithm:Fake"{more})]
"""

ALGORITHM = """
from attrs import frozen
from xtal.options import option

@frozen
class FakeOptions:
    level: float = option(3.0, help="Level")

class Fake:
    def __init__(self, options=None):
        self.options = options
"""


class Site:
    """A folder of made-up distributions."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def add(self, distribution: str, entry: str, manifest: str, version: str = "1.2", algorithm: str = "") -> None:
        module = distribution.replace("-", "_")
        (self.folder / f"{module}.py").write_text(manifest)
        if algorithm:
            (self.folder / f"{module}_algorithm.py").write_text(algorithm)
        info = self.folder / f"{module}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
        (info / "entry_points.txt").write_text(f"[xtal]\n{entry} = {module}\n")

    def threshold(self, distribution: str, name: str, more: str = "", **others: str) -> None:
        text = MANIFEST.format(name=name, module=distribution.replace("-", "_"), more=more)
        self.add(distribution, f"threshold-{name.replace('_', '-')}", text, algorithm=ALGORITHM, **others)

    def points(self) -> list[EntryPoint]:
        return [p for d in distributions(path=[str(self.folder)]) for p in d.entry_points]

    def plugins(self, policy: Policy | None = None) -> Plugins:
        return Plugins(policy or Policy(), self.points())


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)
    yield Site(tmp_path)  # type: ignore[misc]
    for name in set(sys.modules) - before:
        if getattr(sys.modules[name], "__file__", None) and str(tmp_path) in str(sys.modules[name].__file__):
            del sys.modules[name]


def test_found_and_constructed(site: Site) -> None:
    site.threshold("acme-one", "one", ', options="acme_one_algorithm:FakeOptions"')
    site.threshold("acme-two", "two")
    plugins = site.plugins()
    assert plugins.names("threshold") == ["one", "two"]
    assert plugins.versions == {"acme-one": "1.2", "acme-two": "1.2"}
    assert plugins.load("threshold", "one").options.level == 3.0
    assert plugins.load("threshold", "two").options is None
    assert "acme_one_algorithm" in sys.modules
    assert plugins.manager.has_plugin("acme-one:threshold-one")


def test_listing_imports_no_algorithm(site: Site) -> None:
    site.threshold("acme-one", "one")
    assert isinstance(site.plugins().all("threshold")[0], Threshold)
    assert "acme_one_algorithm" not in sys.modules


def test_unknown_name_gets_the_nearest(site: Site) -> None:
    site.threshold("acme-one", "dispersion")
    with pytest.raises(PluginError, match=r"no threshold 'disperson'\. Did you mean dispersion\?"):
        site.plugins().find("threshold", "disperson")


@pytest.mark.parametrize(
    ("manifest", "cause"),
    [
        ("import nowhere_to_be_found", "nowhere_to_be_found"),
        ("x = (", "SyntaxError"),
        ("raise SystemError('boom')", "boom"),
        ("x = 1", "no hook"),
        (
            "from xtal.hooks import hookimpl\n@hookimpl\ndef xtal_threshold():\n    return []",
            "Did you mean xtal_thresholds",
        ),
        ("from xtal.hooks import hookimpl\n@hookimpl\ndef xtal_thresholds():\n    return [3]", "no Threshold"),
        ("from xtal.hooks import hookimpl\n@hookimpl\ndef xtal_thresholds():\n    1 / 0", "ZeroDivisionError"),
        (MANIFEST.format(name="bad", module="acme_bad", more=", api=99"), "version 99"),
    ],
)
def test_a_broken_plugin_harms_nobody(site: Site, manifest: str, cause: str) -> None:
    site.threshold("acme-one", "one")
    site.add("acme-bad", "threshold-bad", manifest)
    plugins = site.plugins()
    assert plugins.names("threshold") == ["one"]
    (problem,) = plugins.problems
    assert problem.distribution == "acme-bad" and cause in problem.cause
    with pytest.raises(PluginError, match="acme-bad cannot be used"):
        plugins.find("threshold", "bad")


def test_broken_algorithm_names_the_plugin(site: Site) -> None:
    site.threshold("acme-one", "one")
    (site.folder / "acme_one_algorithm.py").write_text("import nowhere_to_be_found")
    with pytest.raises(PluginError, match=r"threshold 'one' cannot be loaded.*nowhere_to_be_found"):
        site.plugins().load("threshold", "one")


def test_one_name_twice_is_an_error_unless_the_site_prefers(site: Site) -> None:
    site.threshold("acme-one", "same")
    site.threshold("acme-two", "same")
    with pytest.raises(PluginError, match="offered by acme-one and acme-two"):
        site.plugins().find("threshold", "same")
    policy = Policy(prefer={"threshold:same": "acme_two"})
    assert site.plugins(policy).find_installed("threshold", "same").distribution == "acme-two"


@pytest.mark.parametrize("pattern", ["threshold-two", "acme-two", "*two"])
def test_denied_is_never_imported(site: Site, pattern: str) -> None:
    site.threshold("acme-one", "one")
    site.threshold("acme-two", "two")
    plugins = site.plugins(Policy(deny=[pattern]))
    assert plugins.names("threshold") == ["one"] and plugins.problems[0].denied
    assert "acme_two" not in sys.modules
    with pytest.raises(PluginError, match="denied by the site's policy"):
        plugins.find("threshold", "two")
    assert site.plugins(Policy(allow=["threshold-two"])).names("threshold") == ["two"]


def test_policy_files_override_one_another(tmp_path: Path) -> None:
    first, second = tmp_path / "first.toml", tmp_path / "second.toml"
    first.write_text(
        '[plugins]\ndeny = ["a"]\nallow = ["x*"]\n[enforced.plugins]\nprefer = {"step:merge" = "one"}\n'
        '[options."*"]\nnproc = 4\n[options.find_spots]\nfilter.d_min = 2.5\n'
        "[enforced.options.scale]\nanomalous = true\n"
    )
    second.write_text(
        '[plugins]\ndeny = ["b"]\nallow = ["*"]\nprefer = {"step:merge" = "two"}\n[options.find_spots]\n"d_min" = 3\n'
    )
    policy = load_policy([first, second, tmp_path / "absent.toml"])
    assert policy.deny == ["a", "b"] and policy.allow == ["*"]
    assert policy.prefer == {"step:merge": "one"}
    assert [(s.name, s.value) for s in policy.options_for("find_spots")] == [
        ("nproc", "4"),
        ("filter.d_min", "2.5"),
        ("d_min", "3"),
    ]
    assert [(s.name, s.value) for s in policy.enforced_for("scale")] == [("anomalous", "True")]
    assert policy.sources == [str(first), str(second)]


@pytest.mark.parametrize("text", ["[plugins", "[pluginz]\n", "[plugins]\ndeny = 3\n", "[options]\nx = 1\n"])
def test_faults_of_policy_files_name_the_file(tmp_path: Path, text: str) -> None:
    path = tmp_path / "site.toml"
    path.write_text(text)
    with pytest.raises(OptionError, match=r"site\.toml"):
        load_policy([path])


def test_where_policies_are_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    (tmp_path / "config" / "xtal").mkdir(parents=True)
    (tmp_path / "config" / "xtal" / "site.toml").write_text('[plugins]\ndeny = ["u"]\n')
    (tmp_path / "mine.toml").write_text('[plugins]\ndeny = ["s"]\n')
    (tmp_path / "xtal.toml").write_text('[plugins]\ndeny = ["p"]\n')
    monkeypatch.setenv("XTAL_SITE", str(tmp_path / "mine.toml"))
    assert load_policy().deny == ["s", "u", "p"]
    monkeypatch.setenv("XTAL_SITE", str(tmp_path / "absent.toml"))
    with pytest.raises(OptionError, match="XTAL_SITE"):
        load_policy()


@pytest.mark.parametrize(
    ("requirement", "ok"),
    [("acme-one", True), ("acme_one>=1.2", True), ("acme-one>=1.2.1", False), ("acme-one==1.2.0", True),
     ("acme-one>=1,<1.2", False), ("acme-none", False)],
)  # fmt: skip
def test_required_plugins(site: Site, requirement: str, ok: bool) -> None:
    site.threshold("acme-one", "one")
    plugins = site.plugins(Policy(required=[(requirement, "site.toml")]))
    if ok:
        plugins.check()
    else:
        with pytest.raises(PluginError, match=r"site\.toml"):
            plugins.check()


def test_lock(site: Site, tmp_path: Path) -> None:
    site.threshold("acme-one", "one")
    path = tmp_path / "xtal.lock.toml"
    path.write_text(lock_text(site.plugins()))
    policy = Policy(lock=path)
    site.plugins(policy).check()
    site.threshold("acme-two", "two")
    with pytest.raises(PluginError, match=r"acme-two to nothing, but 1\.2 is installed"):
        site.plugins(policy).check()
