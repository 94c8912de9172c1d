"""From a spec to an encoder: a model and its options, two towers, or an exported folder."""

from pathlib import Path

from twofold.encoders.hashing import HashingEncoder
from twofold.encoders.model_spec import (
    AS_SAVED,
    TOWER_SEPARATOR,
    ModelOptions,
    is_folder,
    parse_spec,
    check_model_name,
)
from twofold.encoders.onnx.encoder import OnnxEncoder
from twofold.encoders.onnx.manifest import is_onnx_folder
from twofold.encoders.sentence_transformer import SentenceTransformerEncoder
from twofold.encoders.two_tower import NamedEncoder, TowersEncoder
from twofold.errors import InputError


def encoder_from_name(name: str) -> NamedEncoder:
    """Return the encoder of that spec; models are loaded when first used.

    ``"model"``, ``"model?pooling=cls&max_length=128"`` with the fields of ModelOptions,
    ``"queries-model | passages-model"``, or the folder of an exported model. An encoder's own
    ``name`` is such a spec. Raises EncoderNotFoundError for a path that isn't there and InputError
    for an unknown option.
    """
    name = check_model_name(name)
    if not is_folder(name) and TOWER_SEPARATOR in name:
        towers = name.split(TOWER_SEPARATOR)
        if len(towers) != 2:
            raise InputError(
                f"the encoder {name!r} has {len(towers)} towers: two are wanted, "
                "'queries-model | passages-model'"
            )
        return TowersEncoder(_one(towers[0]), _one(towers[1]))
    return _one(name)


def _one(spec: str) -> NamedEncoder:
    """Return the encoder of one tower's spec."""
    if spec == HashingEncoder.name:
        return HashingEncoder()
    model, options = parse_spec(spec)
    if is_onnx_folder(Path(model)):
        return _exported(model, options)
    return SentenceTransformerEncoder(model, options=options)


def _exported(folder: str, options: ModelOptions) -> OnnxEncoder:
    if options != AS_SAVED:
        raise InputError(
            f"{folder} is an exported model, whose options were fixed by its export: leave out "
            "what follows '?', or export it again"
        )
    return OnnxEncoder(folder)
