"""Passages longer than the encoder reads: several vectors each, of which the best one counts."""

import json
import math
import random
import re
import shutil
import sqlite3
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.short_reader import ShortReader

from twofold import HashingEncoder, Index, Metric, Passage, Retriever
from twofold.dense import FlatIndex, PassageVectors, VectorBlock
from twofold.encoders import encoder_from_name
from twofold.errors import CorruptIndexError, IndexMismatchError, InputError, VectorError
from twofold.index.encoder_binding import CANARIES
from twofold.storage import IndexSettings
from twofold.types import Window

STORED = Path(__file__).parent / "stored"
WORDS = ["tea", "shade", "tree", "garden", "light", "winter", "leaf", "water", "soil", "rain"]
READS, WINDOW = 12, 8
METRICS = [Metric.COSINE, Metric.DOT, Metric.EUCLIDEAN]


def text_of(count, seed):
    rng = random.Random(seed)
    return " ".join(f"{rng.choice(WORDS)}{rng.randrange(6)}" for _ in range(count))


def opened(path=None, reads=READS, metric=Metric.COSINE, windows=WINDOW, **options):
    return Index.open(path, encoder=ShortReader(reads, metric), windows=windows, **options)


def parts_of(text, reads=READS, size=WINDOW):
    """Return what is encoded of a text: its beginning, then windows that begin every 6 words."""
    words = text.split()
    if len(words) <= reads:
        return [text]
    parts, start = [words[:reads]], 0
    while True:
        parts.append(words[start : start + size])
        if start + size >= len(words):
            return [" ".join(part) for part in parts]
        start += size * 3 // 4


def similarity(metric, query, vector):
    query, vector = query.astype(np.float64), vector.astype(np.float64)
    if metric is Metric.EUCLIDEAN:
        return -math.dist(query, vector)
    return float(query @ vector)


def expected(texts, query, metric, size=WINDOW):
    """Return each id's score: that of the best of its parts."""
    encoder = ShortReader(READS, metric)
    (point,) = encoder.vectors([query])
    return {
        name: max(
            similarity(metric, point, vector)
            for vector in encoder.vectors(parts_of(text, size=size))
        )
        for name, text in texts.items()
    }


def check_search(index, texts, query, metric, k=5, **options):
    scores = expected(texts, query, metric)
    best = sorted(scores, key=lambda name: (-scores[name], name))
    hits = Retriever(index, mode="dense", k=k, **options).retrieve(query)
    assert len(hits) == min(k, len(texts))
    np.testing.assert_allclose(hits.scores, [scores[name] for name in best[:k]], rtol=1e-6)
    for hit in hits:
        assert hit.score == pytest.approx(scores[hit.id], rel=1e-6)
    return hits


@pytest.fixture(scope="module")
def texts():
    return {f"p{n}": text_of(n % 60 + 1, n) for n in range(150)}


@pytest.fixture(params=METRICS, ids=lambda metric: metric.value)
def metric(request):
    return request.param


@pytest.fixture
def filled(texts, tmp_path, metric):
    with opened(tmp_path / "i", metric=metric) as index:
        result = index.upsert({"id": name, "text": text} for name, text in texts.items())
        assert result.windowed == sum(len(text.split()) > READS for text in texts.values()) > 100
        assert result.truncated == 0
        yield index


def test_a_passage_has_the_score_of_its_best_part(filled, texts, metric):
    assert filled.verify(deep=True).vectors == sum(len(parts_of(text)) for text in texts.values())
    for n in range(20):
        check_search(filled, texts, text_of(5, f"query {n}"), metric)


def test_it_is_found_by_words_that_the_encoder_does_not_reach(filled):
    filled.upsert([{"id": "long", "text": text_of(300, 1) + " zebra quagga okapi giraffe"}])
    (hit,) = Retriever(filled, mode="dense", k=1).retrieve("zebra quagga okapi giraffe")
    assert hit.id == "long"
    filled.delete(["long"])
    assert "long" not in Retriever(filled, mode="dense", k=200).retrieve("zebra quagga").ids


def test_batches_and_depths_beyond_the_corpus(filled, texts, metric):
    queries = [text_of(4, f"batch {n}") for n in range(12)]
    many = Retriever(filled, mode="dense", k=1000).retrieve_many(queries)
    for query, hits in zip(queries, many, strict=True):
        scores = expected(texts, query, metric)
        assert set(hits.ids) == set(texts)
        assert len(hits) == len(texts)
        np.testing.assert_allclose(hits.scores, [scores[name] for name in hits.ids], rtol=1e-6)
        assert list(hits.scores) == sorted(hits.scores, reverse=True)


