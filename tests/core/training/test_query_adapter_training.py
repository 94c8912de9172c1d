"""Training of a query adapter: what it learns, when it is kept, and what is never made worse."""

import itertools
import json
from dataclasses import replace

import numpy as np
import pytest

from commands import command
from twofold import HashingEncoder, Index, Retriever
from twofold.corpus import read_qrels, read_queries
from twofold.errors import DegradedWarning, InputError, QueryError, ReadOnlyError
from twofold.evaluation import bootstrap_interval, evaluate
from twofold.training import (
    AdapterPlan,
    ClickPlan,
    Example,
    Session,
    TrainingSet,
    examples_from_clicks,
    keep,
    plot_curves,
    plot_sweep,
    sweep_temperatures,
    train_adapter,
    training_report,
)
from twofold.tuning import compare_profiles

NOUNS = "plant light press wave food river stone glass horse cloud table paper"
MADE_UP = "blar quon trib zelf morn vask plix drom yurt fenk gost wimp"
SECRET = dict(zip(NOUNS.split(), MADE_UP.split(), strict=True))
PLAN = AdapterPlan(learning_rate=0.01, folds=3)


def secrets():
    """Passages of three nouns, and queries that name them by words which no passage has."""
    rng = np.random.default_rng(0)
    triples = list(itertools.combinations(SECRET, 3))
    rng.shuffle(triples)
    passages = [
        {"id": str(n), "text": f"{a} and {b} with {c}"} for n, (a, b, c) in enumerate(triples)
    ]
    queries = {
        f"q{n}": " ".join(SECRET[each] for each in own) for n, own in enumerate(triples[:120])
    }
    qrels = {f"q{n}": {str(n): 1} for n in range(120)}
    return passages, queries, qrels


def part(given, first, last):
    return dict(list(given.items())[first:last])


@pytest.fixture(scope="module")
def school(tmp_path_factory):
    """An index, what it can learn from, held-out queries, what was learned, and the steps."""
    passages, queries, qrels = secrets()
    learned = TrainingSet.from_qrels(part(queries, 0, 80), part(qrels, 0, 80))
    held = part(queries, 80, 120), part(qrels, 80, 120)
    path = tmp_path_factory.mktemp("school") / "index"
    with Index.open(path, encoder=HashingEncoder()) as index:
        index.upsert(passages)
        steps = []
        trained = train_adapter(index, learned, plan=PLAN, progress=steps.append)
        yield index, learned, held, trained, steps


@pytest.fixture
def riddles(school, tmp_path):
    """An own copy of that index, with the rest."""
    original, learned, held, trained, _ = school
    original.copy(tmp_path / "copy")
    with Index.open(tmp_path / "copy", encoder=HashingEncoder()) as index:
        yield index, learned, held, trained


def ndcg(index, held, mode="hybrid"):
    return evaluate(Retriever(index, mode=mode), *held, ["nDCG@10"]).measures["nDCG@10"]


def test_planted_synonyms_are_learned_and_carry_over_to_passages_never_learned_from(riddles):
    index, _, held, trained = riddles
    before = ndcg(index, held), ndcg(index, held, "dense")
    assert trained.accepted
    assert dict(index.query_adapters) == {}  # nothing was written
    name = keep(index, trained)
    after = ndcg(index, held), ndcg(index, held, "dense")
    assert max(before) < 0.15
    assert min(after) > 0.7, after
    unseen = trained.gain("hybrid", "unseen")
    assert unseen.queries == 80
    assert unseen.interval.low > 0.4
    assert trained.gain("dense").after - 0.1 < after[1]  # folds learn from less
    assert (name, index.profiles.active, list(index.query_adapters)) == ("trained",) * 2 + (
        ["trained"],
    )
    index.profiles.use(None)
    assert (ndcg(index, held), ndcg(index, held, "dense")) == before


def test_progress_goes_from_nothing_to_all(school):
    *_, steps = school
    assert steps[0].done < 0.1
    assert steps[-1].done == 1.0
    assert all(a.done <= b.done + 1e-9 for a, b in itertools.pairwise(steps))
    assert {each.stage for each in steps} >= {"fold 1 of 3", "all queries", "tuning the fusion"}


