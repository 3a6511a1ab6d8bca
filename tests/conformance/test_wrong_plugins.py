"""The kit is strict: for each of its checks there is a plugin that is wrong in that respect, and the kit says so.

``wrong/`` holds a module for each kind, and ``every`` for what holds for all: ``RIGHT``, a plugin that passes, and
``WRONG``, the name of a check to what is put in place of that plugin's factory, or of parts of its descriptor; a list
where a check can be failed in several ways.
"""

from __future__ import annotations

import ast
import importlib.util
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from attrs import evolve, frozen

import xtal.testing
from xtal.hooks import KINDS, Descriptor
from xtal.plugins import default_plugins
from xtal.testing.conformance import EVERY, Broken, Failure, case_of, checks_of, failures

HERE = ModuleType("wrong_plugins")
"""Where descriptors find the wrong factories and options."""
KIT = Path(xtal.testing.__path__[0])


def _module(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"wrong_{name}", Path(__file__).parent / "wrong" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


MODULES = {EVERY: _module("every")} | {kind: _module(kind) for kind in KINDS}


def _ways(kind: str, name: str) -> list[Any]:
    ways = MODULES[kind].WRONG[name]
    return ways if isinstance(ways, list) else [ways]


CASES = [(kind, name, k) for kind in MODULES for name in MODULES[kind].WRONG for k in range(len(_ways(kind, name)))]


def wrong(kind: str, name: str, way: int) -> tuple[str, Descriptor, dict[str, Any]]:
    """Kind and descriptor of a plugin that is wrong in what a check expects, and what is given besides."""
    spoilt = _ways(kind, name)[way]
    if kind == EVERY:
        kind, spoilt = spoilt
    if isinstance(spoilt, Descriptor):
        return kind, spoilt, {}
    right = MODULES[kind].RIGHT
    descriptor = right if isinstance(right, Descriptor) else default_plugins().find(kind, right)
    changes = dict(spoilt) if isinstance(spoilt, dict) else {"factory": spoilt}
    given = {"manifest": changes.pop("manifest")} if "manifest" in changes else {}
    for field in ("factory", "options"):
        if field in changes and not isinstance(changes[field], str):
            setattr(HERE, field, changes[field])
            changes[field] = f"wrong_plugins:{field}"
    return kind, evolve(descriptor, name="wrong", **changes), given


@frozen
class Outcome:
    """What the kit says of a wrong plugin, what it should begin with, and the lines of the kit that say so."""

    told: str
    begins: str
    lines: set[tuple[str, int]]


@pytest.fixture(scope="module")
def outcome(tiny_scan: Path) -> Iterator[Callable[[str, str, int], Outcome]]:
    """The outcome of a check on a plugin that is wrong in what it expects; each is found once."""
    sample, *others = sorted(tiny_scan.glob("*.cbf"))[:3]
    known: dict[tuple[str, str, int], Outcome] = {}
    sys.modules["wrong_plugins"] = HERE

    def find(kind: str, name: str, way: int) -> Outcome:
        if (kind, name, way) not in known:
            of, descriptor, data = wrong(kind, name, way)
            (check,) = [c for c in checks_of(of) if (c.kind, c.name) == (kind, name)]
            data |= {"sample": sample, "others": others} if of == "format" else {}
            case = case_of(of, descriptor, **data)
            failure = check(case)
            lines = set() if failure is None else lines_of(failure)
            known[kind, name, way] = Outcome(str(failure), f"The {of} wrong should {check.expected}, but ", lines)
        return known[kind, name, way]

    yield find
    del sys.modules["wrong_plugins"]


def lines_of(failure: Failure) -> set[tuple[str, int]]:
    """Files and lines of the kit that ended a check; none where the plugin itself raised."""
    if not isinstance(failure.error, Broken):
        return set()
    frames = traceback.extract_tb(failure.error.__traceback__)
    return {(Path(f.filename).name, f.lineno or 0) for f in frames if Path(f.filename).parent == KIT}


@pytest.mark.parametrize(("kind", "name", "way"), CASES, ids=[f"{k or 'every'}-{n}-{w}" for k, n, w in CASES])
def test_it_is_found(kind: str, name: str, way: int, outcome: Callable[..., Outcome]) -> None:
    found = outcome(kind, name, way)
    assert found.told.startswith(found.begins) and found.told.endswith(".")


def test_the_step_that_they_are_made_of_is_right(monkeypatch: pytest.MonkeyPatch) -> None:
    """The others are installed plugins, which test_plugins holds to the kit."""
    monkeypatch.setitem(sys.modules, "wrong_plugins", HERE)
    monkeypatch.setattr(HERE, "factory", MODULES["step"].after(lambda context: None), raising=False)
    assert not list(failures("step", MODULES["step"].RIGHT))


@pytest.mark.parametrize("kind", [EVERY, *KINDS])
def test_each_check_has_a_wrong_plugin(kind: str) -> None:
    found = {check.name for check in checks_of(kind or "step") if check.kind == kind}
    assert found and found == set(MODULES[kind].WRONG)


def test_each_way_to_fail_has_a_wrong_plugin(outcome: Callable[..., Outcome]) -> None:
    """Every ``ensure`` and every ``raise Broken`` of the kit is where some wrong plugin ends."""
    ended = {line for case in CASES for line in outcome(*case).lines}
    missing = [
        f"{path.name}:{node.lineno}"
        for path in sorted(KIT.glob("check_*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if _is_way_to_fail(node)
        and not any((path.name, line) in ended for line in range(node.lineno, node.end_lineno + 1))
    ]
    assert not missing, "\n".join(missing)


def _is_way_to_fail(node: ast.AST) -> bool:
    if isinstance(node, ast.Raise):
        return isinstance(node.exc, ast.Call) and getattr(node.exc.func, "id", "") == "Broken"
    return isinstance(node, ast.Call) and getattr(node.func, "id", "") == "ensure"
