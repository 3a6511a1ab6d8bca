"""DIALS's pickled masks (``flex.bool``, one per panel), read by an interpreter that runs nothing.

A pickle is a program for a small stack machine. Ours knows only the instructions that such a
file needs; where the machine would import and call something, it checks that the name is
``flex.bool``, ``grid`` or the latin-1 encoding of old protocols, and notes the arguments.
The opcodes are those that Python's documentation of `pickletools` describes. Maps of gains are written alike.
"""

from __future__ import annotations

import math
import pickletools
from collections.abc import Callable, Sequence
from typing import IO, Any

import numpy as np
from attrs import define
from numpy.typing import NDArray

MODULES = ("scitbx_array_family_flex_ext", "cctbx_array_family_flex_ext")
MOST_OPCODES = 200_000
"""More than a thousand panels need."""
OVERHEAD = 2**20
"""Bytes that a file may have beyond its elements."""


@define
class _Name:
    """What the pickle would import."""

    module: str
    name: str


@define
class _Object:
    """What the pickle would make: a name called with arguments, and the state given to it."""

    name: _Name
    arguments: tuple[Any, ...]
    state: Any = None


_MARK = object()
_VALUES = {
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "BINBYTES", "SHORT_BINBYTES", "BINSTRING",
    "SHORT_BINSTRING", "STRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINBYTES8", "BINUNICODE8",
}  # fmt: skip
_CONSTANTS: dict[str, Any] = {"NEWTRUE": True, "NEWFALSE": False, "NONE": None, "EMPTY_TUPLE": ()}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_NOTHING = {"PROTO", "FRAME"}


