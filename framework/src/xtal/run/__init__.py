"""The runner: what a step is given, how it is run and how its outputs say where they come from."""

from xtal.run.context import Context
from xtal.run.runner import Outcome, run_step

__all__ = ["Context", "Outcome", "run_step"]
