"""Tuning: right where something can be gained, and silent where nothing can."""

import json
from dataclasses import replace
from itertools import product

import ir_measures
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from oracles import ndcg
from twofold import BM25, Index, ReciprocalRank, Retriever, WeightedSum
from twofold.backend import SearchProfile
from twofold.cli import app
from twofold.corpus import read_qrels, read_queries
from twofold.errors import DegradedWarning, InputError, QueryError
from twofold.evaluation.significance import max_t_p_value
from twofold.fusion import CombMNZ, GuardedFusion, LogOdds, MinMax, ZScore
from twofold.lexical import OkapiBM25
from twofold.tuning import SearchSpace, TuningPlan, tune
from twofold.tuning.coordinate_search import choose_best
from twofold.tuning.objective import RelevantCandidates, TuningObjective
from twofold.tuning.objective import ndcg as fast_ndcg

HOME = SearchProfile(GuardedFusion(), 100, None, 1)
SMALL = SearchSpace(
    rules=(WeightedSum(), ReciprocalRank()),
    dense_weights=(0.0, 0.2, 0.5, 0.8, 1.0),
    depths=(50, 100),
    k1=(0.8, 1.2),
    b=(0.4, 0.75),
    title_weights=(1, 2),
)
DIM = 12


def noisy(folder, *, dense, lexical, queries=60, seed=0):
    """An index where a leg finds each query's passage, or is noise; queries, qrels, vectors."""
    rng = np.random.default_rng(seed)
    passages, vectors, asked, judged = [], [], {}, {}
    for place in range(queries):
        own, other = f"topic{place}", f"topic{rng.integers(queries)}"
        words = " ".join(f"w{each}" for each in rng.integers(0, 30, 8))
        passages.append({"id": f"p{place:03}", "text": f"{own} {words}"})
        vectors.append(rng.normal(size=DIM))
        asked[f"q{place}"] = f"{own if lexical else other} w{rng.integers(30)}"
        judged[f"q{place}"] = {f"p{place:03}": 1}
    matrix = np.array(vectors, np.float32)
    noise = rng.normal(size=matrix.shape).astype(np.float32)
    index = Index.open(folder, dim=DIM, metric="cosine")
    index.upsert(passages, vectors=matrix)
    return index, asked, judged, matrix + 0.6 * noise if dense else noise


TRUSTING = replace(HOME, fusion=WeightedSum(dense_weight=0.8))
"""No guard, which would see for itself that the dense leg knows nothing."""


def shared(profile):
    """The weight of a setting's dense leg, without regard to its rule."""
    return profile.fusion.dense_weight


@given(
    st.integers(1, 6),
    st.integers(1, 12),
    st.integers(1, 12),
    st.integers(0, 2**32 - 1),
)
def test_ndcg_is_that_of_ir_measures(queries, width, k, seed):
    rng = np.random.default_rng(seed)
    scores = rng.permutation(queries * width).reshape(queries, width).astype(np.float64)
    grades = rng.integers(0, 4, size=(queries, width + 2))  # two of them were not found
    judged = [
        {at if at < width else width - 1 - at: int(grade) for at, grade in enumerate(own) if grade}
        for own in grades
    ]
    rows = np.tile(np.arange(width), (queries, 1))
    found = fast_ndcg(scores, RelevantCandidates.from_keys(rows, judged, k), k)
    qrels = {str(q): {str(at): int(g) for at, g in enumerate(own)} for q, own in enumerate(grades)}
    run = {str(q): {str(at): float(s) for at, s in enumerate(own)} for q, own in enumerate(scores)}
    wanted = {
        each.query_id: each.value
        for each in ir_measures.iter_calc([ir_measures.nDCG @ k], qrels, run)
    }
    for query in range(queries):
        assert found[query] == pytest.approx(wanted[str(query)], abs=1e-9)
        order = [str(at) for at in np.argsort(-scores[query])]
        assert found[query] == pytest.approx(ndcg(order, qrels[str(query)], k), abs=1e-9)


def test_ndcg_of_ties_keeps_the_order():
    relevant = RelevantCandidates.from_keys(np.array([[4, 5, 6]]), [{6: 1}], 10)
    assert fast_ndcg(np.array([[1.0, 1.0, 1.0]]), relevant, 10)[0] == pytest.approx(0.5)
    assert fast_ndcg(np.array([[1.0, 1.0, 1.0]]), relevant, 2)[0] == 0


