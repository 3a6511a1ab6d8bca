"""What ``xtal run STEP --help`` prints."""

from __future__ import annotations

from xtal.hooks import Step
from xtal.options import help_rows, n_hidden
from xtal.plugins import Plugins
from xtal.run.settings import step_classes
from xtal.run.site import site_options, site_values


def help_of(plugins: Plugins, step: Step, level: int) -> str:
    """The step, its files and its options up to a level; where the site sets a default, that one and who says so."""
    classes = step_classes(step, plugins.options_class("step", step.name))
    site = site_values(site_options(plugins, step, classes))
    end = ".algorithm"
    chosen = {p.removesuffix(end): one.assignment.value for p, one in site.items() if p.endswith(end)}
    lines = [usage(step), "", f"{step.summary}."]
    if files := [name for name in step.outputs.values() if name != "auto"]:  # auto: named by the data
        lines.append("Writes " + ", ".join(files) + ".")
    if step.reference:
        lines.append(f"Reference: {step.reference}")
    lines.append("")
    for row in help_rows(classes, plugins, level, chosen):
        kind = f" ({row.kind})" if level else ""
        mine = site.get(row.path)
        value, note = (mine.assignment.value, f"   ({mine.note})") if mine else (row.default, "")
        lines += [f"  {row.path} = {value}{kind}{note}", f"      {row.help}"]
    hidden = n_hidden(classes, plugins, level, chosen) - n_hidden(classes, plugins, 1, chosen)
    if hidden:
        lines += ["", f"{hidden} more with --help -v."]
    lines += ["Names may be shortened to any part that is unambiguous: d_min=2. A *.phil file holds settings too."]
    return "\n".join(lines)


def usage(step: Step) -> str:
    """The command with the files that the step reads."""
    if step.files:
        return f"xtal run {step.name} {step.files} [name=value ...]"
    names = {role: role.upper() for role in step.inputs}
    if step.imports:
        names["experiments"] += "|IMAGES"
    files = (f"[{name.rstrip('?')}]" if name.endswith("?") else name for name in names.values())
    return " ".join(["xtal run", step.name, *files, "[name=value ...]"])
