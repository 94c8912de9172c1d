"""Exports: JSON lines and vectors, from which an equal index is made."""

import io
import json
import os

import numpy as np
import pytest
import xxhash

from twofold import Corpus, HashingEncoder, Index, Retriever
from twofold.encoders import QueryAdapter
from twofold.errors import (
    CorruptIndexError,
    DegradedWarning,
    IndexMismatchError,
    IndexNotFoundError,
    InputError,
    PassageError,
    UnsupportedStorageError,
)

TEXTS = ["green tea in the garden", "", "black coffee in winter", "Ein Tee für Ärzte", "x\u2028y"]


def passages():
    return [
        {"id": f"p{n}", "title": "Ünï" * (n % 2), "text": text, "metadata": {"n": n, "deep": [{}]}}
        for n, text in enumerate(TEXTS * 20)
    ]


def content(index):
    return {p.id: (p.title, p.text, dict(p.metadata)) for p in index}


def answers(index):
    retriever = Retriever(index, k=10)
    found = [retriever.retrieve(text) for text in ("tea", "winter garden", "Ärzte")]
    return [(hits.ids, hits.scores.tolist()) for hits in found]


@pytest.fixture
def filled(tmp_path):
    with Index.open(tmp_path / "index", encoder="hashing", analyzer="german") as index:
        with pytest.warns(DegradedWarning, match="10 passages have no words"):
            index.upsert(passages())
        index.delete(["p3", "p17"])
        index.upsert([{"id": "p5", "text": "changed"}])
        yield index


def test_an_imported_export_is_an_equal_index(filled, tmp_path):
    filled.query_adapters.save("map", QueryAdapter(np.eye(filled.dim, dtype=np.float32)))
    exported = filled.export(tmp_path / "deep" / "exported")
    assert exported.passages == len(filled) == 98
    with Index.from_export(tmp_path / "deep" / "exported", tmp_path / "imported") as imported:
        assert content(imported) == content(filled)
        assert answers(imported) == answers(filled)
        assert imported.analyzer == "german"
        assert imported.agreement == filled.agreement
        assert list(imported.query_adapters) == ["map"]
        assert imported.verify(deep=True).problems == ()
        imported.upsert(["something new"])
        assert len(imported) == 99


def test_the_files_of_an_export_are_plain(filled, tmp_path):
    filled.export(tmp_path / "exported")
    lines = (tmp_path / "exported" / "corpus.jsonl").read_text(encoding="utf-8").split("\n")[:-1]
    vectors = np.load(tmp_path / "exported" / "vectors.npy")
    records = [json.loads(line) for line in lines]
    assert vectors.shape == (98, filled.dim)
    assert vectors.dtype == np.float32
    encoder = HashingEncoder()
    checked = 0
    for record, vector in zip(records, vectors, strict=True):
        passage = filled.get([record["_id"]])[0]
        assert (record["title"], record["text"]) == (passage.title, passage.text)
        text = f"{passage.title} {passage.text}".strip()
        if not text:
            assert np.isnan(vector).all()
            continue
        expected = encoder.encode_passages([text])[0]
        np.testing.assert_allclose(vector, expected / np.linalg.norm(expected), atol=1e-6)
        checked += 1
    assert checked > 70


def test_an_export_is_a_corpus_for_the_command_line(filled, tmp_path):
    filled.export(tmp_path / "exported")
    read = list(Corpus.from_path(tmp_path / "exported"))
    assert [passage.id for passage in read] == [passage.id for passage in filled]


@pytest.mark.parametrize("options", [{"encoder": None}, {"encoder": None, "dim": 8}])
def test_indexes_without_an_encoder(tmp_path, options):
    vectors = np.random.default_rng(0).standard_normal((50, 8), np.float32)
    vectors[3] = 0
    with Index.open(tmp_path / "index", **options) as index:
        if "dim" in options:
            with pytest.warns(match="length zero"):
                index.upsert([f"text {n}" for n in range(50)], vectors=vectors)
        else:
            index.upsert([f"text {n}" for n in range(50)])
        index.export(tmp_path / "exported")
        with Index.from_export(tmp_path / "exported", tmp_path / "imported") as imported:
            assert content(imported) == content(index)
            assert imported.modes == index.modes
            if "dim" in options:
                retrievers = [Retriever(some, mode="dense") for some in (index, imported)]
                hits = [retriever.retrieve(vector=vectors[7]) for retriever in retrievers]
                assert hits[0].ids == hits[1].ids
                assert hits[0].scores.tolist() == hits[1].scores.tolist()
    assert (tmp_path / "exported" / "vectors.npy").exists() == ("dim" in options)


