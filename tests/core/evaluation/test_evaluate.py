import math

import ir_measures
import numpy as np
import pytest
import pytrec_eval
from hypothesis import given, settings
from hypothesis import strategies as st

from oracles import effectiveness
from twofold import HashingEncoder, Index, ReciprocalRank, Retriever
from twofold.errors import DegradedWarning, InputError
from twofold.evaluation import (
    MEASURES,
    bootstrap_interval,
    compare,
    evaluate,
    evaluate_run,
    plot_differences,
    queries_needed,
    randomisation_test,
    report,
)

TAKEN = ("nDCG@10", "nDCG@3", "R@5", "RR", "AP", "P@5")
passages = st.sampled_from([f"d{place}" for place in range(8)])
query_ids = st.sampled_from([f"q{place}" for place in range(5)])
# Few different scores, so that many tie, and two that only a double tells apart.
scores = st.sampled_from([0.25, 0.5, 0.5 + 1e-12, 1.0, 3.0])
qrels = st.dictionaries(
    query_ids, st.dictionaries(passages, st.integers(0, 3), min_size=1), min_size=1
)
runs = st.dictionaries(query_ids, st.dictionaries(passages, scores), min_size=1)


def measured(run, judged, measures=TAKEN, name="a run"):
    return evaluate_run(run, judged, measures, name=name)


@settings(deadline=None)
@given(qrels, runs)
def test_values_are_the_formulas_and_means_are_ir_measures_own(judged, run):
    if not set(judged) & set(run):
        with pytest.raises(InputError, match="none of the judged queries"):
            measured(run, judged)
        return
    found = measured(run, judged)
    assert list(found.per_query) == list(judged)
    assert found.queries == len(judged)
    for query_id, values in found.per_query.items():
        for measure, value in values.items():
            expected = effectiveness(measure, judged[query_id], run.get(query_id, {}))
            assert value == pytest.approx(expected, abs=1e-6), (query_id, measure)
    wanted = [ir_measures.parse_measure(each) for each in TAKEN]
    own = ir_measures.calc_aggregate(
        wanted,
        [ir_measures.Qrel(q, p, grade) for q, each in judged.items() for p, grade in each.items()],
        [ir_measures.ScoredDoc(q, p, score) for q, each in run.items() for p, score in each.items()]
        # In this form of a run, a query without hits can't be written down.
        or [ir_measures.ScoredDoc("nobody", "d", 0.0)],
    )
    ours = measured(run, judged)
    assert ours.measures == pytest.approx({str(each): own[each] for each in wanted})
    for measure, mean in ours.measures.items():
        assert ours.values(measure).mean() == pytest.approx(mean)
        assert ours.interval(measure).mean == pytest.approx(mean)


def test_evaluating_a_retriever_is_evaluating_its_run(library, claims):
    queries = {f"c{place}": claim for place, claim in enumerate(claims[:25])}
    dense = Retriever(library, mode="dense").retrieve_many(list(queries.values()), k=3)
    judged = {query: {hits.ids[1]: 2} for query, hits in zip(queries, dense, strict=True)}
    for mode in library.modes:
        found = evaluate(Retriever(library, mode=mode, k=1), queries, judged, ["AP"], k=20)
        assert (found.mode, found.name, found.queries) == (mode, mode, 25)
        assert list(found.per_query) == list(found.run) == list(found.texts) == list(queries)
        assert all(len(of_one) == 20 for of_one in found.run.values())
        assert found.missing_relevant == 0.0
        assert f"mode={mode!r}, k=20" in found.settings
        more = judged | {"never asked": {"x": 1}}
        again = evaluate_run(found.run, more, ["AP"], name="again", queries=queries)
        assert again.measures == found.measures
        assert again.per_query == found.per_query
        assert (again.mode, again.missing_relevant) == (None, None)
    assert evaluate(Retriever(library, mode="dense"), queries, judged).measures["RR@10"] == 0.5