SETTINGS = [
    HOME,
    replace(HOME, fusion=WeightedSum(MinMax(), 0.3), depth=20),
    replace(HOME, fusion=WeightedSum(ZScore("candidates"), 0.6), scorer=BM25(0.6, 0.2)),
    replace(HOME, fusion=ReciprocalRank(5, 0.35), depth=30),
    replace(HOME, fusion=GuardedFusion(LogOdds(dense_weight=0.4), weak_lexical=0.9)),
    replace(HOME, fusion=CombMNZ(dense_weight=0.7), depth=5),
    replace(HOME, fusion=WeightedSum(dense_weight=0.2), scorer=OkapiBM25()),
]


@pytest.mark.parametrize("profile", SETTINGS, ids=str)
@pytest.mark.parametrize("measure", ["nDCG@10", "AP", "R@20"])
def test_the_bench_gives_what_a_retriever_gives(library, claims, abstracts, profile, measure):
    rng = np.random.default_rng(3)
    texts = {f"q{place}": claim for place, claim in enumerate(claims[:25])}
    qrels = {
        each: {abstracts[at]["_id"]: int(rng.integers(1, 3)) for at in rng.integers(0, 300, 6)}
        for each in texts
    }
    retriever = Retriever(
        library, fusion=profile.fusion, depth=profile.depth, scorer=profile.scorer
    )
    k = {"nDCG@10": 10, "AP": 100, "R@20": 20}[measure]
    found = dict(zip(texts, retriever.retrieve_many(list(texts.values()), k=k), strict=True))
    run = {each: {i: -float(r) for r, i in enumerate(hits.ids)} for each, hits in found.items()}
    wanted = {
        each.query_id: each.value
        for each in ir_measures.iter_calc([ir_measures.parse_measure(measure)], qrels, run)
    }
    assert sum(wanted.values()) > 0
    with library.view() as view:
        vectors = view.scope.encode_queries(list(texts.values()))
        given_by = TuningObjective(view.scope, texts, qrels, vectors, measure).values(profile)
    np.testing.assert_allclose(given_by, [wanted[each] for each in texts], atol=1e-9)


def test_another_weight_of_titles_is_measured_as_if_the_index_had_it(tmp_path, abstracts, claims):
    texts = {f"q{place}": claim for place, claim in enumerate(claims[:15])}
    qrels = {each: {abstracts[at]["_id"]: 1} for at, each in enumerate(texts)}
    by_weight = {}
    for weight in (1, 3):
        with Index.open(tmp_path / str(weight), encoder="hashing", title_weight=weight) as index:
            index.upsert(
                {"id": each["_id"], "title": each["title"], "text": each["text"]}
                for each in abstracts[:100]
            )
            with index.view() as view:
                vectors = view.scope.encode_queries(list(texts.values()))
                bench = TuningObjective(view.scope, texts, qrels, vectors, "AP")
                # Without the guard: the legs' agreement was measured with the index's own weight.
                bare = replace(HOME, fusion=WeightedSum(dense_weight=0.4))
                by_weight[weight] = [
                    bench.values(replace(bare, title_weight=each)) for each in (1, 3)
                ]
    np.testing.assert_array_equal(by_weight[1], by_weight[3])
    assert (by_weight[1][0] != by_weight[1][1]).any()


def test_a_leg_of_noise_loses_its_weight(tmp_path):
    index, asked, judged, vectors = noisy(tmp_path / "i", dense=False, lexical=True)
    with index:
        index.profiles.save("trusting", TRUSTING, use=True)
        generation = generation_of(index)
        tuned = tune(index, asked, judged, plan=TuningPlan(space=SMALL), vectors=vectors)
        assert tuned.accepted
        assert tuned.gain.low > 0.05
        assert shared(tuned.profile) <= 0.5 or isinstance(tuned.profile.fusion, GuardedFusion)
        assert all(each.after > each.before for each in tuned.folds)
        assert tuned.profile == tuned.found == tuned.stages[-1].profile
        assert "held-out" in str(tuned)
        assert index.profiles[index.profiles.active] == TRUSTING
        assert generation_of(index) == generation
        index.profiles.save("tuned", tuned.profile, use=True)
        again = tune(index, asked, judged, plan=TuningPlan(space=SMALL), vectors=vectors)
        assert again.before == tuned.profile
        assert not again.accepted
    other, asked, judged, vectors = noisy(tmp_path / "j", dense=True, lexical=False)
    with other:
        other.profiles.save("words", replace(HOME, fusion=WeightedSum(dense_weight=0.2)), use=True)
        tuned = tune(other, asked, judged, plan=TuningPlan(space=SMALL), vectors=vectors)
        assert tuned.accepted
        assert shared(tuned.profile) >= 0.5 > shared(tuned.before)


