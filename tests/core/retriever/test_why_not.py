import json
import random
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from twofold import HashingEncoder, Index, ReciprocalRank, Retriever, WeightedSum
from twofold.cli import app
from twofold.dense import IVF
from twofold.errors import QueryError
from twofold.fusion import FUSIONS, PRESETS, fusion_from_name
from twofold.fusion.guard import GuardedFusion


def check(retriever, query, passage_id):
    """Follow all advice on a passage; return the kinds of options that brought it in."""
    hits = retriever.retrieve(query)
    why = hits.why_not(passage_id)
    assert why.found == (passage_id in hits.ids)
    assert json.loads(json.dumps(why.to_dict()))["id"] == passage_id
    assert passage_id in str(why)
    if why.found:
        assert why.rank == hits.ids.index(passage_id) + 1
        return {"found"}
    for changes in why.changes:
        brought = replace(retriever, **changes).retrieve(query)
        assert passage_id in brought.ids
        assert len(brought) <= changes.get("k", retriever.k)
    return {"+".join(sorted(changes)) for changes in why.changes} or {"nothing"}


@pytest.mark.parametrize("name", FUSIONS)
def test_the_advice_followed_brings_the_passage_in(library, claims, name):
    draw = random.Random(name)
    ids = [passage.id for passage in library]
    seen = []
    for _ in range(25):
        retriever = Retriever(
            library, k=draw.choice([1, 5, 10]), depth=draw.choice([5, 20, 100]),
            fusion=fusion_from_name(name, draw.choice([None, draw.random()])),
        )  # fmt: skip
        claim = draw.choice(claims)
        first = Retriever(library, mode=draw.choice(["dense", "lexical"]), k=15).retrieve(claim).ids
        wanted = draw.choice(draw.choice([ids, first, first[:4], first[:4]]))
        seen += check(retriever, claim, wanted)
    assert sum("dense_weight" in kind for kind in seen) >= 2, seen
    assert seen.count("k") >= 5, seen
    assert len(set(seen)) >= 3, seen


WORDS = ["apple", "pear", "red", "green", "tree"]
some_texts = st.lists(
    st.lists(st.sampled_from(WORDS), min_size=1, max_size=5).map(" ".join), min_size=2, max_size=12
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    texts=some_texts,
    query=st.lists(st.sampled_from(WORDS), min_size=1, max_size=3).map(" ".join),
    name=st.sampled_from(list(FUSIONS)),
    weight=st.sampled_from([0.0, 0.3, 0.5, 1.0]),
    k=st.integers(1, 3),
    depth=st.integers(1, 6),
)
def test_every_passage_of_a_small_corpus(texts, query, name, weight, k, depth):
    with Index.open(None, encoder=HashingEncoder()) as index:
        index.upsert([{"id": f"{place:02}", "text": text} for place, text in enumerate(texts)])
        retriever = Retriever(index, k=k, depth=depth, fusion=fusion_from_name(name, weight))
        seen = [check(retriever, query, f"{place:02}") for place in range(len(texts))]
        assert seen.count({"found"}) == min(k, len(texts), len(retriever.retrieve(query)))


def test_ranks_and_scores_are_those_of_the_whole_lists(library, claims):
    for claim in claims[:6]:
        hits = Retriever(library, k=3, depth=20).retrieve(claim)
        dense = Retriever(library, mode="dense", k=300).retrieve(claim)
        lexical = Retriever(library, mode="lexical", k=300).retrieve(claim)
        for place in (4, 50, 250):
            why = hits.why_not(dense.ids[place])
            if why.found:
                continue
            assert why.legs["dense"].rank == place + 1
            assert why.legs["dense"].score == dense.scores[place]
            assert why.legs["dense"].below == (place >= 20)
            own = dense.ids[place]
            rank = lexical.ids.index(own) + 1 if own in lexical.ids else None
            assert why.legs["lexical"].rank == rank
            assert why.candidate == (place < 20 or (rank is not None and rank <= 20))
            assert why.outranked_by == tuple(
                hit.id for hit in hits if (-hit.score, hit.id) < (-why.score, own)
            )
            if why.outranked_by:
                last = hits[len(why.outranked_by) - 1]
                assert why.gap == pytest.approx(last.score - why.score)