def test_filters_choose_among_passages(filled, texts, metric):
    filled.upsert(
        {"id": name, "text": text, "metadata": {"n": int(name[1:])}} for name, text in texts.items()
    )
    query = text_of(5, "filtered")
    hits = Retriever(filled, mode="dense", k=150).retrieve(query, where={"n": {"$lt": 40}})
    some = {name: text for name, text in texts.items() if int(name[1:]) < 40}
    scores = expected(some, query, metric)
    assert set(hits.ids) == set(some)
    np.testing.assert_allclose(hits.scores, [scores[name] for name in hits.ids], rtol=1e-6)


def test_hybrid_scores_are_those_of_both_legs(filled, texts, metric):
    query = text_of(5, "hybrid")
    scores = expected(texts, query, metric)
    hits = Retriever(filled, k=20).retrieve(query)
    assert len(hits) == 20
    for hit in hits:  # also those that only the lexical leg listed
        assert hit.legs["dense"].score == pytest.approx(scores[hit.id], rel=1e-6)


def test_changed_metadata_copies_all_vectors(filled, texts, metric):
    encoder = filled.encoder
    before = len(encoder.encoded)
    filled.upsert({"id": n, "text": t, "metadata": {"seen": True}} for n, t in texts.items())
    filled.upsert([{"id": "twin", "text": texts["p59"]}])
    assert len(encoder.encoded) == before
    check_search(filled, {**texts, "twin": texts["p59"]}, text_of(5, "copied"), metric)
    filled.upsert([{"id": "p59", "text": "short now"}])
    check_search(
        filled,
        {**texts, "twin": texts["p59"], "p59": "short now"},
        " ".join(texts["p59"].split()[40:46]),
        metric,
    )


@pytest.mark.parametrize("kind", ["hnsw", "ivf", "flat:int8", "one-bit", "ivf-pq"])
def test_approximate_kinds(kind, texts, metric):
    many = {f"p{n}": text_of(n % 40 + 5, n) for n in range(3000)}
    with opened(metric=metric) as index:
        index.reindex(kind)
        index.upsert({"id": name, "text": text} for name, text in many.items())
        index.delete([f"p{n}" for n in range(0, 3000, 7)])
        left = {name: text for name, text in many.items() if int(name[1:]) % 7}
        found = total = 0
        for n in range(15):
            query = text_of(5, f"approximate {n}")
            exact = check_search(index, left, query, metric, k=10, exact=True)
            scores = expected(left, query, metric)
            hits = Retriever(index, mode="dense", k=10).retrieve(query)
            assert len(set(hits.ids)) == len(hits) == 10
            np.testing.assert_allclose(hits.scores, [scores[name] for name in hits.ids], rtol=1e-6)
            found += sum(score >= exact.scores[-1] for score in hits.scores)
            total += 10
        least = 0.2 if (kind, metric) == ("ivf", Metric.DOT) else 0.7  # as without windows
        assert found / total > least
        assert index.recall(sample=50).mean > least
        assert index.verify(deep=True).ok


def test_short_passages_have_the_vectors_that_they_had(texts, metric):
    with opened(metric=metric) as index, opened(metric=metric, windows=False) as plain:
        for each in (index, plain):
            each.upsert({"id": name, "text": text} for name, text in texts.items())
        with index.view() as view, plain.view() as other:
            ours, theirs = (
                v.fetch(ids=list(texts), texts=False, vectors=True) for v in (view, other)
            )
        assert ours.vectors.tobytes() == theirs.vectors.tobytes()
        assert plain.verify().vectors == len(texts)


def test_without_windows_texts_are_truncated(texts):
    with opened(windows=False) as index:
        result = index.upsert([{"id": "1", "text": text_of(50, 0)}])
        assert result.windowed == 0
        assert index.windows is False


def test_more_windows_than_a_block_holds(metric):
    long = {"a": text_of(9000, 1), "b": "short", "c": text_of(7000, 2), "d": text_of(20, 3)}
    with opened(metric=metric) as index:
        index.upsert({"id": name, "text": text} for name, text in long.items())
        assert index.verify().vectors > 2600
        for name in ("a", "c"):
            query = " ".join(long[name].split()[-6:])
            check_search(index, long, query, metric, k=4)
        index.upsert([{"id": "e", "text": text_of(30, 5)}])
        index.delete(["a"])
        index.delete(["c"])
        del long["a"], long["c"]
        check_search(index, {**long, "e": text_of(30, 5)}, "tea1 tea2", metric, k=4)
        assert index.verify(deep=True).ok


