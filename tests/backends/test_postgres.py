"""A PostgreSQL backend against the local index: scores, windows, moving, and writers at once."""

import threading

import numpy as np
import psycopg
import pytest

from short_reader import ShortReader
from twofold import HashingEncoder, Index, Passage, Retriever, SearchProfile, WeightedSum
from twofold.backends.moving import pull, push
from twofold.backends.postgres import schema as tables
from twofold.dense import HNSW, IVF, Flat
from twofold.diagnosis import diagnose
from twofold.encoders import QueryAdapter
from twofold.errors import (
    BackendError,
    DegradedWarning,
    EncoderMismatchError,
    IndexMismatchError,
    IndexNotFoundError,
    InputError,
    PassageError,
    QueryError,
    ReadOnlyError,
    UnsupportedStorageError,
    VectorError,
)
from twofold.lexical import BM25L, SCORERS, TfIdf

METRICS = ["cosine", "dot", "euclidean"]


def same_hits(first, second, **tolerance):
    assert len(first)
    assert list(first.ids) == list(second.ids)
    assert second.scores == pytest.approx(first.scores, **tolerance)


@pytest.mark.parametrize("name", [name for name in SCORERS if name != "tfidf"])
def test_lexical_scores_are_those_of_the_index(local, postgres, claims, name):
    backend = postgres(template=local)
    push(local, backend)
    scorer, retrieved = SCORERS[name](), 0
    for claim in claims[:40]:
        ours = Retriever(local, mode="lexical", k=40, scorer=scorer).retrieve(claim)
        theirs = Retriever(backend, mode="lexical", k=40, scorer=scorer).retrieve(claim)
        assert list(theirs.ids) == list(ours.ids)
        assert theirs.scores == pytest.approx(ours.scores, rel=1e-12)
        retrieved += len(ours)
        if name == "bm25":  # others add their statistics in another order
            first, second = ours.explain(), theirs.explain()
            assert [one.terms for one in second.hits] == [one.terms for one in first.hits]
    assert retrieved > 1_000


def test_moments_are_those_of_the_index(local, postgres, claims):
    backend = postgres(template=local)
    push(local, backend)
    vector = HashingEncoder().encode_queries(["gene expression in mice"])[0]
    with local.session() as ours, backend.session() as theirs:
        for claim in claims[:10]:
            for scorer in (None, BM25L()):
                first, second = (s.lexical_moments(claim, scorer) for s in (ours, theirs))
                assert second.mean == pytest.approx(first.mean)
                assert second.deviation == pytest.approx(first.deviation)
            assert theirs.term_coverage(claim) == ours.term_coverage(claim)
        first, second = ours.dense_moments(vector), theirs.dense_moments(vector)
        assert (second.mean, second.deviation) == pytest.approx(
            (first.mean, first.deviation), abs=1e-6
        )
        assert theirs.leg_agreement == ours.leg_agreement
        assert theirs.leg_agreement is not None


def test_a_scoring_function_without_a_formula_in_sql_is_refused(local, postgres):
    backend = postgres(template=local)
    push(local, backend)
    with pytest.raises(QueryError, match="PostgreSQL computes scores by one of BM25"):
        Retriever(backend, mode="lexical", scorer=TfIdf()).retrieve("gene")


@pytest.mark.parametrize("mode", ["hybrid", "dense", "lexical"])
def test_a_pushed_index_gives_the_same_hits(local, postgres, claims, mode):
    backend = postgres(template=local)
    moved = push(local, backend)
    assert (moved.passages, moved.written, moved.removed) == (300, 300, 0)
    assert moved.rankings == 40
    for claim in claims[:30]:
        for options in ({}, {"where": {"year": {"$gte": 2003}}}, {"diversity": 0.3}):
            ours, theirs = (Retriever(t, mode=mode, **options) for t in (local, backend))
            same_hits(ours.retrieve(claim), theirs.retrieve(claim), abs=1e-12)


