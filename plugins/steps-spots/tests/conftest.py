"""Lets the tests of this folder import ``spots_in_memory``."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
