"""Cutting a scan into pieces and joining them again loses nothing."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from xtal.models import ExperimentList, Images
from xtal.table import ReflectionTable
from xtal.testing import tiny_experiment
from xtal_steps_tables.slicing import block_ranges, cut_experiments, cut_table, ranges_between
from xtal_steps_tables.subsets import choose


def experiment(n: int, first: int):
    e = tiny_experiment(n)
    e.scan.image_range = (first, first + n - 1)
    e.scan.epochs = np.arange(float(n))
    e.images = Images("master.h5", indices=list(range(n)))
    e.crystal.A_at_scan_points = np.array([e.crystal.A * (1 + 1e-3 * k) for k in range(n + 1)])
    return e


def table(n_rows: int, first: int, n: int, seed: int) -> ReflectionTable:
    rng = np.random.default_rng(seed)
    z = rng.uniform(first - 1, first - 1 + n, n_rows)
    return ReflectionTable(
        {
            "id": np.zeros(n_rows, np.int32),
            "xyzobs.px.value": np.column_stack([z, z, z]),
            "number": np.arange(n_rows, dtype=np.int32),
        },
        {0: "tiny"},
    )


SCANS = st.tuples(st.integers(1, 40), st.integers(1, 500))


@settings(max_examples=80, deadline=None)
@given(SCANS, st.floats(0.1, 30), st.integers(0, 50), st.integers(0, 1000))
def test_blocks_are_the_scan(scan, size, n_rows, seed):
    n, first = scan
    e = experiment(n, first)
    ranges = block_ranges(e.scan, size)
    assert ranges[0][0] == first
    assert ranges[-1][1] == first + n - 1
    assert all(a[1] + 1 == b[0] for a, b in itertools.pairwise(ranges))
    pieces = [cut_experiments([e], [r])[0] for r in ranges]
    assert sum(p.scan.n_images for p in pieces) == n
    np.testing.assert_array_equal(np.concatenate([p.scan.epochs for p in pieces]), e.scan.epochs)
    assert [i for p in pieces for i in p.images.indices] == e.images.indices
    points = np.concatenate([p.crystal.A_at_scan_points[:-1] for p in pieces])
    np.testing.assert_array_equal(points, e.crystal.A_at_scan_points[:-1])
    for p in pieces:
        z = p.scan.array_range[0]
        assert abs(p.scan.phi(z) - e.scan.phi(z)) < 1e-12
    whole = table(n_rows, first, n, seed)
    rows = np.concatenate([cut_table(whole, 0, r) for r in ranges])
    assert sorted(rows.tolist()) == list(range(n_rows))


@settings(max_examples=80, deadline=None)
@given(SCANS, st.integers(2, 20))
def test_ranges_between_leave_out_the_multiples_only(scan, multiple):
    n, first = scan
    e = experiment(n, first)
    kept = [k for a, b in ranges_between(e.scan, multiple) for k in range(a, b + 1)]
    assert kept == [k for k in range(first, first + n) if k % multiple]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_chosen_parts_hold_all_rows_once(data):
    """Any way to deal experiments out to files: ids count each file, every row is in one of them."""
    n = data.draw(st.integers(1, 8))
    experiments = ExperimentList([experiment(3, 1) for _ in range(n)])
    for k, e in enumerate(experiments):
        e.identifier = f"e{k}"
    ids = np.array(data.draw(st.lists(st.integers(-1, n - 1), max_size=40)), np.int32)
    rows = ReflectionTable(
        {
            "id": ids,
            "imageset_id": np.where(ids >= 0, ids, 0).astype(np.int32),
            "number": np.arange(len(ids), dtype=np.int32),
        },
        {k: f"e{k}" for k in range(n)},
    )
    parts = data.draw(st.permutations(range(n)))
    cut = data.draw(st.integers(0, n))
    seen = []
    for numbers in (parts[:cut], parts[cut:]):
        if not numbers:
            continue
        chosen, found = choose(experiments, rows, list(numbers))
        assert [e.identifier for e in chosen] == [f"e{k}" for k in numbers]
        assert found.identifiers == {k: e.identifier for k, e in enumerate(chosen)}
        for row, new in zip(found["number"], found["id"], strict=True):
            old = ids[row]
            assert (new == -1 and old == -1) or numbers[new] == old
        seen += found["number"][found["id"] >= 0].tolist()
    assert sorted(seen) == np.flatnonzero(ids >= 0).tolist()
