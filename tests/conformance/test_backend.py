"""One suite for every engine behind the seam: what its sessions give, and what runs over it."""

import json
from dataclasses import replace

import numpy as np
import pytest

import oracles
from dict_backend import BARE, FULL, DictBackend, matches, split_words
from twofold import HashingEncoder, Index, Retriever, WeightedSum
from twofold.backend import Completion, EncodedBackend, WritableBackend
from twofold.encoders import QueryAdapter
from twofold.errors import QueryError
from twofold.evaluation import evaluate
from twofold.filters import parse_filter
from twofold.training import AdapterPlan, TrainingSet, mine, train_adapter
from twofold.tuning import TuningPlan, tune
from twofold.types import Passage

ENGINES = [
    "local",
    "dictionary",
    "postgres",
    "milvus",
    # Of these servers, one at a time runs on a machine.
    pytest.param("old milvus", marks=[pytest.mark.slow, pytest.mark.alone]),
]
METRICS = ["cosine", "dot", "euclidean"]
WORDS = ["apple", "pear", "red", "green", "tree", "leaf", "river", "stone", "hill", "sun", "lake"]
FILTERS = [
    {"year": {"$gte": 2003}}, {"group": "a"}, {"group": {"$in": ["a", "c"]}, "year": {"$lt": 2005}},
    {"$or": [{"group": "b"}, {"year": 2001}]}, {"$not": {"group": "a"}}, {"tags": {"$contains": 1}},
    {"year": {"$exists": False}}, {"$id": {"$in": ["03", "11", "nothing"]}},
    {"group": {"$ne": "a"}}, {"tags": {"$any": [2, 3]}}, {"group": {"$text": "b"}},
]  # fmt: skip


def some_passages(count=60, seed=0):
    rng = np.random.default_rng(seed)
    passages = []
    for at in range(count):
        metadata = {"year": int(rng.integers(2000, 2008)), "group": "abc"[rng.integers(3)]}
        metadata |= {"tags": rng.integers(0, 5, size=2).tolist()}
        if at % 7 == 0:
            del metadata["year"]
        text = " ".join(rng.choice(WORDS, size=rng.integers(1, 9)))
        passages.append(
            Passage(text=text, id=f"{at:02}", title="sun" * (at % 2), metadata=metadata)
        )
    return passages


def some_vectors(count, seed=1):
    return np.random.default_rng(seed).standard_normal((count, 16)).astype(np.float32)


@pytest.fixture
def open_engine(request):
    opened = []

    def open_one(name, metric):
        options = {"dim": 16, "metric": metric, "analyzer": split_words_analyzer}
        if name == "dictionary":
            return DictBackend(metric)
        if name == "postgres":
            return request.getfixturevalue("postgres")(**options)
        if name == "old milvus":
            options |= {"analyzer": None, "uri": request.getfixturevalue("old_milvus").uri}
            options["collection"] = metric  # one for all tests: creating it takes seconds
        if name.endswith("milvus"):
            return request.getfixturevalue("milvus")(**options, index_type="flat")
        opened.append(Index.open(None, **options))
        return opened[-1]

    yield open_one
    for index in opened:
        index.close()


def split_words_analyzer(text: str) -> list[str]:
    return split_words(text)


@pytest.fixture(params=ENGINES)
def engine(request, open_engine):
    backend = open_engine(request.param, "cosine")
    backend.upsert(some_passages(), vectors=some_vectors(60))
    return backend


def skip_without_words(engine):
    """Report a test as not run over a server that has no full-text search."""
    if "lexical" not in engine.capabilities.modes:
        pytest.skip("not run: Milvus 2.3.5 has no full-text search")


def skip_without_infix(name, where):
    """Report a test as not run over a server whose filters find no text within a string."""
    if name == "old milvus" and "$text" in str(where):
        pytest.skip("not run: Milvus 2.3.5 has no filter for text within a string")


def keys_by_id(session):
    keys = session.list_keys()
    return dict(zip(session.fetch(keys, texts=False).ids, keys.tolist(), strict=True))


def ids_of(session, hits):
    return list(session.fetch(hits.keys, texts=False).ids)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize("where", [None, *FILTERS])
