"""Maps an index to two dimensions, with queries among their hits."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from twofold.errors import InputError, QueryError
from twofold.index import Index
from twofold.index.view import IndexView
from twofold.map.colors import check_field, cluster_passages, color_by_field
from twofold.map.html import render_html
from twofold.map.model import Links, MapData, QueryPlace
from twofold.map.png import render_png
from twofold.map.projection import METHODS, Method, project
from twofold.map.style import format_from_path
from twofold.types import LegHits, Rows, Vectors
from twofold.validation import check_choice, check_integer, check_queries


class CorpusMap(MapData):
    """The passages of an index in two dimensions, which can be written as a page or a picture."""

    __slots__ = ()

    @classmethod
    def from_index(
        cls,
        index: Index,
        queries: Sequence[str] = (),
        *,
        vectors: Vectors | None = None,
        color: str | None = None,
        method: Method = "pca",
        sample: int = 5000,
        k: int = 10,
        seed: int = 0,
    ) -> "CorpusMap":
        """Map an index by its stored vectors; equal arguments give equal maps.

        Args:
            index: The index. It must have vectors.
            queries: Texts to show among their hits.
            vectors: The queries' vectors (m, dim). Default: encoded by the index's encoder.
            color: The metadata field to color by. Default: clusters of similar passages.
            method: The projection, ``"pca"`` or ``"umap"``.
            sample: The number of passages to draw and to fit the projection to. Hits are shown in
                addition and don't affect it.
            k: The number of hits to show for each query and leg.
            seed: The seed of the sample, the clusters and UMAP.

        Raises:
            InputError: An argument is invalid, or the index has no vectors.
            QueryError: A query is invalid or can't be encoded.
            IndexMismatchError: The encoder isn't the index's own.
        """
        check_choice("method", method, METHODS)
        check_integer("sample", sample)
        check_integer("k", k)
        if "dense" not in index.modes:
            modes = ", ".join(repr(mode) for mode in index.modes)
            raise InputError(
                f"the index {index.path} has no vectors to map, it serves {modes}: make it with "
                "an encoder, or with dim= and your vectors"
            )
        encoded = _encode_queries(index, queries, vectors)
        with index.view() as view:
            dense = view.snapshot.dense
            if dense is None or not len(dense.live_rows):
                raise InputError(
                    f"the index {index.path} holds no passage with a vector: add passages before "
                    "drawing a map"
                )
            if color is not None:
                check_field(color, _metadata_fields(view))
            hits = _search_legs(view, queries, encoded, k)
            stored = sampled = dense.live_rows
            if len(stored) > sample:
                sampled = np.sort(np.random.default_rng(seed).choice(stored, sample, replace=False))
            hit_rows = [leg.rows for legs in hits for leg in legs]
            shown = np.intersect1d(np.concatenate([sampled, *hit_rows]), stored)
            shown_vectors, _ = dense.vectors(shown)
            query_vectors = dense.metric.prepare(encoded)
            fetched = view.passages(shown)
            passages = tuple(fetched[position] for position in range(len(shown)))
            total = view.snapshot.state.passages
            lexical = view.snapshot.lexical
        plane = project(shown_vectors, np.isin(shown, sampled), query_vectors, method, seed)
        if color is not None:
            coloring = color_by_field(color, passages)
        else:
            analyzer = lexical.analyzer if lexical is not None else None
            coloring = cluster_passages(passages, shown_vectors, analyzer, seed)
        return cls(
            title=index.path.name.removesuffix(".twofold"),
            method=method,
            shares=plane.shares,
            total=total,
            unplaced=total - len(stored),
            passages=passages,
            points=plane.passages,
            coloring=coloring,
            queries=tuple(
                QueryPlace(text, point, *(_link_hits(shown, leg) for leg in legs))
                for text, point, legs in zip(queries, plane.queries, hits, strict=True)
            ),
        )

    def html(self) -> str:
        """Return an HTML page that needs no network, with the passages on hover."""
        return render_html(self)

    def png(self) -> bytes:
        """Return a PNG picture of 1,800 by 1,080 pixels."""
        return render_png(self)

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the map as .html or .png; raise InputError for another suffix."""
        if format_from_path(path) == "html":
            Path(path).write_text(self.html(), encoding="utf-8")
        else:
            Path(path).write_bytes(self.png())


def _encode_queries(index: Index, queries: Sequence[str], vectors: Vectors | None) -> Vectors:
    """Check the queries; return their vectors (m, dim), given or encoded."""
    if isinstance(queries, str):
        raise QueryError(f"queries must be a list of texts, got the string {queries!r:.80}")
    vectors = np.asarray(vectors) if vectors is not None else None
    check_queries(queries, vectors)
    for query in queries:
        if not query.strip():
            raise QueryError(f"a query on a map must be a text with words, got {query!r:.80}")
    if vectors is not None:
        return vectors
    if not len(queries):
        return np.empty((0, index.dim or 0), np.float32)
    if index.encoder is None:
        raise QueryError(
            f"the index {index.path} has no encoder for the text {queries[0]!r:.80}: pass the "
            "queries' vectors= too, or map it without queries"
        )
    return index.encode_queries(queries)


def _metadata_fields(view: IndexView) -> list[str]:
    """Return the metadata fields of live passages."""
    names: set[str] = set()
    for segment in view.snapshot.columns:
        alive = ~np.isin(segment.rows, view.snapshot.dead)
        names |= set(segment.used_fields(alive[segment.docs]))
    return sorted(names)


def _search_legs(
    view: IndexView, queries: Sequence[str], vectors: Vectors, k: int
) -> list[tuple[LegHits, LegHits]]:
    """Return each query's dense and lexical hits; the latter are empty without a lexical leg."""
    if not len(queries):
        return []
    dense = view.dense(vectors, k, None)
    if view.snapshot.lexical is None:
        return [(hits, LegHits.empty()) for hits in dense]
    return list(zip(dense, view.lexical(queries, k, None), strict=True))


def _link_hits(shown: Rows, hits: LegHits) -> Links:
    """Return hits as positions among the rows shown (ascending)."""
    placed = np.isin(hits.rows, shown)
    positions, ranks = np.searchsorted(shown, hits.rows[placed]), np.flatnonzero(placed) + 1
    return Links(positions, ranks, hits.scores[placed], int((~placed).sum()))
