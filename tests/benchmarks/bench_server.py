"""The rate of find_spots_server beside dials.find_spots_server's, and its memory over many mixed requests.

    python tests/benchmarks/bench_server.py [sim_eiger_200] [--images 60] [--requests 1000]

Both servers run with two workers and are asked by the same client with four connections, one after the other, twice
(compilation and the opening of files fall into a first round that is not counted). Then ours answers requests of which
a third are about missing or damaged files; every answer is checked, and the server's memory is printed as it goes.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote
from urllib.request import urlopen

import hdf5plugin
import psutil

from xtal.testing import simulated

OURS, THEIRS = 17801, 17802


def get(port: int, path: str) -> dict[str, Any]:
    """The answer of a server."""
    try:
        with urlopen(f"http://127.0.0.1:{port}{path}", timeout=300) as answer:
            text = answer.read()
    except HTTPError as error:
        text = error.read()
    return json.loads(text) if text else {}


def start(command: list[str], port: int, folder: str) -> subprocess.Popen[bytes]:
    """A server that answers."""
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", port)) == 0:
            raise SystemExit(f"something answers at port {port} already")
    # DIALS's own HDF5 needs to be told where the filter of these images is
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HDF5_PLUGIN_PATH": str(hdf5plugin.PLUGIN_PATH)}
    server = subprocess.Popen(
        command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment
    )
    for _ in range(300):
        try:
            get(port, "/")
            return server
        except (URLError, HTTPException, ConnectionError, ValueError):
            time.sleep(0.2)
    raise SystemExit(f"{command[0]} does not answer")


def memory(server: subprocess.Popen[bytes]) -> float:
    """MiB of a server and its workers."""
    process = psutil.Process(server.pid)
    return sum(p.memory_info().rss for p in (process, *process.children(recursive=True))) / 2**20


def stop(server: subprocess.Popen[bytes]) -> None:
    """Stop a server and its workers."""
    for child in psutil.Process(server.pid).children(recursive=True):
        child.kill()
    server.terminate()
    server.wait(60)


def ask(port: int, paths: Sequence[str]) -> tuple[float, list[dict[str, Any]]]:
    """Seconds that all requests took, and the answers."""
    begin = time.monotonic()
    with ThreadPoolExecutor(4) as threads:
        replies = list(threads.map(lambda path: get(port, path), paths))
    return time.monotonic() - begin, replies


def rates(servers: dict[str, int], paths: list[str]) -> dict[str, list[dict[str, Any]]]:
    """Print the images per second of each server, best of two rounds."""
    answers, best = {}, {}
    for port in servers.values():
        ask(port, paths[:4])
    for _ in range(2):
        for name, port in servers.items():
            seconds, answers[name] = ask(port, paths)
            best[name] = max(best.get(name, 0.0), len(paths) / seconds)
    for name, rate in best.items():
        first = answers[name][0]
        print(f"{name:6} {rate:7.2f} images/s   spots on the first: {first.get('n_spots_total', first.get('error'))}")
    if len(best) == 2:
        print(f"ratio  {best['xtal'] / best['DIALS']:7.1f}")
    return answers


def mixed(server: subprocess.Popen[bytes], paths: list[str], folder: Path, n: int) -> None:
    """Ask about good, missing and damaged files in turn; print wrong answers and memory."""
    damaged = folder / "damaged.cbf"
    damaged.write_bytes(b"###CBF: VERSION 1.5\n" + b"\0" * 3000)
    expected = {path: get(OURS, path) for path in paths}
    wrong = 0
    for part in range(4):
        numbers = range(n // 4)
        kinds = [(paths[k % len(paths)], quote(f"{folder}/missing_{k}.cbf"), quote(str(damaged))) for k in numbers]
        wanted = [kinds[k][k % 3] for k in numbers]
        _, replies = ask(OURS, wanted)
        for path, reply in zip(wanted, replies, strict=True):
            wrong += reply != expected[path] if path in expected else "error" not in reply
        print(f"after {(part + 1) * (n // 4):5} mixed requests: {wrong} wrong answers, {memory(server):.0f} MiB")


def main() -> None:
    """Run the benchmark."""
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("preset", nargs="?", default="sim_eiger_200")
    words.add_argument("--images", type=int, default=60)
    words.add_argument("--requests", type=int, default=1000)
    given = words.parse_args()
    data = simulated(given.preset)
    master = next(iter(sorted(data.glob("*master.h5"))))
    paths = [f"{quote(str(master))};scan_range={k},{k}" for k in range(1, given.images + 1)]
    with tempfile.TemporaryDirectory() as name:
        xtal = str(Path(sys.executable).with_name("xtal"))
        ours = start([xtal, "run", "find_spots_server", f"port={OURS}", "nproc=2"], OURS, name)
        running, servers = [ours], {"xtal": OURS}
        try:
            if shutil.which("dials.find_spots_server"):
                running.append(start(["dials.find_spots_server", f"port={THEIRS}", "nproc=2"], THEIRS, name))
                servers["DIALS"] = THEIRS
            rates(servers, paths)
            mixed(ours, paths[:20], Path(name), given.requests)
        finally:
            for server in running:
                stop(server)


if __name__ == "__main__":
    main()
