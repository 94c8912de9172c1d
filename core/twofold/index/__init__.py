"""The durable hybrid index."""

from twofold.index.backup import Backup, list_backups, verify_backups
from twofold.index.export import Export
from twofold.index.index import Index
from twofold.index.open_options import AS_STORED, AsStored
from twofold.index.recall import Recall
from twofold.index.repair import RepairReport
from twofold.index.saved.profiles import DEFAULT, SearchProfiles
from twofold.index.saved_records import profile_as_dict, profile_from_dict
from twofold.index.verification import Verification
from twofold.index.view import IndexView
from twofold.index.writing.upsert import UpsertResult

__all__ = [
    "AS_STORED",
    "DEFAULT",
    "AsStored",
    "Backup",
    "Export",
    "Index",
    "IndexView",
    "Recall",
    "RepairReport",
    "SearchProfiles",
    "UpsertResult",
    "Verification",
    "list_backups",
    "profile_as_dict",
    "profile_from_dict",
    "verify_backups",
]