def test_what_makes_figures_poorer_is_counted_and_said(index):
    index.upsert([{"id": "1", "text": "apple"}, {"id": "2", "text": "pear"}])
    queries = {"a": "apple", "b": "zzz", "c": "yyy"}
    judged = {"a": {"1": 1, "lost": 1, "also lost": 0}, "b": {"2": 1}, "c": {"2": 1, "gone": 2}}
    with pytest.warns(DegradedWarning, match=r"2 of 4 relevant passages \(50.0%\).*'lost'"):
        found = evaluate(Retriever(index), queries, judged)
    assert found.missing_relevant == 0.5
    (said, count), *others = found.warnings.items()
    assert "the lexical leg found nothing" in said
    assert (count, others) == (2, [])
    page = report([found], title="i", date="today")
    assert "50.0% of the relevant passages are not in the index" in page
    assert "hybrid: the lexical leg found nothing" in page
    assert "(2 of 3 queries)" in page
    whole = evaluate(Retriever(index), queries, {"a": {"1": 1, "lost": 0}, "b": {}})
    assert (whole.missing_relevant, whole.queries) == (0.0, 1)
    assert evaluate_run(found.run, {"a": {"1": 1}, "b": {}}, name="x").queries == 1


def test_measures_are_checked(index):
    index.upsert([{"id": "1", "text": "apple"}])
    queries, judged = {"a": "apple", "b": "apple"}, {"a": {"1": 1}, "b": {"1": 1}}

    def tried(measures, k=100):
        return evaluate(Retriever(index), queries, judged, measures, k=k)

    assert tried(["NDCG@10", "nDCG@10", "MRR@10"]).measures == {"nDCG@10": 1.0, "RR@10": 1.0}
    for measures, words in (
        (["Goodness"], "unknown measure 'Goodness'"),
        ("nDCG@10", "a list of names"),
        ([], "a list of names"),
        (["NumRel"], "NumRel is no mean"),
        (["alpha_nDCG@10"], "can't compute alpha_nDCG@10"),
    ):
        with pytest.raises(InputError, match=words):
            tried(measures)
    with pytest.warns(DegradedWarning, match="R@50, P@30 see only the 20 hits"):
        assert tried(["R@50", "P@30", "RR@20"], k=20).measures["R@50"] == 1.0
    assert tried(["R@1000"], k=1000).measures == {"R@1000": 1.0}
    found = tried(["nDCG@10"])
    assert found.values("NDCG@10").tolist() == [1.0, 1.0]
    with pytest.raises(InputError, match="AP was not computed for 'hybrid': pass one of nDCG@10"):
        found.interval("AP")


def two_runs(seed, size):
    """Judgments of one passage a query, and two runs that put it on some rank."""
    rng = np.random.default_rng(seed)
    judged = {f"q{place}": {"d3": 1} for place in range(size)}

    def run():
        return {
            query: {f"d{at}": float(score) for at, score in enumerate(rng.permutation(8))}
            for query in judged
        }

    return judged, run(), run()


@settings(deadline=None)
@given(st.integers(0, 1000), st.integers(1, 30))
def test_a_comparison_adds_up(seed, size):
    judged, first, second = two_runs(seed, size)
    ours, theirs = measured(first, judged, name="ours"), measured(second, judged, name="theirs")
    found = compare([ours, theirs], "RR")
    (difference,) = found.differences
    gaps = [ours.per_query[query]["RR"] - theirs.per_query[query]["RR"] for query in judged]
    assert difference.values.tolist() == pytest.approx(gaps, abs=1e-9)
    assert difference.interval == bootstrap_interval(difference.values)
    assert difference.p == difference.adjusted_p == randomisation_test(difference.values)
    assert difference.needed == queries_needed(difference.values)
    assert difference.won == sum(each > 1e-9 for each in gaps)
    assert difference.lost == sum(each < -1e-9 for each in gaps)
    assert difference.won + difference.lost + difference.tied == size
    won, lost = difference.most_won(size), difference.most_lost(size)
    assert (len(won), len(lost)) == (difference.won, difference.lost)
    assert difference.most_won(2) == won[:2]
    for queries, sign in ((won, 1), (lost, -1)):
        keys = [(-sign * each.difference, each.query_id) for each in queries]
        assert keys == sorted(keys)
        assert all(sign * each.difference > 0 for each in queries)
    (turned,) = compare([ours, theirs], "RR", subject=1).differences
    assert turned.values.tolist() == (-difference.values).tolist()
    assert [each.query_id for each in turned.most_won(size)] == [each.query_id for each in lost]


def test_queries_are_paired_by_id_whatever_their_order():
    judged, first, second = two_runs(3, 12)
    turned = dict(reversed(judged.items()))
    straight = compare([measured(first, judged, name="a"), measured(second, judged, name="b")])
    crossed = compare([measured(first, judged, name="a"), measured(second, turned, name="b")])
    assert straight.differences[0].values.tolist() == crossed.differences[0].values.tolist()
    assert len(set(straight.differences[0].values)) > 2


