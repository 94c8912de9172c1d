"""The map of a corpus: where its passages lie, and queries with the hits of each leg."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from twofold.errors import InputError, QueryError
from twofold.index import Index
from twofold.index.view import IndexView
from twofold.map.colors import Coloring, check_field, cluster_passages, color_by_field
from twofold.map.model import Links, QueryPlace
from twofold.map.projection import METHODS, Method, Points, project
from twofold.map.style import picture_kind
from twofold.types import LegHits, Passage, Rows, Vectors

SAMPLE = 5000
"""Passages shown unless another number is asked for; hits come on top."""


@dataclass(frozen=True, slots=True)
class CorpusMap:
    """Passages at ``points`` (n, 2), and queries among them.

    ``shares`` are the parts of the variance along the two axes, None under UMAP. ``total``
    passages are in the index, of which ``unplaced`` have no vector.
    """

    title: str
    method: Method
    shares: tuple[float, float] | None
    total: int
    unplaced: int
    passages: tuple[Passage, ...]
    points: Points
    coloring: Coloring
    queries: tuple[QueryPlace, ...]

    @classmethod
    def of(
        cls,
        index: Index,
        queries: Sequence[str] = (),
        *,
        vectors: Vectors | None = None,
        color: str | None = None,
        method: Method = "pca",
        sample: int = SAMPLE,
        k: int = 10,
        seed: int = 0,
    ) -> "CorpusMap":
        """Map an index by its stored vectors; equal arguments give equal maps.

        Where there are more passages, ``sample`` of them are drawn and the plane is fitted to
        them, whatever is asked; queries and the best ``k`` hits of each leg join them by the
        fitted transform. ``vectors`` (m, dim) are used instead of encoding the queries. ``color``
        is a metadata field, None for clusters of near passages.

        Raises InputError, QueryError; IndexMismatchError where the encoder isn't the index's own.
        """
        _check(queries, method, color, {"sample": sample, "k": k})
        if "dense" not in index.modes:
            names = ", ".join(repr(each) for each in index.modes)
            raise InputError(
                f"the index {index.path} has no vectors to be mapped: it serves {names}; make it "
                "with an encoder, or with dim= and vectors of your own"
            )
        asked = _query_vectors(index, queries, vectors)
        with index.view() as view:
            dense = view.snapshot.dense
            stored = dense.live_rows if dense is not None else np.empty(0, np.int64)
            if dense is None or not len(stored):
                raise InputError(
                    f"the index {index.path} holds no passage with a vector: add passages before "
                    "drawing a map"
                )
            if color is not None:
                check_field(color, _fields(view))
            found = _found(view, queries, asked, k)
            drawn = _drawn(stored, sample, seed)
            hit_rows = [hits.rows for legs in found for hits in legs]
            shown = np.intersect1d(np.concatenate([drawn, *hit_rows]), stored)
            shown_vectors, _ = dense.vectors(shown)
            query_vectors = dense.metric.prepare(asked)
            fetched = view.passages(shown)
            passages = tuple(fetched[place] for place in range(len(shown)))
            total = view.snapshot.state.passages
            postings = view.snapshot.lexical
        plane = project(shown_vectors, np.isin(shown, drawn), query_vectors, method, seed)
        return cls(
            title=index.path.name.removesuffix(".twofold"),
            method=method,
            shares=plane.shares,
            total=total,
            unplaced=total - len(stored),
            passages=passages,
            points=plane.passages,
            coloring=(
                cluster_passages(
                    passages,
                    shown_vectors,
                    postings.analyzer if postings is not None else None,
                    seed,
                )
                if color is None
                else color_by_field(color, passages)
            ),
            queries=tuple(
                QueryPlace(text, point, _links(shown, dense), _links(shown, lexical))
                for text, point, (dense, lexical) in zip(queries, plane.queries, found, strict=True)
            ),
        )

    def html(self) -> str:
        """Return a page that needs no other file and no network, with the passages on hover."""
        from twofold.map.html import page

        return page(self)

    def png(self) -> bytes:
        """Return a picture of 1,800 by 1,080 pixels."""
        from twofold.map.png import figure

        return figure(self)

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the page or the picture, as the path's suffix says; raise InputError for others."""
        target = Path(path)
        if picture_kind(target) == "html":
            target.write_text(self.html(), encoding="utf-8")
        else:
            target.write_bytes(self.png())


def _check(queries: Sequence[str], method: str, color: str | None, counts: dict[str, int]) -> None:
    """Raise QueryError or InputError for arguments that mean nothing."""
    if isinstance(queries, str):
        raise QueryError(f"queries is a list of texts, not the string {queries!r:.80}")
    for query in queries:
        if not isinstance(query, str) or not query.strip():
            raise QueryError(f"a query on a map is a text with words, not {query!r:.80}")
        if any("\ud800" <= char <= "\udfff" for char in query):
            raise QueryError(f"a query has half a surrogate pair, which is no text: {query!r:.80}")
    if method not in METHODS:
        names = ", ".join(repr(each) for each in METHODS)
        raise InputError(f"unknown method {method!r}: use one of {names}")
    if color is not None and not isinstance(color, str):
        raise InputError(f"color is the name of a metadata field, not {color!r:.80}")
    for name, value in counts.items():
        if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < 1:
            raise InputError(f"{name} is {value!r}: a whole number of at least 1 is wanted")


def _query_vectors(index: Index, queries: Sequence[str], vectors: Vectors | None) -> Vectors:
    """Return the queries' vectors (m, dim), given or encoded."""
    if vectors is not None:
        given = np.asarray(vectors)
        if given.ndim != 2 or len(given) != len(queries):
            raise QueryError(
                f"vectors have shape {given.shape} for {len(queries)} queries: one row a query "
                "is wanted"
            )
        return given
    if not len(queries):
        return np.empty((0, index.dim or 0), np.float32)
    if index.encoder is None:
        raise QueryError(
            f"the index {index.path} holds its caller's vectors and has no encoder for the text "
            f"{queries[0]!r:.80}: give the queries' vectors= too, or map it without queries"
        )
    return index.encode_queries(queries)


def _fields(view: IndexView) -> list[str]:
    """Return the metadata fields that live passages have."""
    names: set[str] = set()
    for segment in view.snapshot.columns:
        alive = ~np.isin(segment.rows, view.snapshot.dead)
        names |= set(segment.used_fields(alive[segment.docs]))
    return sorted(names)


def _found(
    view: IndexView, queries: Sequence[str], vectors: Vectors, k: int
) -> list[tuple[LegHits, LegHits]]:
    """Return what each leg finds for each query; nothing where there is no lexical leg."""
    if not len(queries):
        return []
    dense = view.dense(vectors, k, None)
    if view.snapshot.lexical is None:
        return [(hits, LegHits.empty()) for hits in dense]
    return list(zip(dense, view.lexical(queries, k, None), strict=True))


def _drawn(rows: Rows, sample: int, seed: int) -> Rows:
    """Return all rows, or a sample of them, ascending."""
    if len(rows) <= sample:
        return rows
    return np.sort(np.random.default_rng(seed).choice(rows, sample, replace=False))


def _links(shown: Rows, hits: LegHits) -> Links:
    """Return hits as places among the rows shown (ascending)."""
    placed = np.isin(hits.rows, shown)
    return Links(
        places=np.searchsorted(shown, hits.rows[placed]),
        ranks=np.flatnonzero(placed) + 1,
        scores=hits.scores[placed],
        unplaced=int((~placed).sum()),
    )
