"""The durable hybrid index."""

from twofold.index.filled import filled_index
from twofold.index.index import Index
from twofold.index.opening import AS_STORED, AsStored
from twofold.index.recall import Recall
from twofold.index.upserts import UpsertResult
from twofold.index.verification import Verification
from twofold.index.view import IndexView

__all__ = [
    "AS_STORED",
    "AsStored",
    "Index",
    "IndexView",
    "Recall",
    "UpsertResult",
    "Verification",
    "filled_index",
]