def test_several_comparisons_are_adjusted(library, claims):
    queries = {str(place): claim for place, claim in enumerate(claims[:40])}
    hits = Retriever(library).retrieve_many(list(queries.values()), k=1)
    judged = {query: {of_one.ids[0]: 1} for query, of_one in zip(queries, hits, strict=True)}
    settings = [("hybrid", {}), ("dense", {"mode": "dense"}), ("words", {"mode": "lexical"})]
    results = [
        evaluate(Retriever(library, **given), queries, judged, name=name)
        for name, given in [*settings, ("RRF", {"fusion": ReciprocalRank()})]
    ]
    found = compare(results)
    assert found.evaluations == tuple(results)
    assert [each.other.name for each in found.differences] == ["dense", "words", "RRF"]
    by_p = sorted(found.differences, key=lambda each: each.p)
    assert by_p[0].adjusted_p == pytest.approx(min(1, 3 * by_p[0].p))
    assert all(each.adjusted_p >= each.p for each in by_p)
    assert all(each.lost == 0 < each.won for each in found.differences)  # judged by hybrid itself
    assert "TheoreticalMinMax" in results[0].settings
    assert "ReciprocalRank(rank_constant=60.0" in results[3].settings
    assert found.differences[0].most_won(1)[0].text in queries.values()


def test_what_cannot_be_compared_is_refused():
    judged, first, second = two_runs(0, 4)
    one = measured(first, judged, name="one")
    two = measured(second, judged, name="two")
    del judged["q2"]
    fewer = measured(second, judged, name="fewer")
    for given_results, options, words in (
        ([one], {}, "two or more"),
        ([one, measured(second, judged, name="one")], {}, "different names"),
        ([one, fewer], {}, "different queries: 1 are in only one of them, such as 'q2'"),
        ([one, two], {"measure": "P@10"}, "P@10 was not computed"),
        ([one, two], {"subject": 2}, "subject must be a position in the 2 evaluations, got 2"),
    ):
        with pytest.raises(InputError, match=words):
            compare(given_results, **options)


def test_a_report_says_what_was_measured_and_takes_nothing_for_markdown():
    judged, first, second = two_runs(8, 30)
    texts = {query: f"is *this* a | <b>bold</b>\nquestion {query}?" for query in judged}
    ours = evaluate_run(first, judged, MEASURES, name="ours|a", queries=texts)
    theirs = evaluate_run(second, judged, MEASURES, name="the_others", queries=texts)
    found = compare([ours, theirs])
    page = report(found, title="pa|pers", date="23 November 2026", passages=5183, listed=2)
    assert page.startswith("# Retrieval from pa\\|pers, measured\n")
    assert "23 November 2026; 30 judged queries, 5,183 passages." in page
    interval = ours.interval("AP")
    assert f"{interval.mean:.3f} ({interval.low:.3f} to {interval.high:.3f})" in page
    (difference,) = found.differences
    assert f"| {difference.won} | {difference.lost} | {difference.tied} |" in page
    assert f"Won: {difference.won}, the 2 by most." in page
    best = difference.most_won(1)[0].query_id
    assert f"is \\*this\\* a \\| \\<b\\>bold\\</b\\> question {best}?" in page
    for table in page.split("\n\n"):
        rows = [line for line in table.split("\n") if line.startswith("|")]
        widths = {row.replace("\\|", "").count("|") for row in rows}
        assert len(widths) <= 1, table
    assert "Holm" not in page
    third = measured(first, judged, MEASURES, name="third")
    assert "Holm's method for 2 comparisons" in report(
        compare([ours, theirs, third]), title="t", date="d"
    )
    single = report([ours], title="t", date="d")
    assert "minus" not in single
    with pytest.raises(InputError, match="nothing to report"):
        report([], title="t", date="d")


def test_one_query_has_no_interval_and_still_a_report():
    judged, first, second = two_runs(1, 1)
    found = compare([measured(first, judged, name="a"), measured(second, judged, name="b")])
    assert found.differences[0].p == 1.0
    assert math.isinf(found.differences[0].interval.low)
    page = report(found, title="t", date="d")
    assert "inf" not in page
    assert "nan" not in page


