"""The versions that ``twofold --version`` prints."""

import platform
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version

from twofold import __version__

_PACKAGES = (
    "numpy",
    "faiss-cpu",
    "numba",
    "PyStemmer",
    "onnxruntime",
    "tokenizers",
    "sentence-transformers",
    "transformers",
    "torch",
    "langchain-core",
    "llama-index-core",
)
"""Packages whose version may change results."""


def describe_versions() -> str:
    """Return the versions of twofold, of Python and of the installed packages, one on a line."""
    lines = [
        f"twofold {__version__}",
        f"Python {platform.python_version()}, {platform.system()} {platform.machine()}",
    ]
    for name in _PACKAGES:
        with suppress(PackageNotFoundError):
            lines.append(f"{name} {version(name)}")
    return "\n".join(lines)