def test_dead_windows_are_removed(metric):
    texts = {f"p{n}": text_of(100, n) for n in range(400)}
    with opened(metric=metric) as index:
        index.upsert({"id": name, "text": text} for name, text in texts.items())
        before = index.verify().vectors
        gone = [f"p{n}" for n in range(300)]
        index.delete(gone)
        index.upsert([{"id": "new", "text": text_of(40, "new")}])
        left = {name: text for name, text in texts.items() if name not in gone}
        left["new"] = text_of(40, "new")
        assert index.verify(deep=True).vectors < before / 2
        check_search(index, left, text_of(6, "left"), metric)


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_any_writes_leave_the_best_parts(data):
    metric = data.draw(st.sampled_from(METRICS))
    texts = {}
    with opened(metric=metric) as index:
        for _ in range(data.draw(st.integers(1, 6))):
            if texts and data.draw(st.booleans()):
                name = data.draw(st.sampled_from(sorted(texts)))
                index.delete([name])
                del texts[name]
                continue
            some = {
                f"p{data.draw(st.integers(0, 12))}": text_of(
                    data.draw(st.integers(1, 45)), data.draw(st.integers(0, 99))
                )
                for _ in range(data.draw(st.integers(1, 5)))
            }
            index.upsert(
                {"id": name, "text": text, "metadata": {"n": data.draw(st.integers(0, 1))}}
                for name, text in some.items()
            )
            texts |= some
        if texts:
            check_search(index, texts, text_of(4, data.draw(st.integers(0, 9))), metric)
        assert index.verify(deep=True).problems == ()


# How the passages are stored: reopened, copied, saved, moved


def answers(index):
    queries = [text_of(5, f"stored {n}") for n in range(6)]
    found = Retriever(index, k=30).retrieve_many(queries)
    return [(hits.ids, hits.scores.tolist()) for hits in found]


def test_copies_backups_and_exports_have_all_vectors(filled, tmp_path, metric):
    before, vectors = answers(filled), filled.verify().vectors
    filled.copy(tmp_path / "copy")
    filled.backup(tmp_path / "b.tar")
    exported = filled.export(tmp_path / "exported")
    assert exported.passages == len(filled) == exported.vectors
    encoder = ShortReader(READS, metric)
    with Index.open(tmp_path / "copy", encoder=encoder) as index:
        assert answers(index) == before
    Index.from_backup(tmp_path / "b.tar", tmp_path / "restored").close()
    Index.from_export(tmp_path / "exported", tmp_path / "imported").close()
    for name in ("restored", "imported"):
        with Index.open(tmp_path / name, encoder=encoder) as index:
            assert index.verify(deep=True).problems == ()
            assert index.verify().vectors == vectors
            assert answers(index) == before
            assert index.windows == WINDOW
    assert set(encoder.encoded) <= set(CANARIES)


def test_an_export_after_deletes_and_zero_vectors(tmp_path):
    class Silent(ShortReader):
        def vectors(self, texts):
            found = super().vectors(texts)
            found[[text.startswith("silent") for text in texts]] = 0
            return found

    texts = {
        "a": "silent " + text_of(40, 1),
        "b": text_of(30, 2),
        "c": "silent",
        "d": text_of(8, 3),
        "e": text_of(50, 4),
    }
    with Index.open(tmp_path / "i", encoder=Silent(), windows=WINDOW) as index:
        with pytest.warns(UserWarning, match="1 passages have a vector of length zero"):
            index.upsert({"id": name, "text": text} for name, text in texts.items())
        index.delete(["b"])
        hits = Retriever(index, mode="dense", k=9).retrieve("tea1 silent")
        before = hits.ids, hits.scores.tolist()
        assert sorted(hits.ids) == ["a", "d", "e"]  # of a, the windows have vectors
        index.export(tmp_path / "exported")
    with Index.from_export(tmp_path / "exported", tmp_path / "imported") as index:
        assert index.verify(deep=True).ok
    with Index.open(tmp_path / "imported", encoder=Silent()) as index:
        hits = Retriever(index, mode="dense", k=9).retrieve("tea1 silent")
        assert (hits.ids, hits.scores.tolist()) == before


@pytest.mark.parametrize("name", ["windows.npy", "spans.npy"])
def test_a_damaged_export_of_windows_is_refused(filled, tmp_path, name):
    filled.export(tmp_path / "exported")
    data = bytearray((tmp_path / "exported" / name).read_bytes())
    data[-3] ^= 1
    (tmp_path / "exported" / name).write_bytes(data)
    with pytest.raises(CorruptIndexError, match="has changed since it was exported"):
        Index.from_export(tmp_path / "exported", tmp_path / "imported")
    assert not (tmp_path / "imported").exists()


@pytest.mark.parametrize("with_encoder", [True, False])
def test_repair_saves_the_windows_that_are_left(texts, tmp_path, with_encoder):
    texts = texts | {f"more{n}": text_of(50, n) for n in range(300)}
    with opened(tmp_path / "i") as index:
        index.upsert({"id": name, "text": text} for name, text in texts.items())
        before = answers(index)
    (path,) = (tmp_path / "i" / "vectors").iterdir()
    data = bytearray(path.read_bytes())
    data[5] ^= 1  # of the first block
    path.write_bytes(data)
    encoder = ShortReader() if with_encoder else None
    report = Index.repair(tmp_path / "i", tmp_path / "saved", encoder=encoder)
    assert report.passages == len(texts)
    with Index.open(tmp_path / "saved", encoder=ShortReader()) as index:
        assert index.verify(deep=True).problems == ()
        if with_encoder:
            assert report.encoded > 0
            assert report.without_vector == ()
            assert report.ok
            assert answers(index) == before
        else:
            assert not report.ok
            assert 0 < report.vectors < len(texts)
            assert len(report.without_vector) + report.vectors == len(texts)


