"""Conversion of LangChain's FAISS, BM25 and ensemble retrievers to twofold indexes.

The objects are recognised by their attributes, so langchain-community is not required.
"""

import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings

from langchain_twofold.documents import as_passage
from langchain_twofold.embeddings import EmbeddingsEncoder, FunctionEmbeddings, as_encoder
from langchain_twofold.filters import where_of_faiss
from langchain_twofold.retriever import TwofoldRetriever
from langchain_twofold.vector_store import TwofoldVectorStore
from twofold import Encoder, Index, Metric, Passage, Retriever
from twofold.fusion import EnsembleFusion
from twofold.index import AS_STORED
from twofold.integrations import create_filled_index, read_faiss_vectors, with_distinct_ids
from twofold.lexical import AnalyzerLike, OkapiBM25
from twofold.lexical.analysis.bm25_retrievers import split_words
from twofold.types import Vectors

Folder = str | os.PathLike[str] | None
_DEFAULT_PREPROCESSOR_MODULE = "langchain_community.retrievers.bm25"


def from_faiss(store: Any, *, path: Folder = None) -> TwofoldVectorStore:
    """Convert a FAISS store, reusing its vectors.

    The result searches the dense leg and returns the same documents in the same order. The words
    are indexed too: ``TwofoldVectorStore(result.index)`` searches both legs. ``path`` None creates
    a temporary folder.

    Raises InputError if the FAISS index has a metric other than L2 and inner product, or
    compresses its vectors.
    """
    contents = _FaissContents.from_store(store)
    passages = [as_passage(document) for document in contents.documents]
    index = _create_index(path, contents, passages, None)
    return TwofoldVectorStore(retriever=Retriever(index, mode="dense", k=4))


def from_bm25_retriever(
    retriever: Any,
    *,
    path: Folder = None,
    encoder: Encoder | Embeddings | str | None = None,
    analyzer: AnalyzerLike | None = None,
) -> TwofoldRetriever:
    """Convert a BM25Retriever to a lexical retriever with the same scores.

    Documents that share no term with the query are not returned, and ties are ordered by id. If an
    id occurs twice, the later document gets an id derived from its content. With an ``encoder``,
    ``TwofoldRetriever(index=result.index)`` searches both legs. ``analyzer`` replaces the
    retriever's ``preprocess_func``; without it, that function must be importable.
    """
    _check_attributes(retriever, ("vectorizer", "docs", "preprocess_func", "k"), "a BM25Retriever")
    index = create_filled_index(
        path,
        with_distinct_ids(map(as_passage, retriever.docs)),
        encoder=as_encoder(encoder),
        metric=None,
        analyzer=analyzer if analyzer is not None else _bm25_analyzer(retriever),
    )
    core = Retriever(index, mode="lexical", k=retriever.k, scorer=_bm25_scorer(retriever))
    return TwofoldRetriever(retriever=core)


def from_ensemble(
    ensemble: Any, *, path: Folder = None, analyzer: AnalyzerLike | None = None
) -> TwofoldRetriever:
    """Convert an EnsembleRetriever of BM25 and FAISS to a hybrid retriever with the same fusion.

    Each leg contributes ``k`` candidates, the larger k of the two retrievers. The result returns
    the best ``k`` documents, where an ensemble returns up to twice as many. Of documents with equal
    texts, the FAISS store's is kept. The FAISS retriever's filter applies to both legs. If the two
    retrievers hold different documents, each leg searches all of them, with a warning.
    ``TwofoldRetriever(index=result.index)`` uses twofold's default fusion instead. ``analyzer``
    replaces the BM25Retriever's ``preprocess_func``.

    Raises:
        TypeError: The ensemble isn't one BM25Retriever and one FAISS retriever.
        ValueError: The ensemble uses MMR, a threshold or ``id_key``, which isn't supported.
    """
    _check_attributes(ensemble, ("retrievers", "weights", "c"), "an EnsembleRetriever")
    members = list(ensemble.retrievers)
    bm25 = [m for m in members if hasattr(m, "vectorizer") and hasattr(m, "docs")]
    faiss = [m for m in members if hasattr(m, "vectorstore")]
    if len(members) != 2 or len(bm25) != 1 or len(faiss) != 1:
        names = ", ".join(type(member).__name__ for member in members)
        raise TypeError(
            f"the ensemble must be one BM25Retriever and one FAISS retriever, got {names}"
        )
    (lexical,), (dense,) = bm25, faiss
    _refuse_unsupported(ensemble, dense)
    contents = _FaissContents.from_store(dense.vectorstore).drop_duplicate_texts()
    where = where_of_faiss(dense.search_kwargs.get("filter"))
    passages = [as_passage(document) for document in contents.documents]
    dense_texts = {passage.text for passage in passages}
    by_text = {document.page_content: document for document in reversed(lexical.docs)}
    if dense_texts != by_text.keys():
        warnings.warn(
            f"the FAISS store has {len(dense_texts):,} texts, the BM25Retriever {len(by_text):,}, "
            f"and {len(dense_texts & by_text.keys()):,} are in both: each leg now searches all of "
            "them, with BM25 statistics of all, so scores and order may differ from the ensemble's",
            UserWarning,
            stacklevel=2,
        )
    missing = [document for text, document in reversed(by_text.items()) if text not in dense_texts]
    passages += with_distinct_ids(map(as_passage, missing), [p.id for p in passages])
    analyzer = analyzer if analyzer is not None else _bm25_analyzer(lexical)
    index = _create_index(path, contents, passages, analyzer)
    weights = dict(zip(map(id, members), ensemble.weights, strict=True))
    share = weights[id(dense)] / sum(weights.values())
    k = max(lexical.k, dense.search_kwargs.get("k", 4))
    fusion = EnsembleFusion(share, ensemble.c, dense_first=members[0] is dense)
    scorer = _bm25_scorer(lexical)
    core = Retriever(index, k=k, depth=k, where=where, scorer=scorer, fusion=fusion)
    return TwofoldRetriever(retriever=core)


