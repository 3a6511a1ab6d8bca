"""Write docs/reference from what the installed plugins say of themselves: python tools/reference.py"""

from __future__ import annotations

from pathlib import Path

from xtal.hooks import KINDS, Step
from xtal.options import help_rows
from xtal.plugins import Plugins, default_plugins
from xtal.run.help import usage
from xtal.run.settings import step_classes
from xtal.testing.conformance import EVERY, checks_of

FOLDER = Path(__file__).parent.parent / "docs" / "reference"
NOTE = "*Written by `tools/reference.py`; do not edit.*"
PLUGIN_KINDS = [kind for kind in KINDS if kind != "step"]


def cell(text: str) -> str:
    """Text that keeps to its cell of a table."""
    return " ".join(text.split()).replace("|", "\\|")


def plain(text: str) -> str:
    """Text whose underscores are no marks."""
    return text.replace("_", "\\_")


def step_page(plugins: Plugins, step: Step) -> str:
    """A step: files and all options."""
    lines = [f"# {step.name}", "", NOTE, "", f"{step.summary}.", ""]
    lines += ["```sh", usage(step), "```", ""]
    if step.outputs:
        lines += ["Writes " + ", ".join(f"`{name}`" for name in step.outputs.values()) + ".", ""]
    if step.reference:
        lines += [f"Reference: {step.reference}", ""]
    rows = help_rows(step_classes(step, plugins.options_class("step", step.name)), plugins, level=9)
    lines += ["| option | default | what it does |", "| --- | --- | --- |"]
    lines += [f"| `{row.path}` | `{cell(row.default)}` | {cell(row.help)} |" for row in rows]
    return "\n".join(lines) + "\n"


def overview(plugins: Plugins) -> str:
    """All steps in the order of the flow, and all other plugins kind by kind."""
    lines = ["# Reference", "", NOTE, "", "## Steps, in the order of the flow", ""]
    lines += ["| step | what it does |", "| --- | --- |"]
    lines += [f"| [`{s.name}`](steps/{s.name}.md) | {cell(s.summary)} |" for s in plugins.all("step")]
    for kind in PLUGIN_KINDS:
        lines += ["", f"## Plugins of the kind {kind}", "", "| name | what it is | reference |", "| --- | --- | --- |"]
        lines += [f"| `{p.name}` | {cell(p.summary)} | {cell(p.reference)} |" for p in plugins.all(kind)]
    return "\n".join(lines) + "\n"


def kit_page() -> str:
    """What the conformance kit checks, kind by kind."""
    lines = ["# What the conformance kit checks", "", NOTE, ""]
    lines += [
        "A plugin fails a check with one sentence: what it should do, and what it did. For every way to fail one there"
    ]
    lines += [
        "is a deliberately wrong plugin in `tests/conformance/wrong`.",
        "",
        "## Every kind",
        "",
        "A plugin should",
        "",
    ]
    lines += [f"- {plain(check.expected)};" for check in checks_of("step") if check.kind == EVERY]
    for kind in KINDS:
        lines += ["", f"## {kind.capitalize()}", "", f"A plugin of the kind {kind} should", ""]
        lines += [f"- {plain(check.expected)};" for check in checks_of(kind) if check.kind == kind]
    return "\n".join(lines).replace(";\n\n", ".\n\n").rstrip(";") + ".\n"


def pages(plugins: Plugins) -> dict[str, str]:
    """Text of each page by its path under docs/reference."""
    found = {f"steps/{step.name}.md": step_page(plugins, step) for step in plugins.all("step")}
    return {"README.md": overview(plugins), "kit.md": kit_page(), **found}


def main() -> None:
    wanted = pages(default_plugins())
    for name, text in wanted.items():
        path = FOLDER / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    for path in FOLDER.rglob("*.md"):
        if path.relative_to(FOLDER).as_posix() not in wanted:
            path.unlink()


if __name__ == "__main__":
    main()
