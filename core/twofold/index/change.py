"""What one commit does."""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from twofold.catalog import Settings, StoredPassage, VectorSetRecord
from twofold.index.legs import LexicalKind
from twofold.types import Rows, Vectors


@dataclass(frozen=True, slots=True)
class Fill:
    """Vectors of stored rows for a set that is not searched yet; ``switch`` makes it the one."""

    record: VectorSetRecord
    rows: Rows
    vectors: Vectors
    switch: bool


@dataclass(frozen=True, slots=True)
class Change:
    """What one commit does; ``vectors`` belong to ``vector_rows``, rows that were just added.

    ``reanalyzed`` builds the postings of all passages anew, in a commit that adds none. ``compact``
    leaves one segment a leg. ``structures`` over vectors are left alone, built where they are due,
    or built anew as one.
    """

    added: tuple[StoredPassage, ...]
    gone: tuple[StoredPassage, ...]
    vector_rows: Rows
    vectors: Vectors
    settings: Settings
    vector_set: VectorSetRecord | None
    reanalyzed: LexicalKind | None = None
    compact: bool = False
    structures: Literal["left", "due", "anew"] = "left"
    fill: Fill | None = None

    @classmethod
    def of_nothing(cls, settings: Settings, vector_set: VectorSetRecord | None) -> "Change":
        """Return a change that neither adds nor removes passages."""
        nothing = np.empty(0, np.int64), np.empty((0, settings.dim or 0), np.float32)
        return cls((), (), *nothing, settings, vector_set)

    @property
    def counted(self) -> Settings:
        """The settings after it, which count the passages that changed since a measurement."""
        settings = self.settings
        changed = len({each.id for each in (*self.added, *self.gone)})
        if not changed or not settings.agreement_of:
            return settings
        return replace(settings, agreement_changed=settings.agreement_changed + changed)
