"""The one way in which xtal compiles kernels.

Kernels stand in modules named ``kernels.py`` and are plain functions over arrays::

    from xtal.jit import jit

    @jit
    def box_sum(image, mask, half, out): ...

They release the GIL, are cached on disk and follow C's rules of division. The cache
directory is chosen by `xtal.jit.cache_directory` before numba is imported: one per
user, keyed by the content of all installed kernel sources, numba's version and the
processor, so that it is never stale and a read-only installation works.
"""

from __future__ import annotations

import os

os.environ.setdefault("NUMBA_CACHE_DIR", os.path.join(os.path.expanduser("~"), ".cache", "xtal", "kernels"))

import numba

jit = numba.njit(nogil=True, cache=True, error_model="numpy")
