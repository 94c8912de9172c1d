"""One generation of an index, open for a query, and how the current one is found."""

import threading
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np

from twofold.backend import SearchProfile
from twofold.errors import (
    CorruptIndexError,
    DegradedWarning,
    InputError,
    QueryError,
    RebuildWarning,
)
from twofold.filters import matching, parse
from twofold.index.encoder_binding import EncoderBinding
from twofold.index.layout import Layout
from twofold.index.saved_records import active_profile
from twofold.index.segment_types import LexicalKind
from twofold.index.snapshot import Snapshot, ids_at, load_snapshot
from twofold.lexical import LiveSegment, PostingsIndex
from twofold.protocols import Analyzer, Scorer, SpanAnalyzer
from twofold.similarity import Metric
from twofold.storage import Catalog, CatalogReader, PassageFields, StoredPassage
from twofold.types import (
    LegHits,
    Mask,
    Moments,
    Passage,
    Rows,
    Scores,
    TermMatch,
    TermSpan,
    Vectors,
    Where,
)


def with_title_weight(
    snapshot: Snapshot, reader: CatalogReader, title_weight: int
) -> PostingsIndex:
    """Return postings in memory of all passages, by the analyzer that built the stored ones."""
    kind = snapshot.kinds["lexical"]
    assert isinstance(kind, LexicalKind)
    passages = list(reader.between(0, snapshot.state.next_row))
    segment = replace(kind, title_weight=title_weight).build(passages)
    return PostingsIndex(kind.analyzer, segments=[LiveSegment.of(segment)])


_TRIES = 20


@dataclass(frozen=True, slots=True)
class FetchedPassages:
    """Passages read in the query's own transaction, decoded when touched."""

    stored: Sequence[PassageFields]

    @property
    def ids(self) -> list[str]:
        """The passages' ids."""
        return [each[1] for each in self.stored]

    def __getitem__(self, place: int) -> Passage:
        return StoredPassage(*self.stored[place]).to_passage()

    def part(self, start: int, stop: int) -> "FetchedPassages":
        """Return those from ``start`` to before ``stop``."""
        return FetchedPassages(self.stored[start:stop])


