"""Wrong steps."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import attrs
from attrs import frozen

from xtal.hooks import Step
from xtal.options import option

RIGHT = Step(
    name="right",
    summary="Writes the reflections that it reads",
    factory="wrong_plugins:factory",
    order=150,
    inputs=("reflections", "experiments?"),
    outputs={"reflections": "right.refl"},
)


def after(spoil: Callable[[Any], Any]) -> Callable[[Any], None]:
    """Right until ``spoil(context)`` does something more."""

    def run(context: Any) -> None:
        context.write_reflections(context.reflections)
        spoil(context)

    return run


@frozen
class Doubled:
    nproc: int = option(1, help="Threads")


Many = attrs.make_class("Many", {f"option_{k}": option(1, help="A number") for k in range(20)}, frozen=True)
for _field in attrs.fields(Many):
    Many.__annotations__[_field.name] = int


def first_index(context: Any) -> None:
    context.print(str(context.reflections["miller_index"][0]))


def clears_its_input(context: Any) -> None:
    context.inputs["reflections"][0].write_bytes(b"")


def leaves_a_file(context: Any) -> None:
    (context.directory / "stray.txt").write_text("stray")


def by_chance(context: Any) -> None:
    context.reflections.identifiers[0] = uuid.uuid4().hex
    context.write_reflections(context.reflections)


def prints(context: Any) -> None:
    print("Done.")


WRONG = {
    "inputs": {"inputs": ("mtz",)},
    "imports": {"imports": True, "inputs": ("reflections",)},
    "outputs": {"outputs": {"log": "right.txt"}},
    "names": {"outputs": {"reflections": "folder/right.refl"}},
    "options": {"options": Doubled},
    "short_help": {"options": Many},
    "ends": after(first_index),
    "inputs_kept": after(clears_its_input),
    "strays": after(leaves_a_file),
    "again": after(by_chance),
    "brief": after(lambda context: context.summary("one", "two", "three", "four")),
    "silence": after(prints),
}