@pytest.mark.parametrize("metric", METRICS)
def test_long_passages_keep_their_windows(postgres, tmp_path, passages, claims, metric):
    from twofold import Metric

    encoder = ShortReader(12, Metric(metric))
    with Index.open(tmp_path / "index", encoder=encoder, windows=8) as index:
        index.upsert(passages[:60])
        backend = postgres(template=index, encoder=encoder)
        moved = push(index, backend)
        assert moved.vectors > 2 * moved.passages
        for claim in claims[:20]:
            ours = Retriever(index, mode="dense").retrieve(claim)
            theirs = Retriever(backend, mode="dense").retrieve(claim)
            same_hits(ours, theirs, abs=1e-12)
            first, second = ours.explain(), theirs.explain()
            assert [each.window for each in second.hits] == [each.window for each in first.hits]
            assert any(each.window is not None for each in second.hits)
        # Stored directly, they get the same windows.
        other = postgres(encoder=encoder, windows=8)
        other.upsert(passages[:60])
        ours = Retriever(index, mode="dense", k=60).retrieve(claims[0])
        same_hits(ours, Retriever(other, mode="dense", k=60).retrieve(claims[0]), abs=1e-12)


def test_a_push_again_writes_what_has_changed(tmp_path, postgres, passages):
    with Index.open(tmp_path / "index", encoder=HashingEncoder()) as index:
        index.upsert(passages)
        backend = postgres(template=index)
        push(index, backend)
        assert push(index, backend).written == 0
        index.upsert([Passage("changed", passages[0].id), Passage("new", "new")])
        index.delete([passages[1].id, passages[2].id])
        with pytest.raises(InputError, match="has 2 passages that the index doesn't have"):
            push(index, backend)
        moved = push(index, backend, replace=True)
        assert (moved.passages, moved.written, moved.removed) == (299, 2, 2)
        assert [each.text for each in backend.get([passages[0].id, "new"])] == ["changed", "new"]
        # Vectors that change alone are written, too.
        index.upsert([Passage("changed", passages[0].id)], vectors=np.ones((1, 256), np.float32))
        assert push(index, backend).written == 1


def test_profiles_and_query_adapters_move_along(tmp_path, postgres, passages, claims):
    with Index.open(tmp_path / "index", encoder=HashingEncoder()) as index:
        index.upsert(passages)
        index.query_adapters.save("turned", QueryAdapter(-np.eye(256)))
        profile = SearchProfile(WeightedSum(dense_weight=0.3), 50, None, 1, "turned")
        index.profiles.save("tuned", profile, use=True)
        backend = postgres(template=index)
        push(index, backend)
        with backend.open_search() as scope:
            assert scope.profile == profile
        for claim in claims[:10]:
            ours, theirs = (Retriever(target).retrieve(claim) for target in (index, backend))
            same_hits(ours, theirs, abs=1e-9)
        again = tmp_path / "pulled"
        assert pull(backend, again).passages == 300
        with Index.open(again, encoder=HashingEncoder(), create=False) as copy:
            assert copy.profiles.active == "tuned"
            assert list(copy.query_adapters) == ["turned"]
            assert copy.verify(deep=True).ok
            for claim in claims[:10]:
                same_hits(Retriever(index).retrieve(claim), Retriever(copy).retrieve(claim))


def test_another_model_or_other_settings_are_refused(tmp_path, postgres, local, passages):
    backend = postgres(template=local)
    push(local, backend)
    with pytest.raises(EncoderMismatchError, match="pass the encoder of the stored vectors"):
        postgres(schema=backend.schema, encoder=ShortReader(12))
    with pytest.raises(IndexMismatchError, match="metric"):
        postgres(schema=backend.schema, metric="dot")
    with pytest.raises(IndexMismatchError, match="analyzer 'english' and not 'german'"):
        postgres(schema=backend.schema, analyzer="german")
    with Index.open(tmp_path / "other", encoder=ShortReader(12), title_weight=2) as other:
        other.upsert(passages[:10])
        with pytest.raises(IndexMismatchError, match="made with another model"):
            push(other, backend)
    assert len(backend) == 300


def test_what_is_no_schema_of_ours_is_left_alone(postgres, postgres_server):
    for name in ("Upper", "pg_mine", "a b", "1st", "x" * 64, ""):
        with pytest.raises(InputError, match="schema must be a name"):
            postgres(schema=name)
    with psycopg.connect(postgres_server.url, autocommit=True) as connection:
        connection.execute("CREATE SCHEMA others; CREATE TABLE others.orders (id int)")
        with pytest.raises(IndexMismatchError, match="holds other tables, such as 'orders'"):
            postgres(schema="others")
        connection.execute("DROP SCHEMA others CASCADE")
    with pytest.raises(IndexNotFoundError, match="no index in the schema 'nowhere'"):
        postgres(schema="nowhere", create=False)
    with pytest.raises(IndexNotFoundError):
        postgres(schema="nowhere", read_only=True)


