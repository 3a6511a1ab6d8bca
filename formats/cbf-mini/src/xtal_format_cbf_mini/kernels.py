"""Decoder of byte-offset compression."""

from __future__ import annotations

import numpy as np

from xtal.jit import jit

BLOCK = 16
"""Pixels that are decoded together where none of them takes more than a byte."""


@jit
def decode_byte_offset(data, out):
    """Undo byte-offset compression (Bernstein & Hammersley 2005, section 2.3.3).

    Each pixel is stored as its difference from the one before: one signed byte, or -128
    and two bytes, or those two being -32768 and four bytes, little endian.

    Parameters
    ----------
    data : (m,) uint8
    out : (n,) int32

    Returns
    -------
    int
        Pixels decoded: less than n if the data end early.
    """
    size = data.size
    total = out.size
    at = 0
    done = 0
    value = 0
    while done < total:
        # each pixel takes at least one byte: within this span no bound needs a check
        span = min(total - done, size - at)
        if span <= 0:
            return done
        base, k, end = np.uint64(at - done), np.uint64(done), np.uint64(done + span)
        while k + np.uint64(BLOCK) <= end:
            escapes = False
            for i in range(np.uint64(BLOCK)):
                escapes |= data[base + k + i] == 128
            if escapes:
                break
            for i in range(np.uint64(BLOCK)):
                value += np.int64(np.int8(data[base + k + i]))
                out[k + i] = value
            k += np.uint64(BLOCK)
        while k < end and data[base + k] != 128:
            value += np.int64(np.int8(data[base + k]))
            out[k] = value
            k += np.uint64(1)
        at += np.int64(k) - done
        done = np.int64(k)
        if k == end:
            continue
        if at + 3 > size:
            return done
        step = np.int64(data[at + 1]) | (np.int64(data[at + 2]) << 8)
        at += 3
        if step != 32768:
            step -= (step & 32768) << 1
        else:
            if at + 4 > size:
                return done
            step = np.int64(data[at]) | (np.int64(data[at + 1]) << 8) | (np.int64(data[at + 2]) << 16)
            step |= np.int64(data[at + 3]) << 24
            step -= (step & 2147483648) << 1
            at += 4
        value += step
        out[done] = value
        done += 1
    return done
