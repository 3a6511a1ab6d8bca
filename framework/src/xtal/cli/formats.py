"""``xtal formats``: detector formats that can be read, and why a file is read as it is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from xtal.errors import DataError, UsageError
from xtal.plugins import default_plugins
from xtal.words import counted

if TYPE_CHECKING:
    from xtal.files.notes import Note
    from xtal.hooks.protocols import ImageSource
    from xtal.models import Panel
    from xtal.run.formats import Formats

USAGE = """xtal formats [list]            the installed formats
xtal formats explain FILE ...  who reads a file, what was read from where in its header, what was assumed"""


def main(words: list[str]) -> int:
    """``list`` (as without words) or ``explain FILE ...``.

    Raises
    ------
    UsageError
        For any other word, or ``explain`` without files.
    """
    if not words or words == ["list"]:
        return list_formats()
    if words[0] in ("-h", "--help"):
        print(USAGE)
        return 0
    if words[0] != "explain":
        raise UsageError(f"xtal formats does not know {words[0]!r}.", advice="It knows list and explain FILE.")
    if not words[1:]:
        raise UsageError("xtal formats explain needs a file.", advice="Name an image: xtal formats explain FILE.")
    return explain([Path(word) for word in words[1:]])


def list_formats() -> int:
    """One line per format."""
    found = default_plugins().all("format")
    width = max((len(f.name) for f in found), default=0)
    for one in found:
        extensions = f" ({', '.join(one.extensions)})" if one.extensions else ""
        print(f"{one.name.ljust(width)}  {one.summary}{extensions}")
    if not found:
        print("No formats are installed.")
    return 0


def explain(files: list[Path]) -> int:
    """Explain each file; 1 if one of them cannot be read."""
    from xtal.run.formats import Formats

    formats = Formats(default_plugins())
    code = 0
    for k, path in enumerate(files):
        print("\n" * bool(k) + str(path))
        try:
            explain_file(formats, path)
        except DataError as error:
            print(f"\nIt is not read: {error}")
            code = error.exit_code
    return code


def explain_file(formats: Formats, path: Path) -> None:
    """Print who was asked, who answers, what is read from where, what is assumed, and the models.

    Raises
    ------
    DataError
        If no format reads the file, after all that was known till then is printed.
    """
    from xtal.files.notes import listening

    claims = sorted(formats.claims(path).items(), key=lambda claim: (-claim[1], claim[0]))
    print("Asked (0 is no claim, 9 one instrument): " + ", ".join(f"{name} {claim}" for name, claim in claims))
    name, form = formats.recognise(path)
    print(f"Read by {name}")
    source = None
    try:
        with listening() as notes:
            source = form.open(path)
            source.models()
            source.masks()
    finally:
        _print_notes(notes)
        if source is not None:
            source.close()
    with_models = form.open(path)
    _print_models(with_models)
    with_models.close()


def _print_notes(notes: Sequence[Note]) -> None:
    titles = {
        "read": "Read from the header (value, key)",
        "assumed": "Assumed (value, why)",
    }
    for kind, title in titles.items():
        chosen = [note for note in notes if note.kind == kind]
        if not chosen:
            continue
        print(f"\n{title}")
        what, value = (max(len(getattr(note, name)) for note in chosen) for name in ("what", "value"))
        for note in chosen:
            same = kind == "read" and note.where == note.what
            print(f"  {note.what.ljust(what)}  {note.value.ljust(value)}  {'' if same else note.where}".rstrip())


def _print_models(source: ImageSource) -> None:
    from xtal.run.formats import lacking

    beam, detector, goniometer, scan = source.models()
    panel = detector[0]
    rows = [
        ("frames", f"{source.n_frames} of {source.dtype}"),
        ("wavelength", f"{beam.wavelength:.6g} Å ({beam.probe})"),
        ("polarisation", f"{beam.polarization_fraction:g}"),
        ("detector", f"{counted(len(detector), 'panel')}, {_panel(panel)}"),
        ("trusted range", "{:.10g} to {:.10g}, both inclusive".format(*panel.trusted_range)),
        ("distance", f"{panel.distance:.2f} mm"),
        ("origin", ", ".join(f"{x:.3f}" for x in panel.origin) + " mm"),
    ]
    masked = sum(len(p.mask) for p in detector)
    if masked:
        rows.append(("masked", counted(masked, "rectangle")))
    if (panel.gain, panel.pedestal) != (1.0, 0.0):
        rows.append(("gain, pedestal", f"{panel.gain:g}, {panel.pedestal:g}"))
    if panel.thickness:
        rows.append(("sensor", f"{panel.thickness:g} mm {panel.material}, {panel.mu:.4g} per mm"))
    if goniometer is not None and scan is not None:
        start, width = scan.oscillation_deg
        axis = ", ".join(f"{x:.4g}" for x in goniometer.axis)
        turns = f"{start:.6g}° by {width:.6g}°" if width else f"none (a still at {start:.6g}°)"
        rows.append(("rotation", f"{turns} about ({axis})"))
    else:
        rows.append(("rotation", "none: a still"))
    missing = lacking(beam, detector)
    if missing:
        print("\nMissing (option of import that supplies it)")
    for what, option in missing:
        print(f"  {what.ljust(14)}  {option}")
    print("\nModels (laboratory frame: x along the usual axis, z to the source)")
    for name, value in rows:
        print(f"  {name.ljust(14)}  {value.replace('nan', '?')}")


def _panel(panel: Panel) -> str:
    fast, slow = panel.image_size
    return f"{fast} x {slow} pixels of {panel.pixel_size[0]:.4g} x {panel.pixel_size[1]:.4g} mm"
