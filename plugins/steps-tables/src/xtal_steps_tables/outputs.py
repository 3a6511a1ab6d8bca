"""Outputs whose names follow from the data, and identifiers of experiments that are made of others."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from xtal.files import write_experiments, write_reflections
from xtal.models import ExperimentList
from xtal.run import Context
from xtal.run.provenance import KEY, write_made
from xtal.table import ReflectionTable
from xtal.words import counted


def write_pair(
    context: Context,
    experiments: ExperimentList | None,
    table: ReflectionTable | None,
    names: tuple[str, str] | None = None,
) -> None:
    """Write what there is; ``names`` of the list and the table replace those of the options."""
    for role, content, name in zip(
        ("experiments", "reflections"), (experiments, table), names or ("", ""), strict=True
    ):
        if content is None:
            continue
        path = context.directory / name if name else context.path(role)
        if isinstance(content, ExperimentList):
            content.extra[KEY] = context.made
            write_experiments(content, path)
        else:
            write_made(path, context.made, write_reflections(content, path))
        context.outputs[path.name if role in context.outputs else role] = path
        context.print(f"Wrote {path} ({counted(len(content), role[:-1])})")


def derived_identifier(*told: Any) -> str:
    """Identifier of an experiment, from what it is made of: the same input gives the same name."""
    h = hashlib.sha256(json.dumps(told).encode()).hexdigest()
    return "-".join((h[:8], h[8:12], h[12:16], h[16:20], h[20:32]))
