"""Reads mutated files of targets and tells, a line of JSON for each target, how they ended."""

from __future__ import annotations

import argparse
import ctypes
import faulthandler
import json
import os
import random
import resource
import signal
import struct
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import Any

SECONDS, WAITING = 10, 120
"""Longest time that one file may take: of the processor, and in all."""
MEMORY = 1 << 30
"""Bytes that reading a file may take beyond what the process has when it begins; twice as many may be asked for."""
SHOWN = 20
"""Failures that are told of a target."""

SPECIAL = (0, 1, 0x7F, 0x80, 0xFF)
MODULES = ("fuzz_files", "fuzz_images", "fuzz_hdf5")
_IN_OPEN, _IN_NONBLOCK, _IN_ISDIR = 0x20, 0x800, 0x40000000
_EVENT = struct.Struct("iIII")
"""What the system tells of an event: watch, kind, cookie, length of the name that follows."""


class TooSlow(BaseException):
    """A file took too long; no reader catches this."""


def mutate(seed: bytes, words: tuple[bytes, ...], rng: random.Random) -> bytes:
    """A damaged copy of ``seed``: bytes changed, cut, copied, or words put in; headers are hit more often."""
    data = bytearray(seed)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        size = len(data)
        if not size:
            return bytes(data)
        at = rng.randrange(min(size, 600)) if rng.random() < 0.5 else rng.randrange(size)
        length = min(rng.choice((1, 1, 2, 4, 8, 64)), size - at)
        what = rng.randrange(7)
        if what == 0:
            data[at] ^= 1 << rng.randrange(8)
        elif what == 1:
            data[at : at + length] = bytes(rng.choice(SPECIAL) for _ in range(length))
        elif what == 2:
            data[at : at + length] = rng.randbytes(length)
        elif what == 3:
            del data[at : at + length * rng.choice((1, 1, 16))]
        elif what == 4:
            data[at:at] = data[at : at + length] * rng.choice((1, 3, 100))
        elif what == 5 and words:
            word = rng.choice(words)
            data[at : at + (len(word) if rng.random() < 0.5 else 0)] = word
        else:
            del data[at:]
    return bytes(data)


def damaged(target: Any, number: int) -> bytes:
    """File ``number`` of a target; the same each time."""
    rng = random.Random(f"{target.name} {number}")
    seed = rng.choice(target.seeds)
    return target.mutate(seed, rng) if target.mutate and rng.random() < 0.5 else mutate(seed, target.words, rng)


# --- reading ----------------------------------------------------------------------------