def test_the_same_data_in_any_order_teaches_the_same(riddles):
    index, learned, _, one = riddles
    two = train_adapter(index, TrainingSet(tuple(reversed(learned.examples))), plan=PLAN)
    assert np.array_equal(one.adapter.matrix, two.adapter.matrix)
    assert [str(each) for each in one.gains] == [str(each) for each in two.gains]
    assert one.metadata["data"] == two.metadata["data"] == learned.digest


def test_vectors_of_the_caller_do_as_the_encoder_s(riddles):
    index, learned, _, one = riddles
    vectors = HashingEncoder().encode_queries([each.query for each in learned])
    two = train_adapter(index, learned, plan=PLAN, vectors=vectors)
    assert np.array_equal(one.adapter.matrix, two.adapter.matrix)
    with Index.open(None, dim=256, analyzer=None) as bare:  # no encoder, no words
        passages = list(index)
        bare.upsert(passages, vectors=HashingEncoder().encode_passages([p.text for p in passages]))
        trained = train_adapter(bare, learned, plan=PLAN, vectors=vectors)
        assert trained.accepted
        assert [each.mode for each in trained.gains] == ["dense"] * 2
        keep(bare, trained)
        found = Retriever(bare, mode="dense").retrieve_many(vectors=bare.adapted(vectors), k=1)
        right = [
            hits.ids[0] == each.positives[0] for hits, each in zip(found, learned, strict=True)
        ]
        assert np.mean(right) > 0.9
        with pytest.raises(
            InputError, match=r"must have shape \(80, 256\), one row per example, got \(3, 256\)"
        ):
            train_adapter(bare, learned, vectors=vectors[:3])
        for bad in (np.nan, 0.0):
            spoilt = vectors.copy()
            spoilt[3] = bad
            name = learned[3].query_id
            with pytest.raises(InputError, match=f"the vector of query '{name}' is not finite"):
                train_adapter(bare, learned, vectors=spoilt)
        with pytest.raises(InputError, match="must be an array of numbers"):
            train_adapter(bare, learned, vectors=[[1.0], [1.0, 2.0]])
        with pytest.raises(QueryError, match="no encoder"):
            train_adapter(bare, learned)


def test_shuffled_labels_and_too_few_queries_change_nothing(riddles):
    index, learned, _, _ = riddles
    rng = np.random.default_rng(0)
    answers = rng.permutation([each.positives for each in learned])
    wrong = [
        Example(each.query, tuple(other.tolist()), query_id=each.query_id)
        for each, other in zip(learned, answers, strict=True)
    ]
    trained = train_adapter(index, TrainingSet(tuple(wrong)), plan=PLAN)
    assert not trained.accepted
    assert "rejected" in str(trained)
    few = train_adapter(index, TrainingSet(learned.examples[:10]))
    assert (few.accepted, few.adapter, few.needed) == (False, None, 20)
    with pytest.raises(InputError, match="no adapter to keep: rejected: 10 queries"):
        keep(index, few)
    assert dict(index.profiles) == {}


def test_queries_of_another_kind_must_not_lose(riddles):
    index, learned, _, _ = riddles
    # These find their passage by words alone; the same words now lead elsewhere, too.
    other = tuple(
        Example(f"{passage.text}", (passage.id,), query_id=f"o{passage.id}")
        for passage in index.get([str(n) for n in range(150, 200)])
    )
    trained = train_adapter(index, learned, plan=PLAN, regression_set=TrainingSet(other))
    assert trained.forgotten.queries == 50
    assert trained.forgotten.before == 1.0
    assert trained.accepted == (trained.forgotten.lost <= PLAN.max_regression)


