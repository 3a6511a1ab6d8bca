"""What a target of the fuzz suite is, and the ways to damage files that several share."""

from __future__ import annotations

import random
import re
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from attrs import field, frozen

NUMBERS = (b"1e999", b"-1", b"0", b"999999999999", b"1000000000000000000000", b"NaN", b"null", b"[]", b"{}", b'""')
ODD: tuple[Any, ...] = (
    None, True, -1, 0, 1.5, 1e308, -(10**30), 10**13, float("nan"), float("inf"), "", "x", "\0", "../../etc/passwd",
    [], {}, [0, 0], [[]], {"a": 1}, [1e300, 1, 1], [0, 0, 0], "9" * 400, [None] * 3,
)  # fmt: skip
ABSURD = (
    b"0", b"1", b"-1", b"2", b"7", b"65536", b"1000000", b"46341", b"2147483647", b"-2147483648", b"4294967296",
    b"1000000000000", b"9" * 30, b"9" * 5000, b"1e5", b"1e12", b"1e308", b"1e999", b"-1e308", b"nan", b"inf", b"0.5",
    b"1e-300", b"?", b".", b"", b"x", b"1 2 3", b"\xff",
)  # fmt: skip
"""What is put in the place of numbers in texts."""

INTEGERS = (0, 1, -1, 2, 255, 65535, 65536, 46341, 10**6, 2**30, 2**31 - 1, -(2**31))
"""What is put in the place of integers of 32 bits."""

_NUMBER = re.compile(rb"[-+]?\d+\.?\d*(?:[eE][-+]?\d+)?")

Mutate = Callable[[bytes, random.Random], bytes]


@frozen
class Target:
    """A reader and what it is given.

    Attributes
    ----------
    name, suffix : of the target and of its files
    seeds : whole files, which must be readable
    read : reads a file to its last part; data, or an error of `xtal.errors`
    words : put into files at random
    mutate : damages a file in the terms of its format, or None
    beside : other files, by their path from the folder of the damaged one; nothing in ``../outside`` may be
        opened before a warning says so
    names_file : whether an error must name the damaged file, or one beside it
    """

    name: str
    suffix: str
    seeds: tuple[bytes, ...]
    read: Callable[[Path], object]
    words: tuple[bytes, ...] = ()
    mutate: Mutate | None = None
    beside: Mapping[str, bytes] = field(factory=dict)
    names_file: bool = True


def written(write: Callable[[Path], object], name: str) -> bytes:
    """Bytes of a file that ``write`` makes."""
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder) / name)
        return (Path(folder) / name).read_bytes()


def numbers_replaced(within: int) -> Mutate:
    """Damage by absurd numbers in the text of the first ``within`` bytes; the rest of the file stays whole."""

    def mutate(seed: bytes, rng: random.Random) -> bytes:
        text, rest = seed[:within], seed[within:]
        for _ in range(rng.choice((1, 1, 1, 2, 4))):
            places = list(_NUMBER.finditer(text))
            if places:
                place = rng.choice(places)
                text = text[: place.start()] + rng.choice(ABSURD) + text[place.end() :]
        return text + rest

    return mutate


def integers_replaced(within: int) -> Mutate:
    """Damage by absurd integers of 32 bits, of both byte orders, in the first ``within`` bytes."""

    def mutate(seed: bytes, rng: random.Random) -> bytes:
        data = bytearray(seed)
        for _ in range(rng.choice((1, 1, 2, 4, 16))):
            at = rng.randrange(min(within, len(data) - 4)) // 4 * 4 + rng.choice((0, 0, 0, 2))
            value = rng.choice((*INTEGERS, rng.randrange(-(2**31), 2**31)))
            data[at : at + 4] = value.to_bytes(4, rng.choice(("little", "big")), signed=True)
        return bytes(data)

    return mutate
