import math
from dataclasses import replace

import numpy as np
import pytest

from twofold import Index, ReciprocalRank, Retriever, WeightedSum
from twofold.errors import FilterError, InputError, QueryError
from twofold.fusion import GuardedFusion


def test_every_hybrid_hit_carries_both_legs_and_they_add_up(library, claims):
    retriever = Retriever(library, k=50)
    seen_unranked = 0
    for claim in claims[:20]:
        hits = retriever.retrieve(claim)
        assert len(hits) == 50
        assert hits.legs_used == ("dense", "lexical")
        assert all("the dense leg is weak" in said for said in hits.warnings)  # 256 dimensions
        for hit in hits:
            assert set(hit.legs) == {"dense", "lexical"}
            total = sum(share.contribution for share in hit.legs.values())
            assert math.isclose(total, hit.score, abs_tol=1e-9)
            for share in hit.legs.values():
                assert math.isclose(share.contribution, share.weight * share.normalized)
            assert -1 <= hit.legs["dense"].score <= 1
            seen_unranked += hit.legs["dense"].rank is None or hit.legs["lexical"].rank is None
            if hit.legs["lexical"].rank is not None:
                assert hit.legs["lexical"].score > 0
    assert seen_unranked > 0


def test_completed_scores_are_those_the_leg_itself_gives(library, claims):
    for claim in claims[:10]:
        hybrid = Retriever(library, k=60, depth=30).retrieve(claim)
        dense = Retriever(library, mode="dense", k=300).retrieve(claim)
        lexical = Retriever(library, mode="lexical", k=300).retrieve(claim)
        of_dense = dict(zip(dense.ids, dense.scores, strict=True))
        of_lexical = dict(zip(lexical.ids, lexical.scores, strict=True))
        for hit in hybrid:
            assert hit.legs["dense"].score == of_dense[hit.id]
            assert hit.legs["lexical"].score == of_lexical.get(hit.id, 0.0)


def test_order_is_total_and_smaller_k_is_a_prefix(library, claims):
    for mode in library.modes:
        retriever = Retriever(library, mode=mode)
        for claim in claims[:10]:
            hits = retriever.retrieve(claim, k=40)
            keys = [(-hit.score, hit.id) for hit in hits]
            assert keys == sorted(keys)
            assert [hit.rank for hit in hits] == list(range(1, len(hits) + 1))
            assert retriever.retrieve(claim, k=7).ids == hits.ids[:7]


def test_many_equals_one_by_one(library, claims):
    for mode in library.modes:
        retriever = Retriever(library, mode=mode, k=20)
        together = retriever.retrieve_many(claims[:30])
        for claim, hits in zip(claims[:30], together, strict=True):
            alone = retriever.retrieve(claim)
            assert alone.ids == hits.ids
            assert alone.scores.tobytes() == hits.scores.tobytes()
    vectors = library.encode_queries(claims[:5])
    given_vectors = Retriever(library).retrieve_many(claims[:5], vectors=vectors)
    assert [h.ids for h in given_vectors] == [
        h.ids for h in Retriever(library).retrieve_many(claims[:5])
    ]
    assert Retriever(library).retrieve_many([]) == []


def test_legs_asked_beside_each_other_find_the_same(library, claims, monkeypatch):
    one_after_the_other = [Retriever(library).retrieve(claim) for claim in claims]
    monkeypatch.setattr("twofold.retriever.leg_search.PARALLEL", 0)
    for claim, before in zip(claims, one_after_the_other, strict=True):
        hits = Retriever(library).retrieve(claim)
        assert [(hit.id, hit.score, hit.legs) for hit in hits] == [
            (hit.id, hit.score, hit.legs) for hit in before
        ]
        assert len(hits) == 10


def test_filters_apply_to_both_legs_and_leave_no_gap(library, claims):
    matching = library.count({"year": 1993})
    assert 5 < matching < 20
    for mode in library.modes:
        for claim in claims[:10]:
            hits = Retriever(library, mode=mode, k=50).retrieve(claim, where={"year": 1993})
            assert all(hit.passage.metadata["year"] == 1993 for hit in hits)
            if mode != "lexical":
                assert len(hits) == matching
    assert len(Retriever(library).retrieve(claims[0], where={"year": 1})) == 0
    fixed = Retriever(library, where={"year": 1993})
    assert (
        fixed.retrieve(claims[0]).ids
        == Retriever(library).retrieve(claims[0], where={"year": 1993}).ids
    )


