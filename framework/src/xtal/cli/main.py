"""``xtal COMMAND``: which command, and what becomes of its errors."""

from __future__ import annotations

import argparse
import atexit
import gc
import io
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

from xtal.errors import ImageWarning, UsageError, XtalError

COMMANDS = {
    "demo": "simulate a small data set, process it and compare with the truth",
    "process": "images to merged intensities in one go: xtal process IMAGES... [name=value ...]",
    "run": "one step of the work: xtal run STEP FILES... [name=value ...]; alone: list the steps",
    "plugins": "what is installed: xtal plugins list | info | check | lock | new",
    "formats": "detector formats: xtal formats list | explain FILE",
    "warmup": "compile all kernels now",
}

HELP = ("-h", "--help")

DEFECT, INTERRUPTED = 3, 130
OBJECTS_PER_COLLECTION = 500_000
"""New objects after which Python's collector looks through the young ones (700 unless told)."""


def parser() -> argparse.ArgumentParser:
    """The parser of the first word; each command reads the rest itself."""
    width = max(map(len, COMMANDS))
    lines = "\n".join(f"  {name.ljust(width)}  {text}" for name, text in COMMANDS.items())
    p = argparse.ArgumentParser(
        prog="xtal",
        usage="xtal COMMAND ...",
        description="Single-crystal diffraction, from images to merged intensities.",
        epilog=f"commands:\n{lines}\n\nStart with: xtal demo",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    p.add_argument("--version", action="store_true", help="show the version and exit")
    p.add_argument("command", nargs="?", metavar="COMMAND", help=argparse.SUPPRESS)
    p.add_argument("rest", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code (0 done, 1 data, 2 usage, 3 defect, 130 interrupted)."""
    words = list(sys.argv[1:] if argv is None else argv)
    speak_plainly()
    collect_rarely()
    try:
        with warnings.catch_warnings():
            warnings.showwarning = tell_warning
            code = guarded(lambda: dispatch(words))
        if code:
            gc.collect()  # HDF5 crashes where a file that hangs in a cycle with an error outlives it
        sys.stdout.flush()
    except BrokenPipeError:
        # the reader of our output went away (a pager, head): nothing is wrong
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    return code


def collect_rarely() -> None:
    """Look for cycles of garbage less often, and not at the end: importing and leaving take 0.3 s less.

    What is large here (images, tables, boxes) hangs in no cycles.
    """
    gc.set_threshold(OBJECTS_PER_COLLECTION)
    atexit.register(gc.freeze)


def speak_plainly() -> None:
    """Let a terminal that has no sign for Å or ² show a question mark: a run must not end for it."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def dispatch(words: list[str]) -> int:
    """Find the command and hand it its words."""
    known = parser()
    if not words or words[0] in (*HELP, "help"):
        known.print_help()
        return 0
    if words[0] == "--version":
        import xtal

        print(f"xtal {xtal.__version__}")
        return 0
    name, rest = words[0], words[1:]
    if name not in COMMANDS:
        raise unknown_command(name)
    from xtal.run.interrupt import watch

    watch()
    command: Callable[[list[str]], int] = import_module(f"xtal.cli.{name}").main
    # whoever asks for help wants nothing done, wherever the word stands
    return command(sorted(rest, key=lambda word: word not in HELP))


def unknown_command(name: str) -> UsageError:
    """What to say of a word that is no command; it may be a step's name."""
    from xtal.options.convert import did_you_mean
    from xtal.plugins import default_plugins

    if name in default_plugins().names("step"):
        return UsageError(f"{name} is a step.", advice=f"Run it with: xtal run {name}")
    advice = did_you_mean(name, COMMANDS) or "See xtal --help."
    return UsageError(f"There is no command {name!r}.", advice=advice)


def guarded(function: Callable[[], int]) -> int:
    """Exit code of ``function``, its errors told as users need them."""
    try:
        return function()
    except XtalError as error:
        tell(error)
        return error.exit_code
    except KeyboardInterrupt:
        print("\nInterrupted. Files that were finished are whole; the same command goes on from them.", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        raise
    except MemoryError:
        print("Error: the memory does not suffice. Try fewer threads (nproc=) or a smaller memory=.", file=sys.stderr)
        return 1
    except Exception as error:
        tell_defect(error)
        return DEFECT


def tell_warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, file: Any = None, line: Any = None
) -> None:
    """One line for users where images are concerned, else as Python does."""
    if issubclass(category, ImageWarning):
        print(f"Warning: {message}", file=sys.stderr)
    else:
        sys.stderr.write(warnings.formatwarning(message, category, filename, lineno))


def tell(error: XtalError) -> None:
    """One sentence, then what to do."""
    print(f"Error: {error.message}", file=sys.stderr)
    if error.advice:
        print(error.advice, file=sys.stderr)


def tell_defect(error: Exception) -> None:
    """A defect of ours: the traceback goes to the log, or to a file where there is no log."""
    import traceback

    log = getattr(error, "xtal_log", None)
    if log is None:
        import tempfile

        text = "".join(traceback.format_exception(error))
        for folder in (os.curdir, tempfile.gettempdir()):
            log = os.path.join(folder, "xtal.defect.log")
            try:
                with open(log, "w", encoding="utf-8") as stream:
                    stream.write(text)
                break
            except OSError:
                continue
    print(f"Error: a defect of xtal ({type(error).__name__}: {error}).", file=sys.stderr)
    print(f"The traceback is in {log}; please report it.", file=sys.stderr)