def test_data_that_cannot_be_learned_from_is_refused_at_once(riddles):
    index, learned, _, _ = riddles
    generation = index.verify().generation
    away = TrainingSet(tuple(Example(f"query {n}", (f"x{n}",)) for n in range(30)))
    with pytest.raises(InputError, match="none of the positives of 30 examples is in the index"):
        train_adapter(index, away)
    same = TrainingSet(tuple(Example(f"query {n}", ("7",)) for n in range(30)))
    with pytest.raises(InputError, match="all 30 examples have the same positives"):
        train_adapter(index, same)
    one = TrainingSet(tuple(Example("a query", (str(n),), query_id=str(n)) for n in range(30)))
    with pytest.raises(InputError, match="all 30 examples have the same query 'a query'"):
        train_adapter(index, one)
    with pytest.raises(InputError, match="no examples"):
        train_adapter(index, TrainingSet(()))
    with pytest.raises(InputError, match="query must be text that isn't blank"):
        Example("  ", ("1",))
    with pytest.warns(DegradedWarning, match="30 of 110 examples have no positive in the index"):
        assert train_adapter(index, learned.join(away), plan=PLAN).queries == 80
    with Index.open(None, encoder="hashing") as empty, pytest.raises(QueryError, match="is empty"):
        train_adapter(empty, learned)
    with Index.open(None, encoder=None) as words:
        words.upsert(["a text"])
        with pytest.raises(QueryError, match="no vectors to train on"):
            train_adapter(words, learned)
    assert index.verify().generation == generation


def test_a_second_training_starts_from_what_is_in_use_and_keeps_the_first(riddles):
    index, learned, held, trained = riddles
    keep(index, trained)
    once = ndcg(index, held)
    again = train_adapter(index, learned, plan=PLAN)
    assert not again.accepted  # nothing is gained over the first
    assert again.gain("hybrid").before > 0.8
    assert "run index.profiles.use(None) first" in again.reason
    with pytest.raises(InputError, match="there is already a profile 'trained'"):
        keep(index, again, name="trained")
    assert keep(index, again, use=False) == "trained-2"
    assert index.profiles.active == "trained"
    assert ndcg(index, held) == once
    index.close()
    with Index.open(index.path, read_only=True, encoder=HashingEncoder()) as reader:
        assert ndcg(reader, held) == once
        with pytest.raises(ReadOnlyError):
            keep(reader, again)


def test_extra_examples_teach_and_do_not_judge(riddles):
    index, learned, held, _ = riddles
    some = TrainingSet(learned.examples[:24])
    others = tuple(replace(e, query_id=f"extra {e.query_id}") for e in learned.examples[20:])
    alone = train_adapter(index, some, plan=PLAN)
    helped = train_adapter(index, some, plan=PLAN, extra=TrainingSet(others))
    assert helped.gain("hybrid").queries == alone.gain("hybrid").queries == 24
    assert helped.gain("hybrid").after > alone.gain("hybrid").after + 0.1
    assert (helped.metadata["extra"], helped.metadata["pairs"]) == (
        56,
        80,
    )  # four are known already
    assert alone.metadata["extra"] == 0
    keep(index, helped)
    assert ndcg(index, held) > 0.6
    clash = TrainingSet((replace(some[0], query="other words"),))
    with pytest.raises(InputError, match="query ids must be distinct"):
        train_adapter(index, some, plan=PLAN, extra=clash)


def test_what_the_adapter_in_use_remembers_does_not_judge_a_new_one(riddles):
    """The first, learned from 40 queries, is perfect on those, and the second from 80 is better."""
    index, learned, held, _ = riddles
    some = TrainingSet(learned.examples[:40])
    weak = train_adapter(index, some, plan=replace(PLAN, epochs=3))
    keep(index, weak)
    first = ndcg(index, held)
    again = train_adapter(index, learned, plan=PLAN)
    assert again.gain("hybrid").queries == 40
    assert "on the 40 queries that it was not trained on" in again.reason
    assert again.accepted
    keep(index, again)
    assert ndcg(index, held) > first
    assert "learned" not in again.metadata
    assert len(index.query_adapters["trained-2"].metadata["learned"]) == 80
    # What says nothing of where it comes from may remember all.
    index.query_adapters.save("foreign", replace(again.adapter, metadata={}))
    index.profiles.save("foreign", replace(again.profile, query_adapter="foreign"), use=True)
    third = train_adapter(index, learned, plan=PLAN)
    assert third.gain("hybrid").queries == 80
    assert "run index.profiles.use(None) first" in third.reason