def test_bad_input_is_refused_and_nothing_is_written(postgres):
    backend = postgres(encoder=HashingEncoder())
    good = Passage("good", "good")
    for bad in (
        Passage("a \0 b", "1"), Passage("text", "a\0"), Passage("text", "1", "t\0"),
        Passage("text", "1", metadata={"a": ["x\0"]}), Passage("text", "1", metadata={"\0": 1}),
    ):  # fmt: skip
        with pytest.raises(PassageError, match="NUL"):
            backend.upsert([good, bad])
    with pytest.raises(VectorError):
        backend.upsert([good], vectors=np.ones((1, 3), np.float32))
    with pytest.raises(VectorError):
        backend.upsert([good], vectors=np.full((1, 256), np.nan, np.float32))
    with pytest.raises(InputError):
        backend.delete()
    assert len(backend) == 0
    stored = Passage("x", "\\u0000 % ' \"", "\\", {"_payload": "a\0b", "n": 10**300, "f": 0.1})
    backend.upsert([stored])
    assert list(backend) == [stored]
    reader = postgres(schema=backend.schema, encoder=HashingEncoder(), read_only=True)
    with pytest.raises(ReadOnlyError):
        reader.upsert([good])
    assert "secret" not in repr(backend)


def test_a_profile_whose_query_adapter_is_lost_is_not_used(
    postgres, postgres_server, passages, claims
):
    backend = postgres(encoder=HashingEncoder())
    backend.upsert(passages[:50])
    plain = Retriever(backend, mode="dense").retrieve(claims[0])
    backend.query_adapters.save("turned", QueryAdapter(-np.eye(256)))
    backend.profiles.save("mine", SearchProfile(WeightedSum(), 50, None, 1, "turned"), use=True)
    with psycopg.connect(postgres_server.url) as connection:
        connection.execute(f'DELETE FROM "{backend.schema}".adapters')
    again = postgres(schema=backend.schema, encoder=HashingEncoder())
    with pytest.warns(DegradedWarning, match="'turned' is missing") as caught:
        found = [Retriever(again, mode="dense").retrieve(claims[0]) for _ in range(2)]
    assert len(caught) == 1
    for hits in found:
        same_hits(hits, plain)
    (finding,) = [one for one in diagnose(again).findings if one.name == "stale-adapter"]
    assert finding.severity == "error"


def test_ids_and_texts_of_any_length_are_stored(postgres):
    backend = postgres(encoder=None)
    rows = [Passage("word " * 3, "i" * 5_000), Passage("w" * 50_000, "2"), Passage("", "3")]
    with pytest.warns(DegradedWarning, match="no words"):
        backend.upsert(rows)
    assert backend.get([row.id for row in rows]) == rows
    assert Retriever(backend, mode="lexical").retrieve("w" * 50_000).ids == ["2"]


def test_statistics_are_exact_after_any_history(postgres, passages, claims):
    """Scores after updates and deletes are those of an index of what is left."""
    backend = postgres(encoder=HashingEncoder())
    backend.upsert(passages)
    backend.upsert([Passage(one.text[:200], one.id, one.title) for one in passages[::3]])
    backend.delete([one.id for one in passages[::5]])
    backend.delete(where={"year": 2003})
    with Index.open(None, encoder=HashingEncoder()) as fresh:
        fresh.upsert(list(backend))
        assert 100 < len(fresh) < 250
        for claim in claims[:20]:
            for mode in ("lexical", "dense", "hybrid"):
                options = {"mode": mode, "fusion": WeightedSum()}
                ours, theirs = (Retriever(t, **options).retrieve(claim) for t in (fresh, backend))
                same_hits(ours, theirs, abs=1e-6)


def test_a_graph_finds_what_a_scan_finds(postgres, passages, claims):
    backend = postgres(encoder=HashingEncoder(), index_type=HNSW(links=16, build_effort=100))
    assert backend.index_type == Flat()  # nothing to build yet
    backend.upsert(passages)
    assert backend.index_type == HNSW(links=16, build_effort=100)
    found = total = 0
    for claim in claims[:30]:
        for where in (None, {"year": 2003}, {"$id": passages[7].id}):
            fast = Retriever(backend, mode="dense").retrieve(claim, where=where)
            exact = Retriever(backend, mode="dense", exact=True).retrieve(claim, where=where)
            assert len(fast) == len(exact)
            total += len(exact)
            found += len(set(fast.ids) & set(exact.ids))
    assert found / total > 0.95
    assert backend.reindex("flat") == Flat()
    assert backend.reindex("auto") == Flat()
    with pytest.raises(InputError, match="has the index types"):
        backend.reindex(IVF())
    with pytest.raises(InputError, match="links from 2 to 100"):
        backend.reindex(HNSW(links=200))