def test_an_empty_leg_is_said(library):
    hits = Retriever(library).retrieve("zzzz qqqq")
    assert len(hits) == 10
    assert hits.legs_used == ("dense",)
    missing, weak = hits.warnings
    assert missing == "the lexical leg found nothing: no passage shares a word with the query"
    assert "the dense leg is weak here" in weak
    assert [hit.legs["lexical"].score for hit in hits] == [0.0] * 10
    dense = Retriever(library, mode="dense").retrieve("zzzz qqqq")
    assert hits.ids == dense.ids
    with pytest.raises(QueryError, match="the lexical leg found nothing: .*strict=True"):
        Retriever(library, strict=True).retrieve("zzzz qqqq")


@pytest.mark.parametrize("query", ["", "  ", "\n"])
def test_a_blank_query_finds_nothing(library, query):
    for mode in library.modes:
        assert len(Retriever(library, mode=mode).retrieve(query)) == 0


def test_warnings_say_the_true_reason(library):
    retriever = Retriever(library)
    assert retriever.retrieve("cells", where={"year": 1}).warnings == (
        "the filter matches no passage",
    )
    assert retriever.retrieve("cells", where={"jear": 1}).warnings == (
        "the filter matches no passage",
        "no passage has the field 'jear'",
    )
    assert retriever.retrieve(" ").warnings == ("the query is empty",)
    vector = library.encode_queries(["cells"])[0]
    assert len(retriever.retrieve(" ", vector=vector)) == 10
    lexical = Retriever(library, mode="lexical")
    assert "no passage shares a word" in lexical.retrieve("zzzz").warnings[0]
    with pytest.raises(QueryError, match="needs a query text"):
        lexical.retrieve(vector=vector)
    with pytest.raises(QueryError, match="fusion must be an object with a method fuse"):
        Retriever(library, fusion="rrf")


def test_an_empty_index_finds_nothing(index):
    for mode in index.modes:
        hits = Retriever(index, mode=mode).retrieve("anything")
        assert list(hits) == []
        assert hits.explain().hits == ()


def test_more_wanted_than_there_is(index):
    index.upsert(["one apple", "two apples", "no fruit"])
    assert len(Retriever(index).retrieve("apple", k=1000)) == 3
    assert len(Retriever(index, mode="lexical").retrieve("apple", k=1000)) == 2


@pytest.mark.parametrize("k", [0, -1, 2.5, "3", True, None])
def test_k_is_a_whole_number_of_at_least_one(library, k):
    with pytest.raises(QueryError, match="k must be an integer >= 1"):
        Retriever(library, k=k)
    if k is not None:
        with pytest.raises(QueryError, match="k must be an integer >= 1"):
            Retriever(library).retrieve("x", k=k)
        with pytest.raises(QueryError, match="depth must be"):
            Retriever(library, depth=k)


def test_bad_queries_are_refused(library):
    retriever = Retriever(library)
    for call, words in [
        (lambda: retriever.retrieve(), "pass a query text, a query vector, or both"),
        (lambda: retriever.retrieve(3), "a query must be a string, got int"),
        (lambda: retriever.retrieve("half \ud800"), "half a surrogate pair"),
        (lambda: retriever.retrieve_many("text"), "takes a list of texts"),
        (lambda: retriever.retrieve_many(["a", None]), "a query must be a string, got NoneType"),
        (lambda: retriever.retrieve("x", mode="sparse"), "mode must be one of .*got 'sparse'"),
        (
            lambda: retriever.retrieve(vector=np.ones(3, np.float32)),
            r"must have shape \(1, 256\), got \(1, 3\)",
        ),
        (lambda: retriever.retrieve(vector=np.full(256, np.nan)), "NaN"),
        (lambda: retriever.retrieve(vector=np.ones((2, 256))), "retrieve_many takes several"),
        (lambda: retriever.retrieve_many(["a"], vectors=np.ones((2, 256))), "1 texts came with 2"),
    ]:
        with pytest.raises(QueryError, match=words):
            call()
    with pytest.raises(FilterError, match="unknown operator"):
        retriever.retrieve("x", where={"year": {"$foo": 1}})


