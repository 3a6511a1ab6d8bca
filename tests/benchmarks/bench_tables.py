"""Three columns of a large reflection table, beside DIALS, which reads the whole.

    python tests/benchmarks/bench_tables.py [ROWS]

The table has the twenty columns of an integrated one (without pixels). CPU seconds of the process and its peak memory.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

COLUMNS = ("miller_index", "intensity.prf.value", "intensity.prf.variance")
MEASURE = """
import json, resource, sys, time
{setup}
before, start, wall = resource.getrusage(resource.RUSAGE_SELF), time.process_time(), time.perf_counter()
{load}
after = resource.getrusage(resource.RUSAGE_SELF)
print(json.dumps(dict(cpu=time.process_time() - start, wall=time.perf_counter() - wall,
                      memory=(after.ru_maxrss - before.ru_maxrss) / 1024)))
"""
OURS = MEASURE.format(
    setup="from xtal.files import read_reflections",
    load="table = read_reflections(sys.argv[1]); columns = [table[name] for name in sys.argv[2:]]",
)
THEIRS = MEASURE.format(
    setup="from dials.array_family import flex",
    load="table = flex.reflection_table.from_file(sys.argv[1]); columns = [table[name] for name in sys.argv[2:]]",
)


def sparse_table(path: Path, rows: int) -> Path:
    """The table of the test of large tables, of so many rows."""
    source = Path(__file__).parents[2] / "framework" / "tests" / "test_large_tables.py"
    spec = importlib.util.spec_from_file_location("large_tables", source)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.ROWS = rows
    module.COLUMNS.pop("shoebox")
    return module.sparse_table(path)


def measure(python: str, code: str, path: Path) -> str:
    done = subprocess.run([python, "-c", code, str(path), *COLUMNS], capture_output=True, text=True)
    if done.returncode:
        return f"failed: {done.stderr.strip().splitlines()[-1:]}"
    found = json.loads(done.stdout.splitlines()[-1])
    return f"{found['wall']:7.2f} s wall {found['cpu']:7.2f} s CPU {found['memory']:8.0f} MB"


def main() -> None:
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000_000
    with tempfile.TemporaryDirectory() as folder:
        path = sparse_table(Path(folder) / "large.refl", rows)
        print(f"{rows} rows, {path.stat().st_size / 1e9:.2f} GB, three columns")
        print("xtal ", measure(sys.executable, OURS, path))
        python = shutil.which("python3", path="/usr/bin")
        if shutil.which("dials.show") is None or python is None:
            print("DIALS is not installed: no other side")
        else:
            print("DIALS", measure(python, THEIRS, path))


if __name__ == "__main__":
    main()
