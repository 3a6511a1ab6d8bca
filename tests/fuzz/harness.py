"""Reads mutated files of one target and tells, as JSON, how each ended: data, a typed error, or a failure."""

from __future__ import annotations

import argparse
import importlib.util
import json
import random
import resource
import signal
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path
from types import FrameType
from typing import Any

SECONDS = 10
"""Longest time that one file may take."""
MEMORY = 1 << 30
"""Bytes that reading may need beyond what the process has when it begins."""
SPECIAL = (0, 1, 0x7F, 0x80, 0xFF)


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


def _ring(_signal: int, _frame: FrameType | None) -> None:
    raise TooSlow


def read_one(target: Any, path: Path) -> tuple[str, str]:
    """How reading ended: ("data" or "refused" or "failed", message)."""
    from xtal.errors import XtalError

    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        target.read(path)
    except XtalError as error:
        return "refused", str(error)
    except MemoryError:
        return "failed", "it wants more memory than it may have"
    except TooSlow:
        return "failed", f"it takes more than {SECONDS} s"
    except Exception:
        return "failed", traceback.format_exc(limit=-3)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    return "data", ""


def load_targets() -> dict[str, Any]:
    """The targets of `targets.py`, by name."""
    spec = importlib.util.spec_from_file_location("fuzz_targets", Path(__file__).with_name("targets.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["fuzz_targets"] = module
    spec.loader.exec_module(module)
    return dict(module.TARGETS)


def limit_memory() -> None:
    """Keep this process from taking more than MEMORY beyond what it has."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target")
    parser.add_argument("count", type=int)
    parser.add_argument("first", type=int)
    parser.add_argument("--progress", type=Path, help="file in which the number being read is kept")
    parser.add_argument("--keep", type=Path, help="write the first file here, and read no other")
    words = parser.parse_args()
    target = load_targets()[words.target]()
    if words.keep:
        words.keep.write_bytes(damaged(target, words.first))
        return
    warnings.simplefilter("ignore")
    signal.signal(signal.SIGALRM, _ring)
    ends: dict[str, int] = {"data": 0, "refused": 0, "failed": 0}
    failures = []
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"damaged{target.suffix}"
        for seed in target.seeds:  # imports and caches are no part of the bound
            path.write_bytes(seed)
            assert read_one(target, path) == ("data", ""), f"a seed of {target.name} cannot be read"
        limit_memory()
        for number in range(words.first, words.first + words.count):
            if words.progress:
                words.progress.write_text(str(number))
            path.write_bytes(damaged(target, number))
            end, message = read_one(target, path)
            if end == "refused" and (not message or len(message) > 2000):
                end, message = "failed", f"the error says too little or too much: {message[:200]!r}"
            ends[end] += 1
            if end == "failed":
                failures.append({"number": number, "message": message})
    print(json.dumps({**ends, "failures": failures[:20], "seconds": time.monotonic() - start}))


if __name__ == "__main__":
    main()
