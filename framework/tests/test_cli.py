"""The command: exit codes, which option goes to which step, resuming, errors as sentences."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from attrs import frozen

from xtal.cli import main, process
from xtal.cli import run as cli_run
from xtal.cli.demo import demonstrate
from xtal.cli.main import guarded, speak_plainly
from xtal.cli.process import CHAIN, RECORD, distribute
from xtal.errors import AlgorithmFailed, OptionError, XtalError
from xtal.hooks import Step
from xtal.options import option, scope, split_tokens
from xtal.plugins import Plugins, Policy
from xtal.plugins.manager import Installed
from xtal.run import Context, Outcome

RAN: list[str] = []


@frozen
class GoniometerOptions:
    axis: tuple[float, ...] | None = option(None, help="Axis", size=3)


@frozen
class GeometryOptions:
    goniometer: GoniometerOptions = scope(GoniometerOptions)


@frozen
class ImportOptions:
    geometry: GeometryOptions = scope(GeometryOptions)


@frozen
class IceOptions:
    space_group: str = option("194", help="Group of ice", level=1)


@frozen
class SpotOptions:
    d_min: float | None = option(None, help="Limit")
    fix: str = option("none", help="Fix")
    ice_rings: IceOptions = scope(IceOptions)


@frozen
class FilterOptions:
    filter: SpotOptions = scope(SpotOptions)


@frozen
class ScaleOptions:
    d_min: float | None = option(None, help="Limit")
    fix: str = option("none", help="Fix")
    anomalous: bool = option(False, help="Friedel mates apart")
    space_group: str | None = option(None, help="Group")
    unit_cell: tuple[float, ...] | None = option(None, help="Cell", size=6)


OPTIONS = {"import": "ImportOptions", "find_spots": "FilterOptions", "scale": "ScaleOptions", "merge": "ScaleOptions"}
WRITES = {
    "import": {"experiments": "imported.expt"},
    "find_spots": {"reflections": "strong.refl"},
    "merge": {"mtz": "merged.mtz"},
}


def fake(context: Context) -> None:
    name = context.step.name
    RAN.append(name)
    if name == "index" and context.has("reflections") and b"hopeless" in context.inputs["reflections"][0].read_bytes():
        raise AlgorithmFailed("No lattice was found.", advice="Collect better data.")
    for role in context.step.outputs:
        with context.writing(role) as path:
            text = " ".join(str(p) for paths in context.inputs.values() for p in paths)
            path.write_text(f"{name} {context.options} {text}")
    if name == "find_spots":  # an output whose name follows from the data
        with context.writing("hot_mask_0", "hot_mask_0.h5") as path:
            path.write_text("a mask")
    context.summary(f"{name} one", "two", "three")


def files_of(name: str) -> dict[str, str]:
    return WRITES.get(name, {"experiments": f"{name}.expt", "reflections": f"{name}.refl"})


@pytest.fixture
def plugins(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Plugins:
    RAN.clear()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "img_001.cbf").write_text("image")
    found = Plugins(Policy())
    found._by_kind["step"] = {}
    for k, name in enumerate(CHAIN):
        step = Step(
            name=name,
            summary=f"Made-up {name}",
            factory=f"{__name__}:fake",
            options=f"{__name__}:{OPTIONS[name]}" if name in OPTIONS else "",
            order=k,
            inputs=("images",) if name == "import" else ("experiments?", "reflections?"),
            outputs=files_of(name),
        )
        found._by_kind["step"][name] = [Installed("step", step, "xtal-framework", "steps-made-up")]
    # made-up files are no real experiments: what they hold decides nothing here
    monkeypatch.setattr(
        "xtal.run.inputs.role_of", lambda p: {".expt": "experiments", ".refl": "reflections"}.get(p.suffix, "images")
    )
    monkeypatch.setattr("xtal.run.runner._check_inputs", lambda context: None)
    for module in (process, cli_run):
        monkeypatch.setattr(module, "default_plugins", lambda: found)
    monkeypatch.setattr("xtal.plugins.default_plugins", lambda: found)
    return found


def chain(plugins: Plugins, *words: str) -> list[Outcome]:
    RAN.clear()
    assignments, files = split_tokens(words)
    return process.process(plugins, assignments, files or ["img_001.cbf"], verbosity=0)


def given(plugins: Plugins, *words: str) -> dict[str, list[tuple[str, str]]]:
    by_step = distribute(plugins, split_tokens(words)[0])
    return {s: [(a.key, a.value) for a in found] for s, found in by_step.items() if found}


APART = {"scale": [("anomalous", "True")], "merge": [("anomalous", "True")]}


def test_shared_options_go_to_every_step_that_has_them(plugins: Plugins) -> None:
    assert given(plugins) == APART
    assert given(plugins, "d_min=2") == {
        "find_spots": [("filter.d_min", "2")],
        "scale": [*APART["scale"], ("d_min", "2")],
        "merge": [*APART["merge"], ("d_min", "2")],
    }
    assert given(plugins, "axis=-1,0,0") == {**APART, "import": [("geometry.goniometer.axis", "-1,0,0")]}
    joined = given(plugins, "anomalous=False")
    assert [joined[s][-1] for s in ("scale", "merge")] == [("anomalous", "False")] * 2
    assert all(("nproc", "2") in found for found in given(plugins, "nproc=2").values())
    grouped = given(plugins, "space_group=P43212")
    assert "find_spots" not in grouped, "the group of the crystal is not that of the ice"
    assert grouped["scale"][-1] == ("space_group", "P43212")


def test_other_options_name_their_step(plugins: Plugins) -> None:
    assert given(plugins, "scale.d_min=3")["scale"][-1] == ("d_min", "3")
    assert "find_spots" not in given(plugins, "scale.d_min=3")
    assert given(plugins, "geometry.goniometer.axis=1,0,0")["import"] == [("geometry.goniometer.axis", "1,0,0")]
    with pytest.raises(OptionError, match=r"'fix' is ambiguous: find_spots, scale, merge have it") as caught:
        given(plugins, "fix=all")
    assert caught.value.advice.endswith("each that is meant: find_spots.filter.fix, scale.fix, merge.fix.")
    with pytest.raises(OptionError, match=r"'scale\.foo' is unknown\. See xtal run scale --help -v"):
        given(plugins, "scale.foo=2")
    with pytest.raises(OptionError, match=r"'d_mni' is unknown\. Did you mean d_min\?"):
        given(plugins, "d_mni=2")
    with pytest.raises(OptionError, match=r"Did you mean scale\.d_min"):
        given(plugins, "scale.d_mni=2")
    with pytest.raises(OptionError, match=r"'find_spot\.d_min' is unknown\. Did you mean find_spots\.filter\.d_min\?"):
        given(plugins, "find_spot.d_min=2")


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("merge.d_min=two", r"d_min=two is not a number\. See xtal run merge --help -v"),
        ("space_group=P99", "'P99' is not a space group"),
        ("unit_cell=50,50,38,90,90,0", "50 50 38 90 90 0 is no unit cell"),
        ("memory=lots", "memory=lots is no amount of memory"),
    ],
)
def test_what_is_wrong_with_the_last_step_is_told_before_the_first(plugins: Plugins, word: str, told: str) -> None:
    with pytest.raises(OptionError, match=told):
        chain(plugins, word)
    with pytest.raises(OptionError, match=told):
        demonstrate(plugins, Path("demo"), split_tokens([word])[0])
    assert RAN == []


def test_the_chain_runs_and_each_step_reads_the_newest_files(plugins: Plugins) -> None:
    outcomes = chain(plugins)
    assert tuple(RAN) == CHAIN
    assert outcomes[-1].outputs["mtz"] == Path("merged.mtz")
    assert "strong.refl" in Path("index.refl").read_text() and "imported.expt" in Path("index.refl").read_text()
    assert "scale.refl" in Path("merged.mtz").read_text()
    assert "anomalous=True" in Path("scale.refl").read_text()


def test_it_resumes(plugins: Plugins) -> None:
    chain(plugins)
    assert [o.skipped for o in chain(plugins)] == [True] * len(CHAIN)
    assert RAN == []
    Path("integrate.refl").unlink()
    chain(plugins)
    assert RAN == ["integrate"], "what comes out is the same, so that the steps after it stand"
    Path("hot_mask_0.h5").unlink()
    chain(plugins)
    assert RAN == ["find_spots"]
    Path("integrate.refl").write_text("spoilt")
    chain(plugins, "scale.d_min=3", "nproc=1")
    assert RAN == ["integrate", "scale", "merge"]
    chain(plugins, "scale.d_min=3", "resume=False")
    assert tuple(RAN) == CHAIN
    Path("img_001.cbf").write_text("another image")
    chain(plugins, "scale.d_min=3")
    assert RAN[0] == "import"


def test_a_spoilt_record_does_no_harm(plugins: Plugins) -> None:
    chain(plugins)
    record = json.loads(Path(RECORD).read_text())
    del record["index"]["outputs"]["reflections"]["digest"]
    Path(RECORD).write_text(json.dumps(record))
    chain(plugins)
    assert RAN == ["index"]
    Path(RECORD).write_text("{")
    chain(plugins)
    assert tuple(RAN) == CHAIN


def test_an_interrupted_chain_goes_on(plugins: Plugins, monkeypatch: pytest.MonkeyPatch) -> None:
    real = process.run_prepared

    def killed(found: Plugins, prepared: process.Prepared, *, verbosity: int) -> Outcome:
        if prepared.step.name == "integrate":
            raise KeyboardInterrupt
        return real(found, prepared, verbosity=verbosity)

    monkeypatch.setattr(process, "run_prepared", killed)
    assert main(["process", "img_001.cbf"]) == 130
    monkeypatch.setattr(process, "run_prepared", real)
    chain(plugins)
    assert RAN == ["integrate", "symmetry", "scale", "merge"]


def test_it_stops_early_with_a_reason(
    plugins: Plugins, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    chain(plugins)
    monkeypatch.setattr("xtal.run.provenance.same_run", lambda *_: True)
    Path("strong.refl").write_text("hopeless")
    record = json.loads(Path(RECORD).read_text())
    from xtal.files.digest import digest

    record["find_spots"]["outputs"]["reflections"]["digest"] = digest(Path("strong.refl"))
    del record["index"]
    Path(RECORD).write_text(json.dumps(record))
    assert main(["process", "img_001.cbf"]) == 1
    assert capsys.readouterr().err == "Error: index: No lattice was found.\nCollect better data.\n"


def test_three_lines_of_each_step(plugins: Plugins, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["process", "img_001.cbf"]) == 0
    out = capsys.readouterr().out
    assert "Friedel mates are kept apart" in out
    assert "    merge one\n    two\n    three\n" in out


# --- exit codes -----------------------------------------------------------------------


def code(error: BaseException) -> int:
    def function() -> int:
        raise error

    return guarded(function)


def test_exit_codes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    assert code(XtalError("The data cannot.", advice="Try this.")) == 1
    assert capsys.readouterr().err == "Error: The data cannot.\nTry this.\n"
    assert code(KeyboardInterrupt()) == 130
    assert code(MemoryError()) == 1
    capsys.readouterr()
    assert code(ZeroDivisionError("x")) == 3
    told = capsys.readouterr().err
    assert "defect" in told and "Traceback" not in told
    assert "Traceback" in (tmp_path / "xtal.defect.log").read_text()


@pytest.mark.parametrize(
    ("words", "exit_code", "told"),
    [
        (["proces"], 2, "Did you mean process"),
        (["find_spots"], 2, "Run it with: xtal run find_spots"),
        (["run", "find_spost"], 2, "Did you mean find_spots"),
        (["process", "d_min=2"], 2, "No images"),
        (["process", "absent.cbf"], 1, "absent.cbf does not exist"),
        (["plugins", "sing"], 2, "not understood"),
        (["run", "import", "img_001.cbf", "axs=1,0,0"], 1, "Did you mean geometry.goniometer.axis"),
    ],
)
def test_wrong_usage(
    plugins: Plugins, words: list[str], exit_code: int, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == exit_code
    captured = capsys.readouterr()
    assert told in captured.err and captured.err.startswith("Error: ")


def test_a_terminal_without_the_sign_shows_a_question_mark(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(raw, encoding="ascii"))
    speak_plainly()
    print("1.5 Å", flush=True)
    assert raw.getvalue().endswith(b"1.5 ?\n")


def test_help_and_lists(plugins: Plugins, capsys: pytest.CaptureFixture[str]) -> None:
    for words in ([], ["--help"], ["run"], ["run", "scale", "--help"], ["process", "--help"], ["demo", "--help"]):
        assert main(words) == 0
    out = capsys.readouterr().out
    assert out.index("import ") < out.index("merge ")
    assert "d_min = None" in out and "output.directory" not in out.split("xtal process")[1]
    assert main(["run", "scale", "--help", "-v"]) == 0
    assert "output.directory = ." in capsys.readouterr().out
    speak_plainly()
    assert main(["process"]) == 2


@pytest.mark.parametrize(
    "words",
    [
        ["process", "-v", "--help"],
        ["process", "img_001.cbf", "-h"],
        ["plugins", "lock", "--help"],
        ["formats", "list", "-h"],
    ],
)
def test_help_is_help_wherever_it_stands(
    plugins: Plugins, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(Path().iterdir())
    assert main(words) == 0
    assert f"xtal {words[0]} " in capsys.readouterr().out
    assert sorted(Path().iterdir()) == before


def test_a_step_runs(plugins: Plugins, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "import", "img_001.cbf", "-q"]) == 0
    assert capsys.readouterr().out == ""
    assert main(["run", "import", "img_001.cbf", "axis=1,0,0"]) == 0
    assert "geometry.goniometer.axis = 1,0,0" in capsys.readouterr().out
