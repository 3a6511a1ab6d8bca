"""Checks of every kind of plugin: what a descriptor says, its options, and good manners of the work itself."""

from __future__ import annotations

import copy
import inspect
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stderr, redirect_stdout
from functools import cache
from io import StringIO
from typing import Any

import attrs
import numpy as np

from xtal.files.encode import encode_list
from xtal.hooks import API_VERSIONS, KINDS
from xtal.models import Experiment, ExperimentList
from xtal.options import entries, format_value, parse
from xtal.plugins import default_plugins
from xtal.table import ReflectionTable, Shoeboxes
from xtal.testing.conformance import EVERY, Broken, Case, ensure, expects

HEAVY = ("numpy", "scipy", "numba", "gemmi", "h5py", "pandas")
"""Packages that take so long to import that help would wait for them."""


# --- the descriptor ---------------------------------------------------------------------


@expects(EVERY, "be described by the descriptor of its kind")
def descriptor(case: Case) -> None:
    ensure(isinstance(case.descriptor, KINDS[case.kind]), f"it is described as a {type(case.descriptor).__name__}")


@expects(EVERY, "have a summary of one line of at most 100 characters, without a full stop")
def summary(case: Case) -> None:
    text = case.descriptor.summary
    ensure(text and "\n" not in text and len(text) <= 100 and not text.endswith("."), f"its summary is {text!r}")


@expects(EVERY, "be written for a version of the hook that this xtal has")
def version(case: Case) -> None:
    latest = API_VERSIONS[case.kind]
    ensure(1 <= case.descriptor.api <= latest, f"it names version {case.descriptor.api}, and {latest} is the latest")


@expects(EVERY, "name a factory that can be imported and called")
def factory(case: Case) -> None:
    ensure(callable(case.factory), f"{case.descriptor.factory} is a {type(case.factory).__name__}")


# --- options ----------------------------------------------------------------------------


def _options(case: Case) -> Iterator[Any]:
    """The options, those of plugins that it chooses by default left out."""
    if case.options is not None and attrs.has(case.options):
        yield from (entry for entry in entries(case.options, default_plugins()) if entry.plugin is None)


@expects(EVERY, "keep its options in a frozen attrs class, since they are shared")
def options_frozen(case: Case) -> None:
    cls = case.options
    if cls is None:
        return
    ensure(isinstance(cls, type) and attrs.has(cls), f"{case.descriptor.options} is none")
    for attribute in attrs.fields(cls):
        try:
            setattr(object.__new__(cls), attribute.name, None)
        except attrs.exceptions.FrozenInstanceError:
            continue
        raise Broken(f"{attribute.name} of {cls.__name__} can be set")


@expects(EVERY, "have a default for every option")
def options_defaults(case: Case) -> None:
    lacking = [entry.path for entry in _options(case) if entry.default is attrs.NOTHING]
    ensure(not lacking, f"{', '.join(lacking)} must be given")


@expects(EVERY, "explain every option in its help")
def options_help(case: Case) -> None:
    lacking = [entry.path for entry in _options(case) if not entry.spec.help]
    ensure(not lacking, f"it says nothing of {', '.join(lacking)}")


@expects(EVERY, "have defaults within the ranges that it allows")
def options_range(case: Case) -> None:
    for entry in _options(case):
        if not entry.is_choice and entry.default is not attrs.NOTHING:
            complaint = entry.spec.complaint(entry.default)
            ensure(not complaint, f"{entry.path}={format_value(entry.default)} {complaint}")


@expects(EVERY, "have options whose defaults mean the same when they are typed")
def options_typed(case: Case) -> None:
    plugins = default_plugins()
    for entry in _options(case):
        if entry.is_choice or entry.default is attrs.NOTHING or entry.repeated or not entry.default:
            continue
        assert case.options is not None
        parts = entry.default if entry.spec.multiple else (entry.default,)
        words = [f"{entry.path}={format_value(part)}" for part in parts]
        value: Any = parse(case.options, words, plugins)
        for part in entry.path.split("."):
            value = getattr(value, part)
        ensure(value == entry.default, f"{' '.join(words)} gives {value!r}")


@expects(EVERY, "declare its options in a module that imports nothing heavy, since help reads it")
def options_light(case: Case) -> None:
    if not case.descriptor.options:
        return
    _check_imports(case.descriptor.options.partition(":")[0])