class _Machine:
    """The stack, the memo and what each instruction does to them."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def run(self, content: bytes) -> Any:
        """What the pickle describes; ValueError where it asks for anything else."""
        actions: dict[str, Callable[[Any], None]] = {
            "MARK": lambda _: self.stack.append(_MARK),
            "TUPLE": lambda _: self._since_mark(),
            "GLOBAL": lambda text: self._name(*text.split(" ", 1)),
            "STACK_GLOBAL": lambda _: self._name(*self._pop(2)),
            "REDUCE": lambda _: self._call(*self._pop(2)),
            "BUILD": lambda _: self._build(self._pop(1)[0]),
            "MEMOIZE": lambda _: self.memo.__setitem__(len(self.memo), self._top()),
            **{name: lambda key: self.memo.__setitem__(key, self._top()) for name in ("PUT", "BINPUT", "LONG_BINPUT")},
            **{name: lambda key: self.stack.append(self.memo[key]) for name in ("GET", "BINGET", "LONG_BINGET")},
        }
        for count, (opcode, argument, _) in enumerate(pickletools.genops(content)):
            name = opcode.name
            if count > MOST_OPCODES:
                raise ValueError("it is longer than a mask can be")
            if name in _VALUES:
                self.stack.append(argument)
            elif name in _CONSTANTS:
                self.stack.append(_CONSTANTS[name])
            elif name in _TUPLES:
                self.stack.append(tuple(self._pop(_TUPLES[name])))
            elif name in actions:
                actions[name](argument)
            elif name == "STOP":
                return self._pop(1)[0]
            elif name not in _NOTHING:
                raise ValueError(f"it is a pickle that does more than hold arrays ({name})")
        raise ValueError("it is truncated")

    def _top(self) -> Any:
        if not self.stack:
            raise ValueError("it is damaged")
        return self.stack[-1]

    def _pop(self, n: int) -> list[Any]:
        if len(self.stack) < n or any(x is _MARK for x in self.stack[-n:]):
            raise ValueError("it is damaged")
        found = self.stack[-n:]
        del self.stack[-n:]
        return found

    def _since_mark(self) -> None:
        at = next((k for k in range(len(self.stack) - 1, -1, -1) if self.stack[k] is _MARK), None)
        if at is None:
            raise ValueError("it is damaged")
        self.stack[at:] = [tuple(self.stack[at + 1 :])]

    def _name(self, module: Any, name: Any) -> None:
        known = module in MODULES and name in ("bool", "grid")
        if not known and (module, name) != ("_codecs", "encode"):
            raise ValueError(f"it is a pickle that asks for {module}.{name}, which is not run")
        self.stack.append(_Name(module, name))

    def _call(self, name: Any, arguments: Any) -> None:
        if not isinstance(name, _Name) or not isinstance(arguments, tuple):
            raise ValueError("it is a pickle that calls something else than an array")
        if name.name != "encode":
            self.stack.append(_Object(name, arguments))
        elif len(arguments) == 2 and isinstance(arguments[0], str) and arguments[1] == "latin1":
            self.stack.append(arguments[0].encode("latin-1"))
        else:
            raise ValueError("it is damaged")

    def _build(self, state: Any) -> None:
        target = self._top()
        if not isinstance(target, _Object):
            raise ValueError("it is damaged")
        target.state = state


def load_masks(file: IO[bytes], shapes: Sequence[tuple[int, int]]) -> list[NDArray[np.bool_]]:
    """The masks of a pickle: a tuple of ``flex.bool``, or one alone, of the given shapes.

    Raises
    ------
    ValueError
        If the file is anything else, or larger than such masks can be.
    """
    largest = sum(slow * fast for slow, fast in shapes) + OVERHEAD
    content = file.read(largest + 1)
    if len(content) > largest:
        raise ValueError("it is larger than a mask of this detector can be")
    try:
        found = _Machine().run(content)
    except (KeyError, IndexError, TypeError, UnicodeError) as error:
        raise ValueError("it is damaged") from error
    objects = found if isinstance(found, tuple) else (found,)
    if not objects or not all(isinstance(o, _Object) and o.name.name == "bool" for o in objects):
        raise ValueError("it is a pickle without masks")
    if len(objects) != len(shapes):
        raise ValueError(f"its number of panels is {len(objects)}, that of the detector {len(shapes)}")
    return [_mask(o, shape) for o, shape in zip(objects, shapes, strict=True)]


def _mask(one: _Object, shape: tuple[int, int]) -> NDArray[np.bool_]:
    if not isinstance(one.state, tuple) or len(one.state) != 2 or not isinstance(one.state[0], _Object):
        raise ValueError("it is damaged")
    grid, content = one.state
    size = grid.arguments[1] if grid.name.name == "grid" and len(grid.arguments) > 1 else None
    if size != tuple(shape):
        told = " x ".join(map(str, size)) if isinstance(size, tuple) else "no"
        raise ValueError(f"it holds {told} pixels (slow x fast), the detector has {shape[0]} x {shape[1]}")
    # protocols of Python 2 hold the bytes as text
    content = content.encode("latin-1") if isinstance(content, str) else content
    n = shape[0] * shape[1]
    if not isinstance(content, bytes) or content[: len(_number(n))] != _number(n):
        raise ValueError("it is damaged")
    values = np.frombuffer(content, np.uint8, offset=len(_number(n)))
    if len(values) != n or not ((values == ord("0")) | (values == ord("1"))).all():
        raise ValueError(f"it does not hold one 0 or 1 for each of {n} pixels")
    return (values == ord("1")).reshape(shape)


def _number(value: int) -> bytes:
    """A count as flex writes it: the number of bytes and one more, then the bytes, the least first."""
    digits = value.to_bytes(max(1, -(-value.bit_length() // 8)), "little")
    return bytes([len(digits) + 1]) + digits


def dump_masks(masks: Sequence[NDArray[np.bool_]]) -> bytes:
    """Masks as the pickle that DIALS writes and reads: a tuple of ``flex.bool``."""
    return b"\x80\x04(" + b"".join(map(_dump, masks)) + b"t."


def dump_flat_maps(shapes: Sequence[tuple[int, int]], value: float) -> bytes:
    """Maps of one positive value as the pickle that DIALS reads: a tuple of ``flex.double``."""
    return (
        b"\x80\x04(" + b"".join(_array(b"double", shape, _double(value) * math.prod(shape)) for shape in shapes) + b"t."
    )


def _double(value: float) -> bytes:
    """A positive number as flex writes it: digits of the mantissa to the base 256, then the exponent of 2."""
    mantissa, exponent = math.frexp(value)
    digits = int(mantissa * 2**56).to_bytes(7, "big").rstrip(b"\0")
    sign = 0x80 * (exponent < 0)
    power = bytes([sign + 2, abs(exponent)]) if exponent else b"\0"
    return bytes([len(digits) + 1]) + digits + power


def _dump(mask: NDArray[np.bool_]) -> bytes:
    return _array(b"bool", mask.shape, (np.asarray(mask, dtype=np.uint8) + np.uint8(0x30)).tobytes())


def _array(kind: bytes, shape: Sequence[int], elements: bytes) -> bytes:
    """An array of flex of this shape, from the bytes of its elements."""
    name = f"c{MODULES[0]}\n".encode()
    slow, fast = (b"J" + int(n).to_bytes(4, "little", signed=True) for n in shape)
    payload = _number(math.prod(shape)) + elements
    # grid(origin, last, open range), its state is its focus; the array's state is (grid, payload)
    grid = name + b"grid\n" + b"((K\x00K\x00t(" + slow + fast + b"t\x88tR(" + slow + fast + b"tb"
    return name + kind + b"\n)R(" + grid + b"B" + len(payload).to_bytes(4, "little") + payload + b"tb"