def test_the_place_of_a_candidate_is_that_at_a_greater_k(library, claims):
    for claim in claims[:10]:
        hits = Retriever(library, k=3).retrieve(claim)
        more = Retriever(library, k=40).retrieve(claim)
        for hit in more[3::6]:
            why = hits.why_not(hit.id)
            assert (why.place, why.score) == (hit.rank, hit.score)
            assert len(why.outranked_by) == 3


@pytest.mark.parametrize("mode", ["dense", "lexical"])
def test_one_leg_tells_rank_and_k(library, claims, mode):
    retriever = Retriever(library, mode=mode, k=5)
    hits, more = retriever.retrieve(claims[1]), retriever.retrieve(claims[1], k=60)
    for hit in more[5::9]:
        why = hits.why_not(hit.id)
        assert why.changes == ({"k": hit.rank},)
        assert why.legs[mode].rank == hit.rank
        assert f"k={hit.rank} would" in str(why)
        assert hit.id not in retriever.retrieve(claims[1], k=hit.rank - 1).ids


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_keep_their_weight_and_take_a_greater_k(library, claims, preset):
    retriever = Retriever(library, k=5, preset=preset)
    for claim in claims[:5]:
        hits = retriever.retrieve(claim)
        others = Retriever(library, k=30).retrieve(claim).ids[::4]
        whys = [why for other in others if not (why := hits.why_not(other)).found]
        assert whys
        for why in whys:
            assert not any("dense_weight" in changes for changes in why.changes)
            (k,) = [changes["k"] for changes in why.changes if "k" in changes]
            assert why.passage_id in replace(retriever, k=k).retrieve(claim).ids


def test_what_is_plain(library, claims):
    hits = Retriever(library, k=3).retrieve(claims[0], where={"year": 1993})
    assert not hits.why_not("nothing").stored
    with pytest.raises(QueryError, match="a passage id must be a string, got 5"):
        hits.why_not(5)
    assert hits.why_not("nothing").reasons == ("no passage has this id",)
    outside = next(each.id for each in library if each.metadata["year"] != 1993)
    assert hits.why_not(outside).reasons == ("the filter leaves it out",)
    assert hits.why_not(hits.ids[1]).reasons == ("it is hit 2",)
    blank = Retriever(library).retrieve(" ")
    assert blank.why_not(outside).reasons == ("the query is empty",)
    inside = [each.id for each in library if each.metadata["year"] == 1993]
    why = hits.why_not(next(each for each in inside if each not in hits.ids))
    assert why.legs["dense"].rank <= len(inside)  # among those that the filter lets through
    assert why.changes
    for changes in why.changes:
        found = Retriever(library, **({"k": 3} | changes)).retrieve(claims[0], where={"year": 1993})
        assert why.passage_id in found.ids


def test_a_vector_alone(library):
    vector = library.encode_queries(["cells"])[0]
    hits = Retriever(library, k=2).retrieve(vector=vector)
    third = Retriever(library, k=3).retrieve(vector=vector).ids[2]
    why = hits.why_not(third)
    assert set(why.legs) == {"dense"}
    assert why.changes == ({"k": 3},)


def test_no_leg_ever_lists_it(tmp_path):
    with Index.open(tmp_path / "i", encoder=None) as index:
        index.upsert([{"id": "a", "text": "apple"}, {"id": "b", "text": "pear"}])
        why = Retriever(index, mode="lexical").retrieve("apple").why_not("b")
        assert (why.changes, why.legs["lexical"].rank) == ((), None)
        assert "no leg lists it" in why.reasons[0]
        assert "no option that was tried makes it a hit" in str(why)


@pytest.mark.parametrize("name", ["min_score", "min_dense", "min_lexical"])
def test_thresholds_are_named(library, claims, name):
    whole = Retriever(library, k=30, fusion=WeightedSum(dense_weight=0.5))
    last = whole.retrieve(claims[0])[25]
    had = {"min_score": last.score} | {f"min_{leg}": s.score for leg, s in last.legs.items()}
    shaped = replace(whole, **{name: had[name] + 0.01})
    why = shaped.retrieve(claims[0]).why_not(last.id)
    assert [(miss.name, miss.score) for miss in why.missed] == [(name, had[name])]
    assert any(each.startswith(f"{name} is") for each in why.reasons)
    assert {name: had[name]} in why.changes
    check(shaped, claims[0], last.id)