def test_a_passage_with_some_of_its_windows_is_saved(tmp_path):
    with opened(tmp_path / "i") as index:
        index.upsert([{"id": "long", "text": text_of(9000, 1)}])
    (path,) = (tmp_path / "i" / "vectors").iterdir()
    data = bytearray(path.read_bytes())
    data[5] ^= 1
    path.write_bytes(data)
    report = Index.repair(tmp_path / "i", tmp_path / "saved")
    assert (report.vectors, report.without_vector) == (1, ())
    assert not report.ok  # windows of its beginning are lost
    assert any("windows of long passages are lost" in problem for problem in report.problems)
    with Index.open(tmp_path / "saved", encoder=ShortReader()) as index:
        assert 400 < index.verify(deep=True).vectors < 600
        assert Retriever(index, mode="dense").retrieve("tea1").ids == ["long"]


@pytest.mark.parametrize("name", ["windows.npy", "spans.npy"])
def test_an_export_must_name_both_arrays_of_windows(filled, tmp_path, name):
    filled.export(tmp_path / "exported")
    manifest = tmp_path / "exported" / "export.json"
    values = json.loads(manifest.read_text())
    del values["files"][name]
    manifest.write_text(json.dumps(values))
    with pytest.raises(CorruptIndexError, match=r"files must name windows.npy and spans.npy"):
        Index.from_export(tmp_path / "exported", tmp_path / "imported")


# Other windows, other encoders


def test_reencode_changes_the_windows(filled, texts, metric):
    short = ShortReader(READS, metric)
    assert filled.reencode(short) == 0
    assert filled.reencode(short, windows=4) > 0
    assert filled.windows == 4
    check = expected(texts, "tea1 seed2", metric, size=4)
    hits = Retriever(filled, mode="dense", k=9).retrieve("tea1 seed2")
    np.testing.assert_allclose(hits.scores, [check[name] for name in hits.ids], rtol=1e-6)
    assert filled.reencode(short, windows=4) == 0
    assert filled.reencode(short) == 0  # as they are
    assert filled.reencode(short, windows=False) > 0
    assert filled.verify(deep=True).vectors == len(texts)
    assert filled.windows is False
    assert filled.reencode(short, windows=True) > 0
    assert filled.windows is True
    assert filled.verify(deep=True).vectors > len(texts)


def test_an_interrupted_reencode_goes_on(texts, tmp_path):
    many = {f"p{n}": text_of(n % 40 + 1, n) for n in range(900)}
    many |= {f"again{n}": many[f"p{n}"] for n in range(0, 900, 3)}
    with Index.open(tmp_path / "i", encoder="hashing") as index:
        index.upsert({"id": name, "text": text} for name, text in many.items())
        first = ShortReader(stop_after=2500)
        with pytest.raises(KeyboardInterrupt):
            index.reencode(first, windows=WINDOW)
        other = ShortReader(stop_after=1500)
        with pytest.raises(KeyboardInterrupt):
            index.reencode(other, windows=4)  # other windows begin anew
        last = ShortReader()
        index.reencode(last, windows=4)
        sent = other.encoded + last.encoded
        whole = [text for text in sent if text in set(many.values())]
        assert len(set(many.values())) <= len(whole) <= len(set(many.values())) + 8 + 256
        check = expected(many, "tea1 seed2", Metric.COSINE, size=4)
        hits = Retriever(index, mode="dense", k=30).retrieve("tea1 seed2")
        np.testing.assert_allclose(hits.scores, [check[name] for name in hits.ids], rtol=1e-6)
        assert index.verify(deep=True).problems == ()


def test_an_index_of_format_5_stays_without_windows_until_it_is_reencoded(tmp_path):
    copied = shutil.copytree(STORED / "index-5", tmp_path / "index")
    with Index.open(copied, create=False) as index:
        assert index.windows is False
        index.upsert([{"id": "long", "text": text_of(99, 1)}])
        before = index.verify().vectors
        index.reencode(ShortReader(), windows=WINDOW)
        assert index.verify(deep=True).vectors == len(index) + len(parts_of(text_of(99, 1))) - 1
        assert before >= len(index)


