"""Scores against other people's code: rank-bm25, bm25s and scikit-learn."""

import random

import bm25s
import numpy as np
import pytest
import rank_bm25
from sklearn.feature_extraction.text import TfidfVectorizer

from twofold.errors import InputError
from twofold.lexical import (
    ATIREBM25,
    BM25,
    BM25L,
    SCORERS,
    BM25Plus,
    CountAllBM25,
    FunctionAnalyzer,
    OkapiBM25,
    OkapiBM25L,
    PostingsIndex,
    RobertsonBM25,
    TfIdf,
    scorer_from_name,
)

splitting = FunctionAnalyzer(str.split, "tests:split")
K1, B = 1.3, 0.6


def indexed(documents):
    index = PostingsIndex(splitting)
    for start in range(0, len(documents), 100):
        some = documents[start : start + 100]
        rows = np.arange(start, start + len(some))
        index.add(rows, [f"{row:04}" for row in rows], [" ".join(terms) for terms in some])
    return index


def random_documents(seed):
    rng = random.Random(seed)
    words = [f"w{n}" for n in range(40)]
    weights = [1 / (n + 1) for n in range(40)]
    return [rng.choices(words, weights, k=rng.randint(1, 30)) for _ in range(150)]


@pytest.fixture(params=["scifact", "random 1", "random 2", "with empty documents"])
def corpus(request, abstracts, claims):
    """Documents as lists of terms, with queries."""
    if request.param == "scifact":
        documents = [f"{each['title']} {each['text']}".lower().split() for each in abstracts[:400]]
        return documents, [claim.lower().split() for claim in claims[:25]]
    documents = random_documents(request.param)
    if request.param == "with empty documents":
        documents = [terms if n % 9 else [] for n, terms in enumerate(documents)]
    rng = random.Random(request.param + " queries")
    return documents, [rng.choices([f"w{n}" for n in range(45)], k=4) for _ in range(25)]


def compared(documents, queries, scorer, expected):
    """Compare the scores of all documents that share a term with those of another library."""
    index = indexed(documents)
    rows = np.arange(len(documents))
    sharing = 0
    for query in queries:
        ours = index.scores(" ".join(query), rows, scorer)
        theirs = np.asarray(expected(query), float)
        shared = np.array([not set(query).isdisjoint(terms) for terms in documents])
        np.testing.assert_allclose(ours[shared], theirs[shared], atol=1e-6)
        assert not ours[~shared].any()
        sharing += int(shared.sum())
        found = index.search(" ".join(query), len(documents), scorer=scorer)
        assert set(found.keys) == set(rows[shared])
        np.testing.assert_allclose(found.scores, ours[found.keys], atol=1e-12)
    assert sharing > 100


@pytest.mark.parametrize(
    ("name", "scorer"),
    [
        ("BM25Okapi", OkapiBM25(K1, B)),
        ("BM25L", OkapiBM25L(K1, B, delta=0.5)),
        ("BM25Plus", BM25Plus(K1, B, delta=1)),
    ],
)
def test_rank_bm25(corpus, name, scorer):
    documents, queries = corpus
    theirs = getattr(rank_bm25, name)(documents, k1=K1, b=B)
    compared(documents, queries, scorer, theirs.get_scores)


@pytest.mark.parametrize(
    ("method", "scorer"),
    [
        ("lucene", BM25(K1, B)),
        ("lucene", CountAllBM25(K1, B)),
        ("robertson", RobertsonBM25(K1, B)),
        ("atire", ATIREBM25(K1, B)),
        ("bm25l", BM25L(K1, B, delta=0.7)),
        ("bm25+", BM25Plus(K1, B, delta=0.7)),
    ],
)
def test_bm25s(corpus, method, scorer):
    documents, queries = corpus
    theirs = bm25s.BM25(method=method, k1=K1, b=B, delta=0.7, dtype="float64")
    # Lucene counts no empty documents, and bm25s does.
    counted = [bool(terms) or scorer.counts_empty for terms in documents]
    theirs.index([terms for terms, count in zip(documents, counted, strict=True) if count])

    def expected(query):
        known = [term for term in query if term in theirs.vocab_dict]
        scores = np.zeros(len(documents))
        if known:
            scores[counted] = theirs.get_scores(known)
        return scores

    compared(documents, queries, scorer, expected)


