"""The durable hybrid index."""

from twofold.index.index import Index, UpsertResult, filled_index
from twofold.index.opening import AS_STORED, AsStored
from twofold.index.verification import Verification
from twofold.index.view import IndexView

__all__ = [
    "AS_STORED",
    "AsStored",
    "Index",
    "IndexView",
    "UpsertResult",
    "Verification",
    "filled_index",
]