def test_passed_vectors_replace_windows():
    with opened() as index:
        index.upsert([{"id": "1", "text": text_of(50, 1)}])
        vector = HashingEncoder().encode_passages(["zebra"])
        assert index.upsert([{"id": "1", "text": text_of(50, 1)}], vectors=vector).updated == 1
        assert Retriever(index, mode="dense").retrieve("zebra")[0].score == pytest.approx(1)
        assert Retriever(index).retrieve("zebra").explain().hits[0].window is None
        assert index.upsert([{"id": "1", "text": text_of(50, 1)}], vectors=vector).unchanged == 1


def test_an_encoder_that_cannot_split_truncates():
    class Plain:
        identity = ShortReader().identity

        def encode_queries(self, texts):
            return ShortReader().vectors(texts)

        def encode_passages(self, texts):
            return ShortReader().vectors(texts)

        def count_truncated(self, texts):
            return 7

    with Index.open(None, encoder=Plain()) as index:
        result = index.upsert([text_of(50, 1)])
        assert (result.truncated, result.windowed) == (7, 0)


@pytest.mark.parametrize("with_encoder", [True, False])
@pytest.mark.parametrize("at", [0, 1])
def test_repair_without_the_record_of_a_block(tmp_path, at, with_encoder):
    with opened(tmp_path / "i") as index:
        index.upsert([{"id": "long", "text": text_of(9000, 1)}, {"id": "s", "text": "tea1"}])
        before = answers(index)
    catalog = sqlite3.connect(tmp_path / "i" / "catalog.sqlite", isolation_level=None)
    numbers = [row for (row,) in catalog.execute("SELECT number FROM vector_blocks ORDER BY 1")]
    catalog.execute(
        "UPDATE vector_blocks SET checksum = checksum + 1 WHERE number = ?", (numbers[at],)
    )
    catalog.close()
    encoder = ShortReader() if with_encoder else None
    report = Index.repair(tmp_path / "i", tmp_path / "saved", encoder=encoder)
    assert report.ok == with_encoder
    with Index.open(tmp_path / "saved", encoder=ShortReader()) as index:
        assert index.verify(deep=True).problems == ()
        assert (answers(index) == before) == with_encoder


def test_settings_of_format_5_had_no_windows():
    values = json.loads(IndexSettings().to_json()) | {"format": 5}
    del values["windows"], values["pending_windows"]
    old = IndexSettings.from_values(values)
    assert (old.windows, old.pending_windows) == (0, 0)  # also of a set that is being filled


# What is refused


def spans_of(*pairs):
    return lambda encoder, texts: [np.array(pairs, np.int64) for _ in texts]


WRONG_SPANS = {
    "negative": spans_of((-1, 3), (4, 8)),
    "beyond": spans_of((0, 3), (4, 10**6)),
    "descending": spans_of((4, 8), (0, 3)),
    "swapped": spans_of((3, 0), (4, 8)),
    "a list": lambda encoder, texts: [[(0, 3), "x"] for _ in texts],
    "floats": lambda encoder, texts: [np.array([[0.0, 3.0]]) for _ in texts],
    "one dimension": lambda encoder, texts: [np.arange(9) for _ in texts],
    "too few": lambda encoder, texts: [],
}


@pytest.mark.parametrize("wrong", WRONG_SPANS.values(), ids=WRONG_SPANS)
def test_wrong_spans_of_an_encoder_are_refused(tmp_path, wrong):
    class Wrong(ShortReader):
        token_spans = wrong

    with Index.open(tmp_path / "i", encoder=Wrong(), windows=WINDOW) as index:
        with pytest.raises(VectorError, match="the encoder's token_spans"):
            index.upsert([text_of(50, 1)])
        assert len(index) == 0
        assert index.verify(deep=True).ok


@pytest.mark.parametrize("wrong", [0, -1, 12.5, "x", True])
def test_a_wrong_limit_of_an_encoder_is_refused(wrong):
    class Wrong(ShortReader):
        max_tokens = wrong

    with Index.open(None, encoder=Wrong()) as index:
        with pytest.raises(VectorError, match="max_tokens must be an integer >= 1 or None, got"):
            index.upsert(["tea"])
        assert len(index) == 0


def test_a_window_longer_than_the_encoder_reads_is_refused(tmp_path):
    with opened(tmp_path / "i", windows=13) as index:
        with pytest.raises(InputError, match="at most the 12 tokens that the encoder reads"):
            index.upsert([text_of(50, 1)])
        assert len(index) == 0


@pytest.mark.parametrize("windows", [0, -1, 2.5, "200", float("nan"), 1 << 30, [8]])
def test_bad_values_are_refused(tmp_path, windows):
    message = r"windows must be True, False or a number of tokens from 1 to 1,048,576, got"
    with pytest.raises(InputError, match=message):
        Index.open(tmp_path / "i", encoder="hashing", windows=windows)
    assert not (tmp_path / "i").exists()
    with opened() as index, pytest.raises(InputError, match=message):
        index.reencode(ShortReader(), windows=windows)


