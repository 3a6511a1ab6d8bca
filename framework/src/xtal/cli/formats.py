"""``xtal formats``: detector formats that can be read."""

from __future__ import annotations

from xtal.plugins import default_plugins


def main(words: list[str]) -> int:
    """One line per format; with files, which format each one is."""
    plugins = default_plugins()
    if words and words[0] not in ("-h", "--help"):
        return name_formats(words)
    found = plugins.all("format")
    width = max((len(f.name) for f in found), default=0)
    for one in found:
        extensions = f" ({', '.join(one.extensions)})" if one.extensions else ""
        print(f"{one.name.ljust(width)}  {one.summary}{extensions}")
    if not found:
        print("No formats are installed.")
    return 0


def name_formats(files: list[str]) -> int:
    """Print the format of each file."""
    from pathlib import Path

    from xtal.run.formats import Formats

    formats = Formats(default_plugins())
    for name in files:
        print(f"{name}: {formats.recognise(Path(name))[0]}")
    return 0
