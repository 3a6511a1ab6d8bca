"""Decoder of packed compression."""

from __future__ import annotations

import numpy as np

from xtal.jit import jit


@jit
def predict(out, done, fast, slow):
    """What pixel ``done`` is expected to be from those before it, rounded down.

    In the first section: its left neighbour and the three above. In a later section of three-dimensional
    data also four of the section before: the pixel itself (not in the first column) and the three above it.
    Fewer at the edges: in the first row the left neighbour alone, in the first column none to the left, in the
    last none to the right.
    """
    column = done % fast
    row = (done // fast) % slow
    before = done - fast * slow
    if row == 0:
        if column > 0:
            return np.int64(out[done - 1])
        return np.int64(out[before]) if before >= 0 else np.int64(0)
    up = done - fast
    total = np.int64(out[up])
    n = 1
    if column > 0:
        total += out[done - 1]
        n += 1
    if fast > 1 and column == 0:
        total += out[up + 1]
        n += 1
    elif 0 < column < fast - 1:
        total += np.int64(out[up - 1]) + out[up + 1]
        n += 2
    if before >= 0:
        n *= 2
        total += out[before - fast]
        if column > 0:
            total += out[before]
        if fast > 1 and column == 0:
            total += out[before - fast + 1]
        elif 0 < column < fast - 1:
            total += np.int64(out[before - fast - 1]) + out[before - fast + 1]
    # n is 1, 2, 4 or 8
    shift = 0
    while (1 << shift) < n:
        shift += 1
    return (total + (n >> 1)) >> shift


@jit
def decode_packed(data, version, fast, slow, out):
    """Undo packed compression of 32-bit pixels.

    Differences from a prediction stand in blocks of 2^n fields of equal width; n and the
    width's number come first (3 bits each, in version 2 the number has 4), lowest bits
    first.

    Parameters
    ----------
    data : (m,) uint8, after the prefix of the section
    version : 1 or 2
    fast, slow : pixels in a row, rows in a section
    out : (n,) int32, rows one after the other

    Returns
    -------
    int
        Pixels decoded: less than n if the data end early.

    References
    ----------
    Abrahams (1993), Joint CCP4 and ESF-EACBM Newsletter 28, 3-4; Bernstein & Hammersley (2005),
    International Tables for Crystallography G, 2.3.3.2.
    """
    total = out.size
    kind_bits = 2 + version
    one = np.uint64(1)
    bits = np.uint64(0)  # taken from the data and not used yet, the next one lowest
    held = at = done = left_in_block = width = 0
    size = data.size
    while done < total:
        while held <= 48 and at < size:
            bits |= np.uint64(data[at]) << np.uint64(held)
            held += 8
            at += 1
        if left_in_block == 0:
            if held < 3 + kind_bits:
                return done
            left_in_block = 1 << np.int64(bits & np.uint64(7))
            kind = np.int64((bits >> np.uint64(3)) & ((one << np.uint64(kind_bits)) - one))
            bits >>= np.uint64(3 + kind_bits)
            held -= 3 + kind_bits
            if version == 1:
                width = 0 if kind == 0 else (kind + 3 if kind < 6 else (16 if kind == 6 else 32))
            else:
                width = 0 if kind == 0 else (kind + 2 if kind < 14 else (16 if kind == 14 else 32))
            continue
        if held < width:
            return done
        value = np.int64(bits & ((one << np.uint64(width)) - one))
        if width > 0 and value >> (width - 1):
            value -= np.int64(1) << width
        bits >>= np.uint64(width)
        held -= width
        left_in_block -= 1
        out[done] = np.int32((value + predict(out, done, fast, slow)) & 0xFFFFFFFF)
        done += 1
    return done