def test_another_value_than_the_stored_one_is_refused(tmp_path):
    opened(tmp_path / "i").close()
    for windows, said in ((True, "True"), (False, "False"), (9, "9")):
        with pytest.raises(
            IndexMismatchError,
            match=rf"made with windows=8 and opened with windows={said}: .*windows={said}\)",
        ):
            opened(tmp_path / "i", windows=windows)
    with opened(tmp_path / "i", windows=None) as index:
        assert index.windows == 8


# How hits are explained


def test_hits_tell_their_best_window():
    words = text_of(100, 3).split()
    words[61:65] = ["zebra", "quagga", "okapi", "giraffe"]
    with opened() as index:
        index.upsert(
            [
                {"id": "long", "title": "The title", "text": " ".join(words)},
                {"id": "short", "text": "tea1 tea2"},
            ]
        )
        hits = Retriever(index).retrieve("zebra quagga okapi giraffe")
        long, short = hits.explain().hits
        assert (long.hit.id, short.hit.id) == ("long", "short")
        start, stop = long.window.tokens
        every = ["The", "title", *words]
        content = hits.passages[0].content
        assert every[start:stop] == content[long.window.start : long.window.end].split()
        assert {"zebra", "quagga", "okapi", "giraffe"} <= set(every[start:stop])
        assert stop - start == WINDOW
        assert start % 6 == 0
        assert f"best window: tokens {start} to {stop}" in str(hits.explain())
        assert short.window is None
        assert str(hits.explain()).count("best window") == 1
        assert long.to_dict()["window"]["tokens"] == (start, stop)
        low, high = long.window.text_span(hits.passages[0])
        assert hits.passages[0].text[low:high] == content[long.window.start : long.window.end]
        assert set(long.meaning.sentence.split()) & {"zebra", "quagga", "okapi", "giraffe"}
        by_vector = Retriever(index).retrieve(
            "zebra quagga okapi giraffe",
            vector=ShortReader().vectors(["zebra quagga okapi giraffe"])[0],
        )
        assert by_vector.explain(meaning=False).hits[0].window == long.window


def test_snippets_are_of_the_best_window():
    lead = "tea7 " * 40
    text = f"{lead}{'soil0 ' * 28}zebra quagga okapi tea7 giraffe {'rain0 ' * 30}"
    with opened() as index:
        index.upsert([{"id": "1", "text": text}])
        hits = Retriever(index).retrieve("zebra quagga okapi tea7 giraffe")
        snippet = hits.highlights(0).snippet(60)
        assert "**zebra** **quagga**" in snippet
        hits = Retriever(index, mode="lexical").retrieve("tea7")  # has no dense score
        assert hits.highlights(0).snippet(60).startswith("**tea7**")
        assert hits.explain().hits[0].window is None


@pytest.mark.parametrize("title", ["", "T", " T ", "  "])
@pytest.mark.parametrize("text", ["a b", "  a b ", "\na"])
def test_spans_in_the_text(title, text):
    passage = Passage(text, title=title)
    for start in range(len(passage.content)):
        low, high = Window((0, 1), start, len(passage.content)).text_span(passage)
        assert passage.content[start:].strip().endswith(text[low:high].strip())
        if passage.content[start:] in text:
            assert text[low:].startswith(passage.content[start:])


def test_why_not_regards_the_best_window(filled, texts, metric):
    hits = Retriever(filled, mode="dense", k=3).retrieve("tea1 seed2")
    scores = expected(texts, "tea1 seed2", metric)
    order = sorted(scores, key=lambda name: (-scores[name], name))
    absent = next(name for name in order if name not in hits.ids)
    why = hits.why_not(absent)
    assert why.legs["dense"].score == pytest.approx(scores[absent], rel=1e-6)


def test_a_snippet_begins_with_the_first_word_of_the_window():
    words = [f"filler{n}" for n in range(60)]
    words[24] = "zebra"
    with opened() as index:
        index.upsert([{"id": "1", "text": " ".join(words)}])
        hits = Retriever(index).retrieve("zebra filler25 filler26 filler27 filler30 filler31")
        assert hits.explain().hits[0].window.tokens == (24, 32)
        assert hits.highlights(0).snippet(60).startswith("... **zebra** **filler25**")


def test_moments_are_those_of_the_best_windows(filled, texts, metric):
    scores = list(expected(texts, "tea1 seed2", metric).values())
    with filled.view() as view:
        moments = view.dense_moments(ShortReader(READS, metric).vectors(["tea1 seed2"])[0])
    assert moments.mean == pytest.approx(np.mean(scores))
    assert moments.deviation == pytest.approx(np.std(scores))


def test_more_hits_than_floats_count(texts):
    many = {f"p{n}": text_of(n % 40 + 5, n) for n in range(700)}
    with opened() as index:
        index.reindex("hnsw")
        index.upsert({"id": name, "text": text} for name, text in many.items())
        hits = Retriever(index, mode="dense", k=10**400).retrieve("tea1")
        assert sorted(hits.ids) == sorted(many)


