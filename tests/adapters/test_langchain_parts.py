"""The reranker, embeddings and the translator of structured queries."""

import numpy as np
import pytest
from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_core.structured_query import Comparator, Comparison, Operation, Operator
from langchain_core.structured_query import StructuredQuery as Structured

from langchain_twofold import (
    TwofoldEmbeddings,
    TwofoldReranker,
    TwofoldRetriever,
    TwofoldTranslator,
)
from twofold import HashingEncoder, Index
from twofold.errors import FilterError
from twofold.rerank import CrossEncoderReranker

DOCUMENTS = [
    Document(id=str(n), page_content=text, metadata={"n": n})
    for n, text in enumerate(["short", "a longer text", "the longest of these texts", "same size!"])
]


class Longest:
    """Prefers long texts."""

    candidates = 10

    def __init__(self, threshold=None):
        self.threshold = threshold

    def rerank(self, queries, texts, progress=None):
        return [np.array([float(len(text)) for text in each]) for each in texts]


async def test_the_reranker_orders_copies_and_writes_its_score():
    made = TwofoldReranker(reranker=Longest())
    ranked = made.compress_documents(DOCUMENTS, "q")
    assert [each.id for each in ranked] == ["2", "1", "3", "0"]
    assert [each.metadata["relevance_score"] for each in ranked] == [26.0, 13.0, 10.0, 5.0]
    assert all(type(each.metadata["relevance_score"]) is float for each in ranked)
    assert all("relevance_score" not in each.metadata for each in DOCUMENTS)
    assert await made.acompress_documents(DOCUMENTS, "q") == ranked
    assert made.compress_documents([], "q") == []
    again = made.compress_documents([*ranked, DOCUMENTS[0].model_copy()], "q")
    assert [each.metadata["relevance_score"] for each in again] == [26.0, 13.0, 10.0, 5.0, 5.0]
    stale = Document(page_content="four", metadata={"relevance_score": 99.0})
    assert made.compress_documents([stale], "q")[0].metadata == {"relevance_score": 4.0}
    assert stale.metadata == {"relevance_score": 99.0}
    few = TwofoldReranker(reranker=Longest(10), top_n=2, score_key=None)
    assert few.compress_documents(DOCUMENTS, "q") == [DOCUMENTS[2], DOCUMENTS[1]]
    limited = TwofoldReranker(reranker=Longest(10)).compress_documents(DOCUMENTS, "q")
    assert [each.id for each in limited] == ["2", "1", "3"]
    with pytest.raises(ValueError, match="a reranker of twofold"):
        TwofoldReranker(reranker=3)
    with pytest.raises(ValueError, match="top_n"):
        TwofoldReranker(reranker=Longest(), top_n=0)


def test_a_cross_encoder_scores_as_it_predicts(trained_cross_encoder, claims, abstracts):
    texts = [each["text"] for each in abstracts[:12]]
    documents = [Document(page_content=text) for text in texts]
    made = TwofoldReranker(reranker=CrossEncoderReranker(trained_cross_encoder))
    ranked = made.compress_documents(documents, claims[0])
    wanted = trained_cross_encoder.predict([(claims[0], text) for text in texts])
    order = np.argsort(-wanted, kind="stable")
    assert [each.page_content for each in ranked] == [texts[place] for place in order]
    told = [each.metadata["relevance_score"] for each in ranked]
    assert told == pytest.approx(wanted[order].tolist(), abs=1e-4)


def test_embeddings_of_an_encoder_and_back(tmp_path):
    encoder = HashingEncoder()
    made = TwofoldEmbeddings(encoder)
    texts = ["red apple", "green pear"]
    assert made.embed_documents(texts) == encoder.encode_passages(texts).tolist()
    assert made.embed_query("apple") == encoder.encode_queries(["apple"])[0].tolist()
    assert made.embed_documents([]) == []
    documents = [Document(id=text, page_content=text) for text in texts]
    first = TwofoldRetriever.from_documents(documents, encoder=made, path=tmp_path / "i")
    assert first.index.encoder is encoder  # not wrapped twice, so its fingerprint is its own
    first.index.close()
    with Index.open(tmp_path / "i", encoder="hashing") as index:
        assert TwofoldRetriever(index=index, k=1).invoke("pear")[0].id == "green pear"
    fake = DeterministicFakeEmbedding(size=4)
    second = TwofoldRetriever.from_documents(documents, encoder=fake)
    assert second._get_ls_params()["ls_embedding_model"] == second.index.encoder.name
    second.index.close()


