"""The durable hybrid index."""

from twofold.index.index import Index
from twofold.index.open_options import AS_STORED, AsStored
from twofold.index.recall import Recall
from twofold.index.saved.profiles import DEFAULT, SearchProfiles
from twofold.index.saved_records import profile_as_dict, profile_from_dict
from twofold.index.verification import Verification
from twofold.index.view import IndexView
from twofold.index.writing.upsert import UpsertResult

__all__ = [
    "AS_STORED",
    "DEFAULT",
    "AsStored",
    "Index",
    "IndexView",
    "Recall",
    "SearchProfiles",
    "UpsertResult",
    "Verification",
    "profile_as_dict",
    "profile_from_dict",
]