def test_one_passage_with_most_of_the_vectors(metric):
    texts = {"long": " ".join(f"tea{n % 7} tree{n % 5} rain{n % 3}" for n in range(4000))}
    texts |= {f"p{n}": text_of(n % 12 + 1, n) for n in range(1500)}
    with opened(metric=metric) as index:
        index.upsert({"id": name, "text": text} for name, text in texts.items())
        query = "tea1 tree1 rain1 tea2"
        check_search(index, texts, query, metric, k=40)
        index.reindex("hnsw")
        hits = Retriever(index, mode="dense", k=40).retrieve(query)
        scores = expected(texts, query, metric)
        assert len(set(hits.ids)) == 40
        np.testing.assert_allclose(hits.scores, [scores[name] for name in hits.ids], rtol=1e-6)


@pytest.mark.parametrize("count", [1, 3, 4, 9])
def test_a_large_block_is_scored_in_two_threads(metric, count):
    rng = np.random.default_rng(3)
    rows = np.sort(rng.integers(0, 9000, 41_000))
    vectors = metric.prepare(rng.standard_normal((len(rows), 24)).astype(np.float32))
    spans = np.tile(np.array([0, 1, 0, 1]), (len(rows), 1))
    whole = VectorBlock.from_vectors(metric, PassageVectors(rows, vectors, spans))
    block = whole.without(np.arange(0, 9000, 5))
    queries = metric.prepare(rng.standard_normal((count, 24)).astype(np.float32))
    allowed = rng.random(9000) < 0.7
    for mask in (None, allowed):
        for index in (
            block,
            VectorBlock.from_vectors(metric, PassageVectors(rows, vectors, spans)),
        ):
            flat = FlatIndex(metric, 24, [index], lambda some: [f"{row:05}" for row in some])
            found = flat.search_prepared(queries, 7, flat.eligible(mask))
            live = np.ones(len(rows), np.bool_) if index.live is None else index.live
            live = live & (allowed[rows] if mask is not None else True)
            for query, hits in zip(queries.astype(np.float64), found, strict=True):
                wide = vectors.astype(np.float64)
                scores = wide @ query
                if metric is Metric.EUCLIDEAN:
                    scores = -np.linalg.norm(wide - query, axis=1)
                best = np.full(9000, -np.inf)
                np.maximum.at(best, rows[live], scores[live])
                order = np.argsort(-best, kind="stable")[:7]
                assert hits.keys.tolist() == order.tolist()
                np.testing.assert_allclose(hits.scores, best[order], rtol=1e-6)


# Crafted catalogs


def rewrite_block(path, change):
    """Change the rows and spans of the first vector block, with a right checksum."""
    from twofold.storage.records import BlockRecord, field_values

    catalog = sqlite3.connect(path / "catalog.sqlite", isolation_level=None)
    *fields, _ = catalog.execute("SELECT * FROM vector_blocks").fetchone()
    fields[5] = change(bytes(fields[5]), fields[4])
    record = BlockRecord(*fields)
    marks = ",".join("?" * 8)
    catalog.execute("DELETE FROM vector_blocks WHERE number = ?", (record.number,))
    row = (*field_values(record), record.checksum)
    catalog.execute(f"INSERT INTO vector_blocks VALUES ({marks})", row)
    catalog.close()


def with_spans(edit):
    def change(data, count):
        numbers = np.frombuffer(data, "<u4").copy()
        rows, spans = numbers[:count], numbers[count:].reshape(count, 4)
        edit(rows, spans)
        return np.concatenate([rows, spans.ravel()]).astype("<u4").tobytes()

    return change


def swap_tokens(rows, spans):
    spans[3, :2] = spans[3, 1::-1]


def clear_span(rows, spans):
    spans[spans[:, 1] > 0] = 0


def fall_back(rows, spans):
    rows[7] = rows[0]


@pytest.mark.parametrize(
    "change",
    [
        with_spans(swap_tokens),
        with_spans(clear_span),
        with_spans(fall_back),
        lambda data, count: data[: 4 * count],
        lambda data, count: data[:-4],
        lambda data, count: data + bytes(4),
        lambda data, count: b"",
    ],
)
def test_crafted_spans_are_refused(tmp_path, change):
    with opened(tmp_path / "i") as index:
        index.upsert({"id": f"{n}", "text": text_of(30, n)} for n in range(5))
    rewrite_block(tmp_path / "i", change)
    with (
        pytest.raises(CorruptIndexError, match=r"vector block|vectors"),
        opened(tmp_path / "i", create=False) as index,
    ):
        Retriever(index).retrieve("tea1")


def unknown_row(rows, spans):
    rows[-6:] = 4000


