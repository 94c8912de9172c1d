"""From live objects of LangChain's other retrievers to a twofold index that answers the same.

They are told by what they have, so that neither langchain-community nor langchain-classic is
needed here.
"""

import os
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings

from langchain_twofold.documents import as_passage
from langchain_twofold.embeddings import as_encoder
from langchain_twofold.faiss_filter import where_of_faiss
from langchain_twofold.faiss_store import FaissStore
from langchain_twofold.retriever import TwofoldRetriever
from langchain_twofold.vector_store import TwofoldVectorStore
from twofold import Encoder, Index, Passage, Retriever
from twofold.fusion import EnsembleFusion
from twofold.index import AS_STORED, create_filled_index
from twofold.lexical import AnalyzerLike, OkapiBM25

Folder = str | os.PathLike[str] | None
_DEFAULT_TERMS = "langchain_community.retrievers.bm25"


def split_words(text: str) -> list[str]:
    """Split at blanks and nothing else, as BM25Retriever does by default."""
    return text.split()


def from_faiss(store: Any, *, path: Folder = None) -> TwofoldVectorStore:
    """Return a store over the documents and vectors of a FAISS store; nothing is encoded again.

    Its searches are dense and give the same documents in the same order. The words are indexed
    too: ``TwofoldVectorStore(store.index)`` searches by both legs. Raises TypeError for what is no
    FAISS store of langchain-community, and InputError if its index has another metric than L2 and
    the inner product, or doesn't keep its vectors as they came.
    """
    held = FaissStore.held_by(store)
    index = _filled(path, held, [as_passage(each) for each in held.documents], None)
    return TwofoldVectorStore(retriever=Retriever(index, mode="dense", k=4))


def from_bm25_retriever(
    retriever: Any,
    *,
    path: Folder = None,
    encoder: Encoder | Embeddings | str | None = None,
    analyzer: AnalyzerLike | None = None,
) -> TwofoldRetriever:
    """Return a lexical retriever over the documents of a BM25Retriever, with its scores.

    Terms are those of its ``preprocess_func``, which a module must hold, or of ``analyzer`` in its
    place, and scores those of its rank-bm25 parameters; documents without a word of the query are
    left out, and ties go by id. An id that comes again goes to its first document; the others get
    one from their content. With an ``encoder``, ``TwofoldRetriever(index=retriever.index)``
    searches by both legs.
    """
    _check(retriever, ("vectorizer", "docs", "preprocess_func", "k"), "a BM25Retriever")
    index = create_filled_index(
        path,
        _distinctly_named(retriever.docs, ()),
        encoder=as_encoder(encoder),
        metric=None,
        analyzer=analyzer if analyzer is not None else _terms(retriever),
    )
    core = Retriever(index, mode="lexical", k=retriever.k, scorer=_scorer(retriever))
    return TwofoldRetriever(retriever=core)


def from_ensemble(
    ensemble: Any, *, path: Folder = None, analyzer: AnalyzerLike | None = None
) -> TwofoldRetriever:
    """Return a retriever that fuses as an EnsembleRetriever of BM25 and FAISS does.

    Each leg brings ``k`` candidates, as there, or the greater k where they differ; but only the
    best ``k`` of them come back, where an ensemble gives up to twice as many. Documents of equal
    text are one, the FAISS store's. A filter of the FAISS store holds for both legs.
    ``TwofoldRetriever(index=retriever.index)`` fuses as twofold does.

    Where the two hold different documents, each leg searches all of them, with a warning. Raises
    ValueError for MMR, thresholds and ``id_key``, which have no twin in such a fusion.
    """
    _check(ensemble, ("retrievers", "weights", "c"), "an EnsembleRetriever")
    found = list(ensemble.retrievers)
    words = [each for each in found if hasattr(each, "vectorizer") and hasattr(each, "docs")]
    near = [each for each in found if hasattr(each, "vectorstore")]
    if len(found) != 2 or len(words) != 1 or len(near) != 1:
        kinds = ", ".join(type(each).__name__ for each in found)
        raise TypeError(f"an ensemble of a BM25Retriever and a FAISS retriever, not of {kinds}")
    (lexical,), (dense,) = words, near
    _refuse_without_twin(ensemble, dense)
    held = FaissStore.held_by(dense.vectorstore).distinct()
    where = where_of_faiss(dense.search_kwargs.get("filter"))
    passages = [as_passage(each) for each in held.documents]
    known = {each.text for each in passages}
    asked = {each.page_content: each for each in reversed(lexical.docs)}
    if known != asked.keys():
        warnings.warn(
            f"the FAISS store holds {len(known):,} texts, the BM25Retriever {len(asked):,}, and "
            f"{len(known & asked.keys()):,} are in both: here each leg searches all, and BM25's "
            "statistics are of all, so that scores and order may differ from the ensemble's",
            UserWarning,
            stacklevel=2,
        )
    rest = [each for text, each in reversed(asked.items()) if text not in known]
    passages += _distinctly_named(rest, [each.id for each in passages])
    index = _filled(path, held, passages, analyzer if analyzer is not None else _terms(lexical))
    weights = dict(zip(map(id, found), ensemble.weights, strict=True))
    share = weights[id(dense)] / sum(weights.values())
    k = max(lexical.k, dense.search_kwargs.get("k", 4))
    fusion = EnsembleFusion(share, ensemble.c, dense_first=found[0] is dense)
    scorer = _scorer(lexical)
    core = Retriever(index, k=k, depth=k, where=where, scorer=scorer, fusion=fusion)
    return TwofoldRetriever(retriever=core)