def test_report_and_picture(riddles, tmp_path):
    index, learned, _, trained = riddles
    text = training_report(trained, title="riddles", date="2026-11-25")
    gain = trained.gain("hybrid")
    assert f"| hybrid | 80 in all | {gain.before:.4f} | {gain.after:.4f} |" in text
    assert f"- data: {learned.digest}" in text
    assert text.count("\n| 1 | ") == 1
    plot_curves(trained, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes()[:4] == b"\x89PNG"
    few = train_adapter(index, TrainingSet(learned.examples[:10]))
    assert "10 queries are too few" in training_report(few, title="riddles", date="2026-11-25")
    with pytest.raises(InputError, match="no epochs to draw"):
        plot_curves(few, tmp_path / "none.png")
    assert json.loads(json.dumps(trained.to_dict()))["accepted"] is True


def test_a_sweep_gives_each_temperature_its_gain(riddles, tmp_path):
    index, learned, _, trained = riddles
    swept = sweep_temperatures(index, learned, (0.02, 0.05), plan=replace(PLAN, epochs=6))
    assert [each.temperature for each in swept] == [0.02, 0.05]
    assert swept[0].gain.before == swept[1].gain.before == trained.gain("hybrid").before
    assert swept[0].gain.after != swept[1].gain.after
    plot_sweep(swept, tmp_path / "sweep.png")
    assert (tmp_path / "sweep.png").read_bytes()[:4] == b"\x89PNG"
    for given, wanted in (
        ((), "temperatures must not be empty"),
        ((0.05, 2.0), "got 2.0"),
    ):
        with pytest.raises(InputError, match=wanted):
            sweep_temperatures(index, learned, given)
    with pytest.raises(InputError, match="10 queries are too few"):
        sweep_temperatures(index, TrainingSet(learned.examples[:10]))
    with pytest.raises(InputError, match="nothing to draw"):
        plot_sweep((), tmp_path / "none.png")


class Turned(HashingEncoder):
    """Another model of as many dimensions, and without a name to know it by."""

    def encode_queries(self, texts):
        return np.roll(super().encode_queries(texts), 7, axis=1)

    def encode_passages(self, texts):
        return np.roll(super().encode_passages(texts), 7, axis=1)


def test_what_was_learned_beside_other_vectors_is_not_kept(riddles):
    index, _, _, trained = riddles
    index.reencode(Turned())
    with pytest.raises(InputError, match="reencoded: train again"):
        keep(index, trained)
    assert dict(index.query_adapters) == {}


def test_a_fusion_s_gain_is_not_the_adapter_s():
    """The words are noise, so leaving them out gains much, and no map can gain anything."""
    words = [f"w{number}" for number in range(40)]
    kept = fusions = 0
    for seed in range(4):
        rng = np.random.default_rng(seed)
        points = rng.normal(size=(200, 32)).astype(np.float32)
        answers = rng.integers(0, 200, 80)
        vectors = (points[answers] + 1.5 * rng.normal(size=(80, 32))).astype(np.float32)
        texts = [" ".join(rng.choice(words, 8)) for _ in range(200)]
        examples = TrainingSet(
            tuple(
                Example(" ".join(rng.choice(words, 4)), (str(own),), query_id=str(place))
                for place, own in enumerate(answers.tolist())
            )
        )
        with Index.open(None, dim=32) as index:
            index.upsert([{"id": str(n), "text": t} for n, t in enumerate(texts)], vectors=points)
            trained = train_adapter(index, examples, vectors=vectors[: len(examples)])
        kept += trained.accepted
        fusions += trained.tuned.accepted
        assert trained.gain("hybrid").interval.mean < 0.1
    assert fusions >= 3  # so that there was something to be taken for the map's
    assert kept == 0


def test_queries_of_another_kind_are_checked_too(riddles):
    index, learned, _, _ = riddles
    with pytest.raises(InputError, match="regression_set has no queries"):
        train_adapter(index, learned, regression_set=TrainingSet(()))
    away = TrainingSet(tuple(Example(f"query {n}", (f"x{n}",)) for n in range(30)))
    with pytest.raises(InputError, match="none of the positives of 30 examples"):
        train_adapter(index, learned, regression_set=away)


@pytest.mark.parametrize("used", ["trained", None])
def test_settings_are_compared_each_with_its_own_adapter(riddles, used):
    index, _, held, trained = riddles
    keep(index, trained)
    truth = {}
    for name in (None, "trained"):
        index.profiles.use(name)
        found = Retriever(index).retrieve_many(list(held[0].values()))
        ranks = [
            hits.ids.index(own) + 1 if own in hits.ids[:10] else np.inf
            for hits, own in zip(
                found, (next(iter(each)) for each in held[1].values()), strict=True
            )
        ]
        truth[name] = float(np.mean(1 / np.log2(np.array(ranks) + 1)))
    index.profiles.use(used)
    vectors = HashingEncoder().encode_queries(list(held[0].values()))
    for given in (None, vectors):
        rows = {each.name: each for each in compare_profiles(index, *held, vectors=given)}
        assert rows["default"].mean == pytest.approx(truth[None], abs=1e-9)
        assert rows["trained"].mean == pytest.approx(truth["trained"], abs=1e-9)
        gained = truth["trained"] - truth[None]
        assert rows["trained"].gain.mean == pytest.approx(0.0 if used else gained, abs=1e-9)
    (index.path / "adapters" / "trained.adapter").unlink()
    rows = {each.name: each for each in compare_profiles(index, *held)} if used is None else rows
    assert rows["default"].mean == pytest.approx(truth[None], abs=1e-9)
    if used is None:  # what it would serve
        assert rows["trained"].mean == rows["default"].mean


def clicked(learned, propensity):
    """What clicks on answers at position 4 teach, below a wrong passage that is always first."""
    rng = np.random.default_rng(5)
    others = [each.positives[0] for each in learned]
    sessions = []
    for place, each in enumerate(learned):
        shown = (others[place - 1], others[place - 2], others[place - 3], each.positives[0])
        looked = rng.random((60, 4)) < 1 / np.arange(1, 5)
        wanted = rng.random((60, 4)) < np.array([0.3, 0.05, 0.05, 0.8])
        for row in looked & wanted:
            hit = tuple(own for own, yes in zip(shown, row.tolist(), strict=True) if yes)
            sessions.append(Session(each.query, shown, hit))
    found = examples_from_clicks(
        sessions, ClickPlan(propensity=propensity, min_relevance=0.02, skip_above=False)
    )
    by_query = {each.query: each.positives[:1] for each in found}  # the best estimate
    return TrainingSet(
        tuple(replace(each, positives=by_query[each.query], grades=()) for each in learned)
    )


def test_clicks_weighted_by_propensity_teach_a_better_map_than_raw_ones(riddles):
    index, learned, held, _ = riddles
    scores = {}
    for name, propensity in (("weighted", 1.0), ("raw", 0.0)):
        data = clicked(learned, propensity)
        trained = train_adapter(index, data, plan=replace(PLAN, epochs=20))
        keep(index, trained, name=name)
        scores[name] = ndcg(index, held, "dense")
    index.profiles.use(None)
    base = ndcg(index, held, "dense")
    assert scores["weighted"] > base + 0.4
    assert scores["weighted"] > scores["raw"] + 0.2


def test_the_command_line_trains_activates_and_goes_back(tmp_path):
    passages, queries, qrels = secrets()
    corpus, asked, judged = (tmp_path / name for name in ("c.jsonl", "q.jsonl", "qrels.tsv"))
    corpus.write_text(
        "".join(json.dumps({"_id": p["id"], "text": p["text"]}) + "\n" for p in passages)
    )
    asked.write_text("".join(json.dumps({"_id": a, "text": b}) + "\n" for a, b in queries.items()))
    judged.write_text(
        "query-id\tcorpus-id\tscore\n"
        + "".join(f"{query}\t{own}\t1\n" for query, grades in qrels.items() for own in grades)
    )
    assert read_queries(asked) == queries
    assert read_qrels(judged) == qrels
    folder = tmp_path / "index"
    assert command("index", corpus, "--to", folder, "--encoder", "hashing").returncode == 0
    train = ("train", folder, "--queries", asked, "--qrels", judged)
    off = command(*train, "--no-activate", "--name", "mine", "--report", tmp_path / "r.md")
    assert off.returncode == 0, off.stderr
    assert "saved as 'mine' and not in use" in off.stdout
    assert "accepted" in (tmp_path / "r.md").read_text()
    taken = command(*train, "--name", "mine")
    assert taken.returncode == 2
    assert "there is already a" in taken.stderr
    on = command(*train, "--json")
    assert on.returncode == 0, on.stderr
    said = json.loads(on.stdout)
    assert (said["accepted"], said["saved"], said["active"]) == (True, "trained", True)
    found = command("search", folder, queries["q3"], "--json")
    assert "3" in [each["id"] for each in json.loads(found.stdout)["hits"]]
    table = command("profiles", folder).stdout
    assert table.split("trained", 1)[1].split("\n")[0].rstrip().endswith("trained")  # its adapter
    assert command("profiles", folder, "--drop", "mine").returncode == 0
    assert not (folder / "adapters" / "mine.adapter").exists()
    (folder / "adapters" / "trained.adapter").unlink()
    undone = command("search", folder, queries["q3"])
    assert "is not used" in undone.stderr
    assert command("profiles", folder, "--use", "default").returncode == 0
    generation = command("verify", folder).stdout
    for more, said in (
        (("--report", tmp_path / "nowhere" / "r.md"), "there is no folder"),
        (("--report", tmp_path), "it is a folder"),
        (("--plot", tmp_path / "nowhere" / "x.png"), "there is no folder"),
        (("--to", tmp_path / "m"), "--to is for --full and --reranker, not for an adapter"),
        (("--full", "--to", tmp_path / "m", "--name", "x"), "--name is for an adapter"),
        (("--full",), "--full writes a model: give --to"),
        (("--full", "--reranker", "x"), "two trainings"),
        (("--propensity", "2"), "--propensity goes with --clicks"),
        (("--id-triples", tmp_path / "t.tsv"), "there is no file"),
    ):
        refused = command(*train, *more)
        assert refused.returncode == 2
        assert said in refused.stderr
    assert command("verify", folder).stdout == generation
    nothing = command("train", folder, "--queries", asked)
    assert nothing.returncode == 2
    assert "nothing to learn from: give --queries with --qrels" in nothing.stderr
    bad = command(*train, "--temperature", "1")
    assert bad.returncode == 2
    assert "got 1.0" in bad.stderr


@pytest.mark.slow
def test_never_worse_on_twenty_small_sets_some_with_shuffled_labels(library, abstracts):
    """Titles ask for abstracts; hashed words leave room for gains, and wrong labels for harm."""
    rng = np.random.default_rng(0)
    every = [
        Example(each["title"], (each["_id"],), query_id=each["_id"]) for each in abstracts[:300]
    ]
    kept = 0
    for number in range(20):
        order = rng.permutation(300)
        chosen = [every[place] for place in order[:60]]
        if number % 2:
            labels = rng.permutation([each.positives[0] for each in chosen])
            chosen = [
                Example(each.query, (str(label),), query_id=each.query_id)
                for each, label in zip(chosen, labels, strict=True)
            ]
        trained = train_adapter(library, TrainingSet(tuple(chosen)), plan=AdapterPlan(seed=number))
        if not trained.accepted:
            continue
        kept += 1
        held = [every[place] for place in order[60:]]
        queries = {each.query_id: each.query for each in held}
        vectors = HashingEncoder().encode_queries(list(queries.values()))
        values = []
        for given in (vectors, trained.adapter(vectors)):
            found = Retriever(library).retrieve_many(list(queries.values()), vectors=given, k=10)
            ranks = [
                hits.ids.index(own) + 1 if own in hits.ids else np.inf
                for hits, own in zip(found, queries, strict=True)
            ]
            values.append(1 / np.log2(np.array(ranks) + 1))
        assert bootstrap_interval(values[1] - values[0]).high >= 0
    assert kept < 20
