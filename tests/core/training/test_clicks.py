import json
import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from twofold.errors import CorpusError, InputError
from twofold.training.data.clicks import (
    ClickPlan,
    Session,
    estimate_propensities,
    examples_from_clicks,
    read_clicks,
)

LOOKED = (1.0, 0.6, 0.35, 0.2, 0.12)
GOOD = {"a": 0.9, "b": 0.7, "c": 0.5, "d": 0.3, "e": 0.15}


def simulated(count, *, queries=1, worst_first=0.0, seed=0):
    """Sessions of the position-based model, which often show the worst passage first.

    ``worst_first`` is how likely a session's order is the reverse of relevance; else it is random.
    """
    rng = np.random.default_rng(seed)
    ids = list(GOOD)
    sessions = []
    for number in range(count):
        order = list(reversed(ids))
        if rng.random() >= worst_first:
            order = [ids[place] for place in rng.permutation(len(ids))]
        clicked = [
            own
            for own, looked in zip(order, LOOKED, strict=True)
            if rng.random() < looked and rng.random() < GOOD[own]
        ]
        sessions.append(Session(f"query {number % queries}", tuple(order), tuple(clicked)))
    return sessions


EVERYTHING = {"min_impressions": 1, "min_relevance": 1e-9}


@pytest.fixture(scope="module")
def biased():
    return simulated(20_000, worst_first=0.9)


@pytest.mark.parametrize("propensity", [lambda p: LOOKED[p - 1], "estimated"])
def test_weighted_clicks_rank_as_relevance_does_where_raw_clicks_do_not(biased, propensity):
    clicks = Counter(own for each in biased for own in each.clicked)
    raw = sorted(GOOD, key=lambda own: -clicks[own])
    assert raw != list(GOOD)
    (only,) = examples_from_clicks(biased, ClickPlan(propensity=propensity, **EVERYTHING))
    assert list(only.positives) == list(GOOD)


def test_estimates_are_the_relevance_so_that_the_bar_parts_positives(biased):
    for least, wanted in ((0.8, "a"), (0.6, "ab"), (0.4, "abc"), (0.2, "abcd"), (0.1, "abcde")):
        plan = ClickPlan(propensity=lambda p: LOOKED[p - 1], min_relevance=least)
        assert examples_from_clicks(biased, plan)[0].positives == tuple(wanted)


def test_a_power_of_zero_counts_raw_clicks(biased):
    clicks = Counter(own for each in biased for own in each.clicked)
    (only,) = examples_from_clicks(biased, ClickPlan(propensity=0.0, **EVERYTHING))
    assert list(only.positives) == sorted(GOOD, key=lambda own: -clicks[own])


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("worst_first", [0.0, 0.8])
def test_em_recovers_the_propensities_when_the_order_varies(seed, worst_first):
    found = estimate_propensities(
        simulated(20_000, queries=3, worst_first=worst_first, seed=seed), 5
    )
    assert found[0] == 1.0
    assert found == pytest.approx(LOOKED, abs=0.06)


def test_em_on_exact_rates_is_exact():
    # Two passages that swap two places: clicks 400, 100 first and 200, 50 second.
    sessions = [
        *([Session("q", ("a", "b"), ("a",))] * 400 + [Session("q", ("a", "b"), ("b",))] * 50),
        *([Session("q", ("a", "b"))] * 550),
        *([Session("q", ("b", "a"), ("b",))] * 100 + [Session("q", ("b", "a"), ("a",))] * 200),
        *([Session("q", ("b", "a"))] * 700),
    ]
    assert estimate_propensities(sessions, 2) == pytest.approx((1.0, 0.5), abs=1e-3)
    (only,) = examples_from_clicks(sessions, ClickPlan(propensity="estimated", min_relevance=0.3))
    assert only.positives == ("a",)  # (400 + 200 / .5) / 2000 = .4, and b has .1


