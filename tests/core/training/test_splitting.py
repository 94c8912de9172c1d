from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from twofold.corpus import read_qrels, read_queries
from twofold.errors import InputError
from twofold.training import Example, TrainingSet
from twofold.training.data.splitting import split, split_folds, unseen_queries

DATA = Path(__file__).parents[3] / "examples" / "data" / "scifact-1000"
BOTH = pytest.mark.parametrize("by", ["query", "passage"])
QUERIES = ["red tea", "Red  Tea", "RED\ttea", "blue", "Blue", "green", "grey", "black", "pink"]


@st.composite
def sets(draw, fewest=2):
    count = draw(st.integers(fewest, 16))
    return TrainingSet(
        tuple(
            Example(
                draw(st.sampled_from(QUERIES)),
                tuple(draw(st.sets(st.integers(1, 30).map(str), min_size=1, max_size=2))),
                query_id=str(number),
            )
            for number in range(count)
        )
    )


def components(own, by):
    """Groups of query ids that belong together, by flooding from each query."""
    words = {e.query_id: e.query.lower().split() for e in own}
    good = {e.query_id: set(e.positives) for e in own}
    groups = []
    left = set(words)
    while left:
        group = {min(left)}
        while True:
            more = {
                a
                for a in left - group
                if any(
                    words[a] == words[b] or (by == "passage" and good[a] & good[b]) for b in group
                )
            }
            if not more:
                break
            group |= more
        groups.append(group)
        left -= group
    return groups


@BOTH
@given(own=sets(), share=st.floats(0.05, 0.95), seed=st.integers(0, 5))
def test_what_belongs_together_stays_together(by, own, share, seed):
    groups = components(own, by)
    assume(len(groups) > 1)
    parts = split(own, share, by=by, seed=seed)
    held, fit = set(parts.test.queries), set(parts.train.queries)
    assert held
    assert fit
    assert held | fit == set(own.queries)
    assert all(group <= held or group <= fit for group in groups)
    room = max(1, round(share * len(own)))
    assert len(held) <= max(room, min(map(len, groups)))
    if by == "passage":
        assert unseen_queries(parts.test, parts.train) == held
        assert not parts.test.positives & parts.train.positives


@BOTH
@given(own=sets(), most=st.integers(2, 4), seed=st.integers(0, 5))
def test_folds_hold_each_query_once(by, own, most, seed):
    groups = components(own, by)
    assume(len(groups) > 1)
    n = min(most, len(groups))
    dealt = split_folds(own, n, by=by, seed=seed)
    assert sorted(e.query_id for each in dealt for e in each.test) == sorted(own.queries)
    sizes = [len(each.test) for each in dealt]
    assert max(sizes) - min(sizes) <= max(map(len, groups))
    for each in dealt:
        assert set(each.test.queries) | set(each.train.queries) == set(own.queries)
        assert all(g <= set(each.test.queries) or g <= set(each.train.queries) for g in groups)


@BOTH
@given(own=sets(), data=st.data())
def test_the_order_of_examples_changes_nothing(by, own, data):
    assume(len(components(own, by)) > 1)
    turned = TrainingSet(tuple(data.draw(st.permutations(own.examples))))
    one, two = split(own, by=by, seed=3), split(turned, by=by, seed=3)
    assert set(one.test.queries) == set(two.test.queries)
    again = [set(each.test.queries) for each in split_folds(turned, 2, by=by)]
    assert [set(each.test.queries) for each in split_folds(own, 2, by=by)] == again


@given(held=sets(fewest=0), fit=sets(fewest=0))
def test_unseen_queries_have_no_known_positive(held, fit):
    known = {own for each in fit for own in each.positives}
    expected = {e.query_id for e in held if all(own not in known for own in e.positives)}
    assert unseen_queries(held, fit) == expected


@BOTH
def test_real_judgments_are_held_out_to_the_share(by):
    qrels = read_qrels(DATA / "qrels" / "test.tsv")
    own = TrainingSet.from_qrels(read_queries(DATA / "queries.jsonl"), qrels)
    parts = split(own, 0.25, by=by, seed=1)
    assert len(parts.test) == pytest.approx(0.25 * len(own), abs=2)
    if by == "passage":
        learned = {doc for q in parts.train.queries for doc, grade in qrels[q].items() if grade > 0}
        asked = {doc for q in parts.test.queries for doc, grade in qrels[q].items() if grade > 0}
        assert not learned & asked
    others = [set(split(own, 0.25, by=by, seed=seed).test.queries) for seed in range(2, 6)]
    assert set(parts.test.queries) not in others


def test_more_examples_leave_most_where_they_were():
    own = tuple(Example(f"query {n}", (str(n),)) for n in range(400))
    before = set(split(TrainingSet(own[:380])).test.queries)
    after = set(split(TrainingSet(own)).test.queries)
    assert len(before & after) > 0.9 * len(before)


SMALL = TrainingSet((Example("one", ("a",)), Example("two", ("a", "b")), Example("six", ("b",))))


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: split(SMALL, 0), "share must be a number > 0 and < 1, got 0"),
        (lambda: split(SMALL, 1.0), "share must be .* got 1.0"),
        (lambda: split(SMALL, float("nan")), "share must be .* got nan"),
        (lambda: split(SMALL, by="text"), "by must be one of 'query', 'passage', got 'text'"),
        (lambda: split(SMALL, seed=1.5), "seed must be an integer"),
        (lambda: split(SMALL, by="passage"), "3 queries make 1 groups .*or by='query'"),
        (lambda: split_folds(SMALL, 1), "n must be an integer >= 2, got 1"),
        (lambda: split_folds(SMALL, 4), "make 3 groups linked by query, but at least 4"),
    ],
)
def test_splits_that_cannot_be(call, said):
    with pytest.raises(InputError, match=said):
        call()