def test_duplicates_and_groups_are_named(index):
    index.upsert(
        {"id": each, "text": text, "metadata": {"file": file}}
        for each, text, file in [
            ("a", "red apple", "x"), ("b", "red apple", "y"), ("c", "red apple tree", "x"),
            ("d", "green pear", "z"),
        ]
    )  # fmt: skip
    why = Retriever(index, dedup_threshold=0.999).retrieve("red apple").why_not("b")
    assert why.duplicate_of == "a"
    assert "near-duplicate of hit 'a'" in str(why)
    hits = Retriever(index, group_by="file").retrieve("red apple")
    why = hits.why_not("c")
    assert (why.group, hits.ids) == (("a",), ["a", "b", "d"])
    assert why.changes[0] == {"per_group": 2}


def test_diversity_is_named(index):
    index.upsert(
        [{"id": "a", "text": "red apple pie"}, {"id": "b", "text": "red apple pie pie"},
         {"id": "c", "text": "a red tree of the garden"}]
    )  # fmt: skip
    retriever = Retriever(index, k=2, diversity=0.7)
    hits = retriever.retrieve("red apple pie")
    assert hits.ids == ["a", "c"]
    why = hits.why_not("b")
    assert why.diverse
    assert why.outranked_by == ("a",)
    assert why.changes[0] == {"diversity": 0.0}
    check(retriever, "red apple pie", "b")


class Longest:
    """Prefers long texts, and reads few."""

    def __init__(self, candidates=4, threshold=None):
        self.candidates, self.threshold = candidates, threshold

    def rerank(self, queries, texts, progress=None):
        return [np.array([float(len(text)) for text in each]) for each in texts]


def test_rerankers_budget_order_and_threshold(library, claims):
    for claim in claims[:4]:
        retriever = Retriever(library, k=2, reranker=Longest(), fusion=WeightedSum())
        hits = retriever.retrieve(claim)
        before = Retriever(library, k=40, fusion=WeightedSum()).retrieve(claim)
        read = next(each for each in before.ids[:4] if each not in hits.ids)
        why = hits.why_not(read)
        assert why.budget is None
        assert why.reranked == len(library.get([read])[0].content)
        assert why.outranked_by == tuple(hits.ids)
        assert "k" in check(retriever, claim, read)
        unread = hits.why_not(before.ids[10])
        assert (unread.budget, unread.place) == (4, 11)
        longest = max(before, key=lambda hit: len(hit.passage.content)).id
        check(retriever, claim, longest)
        limited = replace(retriever, reranker=Longest(threshold=1e6)).retrieve(claim)
        assert len(limited) == 0
        missed = limited.why_not(before.ids[0]).missed
        assert [each.name for each in missed] == ["the reranker's threshold"]


SHAPED = [
    {},
    {"reranker": Longest()},
    {"dedup_threshold": 0.9},
    {"min_dense": 0.0},
    {"mode": "lexical"},
]


@pytest.mark.parametrize("settings", SHAPED)
def test_after_a_write_what_the_hits_know_is_said_and_the_legs_are_not_asked(tmp_path, settings):
    with Index.open(tmp_path / "i", encoder="hashing") as index:
        index.upsert(
            {"id": each, "text": f"red apple {each * 2}", "metadata": {"at": place}}
            for place, each in enumerate("abcd")
        )
        hits = Retriever(index, k=1, where={"at": {"$lt": 3}}, **settings).retrieve("red apple")
        left = next(each for each in "abc" if each not in hits.ids)
        before = hits.why_not(left)
        assert before.reasons
        index.delete(hits.ids)
        assert hits.why_not(hits.ids[0]).rank == 1
        assert hits.why_not("d").filtered
        assert not hits.why_not("new").stored
        with pytest.raises(QueryError, match="the index has changed since"):
            hits.why_not(left)


def test_the_command_line_says_it(index, tmp_path):
    index.upsert([{"id": "a", "text": "red apple"}, {"id": "b", "text": "a red tree"}])
    asked = ["search", str(tmp_path / "index"), "red apple", "-k", "1"]
    index.close()
    shown = CliRunner().invoke(app, [*asked, "--why-not", "b"])
    assert shown.exit_code == 0
    assert "b: outranked by 1 hit; score" in shown.stdout
    assert "k=2 would make it a hit" in shown.stdout
    told = json.loads(CliRunner().invoke(app, [*asked, "--why-not", "b", "--json"]).stdout)
    assert (told["id"], told["changes"][-1], told["outranked_by"]) == ("b", {"k": 2}, ["a"])
    assert told["legs"]["lexical"]["rank"] == 2
    none = CliRunner().invoke(app, [*asked, "--why-not", "zzz"])
    assert "zzz: no passage has this id" in none.stdout