def _filled(
    path: Folder, held: FaissStore, passages: Sequence[Passage], analyzer: AnalyzerLike | None
) -> Index:
    """Return an index of passages, the first of which are those that a FAISS store holds."""
    return create_filled_index(
        path,
        passages,
        encoder=held.encoder,
        dim="first" if held.encoder is None else None,
        metric=held.metric,
        analyzer=analyzer if analyzer is not None else AS_STORED,
        vectors=held.vectors,
    )


def _refuse_without_twin(ensemble: Any, dense: Any) -> None:
    """Raise ValueError for what an ensemble does that a fusion of two legs doesn't."""
    if getattr(ensemble, "id_key", None) is not None:
        raise ValueError(
            f"the ensemble has id_key={ensemble.id_key!r}, by which it takes documents for one: "
            "set it to None; here they are one by their text, and dedup_threshold or group_by of "
            "twofold.Retriever take others together"
        )
    kind = getattr(dense, "search_type", "similarity")
    if kind == "mmr":
        raise ValueError(
            "the ensemble's FAISS retriever has search_type 'mmr': set it to 'similarity', and "
            "give what is returned diversity: TwofoldRetriever(retriever=dataclasses.replace("
            "moved.retriever, diversity=1 - lambda_mult))"
        )
    unknown = sorted(set(dense.search_kwargs) - {"k", "filter", "fetch_k"})
    if kind != "similarity" or unknown:
        what = f"search_type {kind!r}" if kind != "similarity" else f"search_kwargs {unknown}"
        raise ValueError(
            f"the ensemble's FAISS retriever has {what}: leave it out, and give what is returned a "
            "threshold on the dense leg's scale: TwofoldRetriever(retriever=dataclasses.replace("
            "moved.retriever, min_dense=...))"
        )


def _distinctly_named(documents: Iterable[Document], taken: Iterable[str]) -> list[Passage]:
    """Return passages; one whose id is another's already gets one from its content."""
    seen, passages = set(taken), []
    for passage in map(as_passage, documents):
        passages.append(replace(passage, id="") if passage.id in seen else passage)
        seen.add(passage.id)
    return passages


def _terms(retriever: Any) -> Any:
    """Return the function that gives a BM25Retriever its terms."""
    given = retriever.preprocess_func
    return split_words if getattr(given, "__module__", None) == _DEFAULT_TERMS else given


def _scorer(retriever: Any) -> OkapiBM25:
    """Return the scoring function of a BM25Retriever."""
    engine = retriever.vectorizer
    _check(engine, ("k1", "b", "epsilon"), "a BM25Okapi of rank-bm25")
    return OkapiBM25(k1=engine.k1, b=engine.b, epsilon=engine.epsilon)


def _check(given: Any, names: Sequence[str], wanted: str) -> None:
    if not all(hasattr(given, name) for name in names):
        raise TypeError(f"{wanted} is wanted, not {type(given).__name__}: {given!r:.80}")
