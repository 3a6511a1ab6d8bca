"""A few columns of a table of ten million rows: quickly, and without reading the rest."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import msgpack
import numpy as np
import pytest

ROWS = 10_000_000
COLUMNS = {  # name -> (type, bytes per row)
    "bbox": ("int6", 24),
    "background.mean": ("double", 8),
    "d": ("double", 8),
    "entering": ("bool", 1),
    "flags": ("std::size_t", 8),
    "id": ("int", 4),
    "intensity.prf.value": ("double", 8),
    "intensity.prf.variance": ("double", 8),
    "intensity.sum.value": ("double", 8),
    "intensity.sum.variance": ("double", 8),
    "lp": ("double", 8),
    "miller_index": ("cctbx::miller::index<>", 12),
    "panel": ("std::size_t", 8),
    "partiality": ("double", 8),
    "s1": ("vec3<double>", 24),
    "shoebox": ("Shoebox<>", 29),
    "xyzcal.mm": ("vec3<double>", 24),
    "xyzcal.px": ("vec3<double>", 24),
    "xyzobs.mm.value": ("vec3<double>", 24),
    "xyzobs.px.value": ("vec3<double>", 24),
}
WANTED = ("miller_index", "intensity.prf.value", "intensity.prf.variance")

LOAD = """
import json, resource, sys, time
import numpy as np
from xtal.files import read_reflections
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
read = lambda: [table[name] for table in [read_reflections(sys.argv[1])] for name in sys.argv[2:]]
before, times = peak(), []
for _ in range(3):
    start = time.perf_counter()
    columns = read()
    times.append(time.perf_counter() - start)
    assert all(len(c) == 10_000_000 for c in columns)
    size = sum(c.nbytes for c in columns)
    del columns
print(json.dumps({"seconds": min(times), "bytes": peak() - before, "columns": size}))
"""


def sparse_table(path: Path) -> Path:
    """A table of zeros whose columns are holes in the file: 3 GB to read, next to nothing on disk."""
    packer = msgpack.Packer()
    with open(path, "wb") as stream:
        stream.write(packer.pack_array_header(3) + packer.pack("dials::af::reflection_table") + packer.pack(1))
        stream.write(packer.pack_map_header(3) + packer.pack("identifiers") + packer.pack({0: "a"}))
        stream.write(packer.pack("nrows") + packer.pack(ROWS))
        stream.write(packer.pack("data") + packer.pack_map_header(len(COLUMNS)))
        for name, (kind, width) in COLUMNS.items():
            stream.write(packer.pack(name) + packer.pack_array_header(2) + packer.pack(kind))
            stream.write(packer.pack_array_header(2) + packer.pack(ROWS))
            stream.write(b"\xc6" + (ROWS * width).to_bytes(4, "big"))
            stream.seek(ROWS * width, 1)
        stream.truncate()
    return path


def test_three_columns_of_ten_million_rows(tmp_path):
    path = sparse_table(tmp_path / "large.refl")
    if path.stat().st_blocks * 512 > 1 << 20:
        pytest.skip("this file system has no sparse files, and the table would take 3 GB of it")
    done = subprocess.run([sys.executable, "-c", LOAD, str(path), *WANTED], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert found["seconds"] < 1.0
    # nothing but these columns
    assert found["bytes"] < found["columns"] + (50 << 20)


def test_thousands_of_small_tables_can_be_open_at_once(tmp_path):
    """Columns that are not yet read hold no file open."""
    from xtal.files import read_reflections, write_reflections
    from xtal.table import ReflectionTable

    write_reflections(ReflectionTable({"d": np.ones(3)}), tmp_path / "a.refl")
    before = len(os.listdir("/proc/self/fd")) if os.path.exists("/proc/self/fd") else 0
    tables = [read_reflections(tmp_path / "a.refl") for _ in range(50)]
    if before:
        assert len(os.listdir("/proc/self/fd")) < before + 5
    assert all(t["d"].sum() == 3 for t in tables)


def test_a_table_that_is_replaced_keeps_what_was_read(tmp_path):
    from xtal.files import read_reflections, write_reflections
    from xtal.table import ReflectionTable

    path, n = tmp_path / "a.refl", 3_000_000
    write_reflections(ReflectionTable({"d": np.ones(n), "e": np.full(n, 2.0)}), path)
    table = read_reflections(path)
    assert table["d"][-1] == 1
    write_reflections(ReflectionTable({"d": np.zeros(3)}), path)
    assert table["e"][-1] == 2