@pytest.mark.parametrize(
    ("change", "problem"),
    [(unknown_row, "1 passages with a vector, such as row 4000, are not stored")],
)
def test_verify_finds_vectors_of_no_passage(tmp_path, change, problem):
    with opened(tmp_path / "i") as index:
        index.upsert({"id": f"{n}", "text": text_of(30, n)} for n in range(5))
    rewrite_block(tmp_path / "i", with_spans(change))
    with opened(tmp_path / "i", create=False) as index:
        assert index.verify().problems == (problem,)


def test_spans_beyond_the_text_do_no_harm(tmp_path):
    def beyond(rows, spans):
        spans[:, 1] = 1 << 30
        spans[:, 3] = 1 << 30

    with opened(tmp_path / "i") as index:
        index.upsert({"id": f"{n}", "text": text_of(30, n)} for n in range(5))
    rewrite_block(tmp_path / "i", with_spans(beyond))
    with opened(tmp_path / "i", create=False) as index:
        hits = Retriever(index).retrieve("tea1 seed1")
        assert len(str(hits.explain())) > 10
        assert [hits.highlights(at).snippet() for at in range(len(hits))]


# Real models


def test_windows_of_a_real_model(abstracts):
    joined = " ".join(each["text"] for each in abstracts[:12])
    facts = "The lighthouse keeper repaired the green lamp before the storm came."
    more = "The keeper lived in the lighthouse, and at night the lamp showed ships the way. " * 9
    text = f"{joined} {more}{facts} {joined}"
    with Index.open(None) as index, Index.open(None, windows=False) as plain:
        result = index.upsert(
            [{"id": "long", "text": text}, {"id": "2", "text": "Bread is baked."}]
        )
        assert (result.windowed, result.truncated) == (1, 0)
        assert plain.upsert([{"id": "long", "text": text}]).truncated == 1
        hits = Retriever(index, mode="dense").retrieve("Who mended the lamp of the lighthouse?")
        before = Retriever(plain, mode="dense").retrieve("Who mended the lamp of the lighthouse?")
        score = dict(zip(hits.ids, hits.scores, strict=True))["long"]
        assert score > before[0].score + 0.1
        explained = {each.hit.id: each for each in hits.explain().hits}["long"]
        start, stop = explained.window.tokens
        assert (stop - start, start % 150) == (200, 0)
        assert "lighthouse" in text[explained.window.start : explained.window.end]
        assert "lamp" in explained.meaning.sentence


@pytest.mark.parametrize("backend", ["torch", "onnx"])
def test_token_spans_of_the_runtimes(backend, abstracts):
    encoder = encoder_from_name(f"all-MiniLM-L6-v2?backend={backend}")
    texts = ["short", "", *(2 * each["text"] for each in abstracts[:20]), "wörd " * 300]
    assert encoder.max_tokens == 254
    spans = encoder.token_spans(texts)
    assert sum(each is not None for each in spans) == encoder.count_truncated(texts) > 10
    for text, found in zip(texts, spans, strict=True):
        if found is not None:
            assert (np.diff(found[:, 0]) >= 0).all()
            assert (found[:, 0] < found[:, 1]).all()
            assert found[-1, 1] == len(text.rstrip())
            assert re.fullmatch(r"\S+", text[slice(*found[100])])


def test_prompts_are_no_tokens_of_the_text():
    encoder = encoder_from_name("all-MiniLM-L6-v2?passage_prompt=passage: ")
    text = "tree wood " * 300
    (found,) = encoder.token_spans([text])
    assert [text[slice(*span)] for span in found[:4].tolist()] == ["tree", "wood"] * 2
    assert encoder.max_tokens == 252


def test_a_token_that_begins_in_the_prompt():
    spec = "all-MiniLM-L6-v2?passage_prompt=light"
    text = "house " + "tree wood " * 300
    (found,) = encoder_from_name(spec).token_spans([text])
    assert text[slice(*found[0])] == "house"  # "lighthouse" is one token
    with Index.open(None, encoder=spec) as index:
        index.upsert([{"id": "1", "text": text}])
        assert index.verify(deep=True).ok
        assert Retriever(index).retrieve("house").ids == ["1"]


def test_a_tokenizer_that_leaves_out_the_beginning_gives_no_windows(tmp_path):
    made = encoder_from_name("all-MiniLM-L6-v2?backend=torch").to_sentence_transformer().model
    made.save(str(tmp_path / "left"))
    config = tmp_path / "left" / "tokenizer_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"truncation_side": "left"}))
    for backend in ("torch", "onnx"):
        encoder = encoder_from_name(f"{tmp_path / 'left'}?backend={backend}")
        assert encoder.max_tokens is None
        with Index.open(None, encoder=encoder) as index:
            result = index.upsert(["word " * 300])
            assert (result.truncated, result.windowed) == (1, 0)