def test_a_dense_search_gives_the_best_scores_of_what_matches(open_engine, name, metric, where):
    passages, vectors, queries = some_passages(), some_vectors(60), some_vectors(3, seed=2)
    backend = open_engine(name, metric)
    backend.upsert(passages, vectors=vectors)
    node = None if where is None else parse_filter(where)
    kept = [at for at, one in enumerate(passages) if node is None or matches(node, one)]
    skip_without_infix(name, where)
    with backend.session() as session:
        found = session.search_dense(queries, 7, node, np.inf)
        assert len(found) == 3
        for query, hits in zip(queries, found, strict=True):
            scores = {passages[at].id: oracles.nearness(metric, query, vectors[at]) for at in kept}
            best = sorted(scores, key=lambda one: (-scores[one], one))[:7]
            assert ids_of(session, hits) == best
            assert hits.scores == pytest.approx([scores[one] for one in best], abs=1e-6)
    assert kept or where == {"group": {"$text": "b"}}


@pytest.mark.parametrize("where", [None, *FILTERS])
def test_a_lexical_search_gives_the_best_scores_of_what_shares_a_word(engine, where):
    skip_without_words(engine)
    passages = some_passages()
    node = None if where is None else parse_filter(where)
    terms = {one.id: split_words(one.content) for one in passages}
    with engine.session() as session:
        for text in ("red apple", "Sun lake lake", "nothing"):
            (hits,) = session.search_lexical([text], 9, node, None)
            scores = oracles.lucene(terms, split_words(text))
            kept = [one.id for one in passages if node is None or matches(node, one)]
            scores = {one: scores[one] for one in kept if one in scores}
            best = sorted(scores, key=lambda one: (-scores[one], one))[:9]
            assert hits.scores == pytest.approx([scores[one] for one in best], abs=1e-5)
            assert sorted(ids_of(session, hits)) == sorted(best) or len(set(hits.scores)) < len(
                best
            )


def test_completion_scores_what_a_search_would(engine):
    skip_without_words(engine)
    with engine.session() as session:
        keys, vector = session.list_keys(), some_vectors(1, seed=5)[0]
        (dense,) = session.search_dense(vector[None, :], 60, None, np.inf)
        (lexical,) = session.search_lexical(["red tree"], 60, None, None)
        none = np.empty(0, np.int64)
        both, words, near = session.complete(
            [
                Completion("red tree", vector, keys, keys),
                Completion("red tree", None, none, keys),
                Completion(None, vector, keys[:3], none),
            ]
        )
        by_key = dict(zip(keys.tolist(), both.dense.tolist(), strict=True))
        assert [by_key[key] for key in dense.keys.tolist()] == pytest.approx(dense.scores.tolist())
        by_key = dict(zip(keys.tolist(), both.lexical.tolist(), strict=True))
        assert [by_key[key] for key in lexical.keys.tolist()] == pytest.approx(
            lexical.scores.tolist(), abs=1e-9
        )
        unlisted = set(keys.tolist()) - set(lexical.keys.tolist())
        assert unlisted
        assert {by_key[key] for key in unlisted} == {0.0}
        assert words.lexical.tolist() == both.lexical.tolist()
        assert near.dense.tolist() == both.dense.tolist()[:3]
        assert len(words.dense) == len(near.lexical) == 0


def test_passages_are_fetched_by_key_and_by_id_in_the_order_asked_for(engine):
    passages, vectors = {one.id: one for one in some_passages()}, some_vectors(60)
    with engine.session() as session:
        known = keys_by_id(session)
        assert sorted(known) == sorted(passages)
        fetched = session.fetch(np.array([known["07"], known["02"]]), vectors=True)
        assert list(fetched.ids) == ["07", "02"]
        assert [one.text for one in fetched.passages] == [passages["07"].text, passages["02"].text]
        assert fetched.passages[0].metadata == passages["07"].metadata
        lengths = np.linalg.norm(fetched.vectors, axis=1, keepdims=True)  # unit ones under cosine
        unit = vectors[[7, 2]] / np.linalg.norm(vectors[[7, 2]], axis=1, keepdims=True)
        assert fetched.vectors / lengths == pytest.approx(unit, abs=1e-6)
        assert fetched.has_vector.tolist() == [True, True]
        by_id = session.fetch(ids=["11", "nothing", "05"], texts=False)
        assert (list(by_id.ids), by_id.keys.tolist()) == (["11", "05"], [known["11"], known["05"]])


@pytest.mark.parametrize("where", FILTERS)
def test_a_filter_is_matched_over_the_keys_alone(engine, where):
    skip_without_infix("old milvus" if len(engine.capabilities.modes) == 1 else "", where)
    passages, node = {one.id: one for one in some_passages()}, parse_filter(where)
    with engine.session() as session:
        keys = session.list_keys()[::3]
        ids = session.fetch(keys, texts=False).ids
        wanted = [matches(node, passages[one]) for one in ids]
        assert session.matches(node, keys).tolist() == wanted
        listed = session.fetch(session.list_keys(node), texts=False).ids
        assert sorted(listed) == sorted(one for one in passages if matches(node, passages[one]))


