"""Write constraints.txt for pip from the pins in pyproject.toml: python tools/constraints.py"""

from __future__ import annotations

import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent


def constraints() -> str:
    """The text that constraints.txt must hold."""
    pins = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["uv"]["constraint-dependencies"]
    return "# Generated from pyproject.toml by tools/constraints.py; do not edit.\n" + "\n".join(pins) + "\n"


if __name__ == "__main__":
    (ROOT / "constraints.txt").write_text(constraints())
