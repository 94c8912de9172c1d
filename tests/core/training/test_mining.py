"""Mining: negatives by id with where they come from, and none that is an answer in disguise."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twofold import HashingEncoder, Index, Passage, Retriever
from twofold.corpus import read_qrels, read_queries
from twofold.errors import DegradedWarning, InputError, QueryError
from twofold.training import Example, TrainingSet
from twofold.training.negatives import Mining, Negative, mine, turnover

DATA = "examples/data/scifact-1000"
MIX = {"random": 1, "lexical": 2, "dense": 2}


@pytest.fixture(scope="module")
def passages(abstracts):
    return [Passage(each["text"], each["_id"], each["title"]) for each in abstracts]


@pytest.fixture(scope="module")
def science(tmp_path_factory, passages):
    with Index.open(tmp_path_factory.mktemp("science"), encoder="hashing") as index:
        index.upsert(passages)
        yield index


@pytest.fixture(scope="module")
def asked(pytestconfig):
    folder = pytestconfig.rootpath / DATA
    qrels = read_qrels(folder / "qrels" / "test.tsv")
    return TrainingSet.from_qrels(read_queries(folder / "queries.jsonl"), qrels)


@pytest.fixture(scope="module")
def mined(science, asked):
    return mine(science, asked, Mining(MIX))


def test_the_dense_leg_is_searched_whole_and_bounded_as_numpy_says(mined, passages, asked):
    """Everything ranked above a dense negative is an answer, above the limit, or taken already."""
    ids = np.array([each.id for each in passages])
    vectors = HashingEncoder().encode_passages([f"{p.title} {p.text}" for p in passages])
    for example in asked:
        query = HashingEncoder().encode_queries([example.query])[0].astype(np.float64)
        scores = vectors.astype(np.float64) @ query
        of = dict(zip(ids.tolist(), scores.tolist(), strict=True))
        best = max(of[own] for own in example.positives)
        level, deviation = scores.mean(), scores.std()
        bound = level + max(0.95 * (best - level), 2 * deviation)
        order = ids[np.argsort(-scores, kind="stable")].tolist()
        taken = {each.id: each for each in mined[example.query_id]}
        refused = {own for own, score in of.items() if score > bound - 1e-6}
        for own, each in taken.items():
            assert of[own] <= bound + 1e-6
            if each.source == "dense":
                assert each.score == pytest.approx(of[own], abs=1e-6)
                assert abs(of[order[each.rank - 1]] - of[own]) < 1e-6
                above = set(order[: each.rank - 1])
                assert above <= {*example.positives, *taken} | refused


def test_each_query_has_what_was_asked_with_its_origin(mined, science, asked):
    fused = mine(science, TrainingSet(asked[:10]), Mining({"hybrid": 2}, skip=3))
    for example in asked[:40]:
        own = mined[example.query_id]
        assert [each.source for each in own] == ["lexical"] * 2 + ["dense"] * 2 + ["random"]
        assert len({each.id for each in own} - set(example.positives)) == 5
        assert (own[-1].rank, own[-1].score) == (None, None)
        both = fused.get(example.query_id, ())
        assert all(each.rank > 3 for each in both)
        for mode, some in (("lexical", own[:2]), ("dense", own[2:4]), ("hybrid", both)):
            hits = Retriever(science, mode=mode, k=100).retrieve(example.query)
            for each in some:
                assert hits[each.rank - 1].id == each.id
                assert hits[each.rank - 1].score == pytest.approx(each.score)


@settings(max_examples=12, deadline=None)
@given(
    st.integers(0, 2**32),
    st.dictionaries(st.sampled_from(["random", "lexical", "dense"]), st.integers(1, 4), min_size=1),
    st.integers(0, 30),
)
def test_any_mining_is_complete_and_does_not_hang_on_order(science, asked, seed, mix, skip):
    rng = np.random.default_rng(seed)
    chosen = [asked[int(at)] for at in rng.choice(len(asked), 6, replace=False)]
    given_one = science_id(asked, chosen[0])
    chosen[0] = replace(chosen[0], negatives=(given_one,))
    mining = Mining(mix, skip=skip, seed=seed)
    found = mine(science, TrainingSet(tuple(chosen)), mining)
    turned = mine(science, TrainingSet(tuple(chosen[::-1])), mining)
    assert found == turned
    alone = mine(science, TrainingSet((chosen[3],)), mining)
    assert alone[chosen[3].query_id] == found[chosen[3].query_id]
    assert list(found) == [each.query_id for each in chosen]
    assert found[chosen[0].query_id][0] == Negative(given_one, "given")
    for example in chosen:
        own = [each.id for each in found[example.query_id]]
        assert len(own) == len(set(own)) == sum(mix.values()) + len(example.negatives)
        assert not set(own) & set(example.positives)


def science_id(asked, example):
    """A passage that answers another query."""
    return next(own for each in asked for own in each.positives if own not in example.positives)


def test_random_ones_hang_on_the_seed_and_not_on_the_indexs_history(passages, asked):
    some, answers = TrainingSet(asked[:8]), []
    wanted = {own for each in some for own in each.positives}
    kept = [each for each in passages if each.id in wanted] + passages[:150]
    for order in (1, -1):
        with Index.open(None, encoder="hashing") as index:
            index.upsert(list({each.id: each for each in kept[::order]}.values()))
            index.upsert([Passage("gone again", "gone")])
            index.delete(["gone"])
            answers.append(mine(index, some, Mining({"random": 3})))
            other = mine(index, some, Mining({"random": 3}, seed=1))
    assert dict(answers[0]) == dict(answers[1])
    assert turnover(answers[0], other) > 0.8


def test_planted_answers_are_never_negatives(passages):
    answer = passages[3]
    query = "Which calcium channels drive vesicle fusion in mouse neurons?"
    planted = [
        Passage(answer.text.upper(), "shouted", answer.title.upper()),
        Passage("Which calcium channels drive vesicle fusion in neurons of the mouse", "answer"),
        Passage(query.upper(), "itself"),
        Passage("?!", "wordless"),
    ]
    with Index.open(None, encoder="hashing") as index:
        index.upsert([*passages[:60], *planted])
        example = Example(query, (answer.id,), query_id="q")
        for share in (0.95, None):
            mining = Mining({"dense": 55, "random": 20}, share=share)
            taken = {each.id for each in mine(index, TrainingSet((example,)), mining)["q"]}
            assert not taken & {answer.id, "shouted", "itself", "wordless"}
            assert ("answer" in taken) == (share is None)
    assert taken >= {each.id for each in passages[:60]} - {answer.id}


def test_one_wrong_label_does_not_disable_a_query(science, asked):
    example = asked[0]
    wrong = replace(example, positives=(*example.positives, "4983"), grades=())
    alone = replace(example, positives=("4983",), grades=())
    mining = Mining({"dense": 3, "random": 2})
    right = mine(science, TrainingSet((example,)), mining)[example.query_id]
    both = mine(science, TrainingSet((wrong,)), mining)[example.query_id]
    assert [each for each in right if each.id != "4983"][:2] == list(both)[:2]
    only = mine(science, TrainingSet((alone,)), mining)
    assert [each.source for each in only[example.query_id]] == ["dense"] * 3 + ["random"] * 2


def test_a_margin_is_the_papers(science, asked, passages):
    some = TrainingSet(asked[:30])
    found = mine(science, some, Mining({"dense": 2}, margin=0.1))
    free = mine(science, some, Mining({"dense": 2}, share=None))
    vectors = HashingEncoder().encode_passages([f"{p.title} {p.text}" for p in passages])
    ids = [each.id for each in passages]
    refused = 0
    for example in some:
        scores = vectors @ HashingEncoder().encode_queries([example.query])[0]
        best = max(scores[ids.index(own)] for own in example.positives)
        bound = min(0.9 * best, 1.1 * best)  # below zero, too, the bound is below it
        for each in found[example.query_id]:
            assert each.source != "dense" or each.score <= bound + 1e-6
        refused += sum(each.score > bound + 1e-6 for each in free[example.query_id])
    assert refused > 0


def test_a_query_is_never_dropped(passages):
    pair = (Example("calcium", (passages[0].id,)), Example("mice", (passages[1].id,)))
    with Index.open(None, encoder="hashing") as index:
        index.upsert(passages[:1])
        with pytest.warns(DegradedWarning, match="1 of 2 queries have no positive"):
            found = mine(index, TrainingSet(pair), Mining({"dense": 3, "lexical": 2}))
    assert found["calcium"] == ()
    assert len(found["mice"]) <= 1
    assert list(found) == ["calcium", "mice"]


def test_positives_that_came_along_count_as_stored_ones_do(passages):
    own, others = passages[5], passages[6:60]
    query = " ".join(own.text.split()[:12])
    example = Example(query, (own.id,))
    answers = []
    for stored, brought in (((own,), ()), ((), (own,))):
        with Index.open(None, encoder="hashing") as index:
            index.upsert([*stored, *others, Passage(own.text, "copy", own.title)])
            answers.append(mine(index, TrainingSet((example,), brought), Mining({"dense": 2})))
    for found in answers:
        assert "copy" not in {each.id for each in found[query]}
    assert {each.id for each in answers[0][query]} == {each.id for each in answers[1][query]}


def test_without_a_share_no_score_is_too_high(passages, asked):
    some = TrainingSet(asked[:40])
    with Index.open(None, encoder=HashingEncoder()) as index:
        index.upsert(passages)
        bound = mine(index, some, Mining({"dense": 5}, share=0.5))
        free = mine(index, some, Mining({"dense": 5}, share=None))
    assert turnover(free, bound) > 0.1


def test_an_index_without_a_leg_gives_what_it_has(passages):
    example = TrainingSet((Example("calcium channels in mice", (passages[0].id,)),))
    with Index.open(None, encoder=None) as words:
        with pytest.raises(QueryError, match="empty"):
            mine(words, example)
        words.upsert(passages[:50])
        with pytest.raises(QueryError, match="'dense'.*no dense leg"):
            mine(words, example)
        with pytest.raises(QueryError, match="'hybrid'"):
            mine(words, example, Mining({"hybrid": 1}))
        with pytest.warns(DegradedWarning, match="likely answers are not filtered by score"):
            found = mine(words, example, Mining({"lexical": 2, "random": 1}))
    assert len(found["calcium channels in mice"]) == 3
    with Index.open(None, encoder="hashing", analyzer=None) as vectors:
        vectors.upsert(passages[:50])
        with pytest.raises(QueryError, match="'lexical'.*no lexical leg"):
            mine(vectors, example)
        assert dict(mine(vectors, TrainingSet(()), Mining({"dense": 1}))) == {}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"counts": {"given": 2}}, "got 'given'"),
        ({"counts": {"bm25": 2}}, "'lexical', 'dense', 'hybrid', 'random'"),
        ({"counts": {"dense": -1}}, "'dense'.*integer >= 0"),
        ({"counts": {"dense": 1.5}}, "must be an integer"),
        ({"counts": {}}, "at least one negative"),
        ({"counts": 5}, "must map sources to numbers"),
        ({"depth": 0}, "depth must be an integer >= 1, got 0"),
        ({"depth": 5, "skip": 5}, "skip must be < depth"),
        ({"margin": 1.5}, "margin must be a number >= 1e-06 and <= 1, got 1.5"),
        ({"share": 0}, "share must be a number >= 1e-06 and <= 1, got 0"),
        ({"seed": True}, "seed must be an integer >= 0, got True"),
    ],
)
def test_what_cannot_be_mined_by_is_refused(values, message):
    with pytest.raises(InputError, match=message):
        Mining(**values)
