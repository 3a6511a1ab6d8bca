"""``xtal process``: the whole chain in one process, resumed where it stopped."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import define, evolve

from xtal.cli.run import with_list
from xtal.errors import AlgorithmFailed, OptionError, UsageError, XtalError
from xtal.options import Assignment, Entry, differences, entries, of_command, split_tokens
from xtal.options.convert import did_you_mean, split_list
from xtal.options.match import entry_score, listed, nearest, score
from xtal.plugins import Plugins, default_plugins
from xtal.run.runner import Outcome, Prepared, prepare, run_prepared, step_options
from xtal.run.settings import step_classes

CHAIN = ("import", "find_spots", "index", "refine", "integrate", "symmetry", "scale", "merge")

SHARED = {
    "space_group": "",
    "unit_cell": "",
    "d_min": "",
    "anomalous": "",
    "axis": "goniometer.axis",
    "mask": "lookup.mask",
    "nproc": "",
    "memory": "",
}
"""Options that go to every step that has them, and the name in the step where that is another."""

CRYSTAL = {"space_group": "P43212 or 96", "unit_cell": "79,79,38,90,90,90"}
"""How a crystal is given."""

ICE = ".ice_rings."
"""Part of the names of options that are about ice: its cell and space group are not the crystal's."""

WHOLE = 4
"""Score of whole trailing components: a step's ``d_max`` is no better a match than another's ``filter.d_max``."""

EVERYWHERE = ("nproc", "memory", "executor", "output.directory", "resume")

RECORD = "xtal.process.json"
"""File that says which steps are done, beside the outputs."""

HELP = """xtal process IMAGES... [name=value ...]

Images (files, folders, globs, templates img_####.cbf, master files) to merged intensities:
  {chain}
Every step writes its files as it goes; the same command goes on where it stopped.

  space_group, unit_cell, d_min   go to every step that has them
  anomalous = True                Friedel mates apart (scale, merge); False joins them
  axis = x,y,z                    rotation axis, where the header is wrong (import)
  mask = FILE                     mask of pixels, in every form that import knows
  nproc, memory, executor         how to run; results do not depend on them
  output.directory = .            folder of all outputs
  resume = True                   False: begin anew
  -q                              say nothing but warnings and errors
  STEP.option = value             any option of a step: xtal run STEP --help -v"""


def main(words: list[str]) -> int:
    """Run the chain."""
    if not words or words[0] in ("-h", "--help"):
        print(HELP.format(chain=", ".join(CHAIN)))
        return 0 if words else UsageError.exit_code
    quiet = any(w in ("-q", "--quiet") for w in words)
    assignments, files = split_tokens([w for w in words if w not in ("-q", "--quiet", "-v")])
    process(default_plugins(), assignments, with_list(files), verbosity=0 if quiet else 1)
    return 0


def process(
    plugins: Plugins, assignments: Sequence[Assignment], files: Sequence[str], *, verbosity: int = 1
) -> list[Outcome]:
    """Run all steps of the chain, skipping those whose outputs are there already.

    Raises
    ------
    XtalError
        Where a step cannot go on; the advice names what was written so far.
    """
    if not files:
        raise UsageError("No images are given.", advice="xtal process IMAGES... [name=value ...]")
    resume, by_step = checked(plugins, assignments)
    chain = Chain(plugins, by_step, list(files), resume, verbosity)
    if verbosity:
        print("Friedel mates are kept apart." if chain.apart() else "Friedel mates are joined.")
    return chain.run()


def _resume(assignments: Sequence[Assignment]) -> tuple[bool, list[Assignment]]:
    from xtal.options import Spec, convert

    given = [a for a in assignments if a.key == "resume"]
    value = bool(convert(given[-1].value, bool, Spec(), "resume")) if given else True
    return value, [a for a in assignments if a.key != "resume"]


def checked(plugins: Plugins, assignments: Sequence[Assignment]) -> tuple[bool, dict[str, list[Assignment]]]:
    """Whether to resume, and the settings of each step, all seen to before the first one runs.

    A slip of the pen must not cost a search for spots.

    Raises
    ------
    OptionError
    """
    resume, assignments = _resume(assignments)
    by_step = distribute(plugins, assignments)
    for name, assignments in by_step.items():
        try:
            parsed, _ = step_options(plugins, plugins.find("step", name), assignments)
        except OptionError as error:
            raise OptionError(error.message, advice=of_command(error.advice, f"xtal run {name}")) from None
        for path, value in differences(parsed.objects[0]).items():
            _check_crystal(path.rpartition(".")[2], value)
    return resume, by_step


