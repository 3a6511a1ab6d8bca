"""Decoding images: xtal beside fabio (byte-offset CBF) and h5py (bitshuffle-LZ4), CPU seconds of one run.

    python tests/benchmarks/bench_decode.py [--frames 200] [--repeats 5]

The CBF side reads the simulated scan sim_tetragonal (1 Mpixel), the HDF5 side sim_eiger_200 (200 frames of
4.5 Mpixel, uint16). Prints figures; never fails on a time.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from xtal.models import Experiment, Images, Scan
from xtal.plugins import default_plugins
from xtal.run.formats import Formats
from xtal.run.images import FrameReader, open_images
from xtal.testing import simulated


def cpu(work: Callable[[], object], repeats: int = 3) -> float:
    """Least CPU seconds of some repeats, after one that warms up."""
    work()
    times = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return min(times)


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Wall and CPU seconds."""
    start, used = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - start, time.process_time() - used


def reader_of(formats: Formats, template: str, n: int, container: bool = False) -> FrameReader:
    """Reader of n frames of a template or container."""
    first = Path(template) if container else Path(template.replace("#####", "00001"))
    beam, detector, goniometer, _ = formats.open(first).models()
    images = Images(template, indices=list(range(n)) if container else None)
    scan = Scan((1, n), (0.0, 0.1))
    return open_images(Experiment(beam, detector, goniometer, scan, images=images), formats)


def row(what: str, peer: str, peer_ms: float, ours_ms: float) -> None:
    print(f"{what:46s} {peer} {peer_ms:7.2f}   xtal {ours_ms:6.2f}   ratio {ours_ms / peer_ms:5.2f}")


def cbf(formats: Formats, n: int) -> None:
    """Byte-offset CBF against fabio."""
    import fabio

    folder = simulated("sim_tetragonal")
    files = sorted(folder.glob("*.cbf"))[:n]
    n = len(files)
    template = str(files[0]).replace("00001", "#####")
    reader = reader_of(formats, template, n)
    out, masks = reader.allocate(), reader.allocate_masks()

    def read() -> None:
        for z in range(n):
            reader.read(z, out)

    def read_and_mask() -> None:
        for z in range(n):
            reader.mask(z, reader.read(z, out), masks)

    peer = cpu(lambda: [fabio.open(str(f)).data for f in files])
    row("byte-offset CBF, 1 Mpixel, ms a frame", "fabio", 1e3 * peer / n, 1e3 * cpu(read) / n)
    row("the same with the mask of each frame", "fabio", 1e3 * peer / n, 1e3 * cpu(read_and_mask) / n)


def hdf5(formats: Formats, n: int, repeats: int) -> None:
    """Bitshuffle-LZ4 of sim_eiger_200 against dataset[i] of its master, turn by turn: the least of each.

    One thread is compared by CPU time, two with one by wall time (on an idle machine).
    """
    import h5py

    path = simulated("sim_eiger_200") / "sim_eiger_200_master.h5"
    reader = reader_of(formats, str(path), n, container=True)
    outs = [reader.allocate() for _ in range(2)]

    def read(first: int, step: int) -> None:
        for z in range(first, n, step):
            reader.read(z, outs[first])

    with h5py.File(path, "r", locking=False) as file, ThreadPoolExecutor(2) as pool:
        dataset = file["entry/data/data"]
        for z in (0, n // 2):
            np.testing.assert_array_equal(reader.read(z, outs[0])[0], dataset[z])

        def peer() -> None:
            for z in range(n):
                frame = dataset[z]
            assert frame.size

        one, two, theirs = [], [], []
        for _ in range(repeats):
            theirs.append(timed(peer))
            one.append(timed(lambda: read(0, 1)))
            two.append(timed(lambda: list(pool.map(lambda k: read(k, 2), range(2)))))
    ms = [[1e3 * min(column) / n for column in zip(*times, strict=True)] for times in (theirs, one, two)]
    row("bitshuffle-LZ4, 4.5 Mpixel, CPU ms a frame", "h5py ", ms[0][1], ms[1][1])
    row("the same, wall ms", "h5py ", ms[0][0], ms[1][0])
    row("two threads against one, wall ms", "xtal ", ms[1][0], ms[2][0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    formats = Formats(default_plugins())
    # first: memory that others gave back would spare h5py the page faults that its users have
    hdf5(formats, min(given.frames, 200), given.repeats)
    cbf(formats, min(given.frames, 60))


if __name__ == "__main__":
    main()