class IndexView:
    """Both legs, the filter and the passages of one generation."""

    def __init__(self, snapshot: Snapshot, reader: CatalogReader, contract: EncoderBinding) -> None:
        self.snapshot = snapshot
        self.reader = reader
        self._contract = contract

    @property
    def generation(self) -> int:
        """The number of commits before this view."""
        return self.snapshot.generation

    @property
    def count(self) -> int:
        """How many passages there are."""
        return self.snapshot.state.passages

    @property
    def rows(self) -> Rows:
        """The rows of all passages, ascending."""
        parts = [each.rows for each in self.snapshot.columns]
        every = np.concatenate(parts).astype(np.int64) if parts else np.empty(0, np.int64)
        return np.sort(every[~np.isin(every, self.snapshot.dead)])

    def allowed(self, where: Where | None) -> Mask | None:
        """Return the rows that a filter lets through, deleted ones excluded; None for all.

        Raises FilterError.
        """
        if where is None:
            return None
        mask = matching(parse(where), self.snapshot.columns)
        mask[self.snapshot.dead[self.snapshot.dead < len(mask)]] = False
        return mask

    def encode_queries(self, texts: Sequence[str], *, adapted: bool = True) -> Vectors:
        """Return query vectors (n, dim) by the encoder of this generation's vectors.

        The adapter in use has been at them, if they are to be ``adapted``. Raises QueryError if
        there is no encoder, EncoderMismatchError if it is another one.
        """
        vectors = self._contract.encode_queries(
            texts, self.snapshot.settings, self.snapshot.vector_set
        )
        return self.adapted(vectors) if adapted else vectors

    def adapted(self, vectors: Vectors) -> Vectors:
        """Return what the adapter in use makes of an encoder's query vectors (n, dim) or (dim,)."""
        adapter = self.snapshot.adapting.adapter
        return adapter(vectors) if adapter is not None else vectors

    def encode_passages(self, texts: Sequence[str]) -> Vectors:
        """Return passage vectors (n, dim), under the same conditions."""
        return self._contract.encode_passages(
            texts, self.snapshot.settings, self.snapshot.vector_set
        )

    @property
    def encodes(self) -> bool:
        """Whether there is an encoder at hand to make vectors of texts."""
        return self._contract.at_hand(self.snapshot.settings, self.snapshot.vector_set)

    @property
    def metric(self) -> Metric | None:
        """The similarity of vectors, None without a dense leg."""
        return self.snapshot.settings.metric if self.snapshot.dense is not None else None

    @property
    def profile(self) -> SearchProfile | None:
        """The saved setting in use, None for the library's defaults.

        One whose adapter can't be had is not used: it was found for other query vectors.
        """
        if self.snapshot.adapting.problem is not None:
            return None
        return active_profile(self.snapshot.settings)

    @property
    def dense_quality(self) -> float:
        """How far the dense leg agrees with words on passages of its own: 1.0 if not measured."""
        agreement = self.snapshot.settings.agreement
        return agreement if agreement is not None else 1.0

    def lexical_quality(self, query: str) -> float:
        """Return the share of a query's distinct terms that any passage has; 1.0 without terms."""
        return self._postings().known(query)

    def dense_moments(self, query: Vectors) -> Moments:
        """Return the moments of the dense scores of all passages with a vector, for one (dim,)."""
        if self.snapshot.dense is None:
            return Moments(0.0, 0.0)
        return self.snapshot.dense.moments(query)

    def lexical_moments(self, query: str, scorer: Scorer | None = None) -> Moments:
        """Return the moments of all passages' lexical scores, 0 for those that share no term."""
        return self._postings().moments(query, scorer)

    def row_of(self, passage_id: str) -> int | None:
        """Return the row of a passage, None if there is no such one."""
        for segment in self.snapshot.columns:
            for place in segment.ids.places(passage_id):
                row = int(segment.rows[place])
                if not np.isin(row, self.snapshot.dead):
                    return row
        return None

    def vectors(self, rows: Rows) -> tuple[Vectors, Mask]:
        """Return the stored vectors (n, dim) of rows, and which of them have one."""
        if self.snapshot.dense is None:
            return np.empty((len(rows), 0), np.float32), np.zeros(len(rows), np.bool_)
        return self.snapshot.dense.vectors(rows)

    def dense(
        self, queries: Vectors, k: int, allowed: Mask | None, effort: float = 1.0
    ) -> list[LegHits]:
        """Search the dense leg with vectors (n, dim); an index without vectors finds nothing."""
        if self.snapshot.dense is None:
            return [LegHits.none() for _ in queries]
        return self.snapshot.dense.index().search(queries, k, allowed, effort)

    def lexical(
        self, queries: Sequence[str], k: int, allowed: Mask | None, scorer: Scorer | None = None
    ) -> list[LegHits]:
        """Search the lexical leg."""
        k = min(k, max(self.snapshot.state.passages, 1))  # compiled, it has 64 bits
        return self._postings().search_many(queries, k, allowed, scorer)

    def dense_scores(self, query: Vectors, rows: Rows) -> Scores:
        """Return the dense score of each row for one query (dim,), NaN without a vector."""
        if self.snapshot.dense is None:
            return np.full(len(rows), np.nan)
        return self.snapshot.dense.index().scores(query, rows)

    def lowest_dense(self, query: Vectors) -> float:
        """Return a bound that no passage's dense score can be below, for one query (dim,)."""
        if self.snapshot.dense is None:
            return 0.0
        return self.snapshot.dense.index().lowest(query)

    def lexical_scores(self, query: str, rows: Rows, scorer: Scorer | None = None) -> Scores:
        """Return the lexical score of each row."""
        return self._postings().scores(query, rows, scorer)

    def term_matches(
        self, query: str, row: int, scorer: Scorer | None = None
    ) -> tuple[TermMatch, ...]:
        """Return what each query term adds to the row's lexical score."""
        return self._postings().term_matches(query, row, scorer)

    def spans(self, query: str, text: str) -> list[TermSpan]:
        """Return where the query's terms stand in a text; nothing if its analyzer can't tell."""
        analyzer = self._postings().analyzer
        if not isinstance(analyzer, SpanAnalyzer):
            return []
        wanted = set(analyzer.query_terms(query))
        return [each for each in analyzer.spans(text) if each.term in wanted]

    def ids(self, rows: Rows) -> list[str]:
        """Return the ids of rows."""
        return ids_at(self.snapshot.columns, rows)

    def passages(self, rows: Rows) -> FetchedPassages:
        """Fetch passages by row."""
        return FetchedPassages(self.reader.by_row(rows.tolist()))

    def warm(self) -> None:
        """Load what a first query would."""
        if self._contract.present(self.snapshot.settings):
            self.encode_queries(["warm"])
        first = np.zeros(1, np.int64)
        if self.snapshot.dense is not None:
            self.dense_scores(np.ones(self.snapshot.dense.dim, np.float32), first)
        if self.snapshot.lexical is not None:
            self.lexical(["warm"], 1, None)
            self.lexical_scores("warm", first)

    def retitled(self, title_weight: int) -> "IndexView":
        """Return this view with postings, made in memory, where titles weigh that much.

        All passages are analysed, in seconds for every ten thousand. Raises QueryError.
        """
        self._postings()
        postings = with_title_weight(self.snapshot, self.reader, title_weight)
        return IndexView(replace(self.snapshot, lexical=postings), self.reader, self._contract)

    def _postings(self) -> PostingsIndex:
        if self.snapshot.lexical is None:
            raise QueryError("this index has no lexical leg: it was made with analyzer=None")
        return self.snapshot.lexical


