"""The runner with made-up steps: inputs, outputs, provenance, errors, progress, budgets."""

from __future__ import annotations

import errno
import io
import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from attrs import frozen

from xtal.errors import DataError, OptionError, UsageError
from xtal.files import read_experiments, write_experiments, write_reflections
from xtal.hooks import Step
from xtal.models import ExperimentList
from xtal.options import option, split_tokens
from xtal.plugins import Plugins, Policy
from xtal.plugins.manager import Installed
from xtal.plugins.policy import Setting
from xtal.run import Context, Outcome, budget, run_step
from xtal.run.provenance import made_path, read_made
from xtal.run.report import PlainProgress, Reporter, format_table
from xtal.table import ReflectionTable
from xtal.testing import tiny_experiment


@frozen
class CopyOptions:
    d_min: float | None = option(None, help="Limit", gt=0)
    plot: str | None = option(None, help="A picture", writes=True)


def copy(context: Context) -> None:
    table = context.reflections
    context.table("Rows by file", ["file", "rows"], [["all", len(table)]])
    context.summary(f"{len(table)} rows")
    context.write_experiments(context.experiments)
    context.write_reflections(table)
    with context.writing("notes") as path:
        path.write_text("hello")


def fail(context: Context) -> None:
    raise RuntimeError("a defect")


def fill(context: Context) -> None:
    raise OSError(errno.ENOSPC, "No space left on device", "big.refl")


def look(context: Context) -> None:
    context.summary("seen")


OUTPUTS = {"experiments": "copied.expt", "reflections": "copied.refl", "notes": "notes.txt"}


@pytest.fixture
def plugins() -> Plugins:
    found = Plugins(Policy())
    for name, function in (("copy", "copy"), ("fail", "fail"), ("fill", "fill"), ("look", "look")):
        step = Step(
            name=name,
            summary="A made-up step",
            factory=f"{__name__}:{function}",
            options=f"{__name__}:CopyOptions",
            inputs=("experiments", "reflections") if name == "copy" else (),
            outputs={} if name == "look" else OUTPUTS,
        )
        found._by_kind["step"][name] = [Installed("step", step, "xtal-framework", "steps-made-up")]
    return found


Call = Callable[..., Outcome]


