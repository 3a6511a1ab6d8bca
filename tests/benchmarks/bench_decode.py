"""Decoding images: xtal beside fabio (byte-offset CBF) and h5py (bitshuffle-LZ4), CPU seconds of one run.

    python tests/benchmarks/bench_decode.py [--frames 60]

The CBF side reads the simulated scan sim_tetragonal (1 Mpixel), the HDF5 side 4.5 Mpixel
uint32 frames that are written here. Prints figures; never fails on a time.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

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


def wall(work: Callable[[], object], repeats: int = 3) -> float:
    """Least wall seconds of some repeats."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


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


def hdf5(formats: Formats, n: int) -> None:
    """Bitshuffle-LZ4 against dataset[i]."""
    import h5py
    import hdf5plugin

    rng = np.random.default_rng(0)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "master.h5"
        _write_master(path, n, rng, hdf5plugin.Bitshuffle(cname="lz4"))
        reader = reader_of(formats, str(path), n, container=True)
        outs = [reader.allocate() for _ in range(2)]

        def threads() -> None:
            with ThreadPoolExecutor(2) as pool:
                list(pool.map(lambda k: [reader.read(z, outs[k]) for z in range(k, n, 2)], range(2)))

        def read() -> None:
            for z in range(n):
                reader.read(z, outs[0])

        with h5py.File(path, "r", locking=False) as file:
            dataset = file["entry/data/data"]
            peer = wall(lambda: [dataset[z] for z in range(n)])
        alone = wall(read)
        row("bitshuffle-LZ4, 4.5 Mpixel, ms a frame, 1 thread", "h5py ", 1e3 * peer / n, 1e3 * alone / n)
        row("2 threads against one (ratio)", "xtal ", 1e3 * alone / n, 1e3 * wall(threads) / n)


def _write_master(path: Path, n: int, rng: np.random.Generator, compression: object) -> None:
    import h5py

    with h5py.File(path, "w") as file:
        for name, kind in (("entry", "NXentry"), ("entry/data", "NXdata"), ("entry/instrument", "NXinstrument")):
            file.create_group(name).attrs["NX_class"] = kind
        detector = file.create_group("entry/instrument/detector")
        detector.attrs["NX_class"] = "NXdetector"
        detector["description"] = "Dectris Eiger 4M"
        detector["x_pixel_size"] = detector["y_pixel_size"] = 75e-6
        detector["beam_center_x"], detector["beam_center_y"], detector["detector_distance"] = 1000.0, 1000.0, 0.2
        beam = file.create_group("entry/instrument/beam")
        beam.attrs["NX_class"] = "NXbeam"
        beam["incident_wavelength"] = 1.0
        shape = (2162, 2068)
        data = file.create_dataset(
            "entry/data/data", (n, *shape), "uint32", chunks=(1, *shape), compression=compression
        )
        for k in range(n):
            data[k] = rng.poisson(0.5, shape)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=60)
    n = parser.parse_args().frames
    formats = Formats(default_plugins())
    cbf(formats, n)
    hdf5(formats, min(n, 20))


if __name__ == "__main__":
    main()
