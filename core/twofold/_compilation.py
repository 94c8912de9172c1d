"""Compilation of numba kernels."""

from collections.abc import Callable
from typing import Any

import numba


def njit(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Return a decorator that compiles a function on its first call, to run without the GIL.

    numba caches the machine code next to the source or in the user's home. Where neither can be
    written, each process compiles again, for some seconds. NUMBA_CACHE_DIR sets another folder.

    Args:
        options: Options of ``numba.njit``.
    """

    def compile_kernel(function: Callable[..., Any]) -> Any:
        try:
            return numba.njit(cache=True, nogil=True, **options)(function)
        except RuntimeError:  # no folder can be written
            return numba.njit(nogil=True, **options)(function)

    return compile_kernel