@pytest.fixture(scope="module")
def approximate(library, tmp_path_factory):
    """The library with a dense leg that looks at one list in sixteen, and so misses much."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("twofold.dense.approximate.SCAN_FACTOR", 0)
        folder = tmp_path_factory.mktemp("approximate")
        with Index.open(folder / "index", encoder="hashing") as index:
            index.upsert(list(library))
            index.reindex(IVF(lists=16, probes=1))
            yield index


@pytest.mark.parametrize("fusion", [WeightedSum(), ReciprocalRank(), GuardedFusion()])
def test_what_an_approximate_leg_misses_is_said_and_comes_back(approximate, claims, fusion):
    seen = set()
    for claim in claims[:12]:
        retriever = Retriever(approximate, k=3, depth=10, fusion=fusion)
        hits = retriever.retrieve(claim)
        listed = retriever.retrieve(claim, mode="dense", k=10).ids
        for each in retriever.retrieve(claim, mode="dense", k=6, exact=True):
            why = hits.why_not(each.id)
            assert why.found == (each.id in hits.ids)
            if why.found:
                continue
            assert why.legs["dense"].rank == each.rank
            assert why.legs["dense"].missed == (each.id not in listed)
            assert ("the approximate dense search missed it" in why.reasons) == (
                each.id not in listed
            )
            for changes in why.changes:
                assert each.id in replace(retriever, **changes).retrieve(claim).ids
                seen.add((why.legs["dense"].missed, "exact" in changes))
    assert {(True, True), (False, False)} <= seen


@pytest.mark.parametrize("settings", [{"mode": "dense"}, {"preset": "langchain"}])
def test_k_over_an_approximate_leg_says_where_it_must_be_exact(approximate, claims, settings):
    seen = set()
    for claim in claims[:12]:
        retriever = Retriever(approximate, k=3, **settings)
        hits = retriever.retrieve(claim)
        for each in retriever.retrieve(claim, mode="dense", k=6, exact=True):
            why = hits.why_not(each.id)
            if why.found:
                continue
            (changes,) = [changes for changes in why.changes if "k" in changes]
            changed = replace(retriever, **changes)
            assert each.id in changed.retrieve(claim).ids
            seen.add("exact" in changes)
    assert seen == {True, False}


def test_a_file_in_place_of_a_passage_names_its_passages(tmp_path):
    with Index.open(None, encoder="hashing") as index:
        index.upsert(
            {"id": f"sub/a.md#{n}", "text": f"tea {n}", "metadata": {"source": "sub/a.md"}}
            for n in range(10)
        )
        hits = Retriever(index, k=1).retrieve("tea 3")
        for path in ("sub/a.md", "docs/sub/a.md", "/home/me/docs/sub/a.md"):
            why = hits.why_not(path)
            assert why.parts == tuple(f"sub/a.md#{n}" for n in range(10))
            assert (why.passage_id, why.rank) == ("sub/a.md#3", 1)
            assert why.reasons == ("of its file's 10 passages the best", "it is hit 1")
        other = Retriever(index, k=1).retrieve("tea 3", where={"$id": {"$ne": "sub/a.md#3"}})
        index.upsert([{"id": "b#0", "text": "coffee 5", "metadata": {"source": "b"}}])
        assert Retriever(index, k=1).retrieve("tea 3").why_not("b").passage_id == "b#0"
        assert other.why_not("sub/a.md").found
        filtered = Retriever(index, mode="lexical").retrieve("plum", where={"$id": "sub/a.md#4"})
        assert filtered.why_not("sub/a.md").passage_id == "sub/a.md#4"
        assert not filtered.why_not("sub/a.md").filtered
        hits = Retriever(index, k=1).retrieve("tea 3")
        (reason,) = hits.why_not("b.md").reasons
        assert reason == "no passage has this id or is of this file"
        why = hits.why_not("sub/notes.zip")
        assert why.suffix == ".zip"
        assert why.reasons[0].endswith("is of this file, and none is of a .zip file")
        assert why.to_dict()["parts"] == []
        index.delete(where={"source": "sub/a.md"})
        assert hits.why_not("sub/a.md").found  # of what was searched
        other = Retriever(index, k=1).retrieve("coffee")
        assert other.why_not("sub/a.md").parts == ()
