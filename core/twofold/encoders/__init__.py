"""Encoders: texts to vectors."""

from twofold.encoders.distillation import distilled
from twofold.encoders.hashing import HashingEncoder
from twofold.encoders.lookup import encoder_named
from twofold.encoders.onnx import OnnxEncoder
from twofold.encoders.options import ModelOptions
from twofold.encoders.query_adapter import QueryAdapter
from twofold.encoders.sentence_transformer import SentenceTransformerEncoder
from twofold.encoders.sources import DEFAULT_ENCODER
from twofold.encoders.towers import TowersEncoder

__all__ = [
    "DEFAULT_ENCODER",
    "HashingEncoder",
    "ModelOptions",
    "OnnxEncoder",
    "QueryAdapter",
    "SentenceTransformerEncoder",
    "TowersEncoder",
    "distilled",
    "encoder_named",
]