def test_statistics_are_those_of_all_passages(engine):
    skip_without_words(engine)
    vectors, vector = some_vectors(60), some_vectors(1, seed=5)[0]
    with engine.session() as session:
        assert session.least_dense_score(vector) <= min(
            oracles.nearness("cosine", vector, each) for each in vectors
        )
        assert session.term_coverage("red zebra") == 0.5
        assert session.metadata_fields() == ["group", "tags", "year"]
        assert session.corpus.passages == 60


@pytest.mark.parametrize("name", ENGINES)
def test_moments_are_those_of_all_scores(open_engine, name):
    vectors, vector = some_vectors(60), some_vectors(1, seed=5)[0]
    terms = {one.id: split_words(one.content) for one in some_passages()}
    engine = open_engine(name, "cosine")
    skip_without_words(engine)
    engine.upsert(some_passages(), vectors=vectors)
    with engine.session() as session:
        scores = [oracles.nearness("cosine", vector, each) for each in vectors]
        moments = session.dense_moments(vector)
        assert (moments.mean, moments.deviation) == pytest.approx(
            (np.mean(scores), np.std(scores)), abs=1e-6
        )
        found = oracles.lucene(terms, ["red", "tree"])
        scores = [found.get(one, 0.0) for one in terms]
        moments = session.lexical_moments("red tree", None)
        assert moments.mean == pytest.approx(np.mean(scores), abs=1e-3)


def test_a_writable_engine_replaces_deletes_and_gets(engine):
    assert isinstance(engine, WritableBackend)
    with engine.session() as session:
        before = session.corpus.generation
    engine.upsert([Passage(text="a violet", id="03")], vectors=some_vectors(1, seed=9))
    assert engine.delete(["04", "nothing"]) == 1
    assert [one.text for one in engine.get(["03", "04"])] == ["a violet"]
    assert engine.delete(where={"group": "a"}) > 5
    assert not engine.get(where={"group": "a"})
    with engine.session() as session:
        assert session.corpus.generation != before
        assert session.corpus.passages == len(engine.get(where={}))
        (hits,) = session.search_dense(some_vectors(1, seed=9), 1, None, np.inf)
        assert ids_of(session, hits) == ["03"]
        if "lexical" in engine.capabilities.modes:
            (hits,) = session.search_lexical(["violet"], 5, None, None)
            assert ids_of(session, hits) == ["03"]


def on_server(open_backend, **options):
    backend = open_backend(encoder=HashingEncoder(), analyzer=split_words_analyzer, **options)
    backend.upsert(some_passages())
    return backend


def encoded(capabilities=FULL):
    backend, encoder = DictBackend("cosine", capabilities), HashingEncoder()
    passages = some_passages()
    backend.upsert(passages, vectors=encoder.encode_passages([one.content for one in passages]))
    return EncodedBackend(backend, encoder)


@pytest.fixture
def local():
    with Index.open(None, encoder=HashingEncoder(), analyzer=split_words_analyzer) as index:
        index.upsert(some_passages())
        yield index


@pytest.mark.parametrize("mode", ["hybrid", "dense", "lexical"])
@pytest.mark.parametrize("options", [
    {}, {"where": {"year": {"$gte": 2003}}}, {"min_score": 0.4}, {"diversity": 0.4},
    {"dedup_threshold": 0.95}, {"group_by": "group", "per_group": 2}, {"k": 25},
])  # fmt: skip
def test_a_retriever_gives_the_same_over_all_engines(local, postgres, milvus, mode, options):
    targets = [encoded(), on_server(postgres), on_server(milvus, index_type="flat")]
    for query in ("red apple", "sun over the lake", "stone", "nothing here", " "):
        fusion = WeightedSum(dense_weight=0.4)
        ours = Retriever(local, mode=mode, depth=10, fusion=fusion, **options).retrieve(query)
        for target in targets:
            retriever = Retriever(target, mode=mode, depth=10, fusion=fusion, **options)
            theirs = retriever.retrieve(query)
            assert theirs.scores == pytest.approx(ours.scores, abs=1e-5)
            assert theirs.legs_used == ours.legs_used
            assert theirs.warnings == ours.warnings


@pytest.fixture(params=["dictionary", "postgres", "milvus"])
def target(request):
    """Something to search, with an encoder."""
    if request.param == "dictionary":
        return encoded()
    return on_server(request.getfixturevalue(request.param))