def test_hits_are_a_sequence(library, claims):
    hits = Retriever(library, k=5).retrieve(claims[0])
    assert hits[-1].id == hits.ids[-1]
    assert [hit.id for hit in hits[1:3]] == hits.ids[1:3]
    assert hits[0] in hits
    with pytest.raises(IndexError, match="hit 5 is out of range"):
        hits[5]
    assert "5 hybrid hits" in repr(hits)


def test_hits_keep_their_own_generation(tmp_path):
    with Index.open(tmp_path / "i", encoder="hashing") as index:
        index.upsert([{"id": "a", "text": "first version"}])
        hits = Retriever(index).retrieve("version")
        index.upsert([{"id": "a", "text": "second version"}])
        index.delete(["a"])
        assert hits[0].passage.text == "first version"
        assert hits.explain().hits[0].terms[0].term == "version"


def test_explanations_add_up_to_the_lexical_score(library, claims):
    for claim in claims[:20]:
        hits = Retriever(library, k=20).retrieve(claim)
        for place, hit in enumerate(hits):
            terms = hits.term_matches(place)
            total = sum(each.contribution for each in terms)
            assert math.isclose(total, hit.legs["lexical"].score, abs_tol=1e-9)
            assert bool(terms) == (hit.legs["lexical"].score > 0)
        explained = hits.explain()
        assert explained.to_dict()["hits"][0]["id"] == hits[0].id
        assert hits[0].id in str(explained)
        assert "by words" in explained.hits[0].reason or "by meaning" in explained.hits[0].reason


def test_another_share_of_the_dense_leg(library, claims):
    assert library.agreement < 0.7  # so a guard would shift the weight
    for fusion in (WeightedSum(), ReciprocalRank(), GuardedFusion(), None):
        for weight in (0.0, 0.35, 1.0):
            own = fusion if isinstance(fusion, ReciprocalRank) else WeightedSum()
            told = Retriever(library, fusion=own.with_dense_weight(weight)).retrieve(claims[3])
            hits = Retriever(library, fusion=fusion, dense_weight=weight).retrieve(claims[3])
            assert [(hit.id, hit.score) for hit in hits] == [(hit.id, hit.score) for hit in told]
            assert len(hits) == 10
    low = Retriever(library, dense_weight=0.2)
    missed = low.retrieve(claims[3]).why_not(
        Retriever(library, mode="dense").retrieve(claims[3]).ids[0]
    )
    for changes in missed.changes:
        assert missed.passage_id in replace(low, **changes).retrieve(claims[3]).ids
    with pytest.raises(InputError, match="dense_weight must be a number >= 0 and <= 1, got 2"):
        Retriever(library, dense_weight=2)
    with pytest.raises(QueryError, match="has its own fusion and weights"):
        Retriever(library, preset="langchain", dense_weight=0.5)


@pytest.mark.parametrize(
    ("options", "mode", "refused"),
    [
        ({"encoder": "hashing"}, "hybrid", {}),
        ({"encoder": "hashing", "analyzer": None}, "dense", {"min_lexical": 0.1}),
        ({"encoder": None}, "lexical", {"min_dense": 0.1}),
    ],
)
def test_without_a_mode_each_search_uses_the_legs_that_there_are(options, mode, refused):
    with Index.open(None, **options) as index:
        index.upsert(["green tea", "black coffee"])
        retriever = Retriever(index, mode=None)
        hits = retriever.retrieve("green tea")
        assert (hits.info.mode, hits.ids) == (
            mode,
            Retriever(index, mode=mode).retrieve("green tea").ids,
        )
        assert hits.why_not(index.get(where={})[1].id) is not None
        for name, least in refused.items():
            with pytest.raises(QueryError, match=f"mode '{mode}' has no scores for {name}"):
                replace(retriever, **{name: least}).retrieve("green tea")
        if mode != "hybrid":
            with pytest.raises(QueryError, match="can't serve mode 'hybrid'"):
                retriever.retrieve("green tea", mode="hybrid")
            add = index.reencode if mode == "lexical" else index.reanalyze
            add("hashing" if mode == "lexical" else "english")
            assert retriever.retrieve("green tea").info.mode == "hybrid"