@dataclass(frozen=True, slots=True)
class _FaissContents:
    """Contents of a FAISS store: n documents with ids, their vectors (n, dim), query encoder."""

    documents: Sequence[Document]
    vectors: Vectors
    metric: Metric
    encoder: Encoder | None

    @classmethod
    def from_store(cls, store: Any) -> "_FaissContents":
        """Read a store. Vectors without a document, left by a failed add, are skipped."""
        _check_attributes(store, ("index", "docstore", "index_to_docstore_id"), "a FAISS store")
        _, vectors, metric = read_faiss_vectors(store.index)
        # Vectors of length 1 have the same order under all metrics.
        if getattr(store, "_normalize_L2", False):
            metric = Metric.COSINE
        positions, documents = [], []
        for position, document_id in store.index_to_docstore_id.items():
            document = store.docstore.search(document_id)
            if isinstance(document, Document):
                positions.append(position)
                text, metadata = document.page_content, document.metadata
                documents.append(Document(id=document_id, page_content=text, metadata=metadata))
        return cls(documents, vectors[positions], metric, _faiss_encoder(store))

    def drop_duplicate_texts(self) -> "_FaissContents":
        """Keep the first document of each text."""
        first: dict[str, int] = {}
        for position, document in enumerate(self.documents):
            first.setdefault(document.page_content, position)
        positions = list(first.values())
        documents = [self.documents[position] for position in positions]
        return replace(self, documents=documents, vectors=self.vectors[positions])


def _faiss_encoder(store: Any) -> Encoder | None:
    """Return the encoder of a FAISS store's queries, or None if the store has none."""
    function = getattr(store, "embedding_function", None)
    if isinstance(function, Embeddings):
        encoder: Encoder = as_encoder(function)
        return encoder
    return EmbeddingsEncoder(FunctionEmbeddings(function)) if callable(function) else None


def _create_index(
    path: Folder,
    contents: _FaissContents,
    passages: Sequence[Passage],
    analyzer: AnalyzerLike | None,
) -> Index:
    """Index ``passages``; the first n of them have the n vectors in ``contents``."""
    return create_filled_index(
        path,
        passages,
        encoder=contents.encoder,
        dim="first" if contents.encoder is None else None,
        metric=contents.metric,
        analyzer=analyzer if analyzer is not None else AS_STORED,
        vectors=contents.vectors,
    )


def _refuse_unsupported(ensemble: Any, dense: Any) -> None:
    """Raise ValueError for settings of an ensemble that a fusion of two legs doesn't support."""
    if getattr(ensemble, "id_key", None) is not None:
        raise ValueError(
            f"id_key={ensemble.id_key!r} is not supported, because documents are merged by text: "
            "set it to None, and use dedup_threshold or group_by of twofold.Retriever"
        )
    kind = getattr(dense, "search_type", "similarity")
    if kind == "mmr":
        raise ValueError(
            "the FAISS retriever has search_type 'mmr': set it to 'similarity', and add diversity "
            "to the result: TwofoldRetriever(retriever=dataclasses.replace(result.retriever, "
            "diversity=1 - lambda_mult))"
        )
    unknown = sorted(set(dense.search_kwargs) - {"k", "filter", "fetch_k"})
    if kind != "similarity" or unknown:
        what = f"search_type {kind!r}" if kind != "similarity" else f"search_kwargs {unknown}"
        raise ValueError(
            f"the FAISS retriever has {what}, which is not supported: remove it, and set a "
            "threshold for the dense leg: TwofoldRetriever(retriever=dataclasses.replace("
            "result.retriever, min_dense=...))"
        )


def _bm25_analyzer(retriever: Any) -> Any:
    """Return the function that splits a BM25Retriever's texts into terms."""
    function = retriever.preprocess_func
    module = getattr(function, "__module__", None)
    return split_words if module == _DEFAULT_PREPROCESSOR_MODULE else function


def _bm25_scorer(retriever: Any) -> OkapiBM25:
    engine = retriever.vectorizer
    _check_attributes(engine, ("k1", "b", "epsilon"), "a BM25Okapi of rank-bm25")
    return OkapiBM25(k1=engine.k1, b=engine.b, epsilon=engine.epsilon)


def _check_attributes(value: Any, names: Sequence[str], expected: str) -> None:
    """Raise TypeError unless ``value`` has the attributes ``names``, as ``expected`` objects do."""
    if not all(hasattr(value, name) for name in names):
        raise TypeError(f"expected {expected}, got {type(value).__name__}: {value!r:.80}")