@pytest.mark.parametrize("sublinear", [False, True])
def test_tfidf_is_scikit_learns(corpus, sublinear):
    documents, queries = corpus
    theirs = TfidfVectorizer(analyzer=lambda terms: terms, sublinear_tf=sublinear)
    matrix = theirs.fit_transform(documents)
    compared(
        documents,
        queries,
        TfIdf(sublinear),
        lambda query: (matrix @ theirs.transform([query]).T).toarray().ravel(),
    )


def test_the_papers_count_shared_terms_only():
    documents = random_documents("papers")
    index = indexed(documents)
    rows = np.arange(len(documents))
    for everywhere, shared in (
        (BM25L(), BM25L(shared_only=True)),
        (BM25Plus(), BM25Plus(shared_only=True)),
    ):
        query = "w1 w7"
        more = index.scores(query, rows, everywhere) - index.scores(query, rows, shared)
        both = np.array([{"w1", "w7"} <= set(terms) for terms in documents])
        assert both.any()
        np.testing.assert_allclose(more[both], 0, atol=1e-9)
        one = np.array([len({"w1", "w7"} & set(terms)) == 1 for terms in documents])
        assert (more[one] > 0.1).all()


def test_parameters_belong_to_the_query():
    documents = random_documents("parameters")
    index = indexed(documents)
    rows = np.arange(len(documents))
    for scorer in (BM25(0, 0), BM25(2, 1), BM25(1e6, 0.5), BM25()):
        anew = PostingsIndex(splitting, scorer)
        anew.add(rows, [f"{row:04}" for row in rows], [" ".join(terms) for terms in documents])
        np.testing.assert_array_equal(
            index.scores("w3 w9 w9", rows, scorer), anew.scores("w3 w9 w9", rows)
        )


@pytest.mark.parametrize("scorer", [kind() for kind in SCORERS.values()], ids=list(SCORERS))
def test_explanations_sum_to_the_score(scorer):
    documents = random_documents("explanations")
    index = indexed(documents)
    query = "w0 w3 w3 w11 w39 nothing"
    found = index.search(query, 50, scorer=scorer)
    assert len(found.keys) == 50
    for row, score in zip(found.keys.tolist(), found.scores, strict=True):
        matches = index.term_matches(query, row, scorer)
        assert sum(match.contribution for match in matches) == pytest.approx(score, abs=1e-9)
        counts = {match.term: match.frequency for match in matches if match.frequency}
        terms = documents[row]
        assert counts == {
            each: terms.count(each) for each in {"w0", "w3", "w11", "w39"} & set(terms)
        }
        for match in matches:
            product = match.query_frequency * match.idf * match.tf_weight
            if match.idf:
                assert product == pytest.approx(match.contribution, abs=1e-9)
            assert match.length == len(terms)
            assert match.document_frequency == sum(match.term in each for each in documents)


@pytest.mark.parametrize(
    "make",
    [
        lambda: BM25(k1=-1),
        lambda: BM25(k1=float("nan")),
        lambda: BM25(k1=float("inf")),
        lambda: BM25(k1="2"),
        lambda: BM25(b=1.1),
        lambda: RobertsonBM25(b=-0.1),
        lambda: BM25L(delta=-1),
        lambda: BM25Plus(delta=None),
        lambda: OkapiBM25L(delta=float("nan")),
        lambda: OkapiBM25(epsilon=float("nan")),
        lambda: scorer_from_name("bm26"),
        lambda: scorer_from_name("lucene", delta=1),
    ],
)
def test_parameters_that_make_no_sense(make):
    with pytest.raises(InputError):
        make()


def test_a_query_of_a_million_words_has_the_right_score():
    index = indexed([["a", "b"], ["a"], ["b", "c"]])
    once = index.search("c", 3).scores[0]
    assert index.search("c " * 1_000_000, 3).scores[0] == pytest.approx(once * 1e6, rel=1e-9)
    huge = BM25Plus(k1=1e6, delta=1e6)
    assert index.search("a b c", 3, scorer=huge).scores[0] > 1e6
