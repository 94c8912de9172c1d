from dataclasses import dataclass, replace

import numpy as np
import pytest

from twofold import BM25, Index, ReciprocalRank, Retriever, WeightedSum
from twofold.errors import QueryError
from twofold.fusion import GuardedFusion

CLAIM = "malaria parasites in the blood of children"


@pytest.fixture(scope="module")
def shelf(tmp_path_factory, abstracts):
    """200 abstracts in parts of two sentences, with their parent; some of them twice."""
    with Index.open(tmp_path_factory.mktemp("shelf") / "index", encoder="hashing") as opened:
        passages = []
        for each in abstracts[:200]:
            sentences = each["text"].split(". ")
            for part in range(0, len(sentences), 2):
                text = ". ".join(sentences[part : part + 2])
                passages.append(
                    {
                        "id": f"{each['_id']}-{part}",
                        "text": text,
                        "metadata": {"parent": each["_id"]},
                    }
                )
        passages += [
            {"id": f"copy of {each['id']}", "text": each["text"], "metadata": each["metadata"]}
            for each in passages[:100]
        ]
        opened.upsert(passages)
        yield opened


def all_scores(index, query):
    """Both legs' scores of every passage, by id."""
    dense = Retriever(index, mode="dense", k=len(index)).retrieve(query)
    lexical = Retriever(index, mode="lexical", k=len(index)).retrieve(query)
    words = dict(zip(lexical.ids, lexical.scores, strict=True))
    return {
        each: (score, words.get(each, 0.0))
        for each, score in zip(dense.ids, dense.scores, strict=True)
    }


def test_thresholds_are_on_the_legs_own_scales_and_leave_no_gap(library, claims):
    for claim in claims[:10]:
        scores = all_scores(library, claim)
        least_dense = float(np.quantile([dense for dense, _ in scores.values()], 0.6))
        least_words = float(np.quantile([words for _, words in scores.values() if words], 0.3))
        for limits in (
            {"min_dense": least_dense},
            {"min_lexical": least_words},
            {"min_dense": least_dense, "min_lexical": least_words},
        ):
            hits = Retriever(library, k=300, depth=20, **limits).retrieve(claim)
            wanted = {
                each
                for each, (dense, words) in scores.items()
                if dense >= limits.get("min_dense", -2) and words >= limits.get("min_lexical", -1)
            }
            assert wanted
            assert set(hits.ids) == wanted
            per_call = Retriever(library, k=300, depth=20).retrieve(claim, **limits)
            assert per_call.ids == hits.ids
            few = Retriever(library, k=3, depth=5, **limits).retrieve(claim)
            assert len(few) == min(3, len(wanted))
            assert set(few.ids) <= wanted


def test_min_score_cuts_the_list_and_nothing_else(library, claims):
    whole = Retriever(library, k=50).retrieve(claims[0])
    cut = whole[12].score
    hits = Retriever(library, k=50, min_score=cut).retrieve(claims[0])
    assert hits.ids == [hit.id for hit in whole if hit.score >= cut]
    assert len(Retriever(library, min_score=5.0).retrieve(claims[0])) == 0
    for mode in ("dense", "lexical"):
        whole = Retriever(library, mode=mode, k=30).retrieve(claims[0])
        hits = Retriever(library, mode=mode, k=30, min_score=whole[7].score).retrieve(claims[0])
        assert hits.ids == whole.ids[: len(hits)]
        assert len(hits) >= 8


def test_at_most_so_many_hits_share_a_parent(shelf):
    for query in (CLAIM, "gene expression in mice", "treatment of patients with cancer"):
        for mode in shelf.modes:
            for most in (1, 2):
                retriever = Retriever(shelf, mode=mode, k=30, group_by="parent", per_group=most)
                hits = retriever.retrieve(query)
                parents = [hit.passage.metadata["parent"] for hit in hits]
                assert max(map(parents.count, parents)) == most
                everything = Retriever(shelf, mode=mode, k=2000, depth=2000).retrieve(query)
                kept, seen = [], []
                for hit in everything:  # the best of each parent, in the order of all
                    seen.append(hit.passage.metadata["parent"])
                    if seen.count(seen[-1]) <= most:
                        kept.append(hit.id)
                assert len(hits) == min(30, len(kept)) > 20
                if mode != "hybrid":  # there, the scale is that of more candidates
                    assert hits.ids == kept[:30]


