"""Downloads the files of models from the Hugging Face hub."""

from pathlib import Path

from twofold.encoders.model_spec import is_folder, model_not_found
from twofold.encoders.transformer_files import NO_WEIGHTS, TransformerFiles, UnsupportedModelError
from twofold.extras import is_installed

_SETTINGS = ["*.json", "*_Pooling/*"]
_WEIGHTS = ["model.safetensors", "model-*-of-*.safetensors"]
_GRAPH = ["onnx/model.onnx", "onnx/model.onnx_data"]
_ORGANIZATION = "sentence-transformers/"
"""Owner of the models whose names have no owner."""


def download_model(source: str, name: str) -> Path:
    """Return the folder with a model's settings and weights, from the hub's cache or the hub.

    Nothing is downloaded that isn't needed: the graph only if none can be built from the weights,
    and the weights only if a graph can be made.

    Args:
        source: The model's folder, or its name on the hub.
        name: The model's name in messages.

    Raises:
        EncoderNotFoundError: The hub doesn't have the model, or can't be reached.
    """
    if is_folder(source):
        return Path(source)
    from huggingface_hub import snapshot_download

    repository = source if "/" in source else _ORGANIZATION + source
    try:
        wanted = _SETTINGS
        folder = Path(snapshot_download(repository, allow_patterns=wanted))
        reason = _find_obstacle(folder)
        if reason not in (None, NO_WEIGHTS):
            wanted = [*_SETTINGS, *_GRAPH]
            folder = Path(snapshot_download(repository, allow_patterns=wanted))
            reason = _find_obstacle(folder)
        if reason == NO_WEIGHTS:
            folder = Path(snapshot_download(repository, allow_patterns=[*wanted, *_WEIGHTS]))
        return folder
    except (OSError, ValueError) as error:
        raise model_not_found(name, error) from error


def check_model_exists(source: str, name: str) -> None:
    """Raise EncoderNotFoundError unless a model's settings are on disk or on the hub.

    Without the package huggingface_hub, nothing is checked. The arguments are those of
    ``download_model``.
    """
    if is_folder(source) or not is_installed("huggingface_hub"):
        return
    from huggingface_hub import snapshot_download

    repository = source if "/" in source else _ORGANIZATION + source
    try:
        snapshot_download(repository, allow_patterns=_SETTINGS)
    except (OSError, ValueError) as error:
        raise model_not_found(name, error) from error


def _find_obstacle(folder: Path) -> str | None:
    """Return why no graph can be made of the files in a folder, None if one can."""
    try:
        TransformerFiles.read(folder)
    except UnsupportedModelError as error:
        return str(error)
    return None