def generation_of(index):
    with index.view() as view:
        return view.corpus.generation


def test_where_both_legs_are_good_the_default_stays(tmp_path):
    index, asked, judged, vectors = noisy(tmp_path / "i", dense=True, lexical=True)
    with index:
        tuned = tune(index, asked, judged, plan=TuningPlan(space=SMALL), vectors=vectors)
        assert not tuned.accepted
        assert tuned.profile == tuned.before == HOME
        assert str(tuned).startswith("nothing changes: nDCG@10 ")


@pytest.mark.slow
def test_noise_in_the_judgments_is_not_taken_for_a_gain(tmp_path):
    index, asked, judged, vectors = noisy(tmp_path / "i", dense=True, lexical=True, queries=40)
    ids = [next(iter(grades)) for grades in judged.values()]
    adopted = gained = 0
    space = replace(SMALL, k1=(), depths=(50, 100), title_weights=())
    with index:
        for seed in range(100):
            mixed = np.random.default_rng(seed).permutation(ids)
            qrels = {each: {str(at): 1} for each, at in zip(asked, mixed, strict=True)}
            tuned = tune(
                index, asked, qrels, plan=TuningPlan(space=space, seed=seed), vectors=vectors
            )
            adopted += tuned.accepted
            gained += tuned.gain.mean > 0
            assert (tuned.profile == tuned.before) is not tuned.accepted
    assert adopted <= 5
    assert gained > 0


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 2), st.integers(0, 2**16))
def test_a_search_never_sees_the_queries_it_is_measured_on(judged_corpus, place, seed):
    index, asked, judged, vectors = judged_corpus
    plan = TuningPlan(space=SMALL, folds=3)
    before = tune(index, asked, judged, plan=plan, vectors=vectors)
    held = before.folds[place].queries
    ids = [next(iter(grades)) for grades in judged.values()]
    rng = np.random.default_rng(seed)
    changed = judged | {each: {str(rng.choice(ids)): int(rng.integers(1, 4))} for each in held}
    after = tune(index, asked, changed, plan=plan, vectors=vectors)
    assert after.folds[place].queries == held
    assert after.folds[place].profile == before.folds[place].profile


@pytest.fixture(scope="module")
def judged_corpus(tmp_path_factory):
    index, *rest = noisy(tmp_path_factory.mktemp("tuning") / "i", dense=False, lexical=True)
    with index:
        yield index, *rest


def test_folds_part_the_queries_and_depend_on_the_seed_alone(judged_corpus):
    index, asked, judged, vectors = judged_corpus
    runs = [
        tune(index, asked, judged, plan=TuningPlan(space=SMALL, seed=seed), vectors=vectors)
        for seed in (1, 1, 2)
    ]
    assert runs[0] == runs[1] != runs[2]
    for run in runs:
        dealt = [each for fold in run.folds for each in fold.queries]
        assert sorted(dealt) == sorted(asked)
        gain = sum(len(each.queries) * (each.after - each.before) for each in run.folds)
        assert run.gain.mean == pytest.approx(gain / len(asked), abs=1e-12)
        assert json.loads(json.dumps(run.to_dict()))["queries"] == len(asked)


def test_few_queries_change_nothing(judged_corpus):
    index, asked, judged, vectors = judged_corpus
    few = dict(list(judged.items())[:19])
    tuned = tune(index, asked, few, plan=TuningPlan(space=SMALL), vectors=vectors)
    assert (tuned.accepted, tuned.gain, tuned.folds) == (False, None, ())
    assert str(tuned) == ("nothing changes: tuning needs 20 judged queries, got 19")
    assert tuned.to_dict()["interval"] is None


