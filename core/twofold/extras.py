"""The gate for optional dependencies."""

from importlib.util import find_spec

from twofold.errors import MissingExtraError

_DISTRIBUTIONS = {
    "docx": "python-docx",
    "pptx": "python-pptx",
    "sentence_transformers": "sentence-transformers",
    "sklearn": "scikit-learn",
    "umap": "umap-learn",
}
"""Names of packages to install whose modules have other names."""


def is_installed(*modules: str) -> bool:
    """Return whether all these modules are installed. They aren't imported."""
    return all(find_spec(name) is not None for name in modules)


def check_extra(extra: str, purpose: str, *modules: str) -> None:
    """Raise MissingExtraError, which names the pip command, unless the modules are installed.

    Args:
        extra: The extra of twofold that has the modules.
        purpose: What needs them: the subject of the message.
        modules: The modules' names.
    """
    missing = [_DISTRIBUTIONS.get(name, name) for name in modules if find_spec(name) is None]
    if missing:
        verb = "need" if purpose.endswith("s") else "needs"
        raise MissingExtraError(
            f"{purpose} {verb} {' and '.join(missing)}: pip install 'twofold[{extra}]'"
        )
