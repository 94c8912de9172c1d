"""Encoders: texts to vectors."""

from twofold.encoders.hashing import HashingEncoder
from twofold.encoders.lookup import DEFAULT_ENCODER, encoder_named
from twofold.encoders.sentence_transformer import SentenceTransformerEncoder

__all__ = ["DEFAULT_ENCODER", "HashingEncoder", "SentenceTransformerEncoder", "encoder_named"]
