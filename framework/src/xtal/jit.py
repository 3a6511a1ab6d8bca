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
import re
from collections.abc import Callable
from typing import Any

from xtal.kernel_cache import compiling, prepare_cache

prepare_cache()

import numba  # noqa: E402  (the cache directory must be known first)
from llvmlite import binding  # noqa: E402  (with numba, which it belongs to)
from numba.core import event  # noqa: E402  (imports numba: the cache directory, too)
from numba.core.caching import CompileResultCacheImpl, FunctionCache  # noqa: E402  (the same)
from numba.core.runtime import rtsys  # noqa: E402  (the same)

# somebody may have imported numba before us
setattr(numba.config, "CACHE_DIR", os.environ["NUMBA_CACHE_DIR"])  # noqa: B010  (the attribute is made at run time)


class _Announcer(event.Listener):
    """Hears of each kernel that is compiled, not of those that the cache holds."""

    def on_start(self, event: Any) -> None:
        compiling()

    def on_end(self, event: Any) -> None:
        pass


event.register("numba:compile", _Announcer())

_NUMBAS_NAMES = re.compile(rb"(?<=\x00)_?numba_\w+(?=\x00)")
"""In compiled code: names of functions and values that numba supplies."""


class _Loading(CompileResultCacheImpl):
    def rebuild(self, target_context: Any, payload: Any) -> Any:
        """A compiled kernel, after what it was compiled with where it needs some of that when it runs."""
        _, _, (code, _) = payload[0]
        if not all(binding.address_of_symbol(name.decode()) for name in _NUMBAS_NAMES.findall(code)):
            target_context.refresh()
        return super().rebuild(target_context, payload)


class _Cache(FunctionCache):
    """Compiled kernels, which are loaded without all that numba can compile: that would take most of a step's start."""

    _impl_class = _Loading

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """The kernel compiled for a signature, or None."""
        rtsys.initialize(target_context)
        with self._guard_against_spurious_io_errors():
            return self._load_overload(sig, target_context)


def jit(function: Callable[..., Any]) -> Any:
    """Compile a kernel when it is called first, for the types that it is called with."""
    kernel = numba.njit(nogil=True, error_model="numpy")(function)
    setattr(kernel, "_cache", _Cache(function))  # noqa: B010  (numba's own option cache=True sets it; its types do not name it)
    return kernel


inlined = numba.njit(nogil=True, error_model="numpy", inline="always")
"""For parts of one kernel that are functions only to be read: compiled within it, not once more by themselves."""
