"""Draws the passages of an index in two dimensions, with queries and their hits."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from twofold.backend import Keys, Searchable, SearchScope
from twofold.errors import InputError, QueryError
from twofold.map.colors import check_field, cluster_passages, color_by_field
from twofold.map.html import render_html
from twofold.map.model import Links, MapData, QueryPlace, format_from_path
from twofold.map.png import render_png
from twofold.map.projection import METHODS, Method, project
from twofold.types import LegHits, Vectors
from twofold.validation import check_choice, check_integer, check_queries

_BATCH = 10_000
"""The number of vectors read at once."""


class CorpusMap(MapData):
    """The passages of an index in two dimensions, which can be written as HTML or PNG."""

    __slots__ = ()

    @classmethod
    def from_index(
        cls,
        index: Searchable,
        queries: Sequence[str] = (),
        *,
        vectors: Vectors | None = None,
        color: str | None = None,
        method: Method = "pca",
        sample: int = 5000,
        k: int = 10,
        seed: int = 0,
        title: str | None = None,
    ) -> "CorpusMap":
        """Map an index by its stored vectors; equal arguments give equal maps.

        Args:
            index: An `Index`, or an `EncodedBackend` over another engine, with vectors.
            queries: Query texts to show, with lines to their hits.
            vectors: The queries' vectors (m, dim). Default: encoded by the index's encoder.
            color: The metadata field to color by. Default: clusters of similar passages.
            method: The projection, ``"pca"`` or ``"umap"``.
            sample: The number of passages to draw and to fit the projection to. Hits outside the
                sample are drawn too, and don't affect the projection.
            k: The number of hits to show for each query and leg.
            seed: The seed of the sample, the clusters and UMAP.
            title: The title. Default: the name of the index's folder.

        Raises:
            InputError: An argument is invalid, or the index has no vectors.
            QueryError: A query is invalid or can't be encoded.
            EncoderMismatchError: The encoder isn't the one that produced the stored vectors.
        """
        check_choice("method", method, METHODS)
        check_integer("sample", sample)
        check_integer("k", k)
        path = getattr(index, "path", None)
        name = path.name.removesuffix(".twofold") if path is not None else "passages"
        with index.open_search() as scope:
            if "dense" not in scope.capabilities.modes:
                modes = ", ".join(repr(mode) for mode in scope.capabilities.modes)
                raise InputError(
                    f"the index {path or ''} has no vectors to map, only the modes {modes}: create "
                    "it with an encoder, or with dim= and your own vectors"
                )
            encoded = _encode_queries(scope, queries, vectors)
            statistics = scope.require_statistics("a map")
            stored = sampled = _keys_with_vectors(scope, statistics.list_keys())
            if scope.metric is None or not len(stored):
                raise InputError(
                    f"the index {path or ''} holds no passage with a vector: add passages before "
                    "drawing a map"
                )
            if color is not None:
                check_field(color, statistics.metadata_fields())
            hits = _search_legs(scope, queries, encoded, k)
            if len(stored) > sample:
                sampled = np.sort(np.random.default_rng(seed).choice(stored, sample, replace=False))
            hit_keys = [leg.keys for legs in hits for leg in legs]
            shown = np.intersect1d(np.concatenate([sampled, *hit_keys]), stored)
            fetched = scope.session.fetch(shown, vectors=True)
            assert fetched.vectors is not None  # asked for
            shown_vectors, passages = fetched.vectors, tuple(fetched.passages)
            query_vectors = scope.metric.prepare(encoded)
            total, analyzer = scope.session.corpus.passages, scope.analyzer
        fitted = np.isin(shown, sampled)
        points, query_points, shares = project(shown_vectors, fitted, query_vectors, method, seed)
        if color is not None:
            coloring = color_by_field(color, passages)
        else:
            coloring = cluster_passages(passages, shown_vectors, analyzer, seed)
        return cls(
            title=title if title is not None else name,
            method=method,
            shares=shares,
            total=total,
            unplaced=total - len(stored),
            passages=passages,
            points=points,
            coloring=coloring,
            queries=tuple(
                QueryPlace(text, point, *(_link_hits(shown, leg) for leg in legs))
                for text, point, legs in zip(queries, query_points, hits, strict=True)
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


def _encode_queries(scope: SearchScope, queries: Sequence[str], vectors: Vectors | None) -> Vectors:
    """Check the queries; return ``vectors``, or by default the encoded queries (m, dim)."""
    if isinstance(queries, str):
        raise QueryError(f"queries must be a list of texts, got the string {queries!r:.80}")
    vectors = np.asarray(vectors) if vectors is not None else None
    check_queries(queries, vectors)
    for query in queries:
        if not query.strip():
            raise QueryError(f"a query on a map must not be blank, got {query!r:.80}")
    if vectors is not None:
        return vectors
    if not len(queries):
        return np.empty((0, scope.session.corpus.dim or 0), np.float32)
    if not scope.can_encode:
        raise QueryError(
            f"the index has no encoder for the query {queries[0]!r:.80}: pass the queries' vectors "
            "as vectors=, or pass no queries"
        )
    return scope.encode_queries(queries)


def _keys_with_vectors(scope: SearchScope, keys: Keys) -> Keys:
    """Return those of ``keys`` whose passages have a vector, read in batches."""
    parts = [keys[:0]]
    for start in range(0, len(keys), _BATCH):
        fetched = scope.session.fetch(keys[start : start + _BATCH], texts=False, vectors=True)
        parts.append(fetched.keys[fetched.has_vector])
    return np.concatenate(parts)


def _search_legs(
    scope: SearchScope, queries: Sequence[str], vectors: Vectors, k: int
) -> list[tuple[LegHits, LegHits]]:
    """Return each query's dense and lexical hits; no lexical ones without a lexical leg."""
    if not len(queries):
        return []
    dense = scope.session.search_dense(vectors, k, None, 1.0)
    if not scope.has_lexical:
        return [(hits, LegHits.empty()) for hits in dense]
    lexical = scope.session.search_lexical(queries, k, None, None)
    return list(zip(dense, lexical, strict=True))


def _link_hits(shown: Keys, hits: LegHits) -> Links:
    """Link hits to their positions in ``shown``, the ascending keys of the passages drawn."""
    placed = np.isin(hits.keys, shown)
    positions, ranks = np.searchsorted(shown, hits.keys[placed]), np.flatnonzero(placed) + 1
    return Links(positions, ranks, hits.scores[placed], int((~placed).sum()))
