"""The durable hybrid index."""

from twofold.index.index import Index, UpsertResult
from twofold.index.opening import AS_STORED, AsStored
from twofold.index.verification import Verification
from twofold.index.view import IndexView

__all__ = ["AS_STORED", "AsStored", "Index", "IndexView", "UpsertResult", "Verification"]