def _check_crystal(name: str, value: str) -> None:
    """See that a space group or unit cell is one, which its type does not tell."""
    from xtal.models.crystal import unit_cell_of
    from xtal.models.space_groups import space_group_of

    try:
        if name == "space_group":
            space_group_of(value)
        elif name == "unit_cell":
            unit_cell_of([float(v) for v in split_list(value)])
    except ValueError as error:
        raise OptionError(f"{error}.", advice=f"For example {name}={CRYSTAL[name]}.") from None


# --- which option goes to which step ---------------------------------------------


def distribute(plugins: Plugins, assignments: Sequence[Assignment]) -> dict[str, list[Assignment]]:
    """Settings by step.

    Raises
    ------
    OptionError
        If a name fits no step, or several.
    """
    known = {step: known_entries(plugins, step, assignments) for step in CHAIN}
    found: dict[str, list[Assignment]] = {step: _defaults(known[step]) for step in CHAIN}
    for a in assignments:
        for step, name in _targets(a, known):
            found[step].append(evolve(a, key=name))
    return found


def known_entries(plugins: Plugins, step: str, assignments: Sequence[Assignment] = ()) -> list[Entry]:
    """All options of a step, with those of every plugin that it can choose."""
    descriptor = plugins.find("step", step)
    classes = step_classes(descriptor, plugins.options_class("step", step))
    plain = [e for cls in classes for e in entries(cls, plugins)]
    paths = {e.path for e in plain}
    for choice in [e for e in plain if e.is_choice and e.path != "executor.algorithm"]:
        for name in choice.spec.choices:
            chosen = {choice.path.removesuffix(".algorithm"): name}
            more = [e for cls in classes for e in entries(cls, plugins, chosen) if e.path not in paths]
            plain += more
            paths |= {e.path for e in more}
    return plain


def _defaults(known: Sequence[Entry]) -> list[Assignment]:
    """Friedel mates are kept apart where a step leaves the choice."""
    return [Assignment(e.path, "True") for e in known if e.path.rpartition(".")[2] == "anomalous" and e.kind is bool]


def _targets(a: Assignment, known: Mapping[str, list[Entry]]) -> list[tuple[str, str]]:
    """(step, name of the option there) of each step that a setting is for."""
    if a.key in EVERYWHERE:
        return [(step, a.key) for step in known]
    step, _, rest = a.key.partition(".")
    if step in known and rest and any(entry_score(rest, e) for e in known[step]):
        return [(step, rest)]
    if a.key in SHARED:
        return _shared(a.key, known)
    scored = [(min(entry_score(a.key, e), WHOLE), s, e) for s in known for e in known[s]]
    best = max(points for points, _, _ in scored)
    fitting = [(s, e) for points, s, e in scored if points == best > 0]
    steps = list(dict.fromkeys(s for s, _ in fitting))
    where = f"{a.where}: " if a.where else ""
    if not fitting:
        raise OptionError(f"{where}The option {a.key!r} is unknown.", advice=_advice(a.key, known))
    if len(steps) > 1:
        names = [evolve(e, path=f"{s}.{e.path}") for s, e in fitting]
        raise OptionError(
            f"{where}The option {a.key!r} is ambiguous: {', '.join(steps)} have it.",
            advice=f"Give the step too, and each that is meant: {listed(names)}.",
        )
    return [(fitting[0][0], a.key)]


def _advice(key: str, known: Mapping[str, list[Entry]]) -> str:
    """The nearest names: of options that go to every step, else of the step that is named, else of all."""
    from difflib import get_close_matches

    short = did_you_mean(key, [*SHARED, *EVERYWHERE])
    step, _, rest = key.partition(".")
    meant = get_close_matches(step, known, 1) if rest else []
    steps, name = (meant, rest) if meant else (list(known), key)
    near = nearest(name, [evolve(e, path=f"{s}.{e.path}") for s in steps for e in known[s]])
    return short or of_command(near, f"xtal run {steps[0] if len(steps) == 1 else 'STEP'}")


def _shared(key: str, known: Mapping[str, list[Entry]]) -> list[tuple[str, str]]:
    name = SHARED[key] or key
    found = []
    for step, options in known.items():
        fitting = [e for e in options if score(name, e.path) >= WHOLE and ICE not in e.path]
        if fitting:
            lowest = min(e.spec.level for e in fitting)
            found += [(step, e.path) for e in fitting if e.spec.level == lowest][:1]
    if not found:
        raise OptionError(f"No step has an option {key!r}.")
    return found


# --- running ----------------------------------------------------------------------


