"""The queries that a fine-tuned model is evaluated on, and their evaluation by an encoder."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from twofold.backend import SearchProfile, SearchScope
from twofold.index import Index
from twofold.protocols import Encoder
from twofold.retriever import Retriever
from twofold.training.acceptance import CONTROL, QueryMeasures
from twofold.training.data.examples import TrainingSet
from twofold.training.data.splitting import split
from twofold.training.finetuning.plans import FineTuningPlan
from twofold.training.search_quality import SearchQuality, control_queries_from_passages
from twofold.tuning.objective import active_profile
from twofold.types import Mask, Passage

_VALIDATION_SHARE = 0.1  # of the queries that are not test queries
_LEXICAL_HITS = 20  # per query, among the passages of an evaluation


@dataclass(frozen=True, slots=True)
class DataSplit:
    """A training set in two parts: to train on, and to evaluate on after each epoch.

    ``test`` (n,) flags the ``held_out`` queries that decide on acceptance; the other held-out ones
    are validation queries, which choose the epoch.
    """

    train: TrainingSet
    held_out: TrainingSet
    test: Mask

    @classmethod
    def from_plan(
        cls, judged: TrainingSet, plan: FineTuningPlan, extra: TrainingSet | None = None
    ) -> "DataSplit":
        """Split the judged examples by a plan's shares; ``extra`` ones join the training part."""
        outer = split(judged, plan.held_out, seed=plan.seed)
        inner = split(outer.train, _VALIDATION_SHARE, seed=plan.seed)
        held_out = outer.test.join(inner.test)
        test = outer.test.queries
        flags = np.array([example.query_id in test for example in held_out], np.bool_)
        train = inner.train.join(extra) if extra is not None else inner.train
        return cls(train, held_out, flags)

    @property
    def unseen(self) -> Mask:
        """Flags held-out queries (n,) that share no relevant passage with the training part."""
        known = self.train.positives
        return np.array([known.isdisjoint(each.positives) for each in self.held_out], np.bool_)


@dataclass(frozen=True, slots=True)
class DevEvaluator:
    """Evaluates encoders on some of an index's passages, in an index in memory.

    ``options`` are the original's metric, analyzer and title weight, for the index in memory.
    """

    passages: tuple[Passage, ...]
    held_out: TrainingSet
    control: TrainingSet | None
    options: Mapping[str, Any]
    measure: str
    profile: SearchProfile

    @classmethod
    def from_index(
        cls,
        index: Index,
        held_out: TrainingSet,
        judged: TrainingSet,
        train: TrainingSet,
        count: int,
        measure: str,
    ) -> "DevEvaluator":
        """Choose passages: relevant ones, the queries' lexical hits, and a sample up to ``count``.

        The base model's dense hits are not chosen: they are hard negatives for the base alone.
        Control queries are made from passages that are relevant to no ``judged`` query, and
        ``train`` queries are left out.
        """
        with index.open_search() as scope:
            options: dict[str, Any] = {"metric": scope.metric, "analyzer": None}
            if scope.has_lexical:
                weight = scope.session.corpus.title_weight
                options |= {"analyzer": scope.analyzer, "title_weight": weight}
            control = control_queries_from_passages(scope, judged, train, 0)
            examples = (*held_out, *(control or ()))
            chosen = dict.fromkeys(key for example in examples for key in example.positives)
            if "lexical" in index.modes:
                lexical = Retriever(index, mode="lexical")
                queries = [example.query for example in held_out]
                for hits in lexical.retrieve_many(queries, k=_LEXICAL_HITS):
                    chosen |= dict.fromkeys(hits.ids)
            keys = np.random.default_rng(0).permutation(scope.list_keys())[:count]
            size = max(count, len(chosen))
            chosen |= dict.fromkeys(scope.ids(keys))
            passages = tuple(index.get(list(chosen)[:size]))
            return cls(passages, held_out, control, options, measure, active_profile(scope))

    def evaluate(self, encoder: Encoder) -> QueryMeasures:
        """Return the measures of held-out and control queries with an encoder."""
        with self.open_index(encoder) as index:
            index.upsert(self.passages)
            with index.open_search() as scope:
                measures = self._evaluate(scope, self.held_out)
                if self.control is None:
                    return measures
                control = next(iter(self._evaluate(scope, self.control).values()))
                return {**measures, CONTROL: control}

    def open_index(self, encoder: Encoder) -> Index:
        """Open an empty index in memory with an encoder and the options of the original."""
        return Index.open(None, encoder=encoder, **self.options)

    def _evaluate(self, scope: SearchScope, queries: TrainingSet) -> QueryMeasures:
        quality = SearchQuality(scope, queries, self.measure, self.profile)
        return quality.evaluate(scope.encode_queries([example.query for example in queries]))
