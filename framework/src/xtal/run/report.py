"""What a run says: to the terminal and to the log."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

from xtal.errors import DataError

PLAIN_INTERVAL = 5.0
"""Seconds between progress lines where the output is not a terminal."""


class Reporter:
    """Terminal and log of one run.

    Parameters
    ----------
    verbosity
        0 says nothing but warnings and errors (``-q``), 1 progress and what the user must know
        (`xtal process` shows the summaries), 2 everything.
    log
        Path of the log, or None.
    """

    def __init__(self, verbosity: int = 2, log: Path | None = None, stream: TextIO | None = None) -> None:
        self.verbosity = verbosity
        self.stream = stream or sys.stdout
        self.log_path = log
        self.tables: list[str] = []
        self._log: TextIO | None = None
        self._lock = threading.RLock()
        self._bar: Any = None
        if log is not None:
            try:
                self._log = open(log, "w", encoding="utf-8")  # noqa: SIM115 (closed by close)
            except OSError as error:
                raise DataError(
                    f"The log {log} cannot be written: {error.strerror}.",
                    advice="Run in a folder that you may write to, or give output.directory=FOLDER.",
                ) from None

    def close(self) -> None:
        """Close the log."""
        if self._log is not None:
            self._log.close()
            self._log = None

    @property
    def is_terminal(self) -> bool:
        return bool(getattr(self.stream, "isatty", lambda: False)())

    def log(self, text: str) -> None:
        """Write to the log only. A full disk must not stop a run for the sake of its log."""
        if self._log is not None:
            with self._lock:
                try:
                    self._log.write(text + "\n")
                    self._log.flush()
                except OSError:
                    self._log = None

    def say(self, text: str, *, least: int = 2) -> None:
        """Write to the log, and to the terminal where the verbosity is at least ``least``."""
        self.log(text)
        if self.verbosity >= least:
            self._show(text)

    def warn(self, text: str) -> None:
        """A warning, to the terminal always."""
        self.log(f"Warning: {text}")
        self._show(f"Warning: {text}", sys.stderr if self.verbosity == 0 else None)

    def _show(self, text: str, stream: TextIO | None = None) -> None:
        with self._lock:
            if self._bar is not None and stream is None:
                self._bar.console.print(text, markup=False, highlight=False, soft_wrap=True)
            else:
                print(text, file=stream or self.stream, flush=True)

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """A table with right-aligned numbers."""
        text = format_table(title, columns, rows)
        self.tables.append(text)
        self.say(text)

    def progress(self, total: int, unit: str) -> Progress:
        """Progress of ``total`` units, as a context manager with ``advance(n)``."""
        if self.verbosity == 0:
            return Progress(total, unit)
        if self.is_terminal:
            return BarProgress(total, unit, self)
        return PlainProgress(total, unit, self)


class Progress:
    """Counts and shows nothing."""

    def __init__(self, total: int, unit: str) -> None:
        self.total, self.unit, self.done = total, unit, 0
        self.start = time.monotonic()
        self._lock = threading.Lock()

    def __enter__(self) -> Progress:
        self.start = time.monotonic()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.finish()

    def advance(self, n: int = 1) -> None:
        """Say that ``n`` more units are done; may be called from any thread."""
        with self._lock:
            self.done += n
            self.show()

    def show(self) -> None:
        """Called after each advance."""

    def finish(self) -> None:
        """Called at the end, whatever happened."""


class PlainProgress(Progress):
    """A line now and then, for logs of batch systems and pipes."""

    def __init__(self, total: int, unit: str, reporter: Reporter) -> None:
        super().__init__(total, unit)
        self.reporter = reporter
        self._last = self.start
        self._first: tuple[float, int] | None = None

    def show(self) -> None:
        now = time.monotonic()
        self._first = self._first or (now, self.done)
        if now - self._last < PLAIN_INTERVAL or self.done >= self.total:
            return
        self._last = now
        text = f"  {self.done}/{self.total} {self.unit} ({100 * self.done / max(self.total, 1):.0f} %)"
        # the first advance may have waited for kernels to be compiled: it tells nothing of the rate
        since, before = self._first
        if self.done > before and now > since:
            rate = (self.done - before) / (now - since)
            text += f", {rate:.3g} {self.unit}/s, {(self.total - self.done) / rate:.0f} s left"
        self.reporter._show(text)


class BarProgress(Progress):
    """A bar that vanishes when it is full."""

    def __init__(self, total: int, unit: str, reporter: Reporter) -> None:
        super().__init__(total, unit)
        from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as RichProgress
        from rich.text import Text

        class Rate(ProgressColumn):
            def render(self, task: Any) -> Text:
                return Text(f"{task.speed or 0:.3g} {unit}/s")

        self.reporter = reporter
        columns = (TextColumn("  {task.description}"), BarColumn(), MofNCompleteColumn(), Rate(), TimeRemainingColumn())
        self.bar = RichProgress(*columns, transient=True)
        self.task = self.bar.add_task(unit, total=total)

    def __enter__(self) -> Progress:
        super().__enter__()
        self.reporter._bar = self.bar
        self.bar.start()
        return self

    def show(self) -> None:
        self.bar.update(self.task, completed=self.done)

    def finish(self) -> None:
        self.bar.stop()
        self.reporter._bar = None


def format_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A table as plain text: words to the left, numbers to the right."""
    cells = [[_cell(value) for value in row] for row in rows]
    widths = [max([len(c), *(len(row[k]) for row in cells)]) for k, c in enumerate(columns)]
    right = [all(_is_number(row[k]) for row in rows) for k in range(len(columns))]

    def line(values: Sequence[str]) -> str:
        parts = [v.rjust(w) if r else v.ljust(w) for v, w, r in zip(values, widths, right, strict=True)]
        return ("  " + "  ".join(parts)).rstrip()

    rule = "  " + "  ".join("-" * w for w in widths)
    return "\n".join([*([title] if title else []), line(columns), rule, *map(line, cells)])


def _is_number(value: Any) -> bool:
    if isinstance(value, str):
        try:
            float(value.rstrip("%"))
        except ValueError:
            return value in ("", "-")
        return True
    return True


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or not hasattr(value, "__float__"):
        return str(value)
    number = float(value)
    return str(int(value)) if number == int(number) and not isinstance(value, float) else f"{number:.4g}"