@define
class Chain:
    """One run of the chain: what each step is given and what is done already."""

    plugins: Plugins
    by_step: dict[str, list[Assignment]]
    images: list[str]
    resume: bool
    verbosity: int

    def run(self) -> list[Outcome]:
        """All steps, in order."""
        files: dict[str, list[Path]] = {}
        outcomes: list[Outcome] = []
        for number, name in enumerate(CHAIN):
            tokens = self.images if name == "import" else self._inputs(name, files)
            try:
                prepared = prepare(self.plugins, name, self.by_step[name], tokens)
                outcome = self._one(prepared)
            except XtalError as error:
                raise stopped(error, name, CHAIN[:number]) from None
            outcomes.append(outcome)
            files.update({role: [path] for role, path in outcome.outputs.items()})
        self._say(f"Done. Logs and files are in {prepared.directory.absolute()}.")
        return outcomes

    def apart(self) -> bool:
        """Whether Friedel mates are kept apart in scaling."""
        value = [a.value for a in self.by_step["scale"] if a.key.rpartition(".")[2] == "anomalous"]
        return not value or value[-1].lower() not in ("false", "no", "off", "0")

    def _inputs(self, name: str, files: Mapping[str, list[Path]]) -> list[str]:
        roles = [role.rstrip("?") for role in self.plugins.find("step", name).inputs]
        return [str(path) for role in roles for path in files.get(role, [])]

    def _one(self, prepared: Prepared) -> Outcome:
        name = prepared.step.name
        record = Record(prepared.directory / RECORD)
        done = record.outcome(self.plugins, prepared) if self.resume else None
        if done is not None:
            self._show(done)
            return done
        self._say(f"{name} ...")
        start = time.process_time()
        outcome = run_prepared(self.plugins, prepared, verbosity=min(self.verbosity, 1))
        record.add(self.plugins, prepared, outcome)
        self._show(outcome, time.process_time() - start)
        return outcome

    def _show(self, outcome: Outcome, cpu: float | None = None) -> None:
        """At most three lines of a step's summary."""
        written = ", ".join(p.name for p in outcome.outputs.values())
        head = "is done already" if outcome.skipped else f"{outcome.seconds:.1f} s"
        self._say(f"{outcome.step}: {head}" + (f"   {written}" if written else ""))
        for line in outcome.summary[:3]:
            self._say(f"    {line}")

    def _say(self, text: str) -> None:
        if self.verbosity:
            print(text, flush=True)


def stopped(error: XtalError, name: str, done: Sequence[str]) -> XtalError:
    """The same error, saying at which step the chain stopped."""
    if not isinstance(error, AlgorithmFailed) and not done:
        return error
    told = type(error)(f"{name}: {error.message}", advice=error.advice)
    told.exit_code = error.exit_code
    return told


@define
class Record:
    """The file that says which steps are done, with which inputs, options and outputs."""

    path: Path

    def read(self) -> dict[str, Any]:
        """Step to its record; nothing where the file is absent or spoilt."""
        try:
            found = json.loads(self.path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def outcome(self, plugins: Plugins, prepared: Prepared) -> Outcome | None:
        """What the step left, if it ran before with the same inputs and options and its files are whole."""
        from xtal.files.digest import digest
        from xtal.run.provenance import same_run

        entry = self.read().get(prepared.step.name)
        if not entry or not entry.get("outputs"):
            return None
        try:
            outputs = {role: self.path.parent / one["file"] for role, one in entry["outputs"].items()}
            whole = all(p.is_file() and digest(p) == entry["outputs"][r]["digest"] for r, p in outputs.items())
            named = all(_file(prepared, r, p) == entry["outputs"][r]["file"] for r, p in outputs.items())
            if not (whole and named and same_run(entry["made"], wanted(plugins, prepared), plugins.versions)):
                return None
            return Outcome(prepared.step.name, outputs, tuple(entry["summary"]), 0.0, tuple(entry["tables"]), True)
        except (KeyError, TypeError, OSError):
            return None

    def add(self, plugins: Plugins, prepared: Prepared, outcome: Outcome) -> None:
        """Note that a step is done."""
        from xtal.files.atomic import writing
        from xtal.files.digest import digest

        record = self.read()
        record[outcome.step] = {
            "made": {**wanted(plugins, prepared), "plugins": dict(outcome.used)},
            "outputs": {r: {"file": _file(prepared, r, p), "digest": digest(p)} for r, p in outcome.outputs.items()},
            "summary": list(outcome.summary),
            "tables": list(outcome.tables),
        }
        with writing(self.path) as temporary:
            temporary.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def _file(prepared: Prepared, role: str, path: Path) -> str:
    """Name of an output as the options have it; one that follows from the data stands in the folder of all."""
    return str(getattr(prepared.output_options, role, path.name))


def wanted(plugins: Plugins, prepared: Prepared) -> dict[str, Any]:
    """The record that this step's outputs would carry."""
    from xtal.run.provenance import record

    return record(prepared.step.name, prepared.changed, prepared.inputs, {}, plugins.versions)