class Outside:
    """Watches a folder: whether a file in it is opened before a warning names the folder.

    The system tells of files that any library opens, not only of those that Python does. That the folder itself is
    opened does not count: whoever lists the temporary files of this machine does that.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.said, self.opened_unsaid = folder, False, False
        libc = ctypes.CDLL(None, use_errno=True)
        self._queue = libc.inotify_init1(_IN_NONBLOCK)
        if self._queue < 0 or libc.inotify_add_watch(self._queue, os.fsencode(folder), _IN_OPEN) < 0:
            raise OSError(ctypes.get_errno(), "the folder cannot be watched")

    def begin(self) -> None:
        """Before a file is read."""
        self._opened()
        self.said = self.opened_unsaid = False

    def hear(self, message: Warning | str, *_: Any, **__: Any) -> None:
        """In the place of `warnings.showwarning`."""
        self.end()
        self.said = self.said or str(self.folder) in str(message)

    def end(self) -> bool:
        """Whether a file was opened by now without a word."""
        self.opened_unsaid = self.opened_unsaid or (self._opened() and not self.said)
        return self.opened_unsaid

    def _opened(self) -> bool:
        try:
            events = os.read(self._queue, 1 << 16)
        except BlockingIOError:
            return False
        kinds, at = [], 0
        while at < len(events):
            _, kind, _, length = _EVENT.unpack_from(events, at)
            kinds.append(kind)
            at += _EVENT.size + length
        return any(not kind & _IN_ISDIR for kind in kinds)


def _ring(_signal: int, _frame: FrameType | None) -> None:
    raise TooSlow


def read_one(target: Any, path: Path) -> tuple[str, str]:
    """How reading ended: ("data" or "refused" or "failed", message)."""
    from xtal.errors import XtalError

    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    # a library that never comes back to Python is ended with the process
    faulthandler.dump_traceback_later(WAITING, exit=True)
    try:
        target.read(path)
    except XtalError as error:
        return "refused", str(error)
    except MemoryError:
        return "failed", "it wants more memory than it may have: " + traceback.format_exc(limit=-3)
    except TooSlow:
        return "failed", f"it takes more than {SECONDS} s: " + traceback.format_exc(limit=-3)
    except Exception:
        return "failed", traceback.format_exc(limit=-3)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        faulthandler.cancel_dump_traceback_later()
    return "data", ""


class Memory:
    """How much memory this process took at a time, beyond what it has now."""

    def __init__(self) -> None:
        self._base = self._number("VmRSS")

    def taken(self) -> int:
        """Bytes; what is more than is allowed is forgotten, once it is told."""
        found = self._number("VmHWM") - self._base
        if found > MEMORY:
            Path("/proc/self/clear_refs").write_text("5")
        return found

    @staticmethod
    def _number(name: str) -> int:
        return 1024 * int(Path("/proc/self/status").read_text().split(f"{name}:")[1].split()[0])


def judge(target: Any, path: Path, outside: Outside, memory: Memory) -> tuple[str, str]:
    """How reading ended, an error that says too little and a file opened without a word being failures too."""
    outside.begin()
    end, message = read_one(target, path)
    taken = memory.taken()
    if taken > MEMORY:
        return "failed", f"it takes {taken >> 20} MB ({end}: {message[:200]})"
    if outside.end():
        return "failed", f"a file outside of its folder is opened, and that is not said before ({end}: {message[:200]})"
    if end == "refused" and not 0 < len(message) <= 2000:
        return "failed", f"the error says too little or too much: {message[:200]!r}"
    names = (path.name, *(Path(name).name for name in target.beside))
    if end == "refused" and target.names_file and not any(name in message for name in names):
        return "failed", f"the error names no file: {message[:200]!r}"
    return end, message


def load_targets() -> dict[str, Any]:
    """The targets of the modules here, by name."""
    folder = str(Path(__file__).parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    return {name: make for module in MODULES for name, make in import_module(module).TARGETS.items()}


def limit_memory() -> None:
    """Let this process ask for no more than twice MEMORY beyond what it has."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + 2 * MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def run(target: Any, count: int, first: int, folder: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """Read files number ``first`` to ``first + count - 1`` in a folder, say each number, and count how they end."""
    ends: dict[str, Any] = {"data": 0, "refused": 0, "failed": 0, "failures": []}
    (folder / "data").mkdir()
    (folder / "outside").mkdir()
    for name, content in target.beside.items():
        (folder / "data" / name).write_bytes(content)
    os.mkfifo(folder / "outside" / "pipe")  # who opens it waits for ever
    outside = Outside(folder / "outside")
    warnings.simplefilter("always")
    warnings.showwarning = outside.hear
    path = folder / "data" / f"damaged{target.suffix}"
    for seed in target.seeds:  # imports and caches are no part of the bound
        path.write_bytes(seed)
        end, message = read_one(target, path)
        assert end == "data", f"a seed of {target.name} cannot be read: {message}"
    limit_memory()
    memory = Memory()
    for number in range(first, first + count):
        say(str(number))
        # another name each time: what is said once of a file is to be heard again
        path.unlink()
        path = path.with_name(f"damaged_{number}{target.suffix}")
        path.write_bytes(damaged(target, number))
        end, message = judge(target, path, outside, memory)
        ends[end] += 1
        if end == "failed":
            ends["failures"].append({"number": number, "message": message})
    ends["failures"] = ends["failures"][:SHOWN]
    return ends


def run_apart(target: Any, count: int, first: int) -> dict[str, Any]:
    """The same in a process of its own: a crash there harms nobody, and the number that it was at is known."""
    reader, writer = os.pipe()
    with tempfile.TemporaryDirectory() as folder:
        child = os.fork()
        if child == 0:
            try:
                os.close(reader)
                os.dup2(2, 1)  # what libraries print is no result
                say = lambda text: os.write(writer, text.encode() + b"\n")
                found = run(target, count, first, Path(folder), say)
                say(json.dumps({**found, "cpu": time.process_time()}))
                os._exit(0)
            except BaseException:
                traceback.print_exc()
                os._exit(1)
        os.close(writer)
        with open(reader) as lines:
            last = [line.strip() for line in lines][-1:]
        _, status = os.waitpid(child, 0)
    told: Any = json.loads(last[0]) if last else "none"
    return told if isinstance(told, dict) else {"died": status, "at": told}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("targets", nargs="+")
    parser.add_argument("--count", type=int, default=1, help="files of each target")
    parser.add_argument("--first", type=int, default=0, help="number of the first one")
    parser.add_argument("--keep", type=Path, help="write the first file here, and read none")
    words = parser.parse_args()
    targets = load_targets()
    import_module("xtal.run.kernels")  # numba takes a second: once, before children are made
    signal.signal(signal.SIGPROF, _ring)
    faulthandler.enable()
    for name in words.targets:
        target = targets[name]()
        if words.keep:
            words.keep.write_bytes(damaged(target, words.first))
        else:
            print(json.dumps({"target": name, **run_apart(target, words.count, words.first)}), flush=True)


if __name__ == "__main__":
    main()
