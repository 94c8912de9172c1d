"""Compilation of numba kernels."""

import sys
from collections.abc import Callable
from importlib import import_module
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


def skip_blas() -> None:
    """Load numba without scipy, which it imports for ``np.dot`` in kernels, in 0.15 s.

    Only for a process of twofold's own: no kernel can use linear algebra there.
    """
    name = "scipy.linalg.cython_blas"
    if name in sys.modules or "numba.np.arraymath" in sys.modules:
        return
    sys.modules[name] = None  # type: ignore[assignment]  # importing it raises ImportError
    try:
        import_module("numba.np.arraymath")
    finally:
        del sys.modules[name]
