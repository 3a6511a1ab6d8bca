"""``xtal demo``: a simulated scan from image files to merged intensities, compared with the truth."""

from __future__ import annotations

import time
from pathlib import Path

from xtal.cli.process import checked, process
from xtal.errors import UsageError
from xtal.options import Assignment, split_tokens
from xtal.plugins import Plugins, default_plugins
from xtal.run import Outcome, run_step

HELP = """xtal demo [DIR] [name=value ...]

Simulates a small rotation scan into DIR/images (default xtal-demo/images), processes it from
the image files to DIR/merged.mtz and compares the merged intensities with the truth.
Settings are those of xtal process; simulate.option=value sets one of the step simulate."""


def main(words: list[str]) -> int:
    """Run the demonstration."""
    if any(w in ("-h", "--help") for w in words):
        print(HELP)
        return 0
    assignments, names = split_tokens([w for w in words if w not in ("-q", "--quiet")])
    if len(names) > 1:
        raise UsageError(f"One folder is needed, not {len(names)}.", advice="xtal demo [DIR]")
    demonstrate(default_plugins(), Path(names[0] if names else "xtal-demo"), assignments)
    return 0


def demonstrate(plugins: Plugins, folder: Path, assignments: list[Assignment]) -> None:
    """Simulate, process, compare, and say what to try next."""
    start = time.monotonic()
    mine = [a for a in assignments if a.key.startswith("simulate.")]
    rest = [a for a in assignments if a not in mine]
    checked(plugins, rest)
    images = simulated_images(plugins, folder / "images", mine)
    outcomes = process(plugins, [*rest, Assignment("output.directory", str(folder))], [images])
    print()
    for text in shell_tables(outcomes)[:1]:
        print(text + "\n")
    settings = [
        Assignment("truth", str(folder / "images")),
        Assignment("mtz", str(outcomes[-1].outputs.get("mtz", folder / "merged.mtz"))),
        Assignment("output.directory", str(folder)),
    ]
    compared = run_step(plugins, "compare_truth", settings, verbosity=1)
    for text in compared.tables:
        print(text)
    for line in compared.summary:
        print(f"  {line}")
    print(farewell(outcomes, folder, time.monotonic() - start))


def simulated_images(plugins: Plugins, folder: Path, settings: list[Assignment]) -> str:
    """Template of the images, simulated unless they are there already (the truth is written last)."""
    own = [Assignment(a.key.removeprefix("simulate."), a.value, a.where) for a in settings]
    if not (folder / "truth.json").exists() or own:
        print("simulate ...", flush=True)
        outcome = run_step(plugins, "simulate", [*own, Assignment("output.directory", str(folder))], verbosity=1)
        print(f"simulate: {outcome.seconds:.1f} s   {folder}")
        for line in outcome.summary[:3]:
            print(f"    {line}")
    master = sorted(folder.glob("*_master.h5"))
    if master:
        return str(master[0])
    first = min(folder.glob("*.cbf"))
    digits = len(first.stem) - len(first.stem.rstrip("0123456789"))
    return str(first.with_name(first.stem[: len(first.stem) - digits] + "#" * digits + first.suffix))


def shell_tables(outcomes: list[Outcome]) -> list[str]:
    """Tables by resolution of the last step that printed one."""
    for outcome in reversed(outcomes):
        found = [t for t in outcome.tables if "resolution" in t.partition("\n")[0]]
        if found:
            return found
    return []


def farewell(outcomes: list[Outcome], folder: Path, seconds: float) -> str:
    """Files that were written, and what to try next."""
    lines = ["", "Files:"]
    for outcome in outcomes:
        for path in outcome.outputs.values():
            lines.append(f"  {str(path).ljust(40)} {outcome.step}")
    lines += [
        "",
        f"{seconds:.0f} s in all. Next, with your own images, from any folder:",
        "  xtal process IMAGES...                 images to merged.mtz, resumed when run again",
        "  xtal run                               the steps one by one",
        "  xtal run find_spots --help             what a step can be told",
        f"  xtal run export {folder}/scaled.expt {folder}/scaled.refl",
    ]
    return "\n".join(lines)