def test_passages_that_are_not_there_are_said_and_blank_queries_left_out(judged_corpus):
    index, asked, judged, vectors = judged_corpus
    few = dict(list(judged.items())[:3]) | {
        "q5": {"p005": 1, "gone": 1, "no": 0},
        "blank": {"p1": 1},
    }
    with pytest.warns(DegradedWarning, match="1 of 5 relevant passages are not in the index"):
        tuned = tune(
            index,
            asked | {"blank": " "},
            few,
            plan=TuningPlan(space=SMALL),
            vectors=np.concatenate([vectors, vectors[:1]]),
        )
    assert tuned.queries == 4


def test_what_cannot_be_tuned_is_refused(judged_corpus, tmp_path):
    index, asked, judged, vectors = judged_corpus
    with pytest.raises(InputError, match="none of the queries has judgments"):
        tune(index, asked, {"other": {"p000": 1}}, vectors=vectors)
    with pytest.raises(InputError, match="60 queries came with 59 vectors"):
        tune(index, asked, judged, vectors=vectors[1:])
    with pytest.raises(InputError, match="unknown measure"):
        tune(index, asked, judged, plan=TuningPlan(measure="nDCC@10"), vectors=vectors)
    with pytest.raises(QueryError, match="encoder"):
        tune(index, asked, judged)
    with pytest.raises(InputError, match="folds"):
        TuningPlan(folds=1)
    with pytest.raises(InputError, match="min_queries must be >= 40"):
        TuningPlan(folds=20)
    with (
        Index.open(tmp_path / "nothing", encoder="hashing") as nothing,
        pytest.raises(QueryError, match="the index is empty"),
    ):
        tune(nothing, asked, judged)
    for bad in ({"seed": -1}, {"min_queries": "a"}, {"confidence": "a"}, {"measure": "nDCG@10.5"}):
        with pytest.raises(InputError, match="must be|unknown measure"):
            TuningPlan(**bad)
    words = Index.open(tmp_path / "words", encoder=None)
    words.upsert(["a passage"])
    with words, pytest.raises(QueryError, match="lacks one"):
        tune(words, asked, judged)


def test_the_nearest_of_what_is_as_good_is_chosen():
    rng = np.random.default_rng(0)
    base = rng.random(100)
    noise = rng.normal(0, 0.1, 100)
    assert choose_best(np.stack([base, base]), [1.0, 0.0]) == 1
    assert choose_best(np.stack([base + 0.01, base]), [1.0, 0.0]) == 0  # better for every query
    luck = noise - noise.mean() + 0.5 * noise.std() / 10
    assert choose_best(np.stack([base + luck, base]), [1.0, 0.0]) == 1
    assert choose_best(np.stack([base + luck + 0.02, base]), [1.0, 0.0]) == 0


def test_luck_is_the_share_of_all_signs_that_do_as_well():
    rng = np.random.default_rng(5)
    for shift in (0.0, 0.4, 1.0):
        tried = rng.normal(shift, 1, size=(4, 9))
        tried[3] = 0
        signs = np.array(list(product([-1, 1], repeat=9)))
        lengths = np.sqrt((tried[:3] ** 2).sum(axis=1))
        best = (signs @ (tried[:3] / lengths[:, None]).T).max(axis=1)
        for each in range(3):
            exact = float((best >= tried[each].sum() / lengths[each] - 1e-9).mean())
            assert max_t_p_value(tried, tried[each]) == pytest.approx(exact, abs=0.04)
    assert max_t_p_value(tried, tried[3]) == 1.0


def test_searches_use_what_was_adopted_after_reopening(tmp_path):
    index, asked, judged, vectors = noisy(tmp_path / "i", dense=False, lexical=True)
    texts = list(asked.values())
    with index:
        default = [hits.ids for hits in Retriever(index).retrieve_many(texts, vectors=vectors)]
        index.profiles.save("trusting", TRUSTING, use=True)
        before = [hits.ids for hits in Retriever(index).retrieve_many(texts, vectors=vectors)]
        tuned = tune(index, asked, judged, plan=TuningPlan(space=SMALL), vectors=vectors)
        assert tuned.accepted
        index.profiles.save("tuned", tuned.profile, use=True)
    with Index.open(tmp_path / "i", create=False) as again:
        found = Retriever(again).retrieve_many(texts, vectors=vectors)
        own = tuned.profile
        wanted = Retriever(again, fusion=own.fusion, depth=own.depth, scorer=own.scorer)
        for hits, same in zip(found, wanted.retrieve_many(texts, vectors=vectors), strict=True):
            assert hits.ids == same.ids
            np.testing.assert_array_equal(hits.scores, same.scores)
        gained = [ndcg(hits.ids, judged[each]) for each, hits in zip(asked, found, strict=True)]
        lost = [ndcg(ids, judged[each]) for each, ids in zip(asked, before, strict=True)]
        assert np.mean(gained) > np.mean(lost) + 0.05
        again.profiles.use(None)
        back = [hits.ids for hits in Retriever(again).retrieve_many(texts, vectors=vectors)]
        assert back == default


