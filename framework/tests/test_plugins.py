"""Discovery, conflicts, broken manifests, site policy, lock: with distributions made up on the spot."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint, distributions
from pathlib import Path

import pytest

from xtal.errors import OptionError, PluginError
from xtal.hooks import Threshold
from xtal.plugins import Plugins, Policy, load_policy, policy
from xtal.plugins.lock import lock_text
from xtal.plugins.policy import Lock, Rule
from xtal.plugins.requirements import Requirement

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
        ("import sys\nsys.exit(4)", "SystemExit"),
        ("class Odd(BaseException): pass\nraise Odd('strange')", "strange"),
        (MANIFEST.format(name="Bad", module="acme_bad", more=""), "lower case"),
        (MANIFEST.format(name="bad", module="acme_bad", more=", options=3"), "module:attribute"),
        (MANIFEST.format(name="bad", module="acme_bad", more=", api='1'"), "no int"),
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
    policy = Policy(prefer={"threshold:same": "acme-two"})
    assert site.plugins(policy).find_installed("threshold", "same").distribution == "acme-two"


@pytest.mark.parametrize("pattern", ["threshold-two", "acme-two", "*two"])
def test_denied_is_never_imported(site: Site, pattern: str) -> None:
    site.threshold("acme-one", "one")
    site.threshold("acme-two", "two")
    plugins = site.plugins(Policy(rules=[Rule(deny=(pattern,))]))
    assert plugins.names("threshold") == ["one"] and plugins.problems[0].denied
    assert "acme_two" not in sys.modules
    with pytest.raises(PluginError, match="denied by the site's policy"):
        plugins.find("threshold", "two")
    assert site.plugins(Policy(rules=[Rule(allow=("threshold-two",))])).names("threshold") == ["two"]


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
    assert policy.rules == [Rule(("*",), ("b",)), Rule(("x*",), ("a",))]
    assert [policy.allows(name, "d") for name in ("a", "b", "c", "x1")] == [True, False, True, True]
    assert policy.prefer == {"step:merge": "one"}
    assert [(s.name, s.value) for s in policy.options_for("find_spots")] == [
        ("nproc", "4"),
        ("filter.d_min", "2.5"),
        ("d_min", "3"),
    ]
    assert [(s.name, s.value) for s in policy.enforced_for("scale")] == [("anomalous", "True")]
    assert policy.sources == [str(first), str(second)]


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("[plugins", "cannot be read"),
        ("\xff", "cannot be read"),
        ("x = " + "[" * 5000, "nested too deeply"),
        ("x = " + "9" * 5000, "cannot be read"),
        ("#" * 1_000_001, "larger than"),
        ("[pluginz]\n", "pluginz: Did you mean plugins"),
        ("plugins = 3\n", "plugins: a table"),
        ("[enforced]\nplugins = 3\n", r"enforced\.plugins: a table"),
        ("[enforced.site]\n", r"enforced\.site"),
        ("[plugins]\ndenied = []\n", r"plugins\.denied: Did you mean deny"),
        ("[plugins]\ndeny = 3\n", r"plugins\.deny: a list of texts"),
        ("[plugins]\ndeny = [3]\n", r"plugins\.deny: a list of texts"),
        ('[plugins]\nallow = "x"\n', r"plugins\.allow: a list of texts"),
        ('[plugins]\nrequired = ["x~1"]\n', r"plugins\.required: 'x~1' is no requirement"),
        (f'[plugins]\nrequired = ["x>={"9" * 5000}"]\n', r"plugins\.required: 'x>=9+.* is no requirement"),
        ("[plugins]\nprefer = []\n", r"plugins\.prefer: a table"),
        ('[plugins]\nprefer = {"x" = "y"}\n', r"plugins\.prefer: 'x' is not KIND:NAME"),
        ('[plugins]\nprefer = {"step:x" = 3}\n', r"plugins\.prefer\.step:x"),
        ("[plugins]\nlock = 3\n", r"plugins\.lock"),
        ("[options]\nx = 1\n", r"options\.x: a table"),
        ("[options.scale]\nx = 2026-11-24\n", r"options\.scale\.x: a text, a number"),
        ("[options.scale]\nx = [{}]\n", r"options\.scale\.x"),
    ],
    ids=lambda text: text[:20].replace("\n", " "),
)
def test_faults_of_policy_files_name_the_file_and_the_key(tmp_path: Path, text: str, key: str) -> None:
    path = tmp_path / "site.toml"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(OptionError, match=rf"site\.toml.*{key}") as caught:
        load_policy([path])
    assert "\n" not in caught.value.message


def test_what_a_site_enforces_stands(tmp_path: Path) -> None:
    site, user = tmp_path / "site.toml", tmp_path / "user.toml"
    site.write_text('[enforced.plugins]\ndeny = ["bad*"]\nlock = "a"\n[plugins]\ndeny = ["slow"]\n')
    user.write_text('[plugins]\nallow = ["*"]\nlock = "b"\n[enforced.plugins]\nallow = ["bad1"]\n')
    policy = load_policy([site, user])
    assert not policy.allows("bad1", "d")
    assert policy.lock == Lock(tmp_path / "a", enforced=True)
    user.write_text('[plugins]\nallow = ["*"]\n')
    assert load_policy([site, user]).allows("slow", "d")
    user.write_text('[plugins]\ndeny = ["other"]\n')
    assert not load_policy([site, user]).allows("slow", "d")


def test_one_plugin_of_a_manifest_may_be_too_new_or_denied(site: Site) -> None:
    manifest = (
        "from xtal.hooks import Threshold, hookimpl\n@hookimpl\ndef xtal_thresholds():\n"
        '    return [Threshold(name=n, summary="x", factory="a:b", api=v) for n, v in (("one", 1), ("two", 2))]\n'
    )
    site.add("acme-both", "threshold-both", manifest)
    plugins = site.plugins()
    assert plugins.names("threshold") == ["one"]
    with pytest.raises(PluginError, match="'two' of acme-both cannot be used: it is written for version 2 of the hook"):
        plugins.find("threshold", "two")
    assert site.plugins(Policy(rules=[Rule(deny=("threshold:one",))])).names("threshold") == []


def test_a_conflict_harms_no_other_name(site: Site) -> None:
    for name, distribution in (("same", "acme-one"), ("same", "acme-two"), ("other", "acme-three")):
        site.threshold(distribution, name)
    plugins = site.plugins()
    assert [d.name for d in plugins.all("threshold")] == ["other"]
    assert "acme-one and acme-two" in str(plugins.conflicts()[0])
    absent = site.plugins(Policy(prefer={"threshold:same": "acme-nine"}))
    with pytest.raises(PluginError, match="acme-nine, which the site prefers, is not among them"):
        absent.find("threshold", "same")


def test_a_plugin_that_cannot_be_constructed_is_named(site: Site) -> None:
    site.threshold("acme-one", "one")
    (site.folder / "acme_one_algorithm.py").write_text("class Fake:\n    def __init__(self):\n        1 / 0\n")
    with pytest.raises(PluginError, match="threshold 'one' cannot be constructed: ZeroDivisionError"):
        site.plugins().load("threshold", "one")


def test_where_policies_are_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    (tmp_path / "config" / "xtal").mkdir(parents=True)
    (tmp_path / "config" / "xtal" / "site.toml").write_text('[plugins]\ndeny = ["u"]\n')
    (tmp_path / "mine.toml").write_text('[plugins]\ndeny = ["s"]\n')
    (tmp_path / "xtal.toml").write_text('[plugins]\ndeny = ["p"]\n')
    (tmp_path / "system.toml").write_text('[plugins]\ndeny = ["m"]\n')
    monkeypatch.setenv("XTAL_SITE", str(tmp_path / "mine.toml"))
    assert policy.policy_files()[0] == Path("/etc/xtal/site.toml")
    monkeypatch.setattr(policy, "SYSTEM", tmp_path / "system.toml")
    assert [rule.deny for rule in load_policy().rules] == [("p",), ("u",), ("s",), ("m",)]
    monkeypatch.setenv("XTAL_SITE", str(tmp_path / "absent.toml"))
    with pytest.raises(OptionError, match="XTAL_SITE"):
        load_policy()


def _required(text: str) -> Requirement:
    found = Requirement.parse(text, "site.toml")
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("requirement", "ok"),
    [("acme-one", True), ("acme_one>=1.2", True), ("acme-one>=1.2.1", False), ("acme-one==1.2.0", True),
     ("acme-one>=1,<1.2", False), ("acme-none", False)],
)  # fmt: skip
def test_required_plugins(site: Site, requirement: str, ok: bool) -> None:
    site.threshold("acme-one", "one")
    plugins = site.plugins(Policy(required=[_required(requirement)]))
    if ok:
        plugins.check()
    else:
        with pytest.raises(PluginError, match=r"site\.toml"):
            plugins.check()


def test_lock(site: Site, tmp_path: Path) -> None:
    site.threshold("acme-one", "one")
    path = tmp_path / "xtal.lock.toml"
    path.write_text(lock_text(site.plugins()))
    told = Policy(lock=Lock(path))
    assert site.plugins(told).lock_differences == []
    site.threshold("acme-two", "two")
    site.plugins(told).check()
    assert site.plugins(told).lock_differences == [
        "acme-two: locked absent, here 1.2",
        "threshold two: locked absent, here acme-two",
    ]
    with pytest.raises(PluginError, match="acme-two: locked absent"):
        site.plugins(Policy(lock=Lock(path, enforced=True))).check()
    path.write_text("[threshold]\none = 3\n")
    with pytest.raises(OptionError, match=r"xtal\.lock\.toml has a wrong entry threshold\.one"):
        site.plugins(told).check()