def test_groups_find_more_candidates_where_few_are_left(shelf):
    few = Retriever(shelf, k=60, depth=3, group_by="parent").retrieve(CLAIM)
    assert len(few) == 60
    lexical = Retriever(shelf, mode="lexical", k=500, group_by="parent").retrieve("malaria")
    matching = Retriever(shelf, mode="lexical", k=5000).retrieve("malaria")
    assert len(lexical) == len({hit.passage.metadata["parent"] for hit in matching}) > 0


def test_passages_without_the_field_are_groups_of_their_own(index):
    index.upsert([{"id": str(n), "text": f"apple number {n}"} for n in range(6)])
    hits = Retriever(index, k=6, group_by="parent").retrieve("apple")
    assert len(hits) == 6


def test_near_duplicates_collapse_into_the_better_one(shelf):
    plain = Retriever(shelf, k=40).retrieve(CLAIM)
    assert any(each.startswith("copy of") for each in plain.ids)
    hits = Retriever(shelf, k=40, dedup_threshold=0.999).retrieve(CLAIM)
    texts = [hit.passage.text for hit in hits]
    assert len(hits) == len(set(texts)) == 40
    stood_for = [each for hit in hits for each in hit.duplicates]
    assert stood_for
    for hit in hits:
        for each in hit.duplicates:
            assert shelf.get([each])[0].text == hit.passage.text
    lexical_only = Index.open(None, encoder=None)
    with lexical_only:
        lexical_only.upsert(["same words", {"id": "b", "text": "same words"}, "same other words"])
        found = Retriever(lexical_only, mode="lexical", dedup_threshold=0.9).retrieve("same words")
        assert [hit.passage.text for hit in found] == ["same words", "same other words"]


def mmr(vectors, relevance, k, diversity):
    """Carbonell and Goldstein's rule, in plain loops."""
    span = max(relevance) - min(relevance)
    value = [(each - min(relevance)) / span for each in relevance]
    taken = []
    while len(taken) < k:
        best, most = None, None
        for at in range(len(value)):
            if at in taken:
                continue
            near = max((float(vectors[at] @ vectors[other]) for other in taken), default=0.0)
            gain = value[at] if not taken else (1 - diversity) * value[at] - diversity * near
            if most is None or gain > most:
                best, most = at, gain
        taken.append(best)
    return taken


@pytest.mark.parametrize("diversity", [0.2, 0.5, 1.0])
def test_diversity_is_maximal_marginal_relevance_on_real_vectors(library, claims, diversity):
    for claim in claims[:5]:
        narrow = Retriever(library, k=10, depth=300, diversity=diversity).retrieve(claim)
        wide = Retriever(library, k=300, depth=300).retrieve(claim)
        with library.view() as view:
            vectors = view.fetch(ids=wide.ids, vectors=True).vectors
        by_id = dict(zip(wide.ids, vectors, strict=True))
        order = mmr([by_id[each] for each in wide.ids], wide.scores.tolist(), 10, diversity)
        assert narrow.ids == [wide.ids[at] for at in order]


def test_diversity_needs_vectors():
    with Index.open(None, encoder=None) as words:
        words.upsert(["one apple", "two apples"])
        with pytest.raises(QueryError, match="diversity compares vectors"):
            Retriever(words, mode="lexical", diversity=0.5).retrieve("apple")


@dataclass(frozen=True)
class Overlap:
    """Reads how many of the query's words a text has, in a way that a person can check."""

    candidates: int = 20
    threshold: float | None = None

    def rerank(self, queries, texts, progress=None):
        scores, done = [], 0
        for query, own in zip(queries, texts, strict=True):
            words = set(query.lower().split())
            scores.append(
                np.array([len(words & set(text.lower().split())) / len(words) for text in own])
            )
            done += len(own)
            if progress is not None:
                progress(done)
        return scores


def test_a_reranker_orders_the_best_candidates_and_both_scores_stay(library, claims):
    for mode in library.modes:
        plain = Retriever(library, mode=mode, k=20).retrieve(claims[3])
        hits = Retriever(library, mode=mode, k=5, reranker=Overlap(20)).retrieve(claims[3])
        texts = [hit.passage.content for hit in plain]
        read = dict(zip(plain.ids, Overlap().rerank([claims[3]], [texts])[0], strict=True))
        assert hits.ids == sorted(read, key=lambda each: (-read[each], each))[:5]
        fused = {hit.id: hit.score for hit in plain}
        for hit in hits:
            assert hit.score == hit.reranked == read[hit.id]
            assert hit.fused == fused[hit.id]
            total = sum(share.contribution for share in hit.legs.values())
            assert total == pytest.approx(hit.fused, abs=1e-9)
        assert all(hit.reranked is None and hit.fused == hit.score for hit in plain)


