"""The retriever: text in, hits out, over both legs of an index or another engine."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, TypedDict

from twofold.backend import Searchable
from twofold.concurrency import runs_event_loop
from twofold.protocols import Scorer
from twofold.results.hits import Hits
from twofold.retriever.pipeline import run_search
from twofold.retriever.search_plan import SearchOptions
from twofold.retriever.why_not import explain_absence
from twofold.types import Mode, Vectors, Where
from twofold.validation import check_mode, check_query_vector, check_query_vectors

if TYPE_CHECKING:
    from typing_extensions import Unpack


class QueryOptions(TypedDict, total=False):
    """The options that one call may change; None keeps the retriever's value."""

    k: int | None
    where: Where | None
    mode: Mode | None
    scorer: Scorer | None
    exact: bool | None
    effort: float | None
    min_score: float | None
    min_dense: float | None
    min_lexical: float | None
    abstain: float | None


@dataclass(frozen=True, slots=True)
class Retriever(SearchOptions):
    """Retrieves passages of an index by meaning, by words, or by both.

    Immutable and safe for many threads. Change an option by ``dataclasses.replace(retriever,
    diversity=0.3)``. Scores of the default fusion are comparable within one query only: the best
    score of each leg counts as 1. ``min_dense`` and ``min_lexical`` apply to raw scores of a leg.

    Args:
        index: An `Index`, or an `EncodedBackend` over another engine.
        mode: ``"hybrid"``, ``"dense"`` or ``"lexical"``. None is hybrid if the index has both legs
            at the time of a search, else the leg that it has.
        k: The number of hits.
        where: A filter for every query.
        fusion: The fusion of both legs. Default: the active profile's, else `GuardedFusion`.
        depth: Candidates of each leg, scored by both legs before the fusion. Default: the active
            profile's, else 100.
        strict: Raise QueryError if a leg finds nothing, instead of a warning.
        scorer: The lexical scoring function. Default: the active profile's, else ``BM25()``.
        exact: Compare all vectors, even if the dense index is approximate.
        effort: Multiplies the work of a search in an approximate dense index.
        preset: Fuse as another library does, such as ``"langchain"`` (`twofold.fusion.PRESETS`).
        min_score: The least fused score of a hit.
        min_dense: The least dense score of a hit.
        min_lexical: The least lexical score of a hit.
        diversity: 0 to 1: how much dissimilar hits are preferred (maximal marginal relevance).
        dedup_threshold: The cosine from which two passages are near-duplicates; one is returned.
        group_by: A metadata field; at most ``per_group`` hits with the same value are returned.
        per_group: The most hits of one group.
        reranker: Scores the best candidates again, and orders the hits.
        dense_weight: The dense leg's weight in the fusion, 0 to 1, which no guard adjusts.
        abstain: 0 to 1: return no hits where the confidence is so low that a larger share of all
            queries would be answered wrongly. Needs a calibration (`twofold.tuning.calibrate`).
        observer: Called at each stage of a search, for tracing.

    Raises:
        QueryError: An option is invalid, or the index can't serve it.

    Example:
        >>> from twofold import HashingEncoder, Index, Retriever
        >>> index = Index.open(None, encoder=HashingEncoder())
        >>> _ = index.upsert(["plants make food from light", "a garden in winter"])
        >>> Retriever(index, k=1).retrieve("how do plants make food?")[0].passage.text
        'plants make food from light'
    """

    index: Searchable
    options: SearchOptions = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # The options without the index: hits keep them, and must not keep the index.
        options = {option.name: getattr(self, option.name) for option in fields(SearchOptions)}
        object.__setattr__(self, "options", SearchOptions(**options))
        known = self.mode in (None, *self.index.capabilities.modes)
        if not known and not runs_event_loop():  # a search refuses the mode, too
            with self.index.open_search():  # learns of legs that another process has added
                pass
            check_mode(str(self.mode), self.index.capabilities.modes)

    def retrieve(
        self,
        query: str | None = None,
        *,
        vector: Vectors | None = None,
        **options: "Unpack[QueryOptions]",
    ) -> Hits:
        """Return the best passages for a text, a query vector, or both.

        Returns ``k`` hits that match the filter and the thresholds, or all if fewer match. A blank
        text finds nothing.

        Args:
            query: The query's text.
            vector: A query vector (dim,), used instead of encoding the text. Alone, it searches the
                dense leg only.
            **options: Options for this query alone: ``k``, ``where``, ``mode``, ``scorer``,
                ``exact``, ``effort``, ``min_score``, ``min_dense``, ``min_lexical``, ``abstain``.

        Raises:
            QueryError: The query or an option is invalid.
            FilterError: The filter is invalid.
        """
        texts = None if query is None else [query]
        vectors = None if vector is None else check_query_vector(vector)[None, :]
        return self._search(texts, vectors, options)[0]

    def retrieve_many(
        self,
        queries: Sequence[str] | None = None,
        *,
        vectors: Vectors | None = None,
        progress: Callable[[int], None] | None = None,
        **options: "Unpack[QueryOptions]",
    ) -> list[Hits]:
        """Return the hits of each query, with one encoder call and one search per leg.

        Args:
            queries: The queries' texts.
            vectors: Query vectors (n, dim), used instead of encoding the texts.
            progress: Called with the number of query-passage pairs that the reranker has scored.
            **options: As in `retrieve`.

        Raises:
            QueryError: A query or an option is invalid.
            FilterError: The filter is invalid.
        """
        return self._search(
            queries, None if vectors is None else check_query_vectors(vectors), options, progress
        )

    def _search(
        self,
        texts: Sequence[str] | None,
        vectors: Vectors | None,
        changed: QueryOptions,
        progress: Callable[[int], None] | None = None,
    ) -> list[Hits]:
        options = self.options
        if changed:
            given = {name: value for name, value in changed.items() if value is not None}
            unknown = changed.keys() - QueryOptions.__annotations__.keys()
            if unknown:
                raise TypeError(f"retrieve() got an unexpected option {unknown.pop()!r}")
            options = replace(options, **given)  # type: ignore[arg-type]
        return run_search(self.index, options, texts, vectors, explain_absence, progress)