def test_positions_that_cannot_be_compared_are_refused():
    fixed = [Session("q", ("a", "b", "c"), ("a", "b"))] * 20
    with pytest.raises(InputError, match="position 1 can't be estimated"):
        estimate_propensities(fixed, 3)
    with pytest.raises(InputError, match="propensities can't be estimated"):
        examples_from_clicks(fixed, ClickPlan(propensity="estimated"))
    swapped = [*fixed, Session("q", ("b", "a", "c"), ("a",))]
    assert len(estimate_propensities(swapped, 2)) == 2
    with pytest.raises(InputError, match="position 3 can't be estimated.*pass a lower depth"):
        estimate_propensities(swapped, 3)
    with pytest.raises(InputError, match="depth must be an integer >= 1, got 0"):
        estimate_propensities(swapped, 0)


def test_skipped_passages_are_negatives_unless_clicked_anywhere():
    sessions = [
        Session("q", ("a", "b", "c", "d"), ("c",)),
        Session("q", ("b", "c", "a", "e"), ("a",)),
        Session("q", ("f", "b", "d", "e"), ("e",), {"e": 1.0}),
    ]
    plan = ClickPlan(propensity=1.0, min_impressions=1, min_dwell=5.0)
    (only,) = examples_from_clicks(sessions, plan)
    assert only.positives == ("a", "c")  # a: 3 / 2, c: 3 / 2
    assert only.negatives == ("b",)  # a, c were clicked; d, e, f were not passed by a real click
    (less,) = examples_from_clicks(sessions, ClickPlan(min_impressions=1, skip_above=False))
    assert less.negatives == ()
    (more,) = examples_from_clicks(sessions, ClickPlan(min_impressions=1))
    assert more.positives == ("e", "a", "c")  # 4 / 2 now that a second is enough
    assert more.negatives == ("b", "d", "f")  # most often passed over first
    assert examples_from_clicks(sessions, ClickPlan(min_impressions=2))[0].negatives == ("b", "d")


def test_weights_are_the_mean_clipped_clicks_of_positives_and_one_on_average():
    sessions = [
        *([Session("top", ("a", "b"), ("a",))] * 3),
        *([Session("low", ("c", "d", "e", "f"), ("f",))] * 2),
        *([Session("both", ("g", "h"), ("g", "h"))] * 2),
    ]
    found = examples_from_clicks(
        sessions, ClickPlan(propensity=1.0, min_impressions=1, max_weight=3.0)
    )
    raw = {"top": 1.0, "low": 3.0, "both": (1.0 + 1.0 + 2.0 + 2.0) / 4}
    mean = sum(raw.values()) / 3
    assert {each.query_id: each.weight for each in found} == pytest.approx(
        {query: weight / mean for query, weight in raw.items()}
    )
    assert {each.source for each in found} == {"clicks"}
    assert all(set(each.grades) == {1} for each in found)


def test_queries_fold_into_one_with_its_commonest_spelling():
    sessions = [
        Session("Green  Tea", ("a",), ("a",)),
        *([Session("green tea", ("a",), ())] * 2),
        Session("GREEN TEA ", ("a",), ("a",)),
    ]
    (only,) = examples_from_clicks(sessions, ClickPlan(min_impressions=4, min_relevance=0.5))
    assert (only.query, only.query_id) == ("green tea", "green tea")
    apart = examples_from_clicks(sessions, ClickPlan(min_impressions=1, normalize=False))
    assert [each.query for each in apart] == ["Green  Tea", "GREEN TEA"]
    with pytest.raises(InputError, match="no passage in 4 sessions has 4 impressions"):
        examples_from_clicks(
            sessions, ClickPlan(min_impressions=4, min_relevance=0.5, normalize=False)
        )


@st.composite
def logs(draw):
    out = []
    for _ in range(draw(st.integers(1, 12))):
        shown = tuple(draw(st.permutations("abcdef")))[: draw(st.integers(1, 6))]
        clicked = tuple(own for own in shown if draw(st.booleans()))
        out.append(Session(draw(st.sampled_from(["one", "ONE", "two"])), shown, clicked))
    return out