@pytest.fixture
def run(plugins: Plugins, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    monkeypatch.chdir(tmp_path)

    def call(name: str, *words: str, verbosity: int = 0) -> Outcome:
        assignments, files = split_tokens(words)
        return run_step(plugins, name, assignments, files, verbosity=verbosity)

    return call


def data_set(folder: Path, name: str, n: int = 5) -> None:
    """An experiment list and a table that belong together."""
    experiment = tiny_experiment()
    experiment.identifier = name
    write_experiments(ExperimentList([experiment]), folder / f"{name}.expt")
    table = ReflectionTable({"id": np.zeros(n, np.int32), "value": np.arange(n) + 0.5}, {0: name})
    table["imageset_id"] = np.zeros(n, np.int32)
    write_reflections(table, folder / f"{name}.refl")


def test_a_step_reads_and_writes(run: Call, tmp_path: Path) -> None:
    data_set(tmp_path, "a")
    outcome = run("copy", "a.refl", "a.expt", "d_min=2", "output.directory=out", "output.notes=words.txt")
    assert outcome.summary == ("5 rows",)
    assert outcome.outputs["notes"] == Path("out/words.txt")
    assert "5" in outcome.tables[0]
    made = read_made(tmp_path / "out" / "copied.expt")
    assert made is not None and made["step"] == "copy" and made["options"]["d_min"] == "2"
    assert [i["file"] for i in made["inputs"]] == ["a.expt", "a.refl"]
    beside = read_made(tmp_path / "out" / "copied.refl") or {}
    assert all(beside[k] == made[k] for k in ("program", "step", "options", "inputs", "plugins", "installed"))
    assert "xtal-executor-serial" in made["installed"]
    log = (tmp_path / "out" / "xtal.copy.log").read_text()
    assert "d_min = 2" in log and "Rows by file" in log and "Wrote" in log


def test_a_changed_output_has_no_record(run: Call, tmp_path: Path) -> None:
    data_set(tmp_path, "a")
    run("copy", "a.refl", "a.expt")
    (tmp_path / "notes.txt").write_text("changed")
    assert read_made(tmp_path / "notes.txt") is None
    assert json.loads(made_path(tmp_path / "copied.refl").read_text())["output"]["file"] == "copied.refl"
    again = run("copy", "copied.expt", "copied.refl", "copied.refl.made.json", "output.directory=again")
    assert again.summary == ("5 rows",)  # a shell's copied.* names the record too


def test_several_data_sets_are_joined(run: Call, tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        data_set(tmp_path, name)
    run("copy", "a.expt", "b.expt", "c.expt", "c.refl", "a.refl", "b.refl")
    from xtal.files import read_reflections

    table = read_reflections(tmp_path / "copied.refl")
    assert list(dict.fromkeys(table["id"])) == [2, 0, 1]  # tables in their order, ids by identifier
    assert table.identifiers == {0: "a", 1: "b", 2: "c"}
    assert sorted(set(table["imageset_id"])) == [0, 1, 2]
    assert [e.identifier for e in read_experiments(tmp_path / "copied.expt")] == ["a", "b", "c"]


def test_tables_that_do_not_belong(run: Call, tmp_path: Path) -> None:
    data_set(tmp_path, "a")
    data_set(tmp_path, "b")
    with pytest.raises(DataError, match=r"b\.refl does not belong to a\.expt"):
        run("copy", "a.expt", "b.refl")
    with pytest.raises(DataError, match=r"a\.expt and a\.expt hold the same experiment"):
        run("copy", "a.expt", "a.expt", "a.refl")
    write_experiments(ExperimentList(), tmp_path / "empty.expt")
    with pytest.raises(DataError, match=r"empty\.expt holds no experiment"):
        run("copy", "empty.expt", "a.refl")


def test_wrong_inputs(run: Call, tmp_path: Path) -> None:
    data_set(tmp_path, "a")
    (tmp_path / "image.cbf").write_bytes(b"###CBF")
    with pytest.raises(DataError, match=r"none\.expt does not exist"):
        run("copy", "none.expt")
    with pytest.raises(UsageError, match=r"needs a reflection table"):
        run("copy", "a.expt")
    with pytest.raises(DataError, match=r"image\.cbf is neither"):
        run("copy", "a.expt", "a.refl", "image.cbf")
    with pytest.raises(UsageError, match=r"The step look reads no files, so image\.cbf is not for it.*look --help"):
        run("look", "image.cbf")
    with pytest.raises(OptionError, match=r"See xtal run copy --help -v for what it takes"):
        run("copy", "a.expt", "a.refl", "d_min=two")
    with pytest.raises(OptionError, match="Did you mean d_min"):
        run("copy", "a.expt", "a.refl", "d_mni=3")


@pytest.mark.parametrize("name", ["output.notes", "plot", "output.log"])
def test_folders_of_files_to_be_written_are_looked_for_before_work_begins(run: Call, tmp_path: Path, name: str) -> None:
    (tmp_path / "there").mkdir()
    with pytest.raises(OptionError, match=rf"{name}=none/words.txt: the folder out/none does not exist\. Create it"):
        run("fail", f"{name}=none/words.txt", "output.directory=out")
    with pytest.raises(OptionError, match=rf"{name}=there is a folder\. Give the name of a file"):
        run("fail", f"{name}=there")
    assert [p.name for p in tmp_path.iterdir()] == ["there"], "nothing is written"
    with pytest.raises(OptionError, match=r"both name (\./)?copied\.expt\. Give each"):
        run("fail", f"{name}=./copied.expt")
    with pytest.raises(RuntimeError, match="a defect"):
        run("fail", f"{name}=there/words.txt")
    with pytest.raises(RuntimeError, match="a defect"):
        run("fail", f"{name}=words.txt", "output.directory=new/folder")
    with pytest.raises(RuntimeError, match="a defect"):  # the folder of the outputs by its other name
        run("fail", f"{name}={tmp_path}/made/words.txt", "output.directory=made")
    (tmp_path / "same").symlink_to("there")
    with pytest.raises(OptionError, match=r"both name (same|there)/x\.expt\. Give each"):
        run("fail", f"{name}=same/x.expt", "output.experiments=there/x.expt")
    for word in ("", ".", "..", "../same/"):
        with pytest.raises(OptionError, match="is a folder"):
            run("fail", f"{name}={word}", "output.directory=there")


def test_the_log_takes_the_place_of_no_input(run: Call, tmp_path: Path) -> None:
    data_set(tmp_path, "a")
    dear = [(tmp_path / name).read_bytes() for name in ("a.expt", "a.refl")]
    (tmp_path / "same").symlink_to("a.expt")
    for log in ("a.expt", "./a.expt", "a.refl", "same"):
        with pytest.raises(OptionError, match=rf"output.log={log} is an input\. Give the log a name of its own"):
            run("copy", "a.expt", "a.refl", f"output.log={log}")
    with pytest.raises(OptionError, match=r"output.log=a\.expt is an input"):
        run("copy", "input.experiments=a.expt", "input.reflections=a.refl", "output.log=a.expt")
    assert [(tmp_path / name).read_bytes() for name in ("a.expt", "a.refl")] == dear


def test_a_folder_that_may_not_be_written_to_is_told_before_work_begins(
    run: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "there").mkdir()
    access = os.access  # root may write everywhere
    monkeypatch.setattr("os.access", lambda path, mode: not str(path).endswith("there") and access(path, mode))
    with pytest.raises(OptionError, match=r"notes=there/x: the folder there may not be written to\. Give another"):
        run("fail", "output.notes=there/x")
    with pytest.raises(OptionError, match=r"output\.experiments=copied\.expt: the folder there may not be written to"):
        run("fail", "output.directory=there", "output.log=None")
    assert [p.name for p in tmp_path.iterdir()] == ["there"], "nothing is written"
    assert run("look", "output.directory=there").summary == ("seen",)


def test_a_tilde_that_names_nobody_is_a_name_like_others(run: Call, tmp_path: Path) -> None:
    data_set(tmp_path, "a")
    run("copy", "a.refl", "a.expt", "output.notes=~(some | words)")
    assert (tmp_path / "~(some | words)").is_file()
    with pytest.raises(DataError, match="does not exist"):
        run("copy", "~nobody/none.expt")


def test_roles_go_by_content_not_by_name(run: Call, tmp_path: Path) -> None:
    data_set(tmp_path, "a")
    (tmp_path / "a.expt").rename(tmp_path / "first")
    (tmp_path / "a.refl").rename(tmp_path / "second")
    assert run("copy", "second", "first").summary == ("5 rows",)
    assert run("copy", "input.experiments=first", "input.reflections=second").summary == ("5 rows",)


@pytest.mark.parametrize("name", ["a.refl", "old.pickle"])
def test_a_pickled_table_is_refused_as_such(run: Call, tmp_path: Path, name: str) -> None:
    data_set(tmp_path, "a")
    (tmp_path / name).write_bytes(b"\x80\x02cdials_array_family_flex_ext\nreflection_table\nq\x01)Rq\x02.")
    with pytest.raises(DataError, match=rf"{name} is a Python pickle, which xtal never opens"):
        run("copy", "a.expt", name)


def test_a_defect_goes_to_the_log(run: Call, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError) as caught:
        run("fail")
    assert caught.value.xtal_log == Path("xtal.fail.log")  # type: ignore[attr-defined]
    assert "Traceback" in (tmp_path / "xtal.fail.log").read_text()


def test_a_full_disk_is_a_sentence(run: Call) -> None:
    with pytest.raises(DataError, match=r"The disk is full: big\.refl could not be written"):
        run("fill")


def test_only_a_step_that_writes_files_needs_its_log(
    run: Call, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("look", "fail"):
        (tmp_path / f"xtal.{name}.log").symlink_to(tmp_path / "none" / "x")
    assert run("look").summary == ("seen",)
    assert "Warning: The log xtal.look.log cannot be written: No such file or directory." in capsys.readouterr().err
    with pytest.raises(DataError, match=r"The log xtal\.fail\.log cannot be written"):
        run("fail")


def test_a_folder_that_cannot_be_made(run: Call, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be made"):
        run("fail", "output.directory=file/sub")


def test_site_defaults_and_enforced_options(run: Call, plugins: Plugins, tmp_path: Path) -> None:
    data_set(tmp_path, "a")
    plugins.policy.defaults += [Setting("*", "d_min", "3", "site.toml"), Setting("*", "strange", "1", "site.toml")]
    run("copy", "a.expt", "a.refl")
    assert (read_made(tmp_path / "copied.expt") or {})["options"]["d_min"] == "3"
    run("copy", "a.expt", "a.refl", "d_min=4")
    assert (read_made(tmp_path / "copied.expt") or {})["options"]["d_min"] == "4"
    plugins.policy.enforced.append(Setting("copy", "d_min", "5", "site.toml"))
    with pytest.raises(OptionError, match=r"site\.toml enforces d_min=5"):
        run("copy", "a.expt", "a.refl", "d_min=4")
    run("copy", "a.expt", "a.refl")
    assert (read_made(tmp_path / "copied.expt") or {})["options"]["d_min"] == "5"


# --- budgets, progress, tables ------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "size"), [("2GB", 2 * 2**30), ("500M", 500 * 2**20), ("1.5 GiB", 1.5 * 2**30), ("1000", 1000)]
)
def test_memory_budgets(text: str, size: float) -> None:
    assert budget.memory_budget(text) == size


@pytest.mark.parametrize("text", ["lots", "0", "-1G", "1.2.3G"])
def test_no_memory_budget(text: str) -> None:
    with pytest.raises(OptionError, match="memory"):
        budget.memory_budget(text)


def test_default_budget_heeds_the_control_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "memory.max").write_text(str(10**9))
    (tmp_path / "memory.current").write_text(str(4 * 10**8))
    (tmp_path / "memory.stat").write_text("anon 5\ninactive_file 100000000\n")
    assert budget._group_room(tmp_path) == [7 * 10**8]
    monkeypatch.setattr(budget, "_group_room", lambda: [10**9])
    monkeypatch.setattr("psutil.virtual_memory", lambda: type("M", (), {"available": 10**12})())
    assert budget.memory_budget(None) == int(budget.FRACTION * 10**9)
    assert budget.cores() >= 1


def test_plain_progress_has_rate_and_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    out = io.StringIO()
    reporter = Reporter(2, stream=out)
    with reporter.progress(100, "frames") as progress:
        assert isinstance(progress, PlainProgress)
        now[0] += 30.0
        progress.advance()
        for _ in range(50):
            now[0] += 0.11
            progress.advance()
    assert "  1/100 frames (1 %)\n" in out.getvalue()
    assert "47/100 frames (47 %), 9.09 frames/s, 6 s left" in out.getvalue()


def test_quiet_says_nothing_but_warnings(capsys: pytest.CaptureFixture[str]) -> None:
    reporter = Reporter(0)
    reporter.say("hello")
    reporter.warn("careful")
    with reporter.progress(10, "frames") as progress:
        progress.advance(10)
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err == "Warning: careful\n"


def test_tables_align() -> None:
    text = format_table("Title", ["name", "value"], [["a", 1.23456], ["long", 12345], ["x", None]])
    assert text.split("\n")[0] == "Title"
    assert text.split("\n")[3:] == ["  a     1.235", "  long  12345", "  x         -"]