def test_a_reranker_has_a_threshold_a_budget_and_tells_its_progress(library, claims):
    strict = Retriever(library, k=20, reranker=Overlap(20, threshold=0.4))
    some = [hit.score for claim in claims[:20] for hit in strict.retrieve(claim)]
    assert some
    assert min(some) >= 0.4
    assert len(Retriever(library, k=50, reranker=Overlap(3)).retrieve(claims[0])) == 50
    seen = []
    many = Retriever(library, k=4, reranker=Overlap(10)).retrieve_many(
        claims[:6], progress=seen.append
    )
    assert seen == sorted(seen)
    assert seen[-1] == 60
    for claim, hits in zip(claims[:6], many, strict=True):
        alone = Retriever(library, k=4, reranker=Overlap(10)).retrieve(claim)
        assert alone.ids == hits.ids
    with pytest.raises(QueryError, match="a reranker needs a query text"):
        Retriever(library, reranker=Overlap()).retrieve(vector=np.ones(256, np.float32))


def test_presets_bring_as_many_candidates_as_hits(library, claims):
    for claim in claims[:20]:
        hits = Retriever(library, k=7, preset="langchain").retrieve(claim)
        lists = {
            mode: Retriever(library, mode=mode, k=7).retrieve(claim).ids
            for mode in ("lexical", "dense")
        }
        wanted = {}
        for ids in lists.values():
            for rank, each in enumerate(ids, start=1):
                wanted[each] = wanted.get(each, 0.0) + 0.5 / (60 + rank)
        ranked = sorted(wanted, key=lambda each: -wanted[each])  # stable: lexical ones first
        assert hits.ids == ranked[:7]
        assert [hit.score for hit in hits] == pytest.approx([wanted[each] for each in hits.ids])


def test_settings_that_cannot_be_are_refused(library):
    for bad, words in [
        ({"min_dense": float("nan")}, "min_dense must be a number, got nan"),
        ({"min_score": "0.3"}, "min_score must be a number, got '0.3'"),
        ({"diversity": 1.5}, "diversity must be a number >= 0 and <= 1, got 1.5"),
        ({"dedup_threshold": 0}, "dedup_threshold must be a number"),
        ({"group_by": ""}, "group_by must be the name of a metadata field, got ''"),
        ({"per_group": 0}, "per_group must be an integer >= 1, got 0"),
        ({"preset": "langchian"}, "did you mean 'langchain'"),
        (
            {"preset": "langchain", "fusion": ReciprocalRank()},
            "has its own fusion and weights: leave out fusion",
        ),
        ({"reranker": "cross-encoder"}, "reranker must be an object with rerank"),
        ({"mode": "dense", "min_lexical": 1.0}, "no scores for min_lexical: leave it out"),
        ({"mode": "lexical", "min_dense": 0.1}, "no scores for min_dense: leave it out"),
    ]:
        with pytest.raises((QueryError, ValueError), match=words):
            Retriever(library, **bad)
    with pytest.raises(QueryError, match="min_lexical needs a query text"):
        Retriever(library, min_lexical=1.0).retrieve(vector=np.ones(256, np.float32))


def test_settings_left_out_are_the_defaults(library, claims):
    plain = Retriever(library).retrieve(claims[0])
    said = Retriever(library, fusion=GuardedFusion(), depth=100, scorer=BM25()).retrieve(claims[0])
    assert said.ids == plain.ids
    other = replace(Retriever(library), fusion=WeightedSum(dense_weight=0.1)).retrieve(claims[0])
    assert other.ids != plain.ids


def test_a_field_that_no_hit_has_is_said(library, claims):
    hits = Retriever(library, k=3, group_by="yaer").retrieve(claims[0])
    assert len(hits) == 3
    assert "no hit has the field 'yaer', so group_by had no effect" in hits.warnings
    hits = Retriever(library, k=3, group_by="year").retrieve(claims[0])
    assert not any("no hit has" in each for each in hits.warnings)