@given(logs(), st.integers(1, 3), st.floats(0.05, 2.0), st.floats(0.0, 2.0))
def test_positives_are_those_of_the_formula(sessions, impressions, least, eta):
    wanted = {}
    for query in ("one", "two"):
        own = [each for each in sessions if each.query.lower() == query]
        for passage in "abcdef":
            ranks = [each.shown.index(passage) + 1 for each in own if passage in each.clicked]
            count = sum(passage in each.shown for each in own)
            value = sum(rank**eta for rank in ranks) / count if count else 0.0
            assume(not math.isclose(value, least))
            if count >= impressions and value >= least:
                wanted.setdefault(query, set()).add(passage)
    plan = ClickPlan(propensity=eta, min_impressions=impressions, min_relevance=least)
    if not wanted:
        with pytest.raises(InputError, match="pass more sessions"):
            examples_from_clicks(sessions, plan)
        return
    found = examples_from_clicks(sessions, plan)
    assert {each.query_id: set(each.positives) for each in found} == wanted
    for each in found:
        touched = {p for s in sessions if s.query.lower() == each.query_id for p in s.clicked}
        assert touched.isdisjoint(each.negatives)
    assert sum(each.weight for each in found) / len(found) == pytest.approx(1.0)


def test_logs_are_read(tmp_path):
    path = tmp_path / "log.jsonl"
    lines = [
        {"query": "tea", "shown": ["a", 7], "clicked": [7], "dwell": {"7": 3.5}},
        {"query": "tea", "shown": ["a"], "clicked": [], "dwell": None},
    ]
    path.write_text("\n".join(map(json.dumps, lines)))
    one, two = read_clicks(path)
    assert one == Session("tea", ("a", "7"), ("7",), {"7": 3.5})
    assert two == Session("tea", ("a",))
    path.write_text("")
    with pytest.raises(CorpusError, match="has no sessions"):
        read_clicks(path)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"query": " "}, "query must be text that isn't blank, got ' '"),
        ({"query": None}, "query must be .* got None"),
        ({"shown": "ab"}, "shown must be a tuple of ids .a JSON list., got 'ab'"),
        ({"clicked": [1.5]}, "clicked must be a tuple of ids"),
        ({"shown": ["a", "b", "a"]}, "passage 'a' is shown twice"),
        ({"clicked": ["z"]}, "passage 'z' has a click or a dwell time, but wasn't shown"),
        ({"dwell": {"a": -1}}, "dwell of 'a' must be a number >= 0, got -1"),
        ({"dwell": {"a": "long"}}, "dwell of 'a' must be a number >= 0, got 'long'"),
        ({"dwell": [3]}, "dwell must map ids to seconds, got .3."),
        ({"dwell": {"a": float("nan")}}, ".* got nan of type float: pass a finite number"),
        ({"query": "a \ud800"}, ".* has half a surrogate pair"),
        ({"shown": ["a", "\udfff"]}, ".* has half a surrogate pair"),
    ],
)
def test_bad_sessions_name_the_line(tmp_path, values, said):
    good = {"query": "tea", "shown": ["a", "b"], "clicked": ["a"]}
    path = tmp_path / "log.jsonl"
    path.write_text(json.dumps(good) + "\n" + json.dumps({**good, **values}))
    with pytest.raises(CorpusError, match=f"line 2: {said}"):
        read_clicks(path)


@pytest.mark.parametrize(
    "values",
    [
        {"propensity": -1.0},
        {"propensity": "guessed"},
        {"propensity": True},
        {"min_impressions": 0},
        {"min_impressions": 2.0},
        {"min_dwell": -1},
        {"min_relevance": 0},
        {"min_relevance": math.nan},
        {"max_weight": 0.0},
        {"max_weight": math.inf},
    ],
)
def test_bad_plans_are_refused(values):
    with pytest.raises(InputError, match=f"{next(iter(values))} must be .*, got"):
        ClickPlan(**values)


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, None])
def test_a_function_that_gives_no_propensity_is_refused(value):
    with pytest.raises(InputError, match="the propensity of position 1 must be a number > 0"):
        examples_from_clicks(
            [Session("q", ("a",), ("a",))] * 10, ClickPlan(propensity=lambda _: value)
        )