def with_profile(target, profile):
    """Return what is searched, with another profile."""
    if isinstance(target, EncodedBackend):
        return replace(target, profile=profile)
    return EncodedBackend(target, target.encoder, profile)


def test_explanations_go_as_far_as_the_capabilities(target):
    hits = Retriever(target, k=3).retrieve("red apple tree")
    explained = hits.explain()
    for one in explained.hits:
        terms = sum(term.contribution for term in one.terms)
        assert terms == pytest.approx(one.hit.legs["lexical"].score, abs=1e-6)
        assert one.meaning is not None
    assert json.loads(json.dumps(explained.to_dict()))
    why = hits.why_not(next(one.id for one in some_passages() if one.id not in hits.ids))
    assert why.legs.keys() == {"dense", "lexical"}
    assert why.changes


def test_an_engine_without_explanations_explains_what_it_can():
    bare = Retriever(encoded(BARE), k=3).retrieve("red apple tree")
    assert len(bare) == 3
    assert all(not one.terms for one in bare.explain().hits)


def test_a_limit_of_the_engine_is_kept_and_said():
    retriever = Retriever(encoded(BARE), mode="dense", k=50, dedup_threshold=0.99)
    hits = retriever.retrieve("red apple")
    assert 0 < len(hits) <= 40
    assert "this backend returns at most 40 passages per search: lower k" in hits.warnings


def test_a_scorer_needs_an_engine_that_takes_one():
    from twofold import BM25

    with pytest.raises(QueryError, match="takes no scoring function"):
        Retriever(encoded(), scorer=BM25(k1=2.0)).retrieve("red apple")


def test_what_the_engine_has_not_is_refused():
    bare = EncodedBackend(DictBackend(capabilities=replace(FULL, modes=("lexical",))))
    with pytest.raises(QueryError, match="can't serve mode 'hybrid'"):
        Retriever(bare)
    with pytest.raises(QueryError, match="no encoder"):
        Retriever(replace(encoded(), encoder=None)).retrieve("red apple")


def test_evaluation_runs_over_any_engine(target):
    queries = {"1": "red apple", "2": "sun lake"}
    qrels = {
        query: {hit.id: 1 for hit in Retriever(target, k=3).retrieve(text)}
        for query, text in queries.items()
    }
    found = evaluate(Retriever(target, k=10), queries, qrels, measures=["nDCG@10"])
    assert 0.9 < found.measures["nDCG@10"] <= 1.0


def judged(target, count=24):
    """Queries made of two words, with the passages that have both as the relevant ones."""
    rng, passages = np.random.default_rng(3), some_passages()
    queries, qrels = {}, {}
    for at in range(count):
        words = rng.choice(WORDS, size=2, replace=False)
        having = {one.id: 1 for one in passages if set(words) <= set(split_words(one.content))}
        if having:
            queries[str(at)], qrels[str(at)] = " ".join(words), having
    return queries, qrels


def test_tuning_runs_over_any_engine(target):
    queries, qrels = judged(target)
    result = tune(target, queries, qrels, plan=TuningPlan(min_queries=8, folds=2))
    assert result.queries == len(queries) > 10
    assert result.tried > 3
    tuned = Retriever(with_profile(target, result.found))
    mean = evaluate(tuned, queries, qrels, measures=["nDCG@10"]).measures["nDCG@10"]
    assert mean >= evaluate(Retriever(target), queries, qrels, ["nDCG@10"]).measures["nDCG@10"]


def test_an_adapter_is_trained_over_any_engine(target):
    queries, qrels = judged(target)
    learned = TrainingSet.from_qrels(queries, qrels)
    plan = AdapterPlan(epochs=2, folds=2, min_queries=8)
    trained = train_adapter(target, learned, plan=plan)
    assert trained.queries == len(learned)
    assert {gain.mode for gain in trained.gains} == {"hybrid", "dense"}
    engine = target.backend if isinstance(target, EncodedBackend) else target
    adapted = EncodedBackend(engine, target.encoder, query_adapter=QueryAdapter(-np.eye(256)))
    plain = Retriever(target, mode="dense", k=60).retrieve("red apple").ids
    assert Retriever(adapted, mode="dense", k=60).retrieve("red apple").ids != plain


def test_negatives_are_mined_over_any_engine(target):
    learned = TrainingSet.from_qrels(*judged(target))
    mined = mine(target, learned)
    assert all(mined[example.query_id] for example in learned)
    for example in learned:
        assert not {one.id for one in mined[example.query_id]} & set(example.positives)