def test_an_empty_index(tmp_path):
    with Index.open(tmp_path / "index", encoder="hashing") as index:
        index.export(tmp_path / "exported")
    with Index.from_export(tmp_path / "exported", tmp_path / "imported") as imported:
        assert len(imported) == 0
        imported.upsert(["a text"])
        assert Retriever(imported).retrieve("text").ids


def split_at_dashes(text):
    return text.split("-")


def test_the_analyzer_is_passed_or_trusted(tmp_path):
    with Index.open(tmp_path / "index", encoder=None, analyzer=split_at_dashes) as index:
        index.upsert([{"id": "1", "text": "green-tea"}])
        index.export(tmp_path / "exported")
    with pytest.raises(IndexMismatchError, match="trust"):
        Index.from_export(tmp_path / "exported", tmp_path / "imported")
    assert not (tmp_path / "imported").exists()
    with Index.from_export(
        tmp_path / "exported", tmp_path / "imported", analyzer=split_at_dashes
    ) as imported:
        assert Retriever(imported, mode="lexical").retrieve("tea").ids == ["1"]


def test_changed_files_are_refused(filled, tmp_path):
    exported = tmp_path / "exported"
    filled.export(exported)
    for name in ("corpus.jsonl", "vectors.npy"):
        before = (exported / name).read_bytes()
        (exported / name).write_bytes(before.replace(b"coffee", b"toffee", 1) + b"x")
        with pytest.raises(CorruptIndexError, match=f"{name} has changed"):
            Index.from_export(exported, tmp_path / "imported")
        (exported / name).unlink()
        with pytest.raises(CorruptIndexError, match="has no file"):
            Index.from_export(exported, tmp_path / "imported")
        (exported / name).write_bytes(before)
    with pytest.raises(IndexNotFoundError, match="there is no export"):
        Index.from_export(tmp_path / "nowhere", tmp_path / "imported")
    with pytest.raises(InputError, match="not empty"):
        Index.from_export(exported, filled.path)
    with pytest.raises(InputError, match="not empty"):
        filled.export(exported)
    assert not (tmp_path / "imported").exists()
    Index.from_export(exported, tmp_path / "imported").close()


def rewrite(exported, change, lines=None):
    """Change the manifest of an export, and its lines with the right checksum."""
    values = json.loads((exported / "export.json").read_text())
    if lines is not None:
        (exported / "corpus.jsonl").write_bytes(lines)
        values["files"]["corpus.jsonl"] = xxhash.xxh3_128_hexdigest(lines)
    change(values)
    (exported / "export.json").write_text(json.dumps(values))


@pytest.mark.parametrize(
    "change",
    [
        lambda v: v.pop("settings"),
        lambda v: v["settings"].update(dim="8"),
        lambda v: v["settings"].update(dim=-1),
        lambda v: v["settings"].update(dim=7),
        lambda v: v["settings"].update(metric="other"),
        lambda v: v["settings"].update(encoder=7),
        lambda v: v["settings"].update(title_weight=True),
        lambda v: v["settings"].update(profiles="[]"),
        lambda v: v["settings"].update(query_adapters='{"../x": {"hash": "", "set": 1}}'),
        lambda v: v["settings"].update(query_adapters='{"x": 1}'),
        lambda v: v["settings"].update(unknown=1),
        lambda v: v.update(vector_set=[]),
        lambda v: v["vector_set"].update(number=0),
        lambda v: v["vector_set"].update(canaries=[[1.0]]),
        lambda v: v["vector_set"].update(identity={"name": 1}),
        lambda v: v.update(files={"../export.json": "00"}),
        lambda v: v.update(format="1"),
        lambda v: v.update(files={}),
        lambda v: v["files"].pop("vectors.npy"),
        lambda v: v.update(passages=97),
        lambda v: v["settings"].update(title_weight=10**9),
        lambda v: v["settings"].update(title_weight=-5),
        lambda v: v["settings"].update(metric=None),
        lambda v: v["settings"].update(dense=False),
        lambda v: v["vector_set"].update(number=2**63),
        lambda v: v["vector_set"].update(canaries=[[1.0]] * 4),
        lambda v: v["vector_set"].update(canaries=[[float("inf")] * 256] * 4),
    ],
)
def test_wrong_values_in_an_export_are_refused(filled, tmp_path, change):
    filled.export(tmp_path / "exported")
    rewrite(tmp_path / "exported", change)
    with pytest.raises((CorruptIndexError, InputError)):
        Index.from_export(tmp_path / "exported", tmp_path / "imported")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["exported", "index"]


