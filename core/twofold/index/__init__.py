"""The durable hybrid index."""

from twofold.index.index import Index
from twofold.index.open_options import AS_STORED, AsStored
from twofold.index.recall import Recall
from twofold.index.saved.profiles import DEFAULT, SavedSettings
from twofold.index.saved_records import setting_as_dict, setting_of
from twofold.index.verification import Verification
from twofold.index.view import IndexView
from twofold.index.writing.upsert import UpsertResult
from twofold.integrations.options import filled_index

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