@pytest.mark.parametrize(("size", "others"), [(1, 1), (2, 2), (40, 3)])
def test_the_plot_shows_every_query_in_its_colour(tmp_path, size, others):
    from matplotlib.image import imread

    judged, first, second = two_runs(size, size)
    results = [measured(first, judged, name="$ours$")]
    results += [measured(second, judged, name=f"other_{n}" * 9) for n in range(others)]
    found = compare(results, "RR")
    target = tmp_path / "plot.PNG"
    plot_differences(found, target)
    picture = (imread(target)[:, :, :3] * 255).round().astype(int)
    assert target.read_bytes().startswith(b"\x89PNG")
    assert picture.shape[1] == 1500
    areas = {
        name: int((np.abs(picture - color).max(axis=2) < 3).sum())
        for name, color in (("won", (0, 114, 178)), ("lost", (213, 94, 0)))
    }
    values = found.differences[0].values
    bars = {"won": values[values > 0].sum(), "lost": -values[values < 0].sum()}
    if size == 40:  # enough for areas to be told from letters
        assert areas["won"] / areas["lost"] == pytest.approx(bars["won"] / bars["lost"], rel=0.1)
    again = tmp_path / "again.png"
    plot_differences(found, again)
    assert again.read_bytes() == target.read_bytes()
    with pytest.raises(InputError, match=r"must end in \.png"):
        plot_differences(found, tmp_path / "plot.pdf")


def test_relevant_passages_are_looked_up_through_the_seam(tmp_path):
    class Wrapped:
        """A target that offers what a retriever needs, and no more."""

        def __init__(self, inner):
            self.capabilities, self.open_search = inner.capabilities, inner.open_search

    with Index.open(tmp_path / "i", encoder=HashingEncoder()) as inner:
        inner.upsert([{"id": "1", "text": "apple"}])
        with pytest.warns(DegradedWarning, match="not in the index"):
            found = evaluate(Retriever(Wrapped(inner)), {"a": "apple"}, {"a": {"9": 1}})
    assert found.missing_relevant == 1.0
    assert found.measures["nDCG@10"] == 0.0


def test_a_cutoff_of_nothing_is_refused(library, claims):
    for name in ("nDCG@0", "P@0"):
        with pytest.raises(InputError, match="must be an integer from 1 to 1,000,000, got 0"):
            evaluate(Retriever(library), {"a": claims[0]}, {"a": {"1": 1}}, [name])


def test_diverse_hits_are_measured_in_their_own_order(library, claims):
    retriever = Retriever(library, diversity=0.9)
    hits = retriever.retrieve(claims[0], k=10)
    scores = hits.scores.tolist()
    place = next(at for at in range(1, 10) if scores[at] > scores[at - 1])
    qrels = {"a": {hits.ids[place]: 1}}
    found = evaluate(retriever, {"a": claims[0]}, qrels, ["RR@10"], k=10)
    assert found.measures["RR@10"] == pytest.approx(1 / (place + 1))


def test_results_print_short(library, claims):
    queries = {str(n): claim for n, claim in enumerate(claims[:3])}
    some = [each.id for each, _ in zip(library, range(3), strict=False)]
    qrels = {str(n): {own: 1} for n, own in enumerate(some)}
    first = evaluate(Retriever(library), queries, qrels, ["nDCG@10"], k=10)
    second = evaluate(Retriever(library, mode="lexical"), queries, qrels, ["nDCG@10"], k=10)
    assert repr(first) == f"<'hybrid' on 3 queries: nDCG@10 {first.measures['nDCG@10']:.4f}>"
    assert "over 'lexical', p " in str(compare([first, second], "nDCG@10"))


def test_what_is_no_retriever_is_not_measured():
    with pytest.raises(InputError, match="pass its .retriever"):
        evaluate(object(), {"q": "text"}, {"q": {"d": 1}})


@pytest.mark.parametrize("grade", [-1, -2, -100])
def test_a_query_of_grades_below_zero_alone_counts_as_one_without_relevant_passages(grade):
    qrels = {"q1": {"1": 1, "2": grade}, "q2": {"1": grade, "2": grade}}
    run = {"q1": {"1": 2.0, "2": 1.0}, "q2": {"1": 2.0, "2": 1.0}}
    names = ["nDCG@10", "AP", "RR@10", "R@100"]
    found = evaluate_run(run, qrels, names, name="run")
    assert found.per_query["q1"] == dict.fromkeys(names, 1.0)
    assert found.per_query["q2"] == dict.fromkeys(names, 0.0)
    assert found.measures == dict.fromkeys(names, 0.5)


