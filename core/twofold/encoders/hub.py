"""Downloads the files of models from the Hugging Face hub."""

from pathlib import Path

from twofold.encoders.model_spec import is_folder, model_not_found
from twofold.encoders.transformer_files import NO_WEIGHTS, TransformerFiles, UnsupportedModelError

_SETTINGS = ["*.json", "*_Pooling/*"]
_WEIGHTS = ["model.safetensors", "model-*-of-*.safetensors"]
_ORGANIZATION = "sentence-transformers/"
"""Owner of the models whose names have no owner."""


def download_model(source: str, name: str) -> Path:
    """Return the folder with a model's settings and weights, from the hub's cache or the hub.

    The weights are downloaded only if a graph can be built from them.

    Args:
        source: The model's folder, or its name on the hub.
        name: The model's name in messages.

    Raises:
        EncoderNotFoundError: The hub doesn't have the model, or can't be reached.
        UnsupportedModelError: The model can't be built as a graph.
    """
    if is_folder(source):
        return Path(source)
    from huggingface_hub import snapshot_download

    repository = source if "/" in source else _ORGANIZATION + source
    try:
        folder = Path(snapshot_download(repository, allow_patterns=_SETTINGS))
        try:
            TransformerFiles.read(folder)
        except UnsupportedModelError as error:
            if error.args[0] != NO_WEIGHTS:
                raise
        return Path(snapshot_download(repository, allow_patterns=[*_SETTINGS, *_WEIGHTS]))
    except (OSError, ValueError) as error:
        raise model_not_found(name, error) from error
