"""Pairs of queries and answers as a dataset whose negatives change while it is learned from."""

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np

from twofold.catalog import content_hash
from twofold.training.negative import Negative
from twofold.training.training_set import TrainingSet

ANCHOR, POSITIVE = "anchor", "positive"


class Pairs:
    """Rows (query, answer) of a training set, with ``count`` negatives each.

    Trainers look at a dataset once, before the first epoch; what its rows look up while they are
    read may change, and so negatives are mined anew within one run. ``texts`` has the passages of
    the corpus by id, at least ``count`` more than answer any query.
    """

    def __init__(
        self, training_set: TrainingSet, texts: Mapping[str, str], count: int, seed: int
    ) -> None:
        self.training_set = training_set
        self.texts = texts
        self.count = count
        self._seed = seed
        self._negatives: dict[str, list[str]] = {}

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the texts of a row, in order."""
        return (ANCHOR, POSITIVE, *(f"negative_{number}" for number in range(1, self.count + 1)))

    def renew(self, mined: Mapping[str, Sequence[Negative]]) -> None:
        """Use these negatives from now on, filled up by chance where fewer were mined."""
        every = sorted(self.texts)
        for each in self.training_set:
            found = [own.id for own in mined.get(each.query_id, ()) if own.id in self.texts]
            found = found[: self.count]
            if len(found) < self.count:
                digest = content_hash(f"{self._seed}:{each.query_id}".encode())
                rng = np.random.default_rng(int.from_bytes(digest[:8], "little"))
                out = {*each.positives, *found}
                drawn = (every[place] for place in rng.permutation(len(every)).tolist())
                rest = (own for own in drawn if own not in out)
                found += islice(rest, self.count - len(found))
            self._negatives[each.query_id] = [self.texts[own] for own in found]

    def dataset(self) -> Any:
        """Return a ``datasets.Dataset`` that looks negatives up whenever a row is read."""
        from datasets import Dataset

        queries, rows = self.training_set.queries, []
        for each in self.training_set:
            known = (own for own in each.positives if own in self.texts)
            rows += [{ANCHOR: each.query_id, POSITIVE: own} for own in known]
        made = Dataset.from_list(rows)

        def read(batch: dict[str, list[str]]) -> dict[str, list[str]]:
            out: dict[str, list[str]] = {name: [] for name in self.columns}
            for query_id, own in zip(batch[ANCHOR], batch[POSITIVE], strict=True):
                row = [queries[query_id], self.texts[own], *self._negatives[query_id]]
                for name, text in zip(self.columns, row, strict=True):
                    out[name].append(text)
            return out

        made.set_transform(read)
        return made