@pytest.mark.parametrize(
    "lines",
    [
        b"[1]\n",
        b"{",
        b'{"_id": "1"}\n',
        b'{"_id": 1, "title": "", "text": "", "metadata": {}}\n',
        b'{"_id": "1", "title": "", "text": "x", "metadata": []}\n',
        b'{"_id": "1", "title": "", "text": "x", "metadata": {}}\n' * 2,
        b"\xff\n",
    ],
)
def test_wrong_lines_in_an_export_are_refused(filled, tmp_path, lines):
    filled.export(tmp_path / "exported")
    rewrite(tmp_path / "exported", lambda _: None, lines)
    with pytest.raises((CorruptIndexError, PassageError)):
        Index.from_export(tmp_path / "exported", tmp_path / "imported")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["exported", "index"]


def test_an_export_of_a_later_version_is_refused(filled, tmp_path):
    filled.export(tmp_path / "exported")
    rewrite(tmp_path / "exported", lambda values: values.update(format=3))
    with pytest.raises(UnsupportedStorageError, match="upgrade twofold"):
        Index.from_export(tmp_path / "exported", tmp_path / "imported")


def test_damaged_vectors_are_not_exported(filled, tmp_path):
    (path,) = (filled.path / "vectors").iterdir()
    data = bytearray(path.read_bytes())
    data[77] ^= 1
    path.write_bytes(data)
    with Index.open(filled.path, read_only=True) as index, pytest.raises(CorruptIndexError):
        index.export(tmp_path / "exported")
    assert not (tmp_path / "exported").exists()


def npz():
    file = io.BytesIO()
    np.savez(file, x=np.zeros(3))
    return file.getvalue()


def header(text):
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


@pytest.mark.parametrize(
    "data",
    [
        npz(),
        b"PK\x03\x04 no archive",
        b"",
        header(b"{'descr': '<f4', 'fortran_order': False, 'shape': (18446744073709551616, 8), }\n"),
        header(b"{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387904, 8), }\n"),
        header(b"{'descr': '<f4', 'fortran_order': False, 'shape': (True, 8), }\n"),
        header(b"{'descr': ',', 'fortran_order': False, 'shape': (98, 256), }\n"),
        header(b'"['),
        header(b"-" * 9000 + b"1"),
        header(b"{[]: 1}"),
    ],
    ids=range(10),
)
def test_other_arrays_are_refused(filled, tmp_path, data):
    filled.export(tmp_path / "exported")
    (tmp_path / "exported" / "vectors.npy").write_bytes(data)

    def change(values):
        values["files"]["vectors.npy"] = xxhash.xxh3_128_hexdigest(data)

    rewrite(tmp_path / "exported", change)
    with pytest.raises(CorruptIndexError, match="must be an array of NumPy"):
        Index.from_export(tmp_path / "exported", tmp_path / "imported")


@pytest.mark.parametrize("name", ["corpus.jsonl", "vectors.npy", "export.json"])
def test_nothing_outside_of_an_export_is_read(filled, tmp_path, name):
    exported = tmp_path / "exported"
    filled.export(exported)
    outside = (exported / name).rename(tmp_path / "outside")
    os.mkfifo(exported / name)
    with pytest.raises(CorruptIndexError):
        Index.from_export(exported, tmp_path / "imported")
    if name != "export.json":
        (exported / name).unlink()
        (exported / name).symlink_to(outside)
        with pytest.raises(CorruptIndexError, match="has no file"):
            Index.from_export(exported, tmp_path / "imported")
