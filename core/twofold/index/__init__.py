"""The durable hybrid index."""

from twofold.index.filled import filled_index
from twofold.index.index import Index
from twofold.index.opening import AS_STORED, AsStored
from twofold.index.recall import Recall
from twofold.index.saved import DEFAULT, SavedSettings
from twofold.index.stored_setting import setting_as_dict, setting_of
from twofold.index.upserts import UpsertResult
from twofold.index.verification import Verification
from twofold.index.view import IndexView

__all__ = [
    "AS_STORED",
    "DEFAULT",
    "AsStored",
    "Index",
    "IndexView",
    "Recall",
    "SavedSettings",
    "UpsertResult",
    "Verification",
    "filled_index",
    "setting_as_dict",
    "setting_of",
]
