"""Confidence and abstaining: the bound on wrong answers, and where a calibration doesn't hold."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from twofold import BM25, HashingEncoder, Index, Passage, Retriever
from twofold.backends.moving import push
from twofold.calibration import (
    SIGNALS,
    Calibration,
    calibration_error,
    fit_calibration,
)
from twofold.errors import EncoderWarning, InputError, QueryError, UnsupportedStorageError
from twofold.tuning import calibrate, tune


@pytest.fixture(scope="module")
def judged(abstracts, claims):
    """Titles as queries, whose passages are the answers."""
    passages = [Passage(one["text"], one["_id"]) for one in abstracts[:400]]
    queries = {one["_id"]: one["title"] for one in abstracts[:300]}
    return passages, queries, {name: {name: 1} for name in queries}


@pytest.fixture
def index(judged):
    with Index.open(None, encoder=HashingEncoder()) as opened:
        opened.upsert(judged[0])
        yield opened


@pytest.fixture
def calibrated(index, judged):
    result = calibrate(index, judged[1], judged[2])
    index.profiles.save("calibrated", result.profile, use=True)
    return index


def wrong_share(calibration, risk, confidences, right):
    answered = confidences > calibration.threshold(risk)
    return float((answered & ~right).mean())


@pytest.mark.parametrize("risk", [0.05, 0.1, 0.3])
def test_the_bound_holds_on_average(risk):
    """Queries of a known distribution, in 300 draws: the mean share of wrong answers is bounded."""
    rng = np.random.default_rng(1)
    shares, answered = [], []
    for _ in range(300):
        signals = rng.normal(size=(240, len(SIGNALS)))
        right = rng.random(240) < 1 / (1 + np.exp(-2 * signals[:, 0]))
        fitted = np.arange(240) < 60
        known = np.arange(240) < 120
        calibration = fit_calibration("hybrid", 1, "", signals[known], right[known], fitted[known])
        confidences = np.array([calibration.confidence(row) for row in signals[~known]])
        shares.append(wrong_share(calibration, risk, confidences, right[~known]))
        answered.append(float((confidences > calibration.threshold(risk)).mean()))
    error = np.std(shares) / np.sqrt(len(shares))
    assert np.mean(shares) <= risk + 2 * error
    assert np.mean(shares) >= risk - 1 / 60 - 3 * error  # it isn't bounded by answering nothing
    assert np.mean(answered) > risk


@given(st.lists(st.floats(0, 1), max_size=60), st.integers(1, 60), st.floats(0.01, 0.99))
def test_the_threshold_lets_through_as_many_wrong_answers_as_allowed(wrong, more, risk):
    wrong = sorted(wrong, reverse=True)
    zeros = (0.0,) * len(SIGNALS)
    queries = len(wrong) + more
    calibration = Calibration("dense", 1, "", zeros, zeros, zeros, 0.0, tuple(wrong), queries)
    through = sum(value > calibration.threshold(risk) for value in wrong)
    assert (through + 1) / (queries + 1) <= risk + 1e-9 or through == 0
    if calibration.threshold(risk) == np.inf:
        assert 1 / (queries + 1) > risk


def test_weights_are_those_of_a_logistic_regression():
    rng = np.random.default_rng(5)
    signals = rng.normal(size=(400, len(SIGNALS))) * 3 + 1
    right = rng.random(400) < 1 / (1 + np.exp(-signals[:, 2]))
    calibration = fit_calibration("hybrid", 1, "", signals, right, np.ones(400, bool))
    standard = (signals - signals.mean(axis=0)) / signals.std(axis=0)
    theirs = LogisticRegression(C=0.2, tol=1e-10, max_iter=1000).fit(standard, right)
    assert calibration.weights == pytest.approx(theirs.coef_[0], abs=1e-4)
    ours = [calibration.confidence(row) for row in signals]
    assert ours == pytest.approx(theirs.predict_proba(standard)[:, 1], abs=1e-4)


def test_the_calibration_error_is_that_of_bins():
    confidences = np.repeat([0.1, 0.9], 50)
    right = np.concatenate([np.arange(50) < 5, np.arange(50) < 45]).astype(float)
    assert calibration_error(confidences, right, bins=2) == pytest.approx(0.0)
    assert calibration_error(confidences, 1 - right, bins=2) == pytest.approx(0.8)


def test_confidence_tells_right_from_wrong(calibrated, judged):
    _, queries, _ = judged
    retriever = Retriever(calibrated)
    ours = [retriever.retrieve(queries[one]).confidence for one in list(queries)[:80]]
    odd = [retriever.retrieve(text).confidence for text in ("zyx qwv", "cake recipe", "song of 1")]
    assert all(0 <= value <= 1 for value in ours + odd)
    assert np.mean(ours) > 0.6 > max(odd)


def test_a_search_without_confidence_gives_no_answer(calibrated, judged):
    retriever = Retriever(calibrated, abstain=0.05)
    sure = retriever.retrieve(next(iter(judged[1].values())))
    assert len(sure) == 10
    assert not sure.abstained
    unsure = retriever.retrieve("cake recipe with a song")
    assert (len(unsure), unsure.abstained, unsure.ids) == (0, True, [])
    assert unsure.warnings[-1].startswith("no answer was given (abstain=0.05)")
    assert unsure.confidence < sure.confidence
    assert unsure.why_not(judged[0][0].id).reasons == (unsure.warnings[-1],)
    assert len(retriever.retrieve("cake recipe with a song", abstain=0.9)) == 10
    many = retriever.retrieve_many([next(iter(judged[1].values())), "cake recipe with a song"])
    assert [hits.abstained for hits in many] == [False, True]
    assert not len(Retriever(calibrated, abstain=0.0001).retrieve("gene expression"))  # too few


def test_a_calibration_holds_for_its_own_search_alone(calibrated, judged):
    query = next(iter(judged[1].values()))
    plain = Retriever(calibrated)
    assert plain.retrieve(query).confidence is not None
    assert plain.retrieve(query, k=1).confidence == plain.retrieve(query, k=50).confidence
    for options in ({"mode": "dense"}, {"scorer": BM25(k1=2.0)}, {"diversity": 0.3}, {"depth": 7}):
        assert replace(plain, **options).retrieve(query).confidence is None
        with pytest.raises(QueryError, match=r"abstain needs a calibration, and the calibration"):
            replace(plain, abstain=0.1, **options).retrieve(query)
    calibrated.profiles.use(None)
    with pytest.raises(QueryError, match="the active profile has no calibration"):
        replace(plain, abstain=0.1).retrieve(query)
    assert plain.retrieve(query).confidence is None


def test_a_calibration_ends_with_what_it_was_learned_for(calibrated, judged):
    query = next(iter(judged[1].values()))
    plain = Retriever(calibrated)
    vector = HashingEncoder().encode_queries([query])[0]
    assert plain.retrieve(query, vector=vector).confidence == plain.retrieve(query).confidence
    assert plain.retrieve(vector=vector).confidence is None
    with pytest.raises(QueryError, match="needs a query text"):
        plain.retrieve(vector=vector, abstain=0.1)
    assert plain.retrieve(query, k=101).confidence is None
    calibrated.reanalyze("german")
    assert plain.retrieve(query).confidence is None
    calibrated.reanalyze("english")
    assert plain.retrieve(query).confidence is not None
    with pytest.warns(EncoderWarning, match="metric='dot'"):
        calibrated.reencode(HashingEncoder(), metric="dot")
    with pytest.raises(QueryError, match="for other settings or another model"):
        plain.retrieve(query, abstain=0.1)


def test_a_missing_passage_is_explained_although_searches_may_abstain(calibrated, judged):
    retriever = Retriever(calibrated, abstain=0.2, k=3)
    hits = retriever.retrieve(next(iter(judged[1].values())))
    assert len(hits) == 3
    others = [name for name in judged[1] if name not in hits.ids]
    why = hits.why_not(others[-1])
    assert not why.found
    assert why.reasons


def test_a_calibration_is_stored_and_moved(calibrated, judged, postgres, tmp_path):
    query = next(iter(judged[1].values()))
    expected = Retriever(calibrated).retrieve(query).confidence
    saved = calibrated.profiles["calibrated"].calibration
    assert Calibration.from_dict(json.loads(json.dumps(saved.to_dict()))) == saved
    calibrated.copy(tmp_path / "copy")
    with Index.open(tmp_path / "copy", encoder=HashingEncoder()) as copied:
        assert Retriever(copied).retrieve(query).confidence == expected
    backend = postgres(template=calibrated)
    push(calibrated, backend)
    assert Retriever(backend).retrieve(query).confidence == pytest.approx(expected, abs=1e-9)
    assert Retriever(backend, abstain=0.05).retrieve("cake recipe with a song").abstained


@pytest.mark.parametrize(
    "change", [{"bias": float("nan")}, {"weights": [1.0]}, {"mode": "other"}, {"first": 0}]
)
def test_a_damaged_calibration_is_refused(calibrated, change):
    saved = calibrated.profiles["calibrated"].calibration.to_dict()
    with pytest.raises((ValueError, UnsupportedStorageError)):
        Calibration.from_dict({**saved, **change})


def test_tuning_drops_a_calibration_of_other_settings(calibrated, judged):
    _, queries, qrels = judged
    some = dict(list(queries.items())[:40])
    result = tune(calibrated, some, {name: qrels[name] for name in some})
    assert result.before.calibration is None
    assert result.profile.calibration is None


def test_marked_queries_are_not_left_out(index, judged):
    _, queries, qrels = judged
    odd = {f"odd-{at}": f"cake number {at} with a song" for at in range(60)}
    result = calibrate(index, {**queries, **odd}, qrels, unanswerable=odd, mode="lexical")
    assert (result.queries, result.unanswerable) == (360, 60)
    assert result.calibration.mode == "lexical"
    assert result.error < 0.2
    assert sum(count for *_, count in result.curve) == result.calibration.queries
    wrong = [risk.wrong for risk in result.risks]
    assert wrong == sorted(wrong)
    assert all(risk.wrong <= risk.bound for risk in result.risks)


def test_bad_arguments_are_refused(index, judged):
    _, queries, qrels = judged
    few = dict(list(queries.items())[:9])
    with pytest.raises(InputError, match="40 judged queries or more, got 9"):
        calibrate(index, few, qrels)
    with pytest.raises(InputError, match="'lost' is unanswerable and no query"):
        calibrate(index, queries, qrels, unanswerable=["lost"])
    with pytest.raises(InputError, match="left_out must be below 1"):
        calibrate(index, queries, qrels, left_out=1)
    with pytest.raises(InputError, match="first must be an integer"):
        calibrate(index, queries, qrels, first=0)
    for share in (0, 1, -0.1, True, "0.1", float("nan")):
        with pytest.raises(QueryError, match="abstain must be"):
            Retriever(index, abstain=share)