def comparison(name, attribute, value):
    return Comparison(comparator=Comparator(name), attribute=attribute, value=value)


@pytest.fixture
def films(tmp_path):
    rows = [
        ("a", "A space opera", {"year": 1977, "genre": "adventure", "tags": ["space", "war"]}),
        ("b", "Dinosaurs come back", {"year": 1993, "genre": "Science Fiction", "tags": ["dino"]}),
        ("c", "Toys come alive", {"year": 1995, "genre": "animated", "released": "1995-11-22"}),
        ("d", "A dream in a dream", {"year": 2010, "genre": "science fiction"}),
    ]
    with Index.open(tmp_path / "films", encoder="hashing") as index:
        index.upsert([{"id": each, "text": text, "metadata": own} for each, text, own in rows])
        yield TwofoldRetriever(index=index)


@pytest.mark.parametrize(
    ("asked", "wanted"),
    [
        (comparison("eq", "year", 1993), "b"),
        (comparison("ne", "genre", "animated"), "abd"),
        (comparison("gt", "year", 1993), "cd"),
        (comparison("gte", "year", 1993), "bcd"),
        (comparison("lt", "year", 1993), "a"),
        (comparison("lte", "year", 1993), "ab"),
        (comparison("in", "year", [1977, 2010]), "ad"),
        (comparison("nin", "year", [1977, 2010]), "bc"),
        (comparison("contain", "tags", "space"), "a"),
        (comparison("contain", "genre", "science"), "d"),
        (comparison("contain", "tags", ["war", "dino"]), "ab"),
        (comparison("contain", "tags", []), ""),
        (comparison("contain", "year", 1977), ""),
        (comparison("in", "year", 1977), "a"),
        (comparison("nin", "genre", "animated"), "abd"),
        (comparison("like", "genre", "%science fiction%"), "bd"),
        (comparison("like", "genre", "sci%fic%"), "bd"),
        (comparison("like", "genre", "%anim%sci%"), ""),
        (comparison("like", "genre", "%"), "abcd"),
        (comparison("like", "year", 1977), "a"),
        (comparison("like", "released", 1995.0), "c"),
        (comparison("gt", "released", {"date": "1995-01-01", "type": "date"}), "c"),
        (
            Operation(
                operator=Operator.AND,
                arguments=[
                    comparison("gt", "year", 1980),
                    Operation(
                        operator=Operator.OR,
                        arguments=[
                            comparison("eq", "genre", "animated"), comparison("eq", "year", 2010),
                        ],
                    ),
                ],
            ),
            "cd",
        ),
        (Operation(operator=Operator.NOT, arguments=[comparison("gt", "year", 1980)]), "a"),
        (Operation(operator=Operator.AND, arguments=[]), "abcd"),
        (Operation(operator=Operator.OR, arguments=[]), "abcd"),
        (Operation(operator=Operator.NOT, arguments=[]), "abcd"),
        (
            Operation(
                operator=Operator.AND,
                arguments=[
                    Operation(operator=Operator.OR, arguments=[]), comparison("lt", "year", 1990),
                ],
            ),
            "a",
        ),
    ],
)  # fmt: skip
def test_every_comparator_and_operator_is_translated(films, asked, wanted):
    text, arguments = TwofoldTranslator().visit_structured_query(
        Structured(query="films", filter=asked, limit=None)
    )
    assert text == "films"
    assert sorted(each.id for each in films.invoke(text, **arguments)) == list(wanted)


@pytest.mark.parametrize("value", [19.5, True, None, ["a"], float("inf")])
def test_what_nothing_can_be_like_is_said(value):
    with pytest.raises(FilterError, match="like on field 'year' takes a string or an integer"):
        TwofoldTranslator().visit_comparison(comparison("like", "year", value))


def test_a_structured_query_without_a_filter():
    asked = Structured(query="films", filter=None, limit=None)
    assert TwofoldTranslator().visit_structured_query(asked) == ("films", {})
