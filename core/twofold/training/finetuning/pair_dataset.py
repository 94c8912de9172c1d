"""Pairs of queries and answers as a dataset whose negatives change while it is learned from."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from twofold.storage import content_hash
from twofold.training.data.examples import TrainingSet
from twofold.training.negatives.candidates import Negative

ANCHOR, POSITIVE, LABEL = "anchor", "positive", "label"


class Pairs:
    """Rows (query, answer) of a training set, with negatives each: as many as are ``mined``.

    Where any example came with negatives, there is one of those more, another one each epoch.
    Trainers look at a dataset once, before the first epoch; what its rows look up while they are
    read may change, and so negatives are mined anew within one run. ``texts`` has the passages of
    the corpus by id, at least ``count`` more than answer any query. Queries have numbers, and so
    have texts: equal ones the same.
    """

    def __init__(
        self, training_set: TrainingSet, texts: Mapping[str, str], mined: int, seed: int
    ) -> None:
        self.training_set = training_set
        self.texts = texts
        self._mined = mined
        given = any(own in texts for each in training_set for own in each.negatives)
        self.count = mined + (given and mined > 0)
        self._seed = seed
        self._negatives: dict[str, list[str]] = {}
        self._taught: dict[tuple[int, int], float] = {}
        distinct: dict[str, int] = {}
        self._number = {
            own: distinct.setdefault(text, len(distinct)) for own, text in texts.items()
        }
        self._place = {each.query_id: place for place, each in enumerate(training_set)}
        known = [[own for own in each.positives if own in texts] for each in training_set]
        self._answers = [frozenset(self._number[own] for own in each) for each in known]
        # Each query counts once, however many passages answer it; on average a row weighs 1.
        shares = [
            each.weight / max(len(own), 1) for each, own in zip(training_set, known, strict=True)
        ]
        rows = sum(len(each) for each in known)
        total = sum(share * len(own) for share, own in zip(shares, known, strict=True))
        self._weights = [share * rows / total for share in shares] if rows else shares

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the texts of a row, in order."""
        return (ANCHOR, POSITIVE, *(f"negative_{number}" for number in range(1, self.count + 1)))

    def renew(self, mined: Mapping[str, Sequence[Negative]], number: int = 1) -> None:
        """Use these negatives in the epoch ``number``, filled up by chance where fewer were found.

        Of those that an example came with, it is the turn of another one.
        """
        every = sorted(self.texts)
        for each in self.training_set:
            found = mined.get(each.query_id, ())
            own = [one.id for one in found if one.source != "given" and one.id in self.texts]
            own = own[: self._mined]
            given = [one for one in each.negatives if one in self.texts]
            if self.count > self._mined and given:
                own.append(given[(number - 1) % len(given)])
            if len(own) < self.count:
                digest = content_hash(f"{self._seed}:{number}:{each.query_id}".encode())
                rng = np.random.default_rng(int.from_bytes(digest[:8], "little"))
                out = {*each.positives, *own}
                while len(own) < self.count:
                    drawn = every[int(rng.integers(len(every)))]
                    own += [drawn] if drawn not in out else []
                    out.add(drawn)
            self._negatives[each.query_id] = own

    def read(self) -> list[tuple[str, list[str]]]:
        """Return each query with the texts of its answers and negatives, for a teacher."""
        return [
            (
                each.query,
                [
                    self.texts[own]
                    for own in (*each.positives, *self._negatives[each.query_id])
                    if own in self.texts
                ],
            )
            for each in self.training_set
        ]

    def teach(self, logits: Sequence[Sequence[float]]) -> None:
        """Take a teacher's logits of what ``read`` gave."""
        self._taught = {}
        for each, own in zip(self.training_set, logits, strict=True):
            ids = (*each.positives, *self._negatives[each.query_id])
            known = [one for one in ids if one in self.texts]
            place = self._place[each.query_id]
            for one, logit in zip(known, own, strict=True):
                self._taught[place, self._number[one]] = float(logit)

    @property
    def taught(self) -> bool:
        """Whether a teacher has read them."""
        return bool(self._taught)

    def answers(self, query: int) -> frozenset[int]:
        """Return the numbers of the texts that answer a query."""
        return self._answers[query]

    def weights(self, rows: Sequence[Sequence[int]]) -> list[float]:
        """Return what each row weighs by its numbers, 1 on average over all rows."""
        return [self._weights[row[0]] for row in rows]

    def margins(self, rows: Sequence[Sequence[int]]) -> list[list[float]]:
        """Return by how much the teacher puts each row's answer above its negatives."""
        return [
            [self._taught[query, answer] - self._taught[query, negative] for negative in negatives]
            for query, answer, *negatives in rows
        ]

    def dataset(self) -> Any:
        """Return a ``datasets.Dataset`` that looks negatives up whenever a row is read.

        The label of a row is the query's number, and those of its texts.
        """
        from datasets import Dataset

        queries, rows = self.training_set.queries, []
        for each in self.training_set:
            known = (own for own in each.positives if own in self.texts)
            rows += [{ANCHOR: each.query_id, POSITIVE: own} for own in known]
        made = Dataset.from_list(rows)

        def read(batch: dict[str, list[str]]) -> dict[str, list[Any]]:
            out: dict[str, list[Any]] = {name: [] for name in (*self.columns, LABEL)}
            for query_id, own in zip(batch[ANCHOR], batch[POSITIVE], strict=True):
                passages = [own, *self._negatives[query_id]]
                row = [queries[query_id], *(self.texts[each] for each in passages)]
                for name, text in zip(self.columns, row, strict=True):
                    out[name].append(text)
                numbers = [self._number[each] for each in passages]
                out[LABEL].append([self._place[query_id], *numbers])
            return out

        made.set_transform(read)
        return made