tied_scores = st.sampled_from([-1.0, 0.0, 0.5, 0.5 + 1e-12, 1.0, 1.0 + 1e-9, 1e300, 1e301])
tied_ids = st.sampled_from(["a", "ab", "Z", "10", "9", "\u00e4", "\uffee", "\U0001f600"])
tied_runs = st.dictionaries(tied_ids, tied_scores, min_size=1)
tied_qrels = st.dictionaries(tied_ids, st.integers(0, 2), min_size=1)


@settings(deadline=None)
@given(st.tuples(tied_runs, tied_runs), st.tuples(tied_qrels, tied_qrels), st.integers(1, 9))
def test_all_measures_order_ties_as_trec_eval_does(runs, judged, cutoff):
    """MS MARCO's RR@k, Judged, Compat and Accuracy order ties in other ways by themselves."""
    run, qrels = ({f"q{n}": each for n, each in enumerate(two)} for two in (runs, judged))
    theirs = pytrec_eval.RelevanceEvaluator(
        qrels, {"recip_rank", f"ndcg_cut.{cutoff}", f"P.{cutoff}", "map"}
    ).evaluate(run)
    names = ["RR", f"RR@{cutoff}", f"nDCG@{cutoff}", f"P@{cutoff}", "AP", f"Judged@{cutoff}"]
    found = measured(run, qrels, names).per_query
    for query_id, wanted in theirs.items():
        ours, reciprocal = found[query_id], wanted["recip_rank"]
        assert ours["RR"] == pytest.approx(reciprocal)
        assert ours[f"RR@{cutoff}"] == pytest.approx(reciprocal * (reciprocal > 0.99 / cutoff))
        assert ours[f"nDCG@{cutoff}"] == pytest.approx(wanted[f"ndcg_cut_{cutoff}"])
        assert ours[f"P@{cutoff}"] == pytest.approx(wanted[f"P_{cutoff}"])
        assert ours["AP"] == pytest.approx(wanted["map"])
        grades = {passage_id: int(passage_id in qrels[query_id]) for passage_id in run[query_id]}
        every = pytrec_eval.RelevanceEvaluator({query_id: grades}, {f"P.{cutoff}"})
        hits = every.evaluate({query_id: run[query_id]})[query_id][f"P_{cutoff}"] * cutoff
        share = hits / min(cutoff, len(run[query_id]))
        assert ours[f"Judged@{cutoff}"] == pytest.approx(share)


@pytest.mark.parametrize("measure", ["RR@10", "RR", "nDCG@1", "P@1", "Compat(p=0.5)", "Accuracy"])
@pytest.mark.parametrize(
    ("run", "first"),
    [
        ({"a": 1.0, "b": 1.0}, "b"),
        ({"b": 1.0, "a": 1.0}, "b"),
        ({"a": 0.7 + 1e-12, "b": 0.7}, "b"),  # equal in single precision
        ({"a": -1.0, "b": -1.0}, "b"),
        ({"10": 2.0, "9": 2.0}, "9"),
        ({"b": 1.0, "a": 1.1}, "a"),
    ],
)
def test_of_tied_passages_the_greater_id_is_first_in_every_measure(measure, run, first):
    for relevant in run:
        value = measured({"q": run}, {"q": {relevant: 1}}, [measure]).measures[measure]
        assert (value == 1) == (relevant == first)


@pytest.mark.parametrize("odd", ["a\0", "a b", "a\tb", "a\n", "\ud800", ""])
@pytest.mark.parametrize("measure", ["RR@10", "AP", "nDCG@10", "Compat(p=0.5)"])
def test_any_id_is_measured(measure, odd):
    """trec_eval reads C strings, which end at NUL."""
    run = {f"q{odd}1": {f"{odd}1": 1.0, f"{odd}2": 0.5}, f"q{odd}2": {f"{odd}2": 1.0}}
    judged = {f"q{odd}1": {f"{odd}1": 1}, f"q{odd}2": {f"{odd}1": 1}}
    found = measured(run, judged, [measure]).per_query
    assert found == {f"q{odd}1": {measure: 1.0}, f"q{odd}2": {measure: 0.0}}
