"""The command ``xtal``. Only this package turns errors into exit codes."""

from xtal.cli.main import main

__all__ = ["main"]