def test_several_writers_and_readers_see_whole_writes(postgres, passages):
    """Each write replaces the same ids; a reader sees passages of one write only."""
    first = postgres(encoder=HashingEncoder())
    backends = [first, *(postgres(schema=first.schema, encoder=HashingEncoder()) for _ in "12")]
    first.upsert([Passage(f"zebra {at}", str(at), metadata={"by": -1}) for at in range(20)])
    seen, failures, done = set(), [], threading.Event()

    def write(number):
        try:
            for turn in range(12):
                by = 100 * number + turn
                backends[number].upsert(
                    [Passage(f"zebra {at} {by}", str(at), metadata={"by": by}) for at in range(20)]
                )
        except Exception as error:  # noqa: BLE001  # the test fails with it
            failures.append(error)

    def read():
        try:
            while not done.is_set():
                hits = Retriever(backends[2], k=20).retrieve("zebra")
                assert len(hits) == 20
                (by,) = {hit.passage.metadata["by"] for hit in hits}
                seen.add(by)
        except Exception as error:  # noqa: BLE001  # the test fails with it
            failures.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in (0, 1)]
    reader = threading.Thread(target=read)
    for thread in (*threads, reader):
        thread.start()
    for thread in threads:
        thread.join()
    done.set()
    reader.join()
    assert not failures
    assert len(seen) > 3
    assert len(first) == 20


@pytest.fixture
def outdated(postgres, postgres_server, monkeypatch):
    """A schema that is one version behind, whose migration adds a column."""
    backend = postgres()
    backend.upsert([Passage("plants make food", "1")])
    with psycopg.connect(postgres_server.url) as connection:
        connection.execute(f"SET search_path TO {backend.schema}")
        connection.execute("ALTER TABLE passages ADD COLUMN former text")
        connection.execute("UPDATE state SET version = version - 1")
    change = "ALTER TABLE passages RENAME COLUMN former TO later"
    monkeypatch.setitem(tables.MIGRATIONS, tables.VERSION - 1, [change])
    return backend


def columns_of(server, backend):
    with psycopg.connect(server.url) as connection:
        found = connection.execute(
            "SELECT column_name FROM information_schema.columns "
            "WHERE table_schema = %s AND table_name = 'passages'",
            (backend.schema,),
        ).fetchall()
    return {name for (name,) in found}


def test_older_tables_are_migrated_once_by_clients_that_open_at_once(
    outdated, postgres, postgres_server
):
    with pytest.raises(UnsupportedStorageError, match="older version.*without read_only"):
        postgres(schema=outdated.schema, read_only=True)
    assert "former" in columns_of(postgres_server, outdated)
    opened, gate = [], threading.Barrier(4)

    def open_one():
        gate.wait()
        opened.append(postgres(schema=outdated.schema))

    threads = [threading.Thread(target=open_one) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(opened) == 4
    assert {"later"} == columns_of(postgres_server, outdated) & {"former", "later"}
    for backend in opened:
        assert Retriever(backend).retrieve("plants").ids == ["1"]
    assert opened[0].upsert([Passage("more", "2")]).added == 1
    assert outdated.get(["2"])[0].text == "more"  # opened before the migration


def test_a_migration_that_fails_changes_nothing(outdated, postgres, postgres_server, monkeypatch):
    statements = [*tables.MIGRATIONS[tables.VERSION - 1], "ALTER TABLE missing ADD x int"]
    monkeypatch.setitem(tables.MIGRATIONS, tables.VERSION - 1, statements)
    with pytest.raises(BackendError, match="missing"):
        postgres(schema=outdated.schema)
    assert "former" in columns_of(postgres_server, outdated)
    monkeypatch.setitem(tables.MIGRATIONS, tables.VERSION - 1, statements[:1])
    assert postgres(schema=outdated.schema).get(["1"])[0].text == "plants make food"
    with psycopg.connect(postgres_server.url) as connection:
        connection.execute(f"UPDATE {outdated.schema}.state SET version = 99")
    with pytest.raises(UnsupportedStorageError, match="version 99.*upgrade"):
        postgres(schema=outdated.schema)