@pytest.fixture
def files(tmp_path, abstracts, claims):
    """An index of real abstracts, and questions that share words with their titles alone."""
    folder = tmp_path / "index"
    with Index.open(folder, encoder="hashing") as index:
        index.upsert(
            {"id": each["_id"], "title": each["title"], "text": each["text"]}
            for each in abstracts[:150]
        )
    queries, qrels = tmp_path / "queries.jsonl", tmp_path / "qrels.tsv"
    lines = [{"_id": f"q{at}", "text": abstracts[at]["title"]} for at in range(40)]
    queries.write_text("\n".join(map(json.dumps, lines)))
    rows = [f"q{at}\t{abstracts[at]['_id']}\t1" for at in range(40)]
    qrels.write_text("query-id\tcorpus-id\tscore\n" + "\n".join(rows) + "\n")
    return folder, ("--queries", queries, "--qrels", qrels)


def run(*arguments):
    return CliRunner().invoke(app, [str(each) for each in arguments])


def mean_of(folder, judged, profile):
    texts, qrels = read_queries(judged[1]), read_qrels(judged[3])
    with Index.open(folder, create=False, read_only=True) as index:
        retriever = Retriever(
            index, fusion=profile.fusion, depth=profile.depth, scorer=profile.scorer
        )
        found = retriever.retrieve_many(list(texts.values()))
        return np.mean([ndcg(h.ids, qrels[each]) for each, h in zip(texts, found, strict=True)])


def state(folder):
    with Index.open(folder, create=False, read_only=True) as index, index.view() as view:
        return view.corpus.generation, view.profile, dict(index.profiles)


def test_tune_and_settings_on_the_command_line(files):
    folder, judged = files
    poor = SearchProfile(WeightedSum(MinMax(), 0.9), 50, BM25(3.0, 0.0), 1)
    with Index.open(folder, create=False) as index:
        index.profiles.save("poor", poor, use=True)
    before = state(folder)
    dry = run("tune", folder, *judged, "--measure", "RR@5", "--dry-run", "--json", "--folds", 2)
    assert dry.exit_code == 0, dry.stderr
    found = json.loads(dry.stdout)
    assert (found["measure"], found["queries"], found["saved"]) == ("RR@5", 40, None)
    assert [each["queries"] for each in found["folds"]] == [20, 20]
    assert state(folder) == before
    result = run("tune", folder, *judged, "--name", "better")
    assert result.exit_code == 0, result.stderr
    generation, setting, saved = state(folder)
    if "nothing changes" in result.stdout:
        assert (generation, setting, saved) == before
    else:
        assert saved["better"] == setting != poor
        assert f"twofold profiles {folder} --use poor" in result.stdout
    compared = json.loads(run("profiles", folder, *judged, "--json").stdout)["compared"]
    active = "better" if "better" in saved else "poor"
    assert compared[active]["gain"] == 0
    assert compared[active]["interval"] == [0, 0]
    assert compared["poor"]["mean"] == pytest.approx(mean_of(folder, judged, poor), abs=1e-9)
    gain = compared["default"]["mean"] - compared[active]["mean"]
    assert compared["default"]["gain"] == pytest.approx(gain, abs=1e-9)
    assert "gain over the active one" in run("profiles", folder, *judged).stdout
    assert run("profiles", folder, *judged[:2]).exit_code == 2
    listed = run("profiles", folder).stdout
    assert "the library's defaults" in listed
    assert "WeightedSum(min-max), dense weight 0.90" in listed
    assert run("profiles", folder, "--use", "default").exit_code == 0
    assert state(folder)[1] is None
    values = json.loads(run("profiles", folder, "--drop", "poor", "--json").stdout)
    assert values["active"] is None
    assert "poor" not in values["profiles"]
    unknown = run("profiles", folder, "--use", "por")
    assert unknown.exit_code == 2
    assert "there is no profile 'por'" in unknown.stderr
