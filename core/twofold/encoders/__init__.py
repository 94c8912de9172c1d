"""Encoders: models that map texts to vectors."""

from twofold.encoders.distillation import distill
from twofold.encoders.hashing import HashingEncoder
from twofold.encoders.model_encoder import ModelEncoder
from twofold.encoders.model_spec import DEFAULT_ENCODER, ModelOptions
from twofold.encoders.onnx import OnnxEncoder
from twofold.encoders.query_adapter import QueryAdapter
from twofold.encoders.registry import TowersEncoder, encoder_from_name
from twofold.encoders.sentence_transformer import SentenceTransformerEncoder
from twofold.encoders.service import ServiceEncoder
from twofold.encoders.service_model import ServiceModel, ServiceOptions

__all__ = [
    "DEFAULT_ENCODER",
    "HashingEncoder",
    "ModelEncoder",
    "ModelOptions",
    "OnnxEncoder",
    "QueryAdapter",
    "SentenceTransformerEncoder",
    "ServiceEncoder",
    "ServiceModel",
    "ServiceOptions",
    "TowersEncoder",
    "distill",
    "encoder_from_name",
]