@expects(EVERY, "be offered by a module that imports nothing heavy, since every command reads it")
def manifest_light(case: Case) -> None:
    if case.data.get("manifest"):
        _check_imports(case.data["manifest"])


def _check_imports(module: str) -> None:
    heavy, trouble = _imports(module, tuple(sys.path))
    ensure(not trouble, f"{module} cannot be imported alone: {trouble}")
    ensure(not heavy, f"{module} imports {heavy}")


@cache
def _imports(module: str, path: tuple[str, ...]) -> tuple[str, str]:
    """Heavy packages that a module imports in a new process, and why it cannot be imported, if so."""
    code = f"import sys; sys.path[:] = {path!r}\nimport {module}\nprint(*(m for m in {HEAVY!r} if m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    return ", ".join(done.stdout.split()), "\n".join(done.stderr.strip().splitlines()[-1:]) if done.returncode else ""


# --- the plugin -------------------------------------------------------------------------


@expects(EVERY, "be constructed anew each time, from its options alone")
def construction(case: Case) -> None:
    if case.kind != "step":  # whose factory is the work itself
        ensure(case.construct() is not case.construct(), "its factory gives one object twice")


@expects(EVERY, "have the methods of its protocol, with their parameters in order")
def methods(case: Case) -> None:
    check_methods(case.factory if case.kind == "step" else case.plugin, case.protocol)


def check_methods(plugin: Any, protocol: type) -> None:
    """Compare the signatures of a plugin's methods with those of a protocol."""
    for name, wanted in vars(protocol).items():
        if not inspect.isfunction(wanted) or (name.startswith("_") and name != "__call__"):
            continue
        have = plugin if name == "__call__" else getattr(plugin, name, None)
        ensure(callable(have), f"it has no method {name}")
        asked = [p for p in inspect.signature(wanted).parameters if p != "self"]
        kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        named = inspect.signature(have).parameters.values()  # type: ignore[arg-type]  # what is there can be called
        given = [p.name for p in named if p.kind in kinds]
        ensure(given[: len(asked)] == asked, f"{name}({', '.join(given)}) does not take ({', '.join(asked)})")


@expects(EVERY, "leave what it is given as it was")
def unchanged(case: Case) -> None:
    if case.usable:
        given = case.given()
        before = {name: snapshot(value) for name, value in given.items()}
        case.exercise(given)
        changed = [name for name, value in given.items() if not alike(snapshot(value), before[name])]
        ensure(not changed, f"it changed the {', '.join(changed)}")


@expects(EVERY, "give the same answer when it is asked again")
def repeatable(case: Case) -> None:
    if case.usable:
        ensure(alike(case.answer, case.exercise(case.given())), "two answers differ")


@expects(EVERY, "give the same answer in several threads at once, where the core asks in several")
def threads(case: Case) -> None:
    if case.usable and case.threaded:
        with ThreadPoolExecutor(3) as pool:
            for answer in pool.map(case.exercise, [case.given() for _ in range(4)]):
                ensure(alike(answer, case.answer), "the answers of threads differ from that of one alone")


@expects(EVERY, "print nothing: steps alone speak, through their context")
def silent(case: Case) -> None:
    if case.usable:
        said = StringIO()
        with redirect_stdout(said), redirect_stderr(said):
            case.exercise(case.given())
        ensure(not said.getvalue(), f"it printed {said.getvalue()[:60]!r}")


def snapshot(value: Any) -> Any:
    """What something holds now, in copies that can be compared."""
    if isinstance(value, Shoeboxes):
        return [value.bbox.copy(), value.data.copy(), value.mask.copy(), value.background.copy()]
    if isinstance(value, ReflectionTable):
        return {name: snapshot(value[name]) for name in value}
    if isinstance(value, Experiment):
        return snapshot(ExperimentList([value]))
    if isinstance(value, ExperimentList):
        return copy.deepcopy([encode_list(value), [e.profile for e in value]])
    return np.array(value)


def alike(one: Any, other: Any) -> bool:
    """Whether two answers are equal, NaN to NaN, floats to rounding."""
    if isinstance(one, dict):
        return list(one) == list(other) and all(alike(one[k], other[k]) for k in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(alike(a, b) for a, b in zip(one, other, strict=True))
    if isinstance(one, np.ndarray):
        if one.shape != other.shape or one.dtype != other.dtype:
            return False
        return np.allclose(one, other, 1e-9, 0, equal_nan=True) if one.dtype.kind == "f" else np.array_equal(one, other)
    return bool(one == other)
