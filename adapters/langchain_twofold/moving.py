"""From live objects of LangChain's other retrievers to a twofold index that answers the same.

They are told by what they have, so that neither langchain-community nor langchain-classic is
needed here.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings

from langchain_twofold.documents import as_passage
from langchain_twofold.embeddings import as_encoder
from langchain_twofold.faiss_filter import where_of_faiss
from langchain_twofold.retriever import TwofoldRetriever
from langchain_twofold.vector_store import TwofoldVectorStore
from twofold import Encoder, Index, Metric, Retriever
from twofold.fusion import EnsembleFusion
from twofold.index import AS_STORED
from twofold.lexical import OkapiBM25
from twofold.types import Vectors

Folder = str | os.PathLike[str] | None


def split_words(text: str) -> list[str]:
    """Split at blanks and nothing else, as BM25Retriever does by default."""
    return text.split()


def from_faiss(store: Any, *, path: Folder = None) -> TwofoldVectorStore:
    """Return a store over the documents and vectors of a FAISS store; nothing is encoded again.

    Its searches are dense and give the same documents in the same order. The words are indexed
    too: ``TwofoldVectorStore(store.index)`` searches by both legs. Raises TypeError for what is no
    FAISS store of langchain-community, and ValueError if its index can't give its vectors back.
    """
    held = _Held.by(store)
    index = Index.open(path, encoder=as_encoder(held.embeddings), metric=held.metric)
    if held.documents:
        index.upsert([as_passage(each) for each in held.documents], vectors=held.vectors)
    return TwofoldVectorStore(retriever=Retriever(index, mode="dense", k=4))


def from_bm25_retriever(
    retriever: Any, *, path: Folder = None, encoder: Encoder | Embeddings | str | None = None
) -> TwofoldRetriever:
    """Return a lexical retriever over the documents of a BM25Retriever, with its scores.

    Terms are those of its ``preprocess_func``, which a module must hold, and scores those of its
    rank-bm25 parameters; documents without a word of the query are left out, and ties go by id.
    With an ``encoder``, ``TwofoldRetriever(index=retriever.index)`` searches by both legs.
    """
    _check(retriever, ("vectorizer", "docs", "preprocess_func", "k"), "a BM25Retriever")
    index = Index.open(path, encoder=as_encoder(encoder), analyzer=_analyzer(retriever))
    index.upsert([as_passage(each) for each in retriever.docs])
    core = Retriever(index, mode="lexical", k=retriever.k, scorer=_scorer(retriever))
    return TwofoldRetriever(retriever=core)


def from_ensemble(ensemble: Any, *, path: Folder = None) -> TwofoldRetriever:
    """Return a retriever that fuses as an EnsembleRetriever of BM25 and FAISS does.

    Each leg brings ``k`` candidates, as there, or the greater k where they differ; but only the
    best ``k`` of them come back, where an ensemble gives up to twice as many. Documents of equal
    text are one, the FAISS store's. A filter of the FAISS store holds for both legs.
    ``TwofoldRetriever(index=retriever.index)`` fuses as twofold does.
    """
    _check(ensemble, ("retrievers", "weights", "c"), "an EnsembleRetriever")
    found = list(ensemble.retrievers)
    words = [each for each in found if hasattr(each, "vectorizer") and hasattr(each, "docs")]
    near = [each for each in found if hasattr(each, "vectorstore")]
    if len(found) != 2 or len(words) != 1 or len(near) != 1:
        kinds = ", ".join(type(each).__name__ for each in found)
        raise TypeError(f"an ensemble of a BM25Retriever and a FAISS retriever, not of {kinds}")
    (lexical,), (dense,) = words, near
    held = _Held.by(dense.vectorstore).distinct()
    known = {each.page_content for each in held.documents}
    index = Index.open(
        path,
        encoder=as_encoder(held.embeddings),
        metric=held.metric,
        analyzer=_analyzer(lexical),
    )
    if held.documents:
        index.upsert([as_passage(each) for each in held.documents], vectors=held.vectors)
    rest = {each.page_content: each for each in lexical.docs if each.page_content not in known}
    index.upsert([as_passage(each) for each in rest.values()])
    weights = dict(zip(map(id, found), ensemble.weights, strict=True))
    k = max(lexical.k, dense.search_kwargs.get("k", 4))
    core = Retriever(
        index,
        k=k,
        depth=k,
        where=where_of_faiss(dense.search_kwargs.get("filter")),
        scorer=_scorer(lexical),
        fusion=EnsembleFusion(
            weights[id(dense)] / sum(weights.values()), ensemble.c, dense_first=found[0] is dense
        ),
    )
    return TwofoldRetriever(retriever=core)


@dataclass(frozen=True, slots=True)
class _Held:
    """What a FAISS store holds: documents with ids, and their vectors (n, dim)."""

    documents: Sequence[Document]
    vectors: Vectors
    metric: Metric
    embeddings: Any

    @classmethod
    def by(cls, store: Any) -> "_Held":
        """Read a store; vectors without a document, as a failed add leaves them, are left out."""
        _check(store, ("index", "docstore", "index_to_docstore_id"), "a FAISS store")
        try:
            vectors = store.index.reconstruct_n(0, store.index.ntotal)
        except RuntimeError as error:
            raise ValueError(
                f"{type(store.index).__name__} can't give its vectors back: index the documents "
                "anew with TwofoldVectorStore.from_documents"
            ) from error
        named = store.index_to_docstore_id
        found = [(place, named[place], store.docstore.search(named[place])) for place in named]
        kept = [each for each in found if isinstance(each[2], Document)]
        documents = [
            Document(id=own, page_content=each.page_content, metadata=each.metadata)
            for _, own, each in kept
        ]
        given = store.embeddings
        return cls(
            documents,
            np.asarray(vectors, np.float32)[[place for place, _, _ in kept]],
            _metric(store),
            given if isinstance(given, Embeddings) else AS_STORED,
        )

    def distinct(self) -> "_Held":
        """Return the first document of each text."""
        places = {each.page_content: at for at, each in reversed(list(enumerate(self.documents)))}
        kept = sorted(places.values())
        documents = [self.documents[place] for place in kept]
        return _Held(documents, self.vectors[kept], self.metric, self.embeddings)


def _metric(store: Any) -> Metric:
    """Return what a FAISS store's index compares by, whatever its strategy is called."""
    if getattr(store, "_normalize_L2", False):
        return Metric.COSINE  # of vectors of length 1 all metrics give one order
    return Metric.DOT if store.index.metric_type == 0 else Metric.EUCLIDEAN


def _analyzer(retriever: Any) -> Any:
    """Return the function that gives a BM25Retriever its terms."""
    given = retriever.preprocess_func
    return split_words if given.__name__ == "default_preprocessing_func" else given


def _scorer(retriever: Any) -> OkapiBM25:
    """Return the scoring function of a BM25Retriever."""
    engine = retriever.vectorizer
    _check(engine, ("k1", "b", "epsilon"), "a BM25Okapi of rank-bm25")
    return OkapiBM25(k1=engine.k1, b=engine.b, epsilon=engine.epsilon)


def _check(given: Any, names: Sequence[str], wanted: str) -> None:
    if not all(hasattr(given, name) for name in names):
        raise TypeError(f"{wanted} is wanted, not {type(given).__name__}: {given!r:.80}")
