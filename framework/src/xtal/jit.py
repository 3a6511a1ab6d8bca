"""The one way in which xtal compiles kernels.

Kernels stand in modules named ``kernels.py`` (or ``<topic>_kernels.py``) and are plain
functions over arrays::

    from xtal.jit import jit

    @jit
    def box_sum(image, mask, half, out): ...

They release the GIL, are cached on disk (`xtal.kernel_cache`) and follow C's rules of division. That the first one
is compiled which the cache lacks is announced.
"""

from __future__ import annotations

import os
from typing import Any

from xtal.kernel_cache import compiling, prepare_cache

prepare_cache()

import numba  # noqa: E402  (the cache directory must be known first)
from numba.core import event  # noqa: E402  (the cache directory, too)

# somebody may have imported numba before us
setattr(numba.config, "CACHE_DIR", os.environ["NUMBA_CACHE_DIR"])  # noqa: B010  (the attribute is made at run time)


class _Announcer(event.Listener):
    """Hears of each kernel that is compiled, not of those that the cache holds."""

    def on_start(self, event: Any) -> None:
        compiling()

    def on_end(self, event: Any) -> None:
        pass


event.register("numba:compile", _Announcer())

jit = numba.njit(nogil=True, cache=True, error_model="numpy")

inlined = numba.njit(nogil=True, error_model="numpy", inline="always")
"""For parts of one kernel that are functions only to be read: compiled within it, not once more by themselves."""
