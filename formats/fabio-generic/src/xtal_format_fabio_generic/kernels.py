"""Decoder of the packing of mar345 image plates."""

from __future__ import annotations

import numpy as np

from xtal.jit import jit


@jit
def unpack_ccp4(data, width, out):
    """Undo the packing of CCP4 (J. P. Abrahams 1993; its first version).

    The stream of bits, lowest first, is a sequence of blocks: 3 bits n and 3 bits that choose a width,
    then 2^n differences of that many bits, in two's complement. A difference adds to the mean of the left, upper right,
    upper and upper left neighbours (from the second row on), or to the left neighbour, modulo 2^16. Neighbours count as
    signed numbers of 16 bits, their mean is cut towards zero; the results are unsigned.

    Parameters
    ----------
    data : (m,) uint8
    width : pixels of a row
    out : (n,) int32

    Returns
    -------
    int
        Pixels decoded: less than n if the data end early.
    """
    widths = (0, 4, 5, 6, 7, 8, 16, 32)
    total, end = out.size, 8 * np.int64(data.size)
    at = np.int64(0)
    done = 0
    while done < total:
        if at + 6 > end:
            return done
        word = np.int64(data[at >> 3])
        if (at >> 3) + 1 < data.size:
            word |= np.int64(data[(at >> 3) + 1]) << 8
        word >>= at & 7
        n = 1 << (word & 7)
        bits = widths[(word >> 3) & 7]
        at += 6
        n = min(n, total - done)
        if at + n * bits > end:
            return done
        for _ in range(n):
            step = np.int64(0)
            got = 0
            while got < bits:
                shift = at & 7
                take = min(8 - shift, bits - got)
                step |= ((np.int64(data[at >> 3]) >> shift) & ((1 << take) - 1)) << got
                got += take
                at += take
            if bits and step >> (bits - 1):
                step -= np.int64(1) << bits
            if done > width:
                four = out[done - 1] + out[done - width + 1] + out[done - width] + out[done - width - 1] + 2
                step += (four + 3 * (four < 0)) >> 2
            elif done > 0:
                step += out[done - 1]
            out[done] = ((step + 32768) & 65535) - 32768
            done += 1
    for k in range(total):
        out[k] &= 65535
    return done
