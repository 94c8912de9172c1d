"""Makes encoders from specs: a model with options, two towers, or an exported folder."""

from pathlib import Path

from twofold.encoders.hashing import HashingEncoder
from twofold.encoders.model_spec import (
    AS_SAVED,
    TOWER_SEPARATOR,
    check_model_name,
    is_folder,
    parse_spec,
)
from twofold.encoders.onnx import OnnxEncoder, is_onnx_folder
from twofold.encoders.sentence_transformer import SentenceTransformerEncoder
from twofold.encoders.two_tower import NamedEncoder, TowersEncoder
from twofold.errors import InputError


def encoder_from_name(name: str) -> NamedEncoder:
    """Return the encoder of a spec, without loading the model.

    Args:
        name: An encoder's ``name``: ``"model"``, ``"model?pooling=cls&max_length=128"`` with the
            fields of ModelOptions, ``"query-model | passage-model"``, ``"hashing"``, or the folder
            of an exported model.

    Returns:
        The encoder. Its model is loaded when it first encodes.

    Raises:
        EncoderNotFoundError: A path doesn't exist.
        InputError: The spec is malformed or has an unknown option.

    Example:
        >>> encoder_from_name("hashing").encode_queries(["red apple"]).shape
        (1, 256)
    """
    name = check_model_name(name)
    if is_folder(name) or TOWER_SEPARATOR not in name:
        return _single_encoder(name)
    towers = name.split(TOWER_SEPARATOR)
    if len(towers) != 2:
        raise InputError(
            f"the encoder {name!r} must have 2 towers, 'query-model{TOWER_SEPARATOR}passage-model'"
            f", got {len(towers)}"
        )
    return TowersEncoder(_single_encoder(towers[0]), _single_encoder(towers[1]))


def _single_encoder(spec: str) -> NamedEncoder:
    if spec == HashingEncoder.name:
        return HashingEncoder()
    model, options = parse_spec(spec)
    if not is_onnx_folder(Path(model)):
        return SentenceTransformerEncoder(model, options=options)
    if options != AS_SAVED:
        raise InputError(
            f"{model} is an exported model: its options were fixed by its export, so remove them"
        )
    return OnnxEncoder(model)
