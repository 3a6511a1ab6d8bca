"""Decoder of chunks compressed by bitshuffle with LZ4.

Bitshuffle (Masui et al. 2015, Astronomy and Computing 12, 181) stores the bits of a block of numbers in planes, the
lowest bit of all numbers first. LZ4 itself is undone by the library's own function, which is called by its address and
knows the bounds of source and target; the planes are undone here, 32 bytes of eight planes at a time, as the vector
units of any processor can do it.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from xtal.jit import inlined, jit

STEP = 32
"""Bytes of a plane that are undone at a time."""

_I64 = ir.IntType(64)
_LANE = 16


@intrinsic
def call_decompressor(typing_context, address, source, target, size, capacity):
    """Call ``int f(const char *source, char *target, int size, int capacity)`` at an address."""

    def build(context, builder, signature, arguments):
        i32 = ir.IntType(32)
        function = ir.FunctionType(i32, [_I64, _I64, i32, i32]).as_pointer()
        lengths = [builder.trunc(n, i32) for n in arguments[3:]]
        return builder.call(builder.inttoptr(arguments[0], function), [*arguments[1:3], *lengths])

    return types.int32(*[types.int64] * 5), build


def _interleaved(builder, rows):
    """Eight vectors whose bytes, lane by lane, follow one another in turns."""
    for _ in range(3):
        turns = []
        for k in range(8):
            first = [lane + 8 * (k % 2) + n for lane in range(0, STEP, _LANE) for n in range(8)]
            order = [at for one in first for at in (one, STEP + one)]
            mask = ir.Constant(ir.VectorType(ir.IntType(32), STEP), order)
            turns.append(builder.shuffle_vector(rows[k // 2], rows[k // 2 + 4], mask))
        rows = turns
    return rows


def _bits_turned(builder, rows):
    """Eight vectors of planes to eight of numbers: bit i of byte k of row p goes to bit p of byte k of row i."""
    words = ir.VectorType(_I64, STEP // 8)
    constant = lambda value: ir.Constant(words, [value] * (STEP // 8))
    for shift, mask in ((4, 0x0F0F0F0F0F0F0F0F), (2, 0x3333333333333333), (1, 0x5555555555555555)):
        for p in (p for p in range(8) if not p & shift):
            low, high = rows[p], rows[p + shift]
            moved = builder.xor(builder.lshr(low, constant(shift)), high)
            moved = builder.and_(moved, constant(mask))
            rows[p + shift] = builder.xor(high, moved)
            rows[p] = builder.xor(low, builder.shl(moved, constant(shift)))
    return rows


@intrinsic
def turn_planes(typing_context, source, stride, target):
    """Numbers of 8 bits from `STEP` bytes of eight planes, ``stride`` bytes apart: 8 * STEP bytes at ``target``."""

    def build(context, builder, signature, arguments):
        source, stride, target = arguments
        byte = ir.IntType(8)
        whole, lane = ir.VectorType(byte, STEP), ir.VectorType(byte, _LANE)
        rows = []
        for p in range(8):
            at = builder.add(source, builder.mul(stride, ir.Constant(_I64, p)))
            row = builder.load(builder.inttoptr(at, whole.as_pointer()), align=1)
            rows.append(builder.bitcast(row, ir.VectorType(_I64, STEP // 8)))
        rows = [builder.bitcast(row, whole) for row in _bits_turned(builder, rows)]
        for k, row in enumerate(_interleaved(builder, rows)):
            for n in range(STEP // _LANE):
                mask = ir.Constant(ir.VectorType(ir.IntType(32), _LANE), list(range(_LANE * n, _LANE * (n + 1))))
                at = builder.add(target, ir.Constant(_I64, 8 * _LANE * n + _LANE * k))
                builder.store(builder.shuffle_vector(row, row, mask), builder.inttoptr(at, lane.as_pointer()), align=1)
        return context.get_dummy_value()

    return types.none(*[types.int64] * 3), build


@jit
def turn_octet(bits, stride, at, out):
    """Eight numbers of 8 bits from one byte of each of eight planes: what is left over by `turn_planes`."""
    for i in range(8):
        value = 0
        for p in range(8):
            value |= ((bits[p * stride + at] >> i) & 1) << p
        out[i] = value


@inlined
def unpack_block(decompressor, chunk, at, count, words, turned, out):
    """Undo the block of ``count`` numbers that begins at byte ``at`` of a chunk; where the next begins, or -1."""
    bits, item = words.view(np.uint8), out.itemsize
    planes, target = bits.ctypes.data, turned.ctypes.data
    if at + 4 > chunk.size:
        return -1
    size = np.int64(0)
    for k in range(4):
        size = (size << 8) | np.int64(chunk[at + k])
    at += 4
    if at + size > chunk.size:
        return -1
    if call_decompressor(decompressor, chunk.ctypes.data + at, planes, size, count * item) != count * item:
        return -1
    stride = count // 8
    small = item > 1 and upper_planes_repeat(words, stride, 8 * item)
    for b in range(1 if small else item):
        k = np.int64(0)
        while k + STEP <= stride:
            turn_planes(planes + 8 * b * stride + k, stride, target + b * count + 8 * k)
            k += STEP
        while k < stride:
            turn_octet(bits[8 * b * stride :], stride, k, turned[b * count + 8 * k :])
            k += 1
    if small:
        signed = turned[:count].view(np.int8)
        for k in range(count):
            out[k] = signed[k]
    else:
        join_bytes(turned, count, out)
    return at + size


@jit
def unpack_numbers(decompressor, chunk, place, block, words, turned, over, out):
    """Fill an array with the next numbers of a chunk, as far as these are packed.

    Parameters
    ----------
    decompressor : address of LZ4_decompress_safe
    chunk : (m,) uint8
    place : (3,) int64, changed: where the next block begins in the chunk, numbers that are still packed, a multiple of
        8, and numbers at the end of ``over`` that come before them
    block : numbers of a block, a multiple of 8 unless it is the only one
    words, turned : (>= bytes of a block,) uint64 and uint8, work space
    over : (block,) uint8, uint16 or uint32, numbers of a block of which some were asked for
    out : (n,) of the same dtype

    Returns
    -------
    int
        How many numbers were filled in; -1 if the chunk is damaged.
    """
    done = np.int64(0)
    while done < out.size and (place[2] > 0 or place[1] > 0):
        if place[2] > 0:
            n = min(place[2], out.size - done)
            for k in range(n):
                out[done + k] = over[over.size - place[2] + k]
            place[2] -= n
            done += n
            continue
        count = min(np.int64(block), place[1])
        whole = done + count <= out.size
        target = out[done : done + count] if whole else over[over.size - count :]
        at = unpack_block(decompressor, chunk, place[0], count, words, turned, target)
        if at < 0:
            return -1
        place[0], place[1] = at, place[1] - count
        if whole:
            done += count
        else:
            place[2] = count
    return done


@jit
def upper_planes_repeat(words, stride, n_planes):
    """Whether all planes from the eighth on are equal: each number is then its lowest byte, with its sign.

    So it is where counts are below 128 but for marks of bad pixels, all ones or nearly so.

    Parameters
    ----------
    words : (m,) uint64, the planes, each of ``stride`` bytes
    """
    if stride % 8:
        return False
    length = stride // 8
    lower, upper = words[7 * length : (n_planes - 1) * length], words[8 * length : n_planes * length]
    differ = np.uint64(0)
    for k in range(lower.size):
        differ |= lower[k] ^ upper[k]
    return differ == 0


@jit
def join_bytes(turned, count, out):
    """Numbers from their lowest bytes, second bytes and so on, ``count`` each."""
    first = turned[:count]
    if out.itemsize == 1:
        for k in range(count):
            out[k] = first[k]
    elif out.itemsize == 2:
        second = turned[count : 2 * count]
        for k in range(count):
            out[k] = np.uint16(first[k]) | (np.uint16(second[k]) << np.uint16(8))
    else:
        second, third, fourth = turned[count : 2 * count], turned[2 * count : 3 * count], turned[3 * count : 4 * count]
        for k in range(count):
            low = np.uint32(first[k]) | (np.uint32(second[k]) << np.uint32(8))
            high = np.uint32(third[k]) | (np.uint32(fourth[k]) << np.uint32(8))
            out[k] = low | (high << np.uint32(16))
