"""Check of compressed chunks before a library that trusts them unpacks them."""

from __future__ import annotations

import numpy as np

from xtal.jit import jit


@jit
def blocks_fit(chunk, n_elements, item_size, block_size):
    """Whether all blocks of a bitshuffle-LZ4 chunk lie within it.

    Parameters
    ----------
    chunk : (m,) uint8, with its header of 12 bytes
    n_elements, item_size, block_size : elements in all, bytes of one, elements of a block

    Returns
    -------
    bool
    """
    if block_size < 8 or block_size % 8 != 0:
        return False
    at = np.int64(12)
    full = n_elements // block_size
    if (n_elements % block_size) // 8 > 0:
        full += 1
    for _ in range(full):
        if at + 4 > chunk.size:
            return False
        size = np.int64(0)
        for k in range(4):
            size = (size << 8) | np.int64(chunk[at + k])
        at += 4 + size
        if at > chunk.size:
            return False
    return at + (n_elements % 8) * item_size <= chunk.size
