"""Typed errors. The command line alone turns them into exit codes."""

from __future__ import annotations

LONGEST = 1500
"""Characters of a message: of a longer one the middle is left out."""


class XtalError(Exception):
    """Something that the data or the options cannot do: one clear sentence.

    Parameters
    ----------
    message
        One sentence that names the file or the value at fault.
    advice
        What the user can do next, one sentence; may be empty.
    """

    exit_code = 1

    def __init__(self, message: str, *, advice: str = "") -> None:
        if len(message) > LONGEST:  # it may quote a file, and the file may say anything
            message = f"{message[: LONGEST // 2]} ... {message[-LONGEST // 2 :]}"
        super().__init__(message)
        self.message = message
        self.advice = advice

    def __str__(self) -> str:
        return f"{self.message} {self.advice}".strip()


class DataError(XtalError):
    """A file or its content cannot be used; the message names the file."""


class AlgorithmFailed(XtalError):
    """The data do not allow the algorithm to reach a result (no lattice found, too few spots)."""


class UsageError(XtalError):
    """Wrong usage of the command: unknown step, missing input."""

    exit_code = 2


class OptionError(XtalError):
    """An option that is unknown, ambiguous or has a bad value."""


class PluginError(XtalError):
    """A plugin is missing, denied, broken or in conflict with another."""


class ImageWarning(UserWarning):
    """Something about files of data that the user should know before they are used (given to `warnings.warn`)."""