class SnapshotProvider:
    """Finds the generation that a query sees, and keeps the last one loaded.

    ``analyzers`` are the caller's own, beside the one that the settings name.
    """

    def __init__(
        self,
        catalog: Catalog,
        layout: Layout,
        analyzers: list[Analyzer],
        contract: EncoderBinding,
    ) -> None:
        self._catalog = catalog
        self._contract = contract
        self._layout = layout
        self.analyzers = analyzers
        self._lock = threading.Lock()
        self._snapshot: Snapshot | None = None

    @contextmanager
    def view(self) -> Iterator[IndexView]:
        """Open the newest generation in one read transaction."""
        for _ in range(_TRIES):
            with self._catalog.reading() as reader:
                snapshot = self._loaded(reader)
                if snapshot is not None:
                    yield IndexView(snapshot, reader, self._contract)
                    return
        raise CorruptIndexError(f"{self._layout.folder} changes faster than it can be read")

    def _loaded(self, reader: CatalogReader) -> Snapshot | None:
        """Return the generation of a read transaction, None if it is already out of date."""
        generation = reader.generation()
        with self._lock:
            before = self._snapshot
            if before is not None and before.generation >= generation:
                return before if before.generation == generation else None
            snapshot = load_snapshot(reader, self._layout, before, self.analyzers)
            if snapshot.damage and self._newest() != generation:
                return None  # the files went because a writer has replaced them
            for problem in snapshot.rebuilt:
                warnings.warn(
                    f"{self._layout.folder}: {problem}; a derived file is built anew in memory, "
                    "and on disk by the next write",
                    RebuildWarning,
                    stacklevel=4,
                )
            adapting = snapshot.adapting
            if adapting.problem is not None and (
                before is None or before.adapting.problem != adapting.problem
            ):
                warnings.warn(
                    f"{self._layout.folder}: {adapting.problem}; the setting "
                    f"{snapshot.settings.active!r} is not used, and searches go by the library's "
                    "defaults",
                    DegradedWarning,
                    stacklevel=4,
                )
            self._snapshot = snapshot
            return snapshot

    def _newest(self) -> int:
        with self._catalog.reading() as reader:
            return reader.generation()


def checked_ids(ids: Iterable[str]) -> list[str]:
    """Return ids as a list; raise InputError for what can't be one."""
    if isinstance(ids, str):
        raise InputError(f"ids is a list of ids, not the string {ids!r}")
    wanted = list(ids)
    for each in wanted:
        if not isinstance(each, str) or any("\ud800" <= char <= "\udfff" for char in each):
            raise InputError(f"an id is a string of text, not {each!r:.80}")
    return wanted


def check_deletion(verb: str, ids: Iterable[str] | None, where: Where | None) -> list[str] | None:
    """Return ids, None for all; raise InputError where neither says which are meant."""
    if ids is None and where is None:
        raise InputError(f"{verb} takes ids=, where= or both; to {verb} all, where={{}}")
    return checked_ids(ids) if ids is not None else None


def find_passages(
    view: IndexView, ids: list[str] | None, where: Where | None
) -> tuple[StoredPassage, ...]:
    """Return the passages of these ids that a filter lets through; None for all ids."""
    allowed = view.allowed(where)
    if ids is not None:
        found = view.reader.by_id(ids).values()
        return tuple(each for each in found if allowed is None or allowed[each.row])
    assert allowed is not None  # one of the two is given
    rows = np.flatnonzero(allowed).tolist()
    return tuple(StoredPassage(*each) for each in view.reader.by_row(rows))
