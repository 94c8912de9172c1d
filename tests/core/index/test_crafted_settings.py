"""Settings and records of a stranger's index, with right checksums: only the library's errors."""

import json
import sqlite3
import warnings
from dataclasses import fields

import pytest

from twofold import BM25, Index, Retriever, SearchProfile, WeightedSum
from twofold.errors import TwofoldError
from twofold.storage import IndexSettings
from twofold.storage.catalog import passage_checksum
from twofold.storage.records import row_checksum

VALUES = (
    None,
    True,
    -1,
    0,
    7,
    10**30,
    0.5,
    "",
    "x",
    "../../x",
    "\ud800",
    "[]",
    "{}",
    "null",
    '{"a": 1}',
    '{"tuned": {}}',
    '{"tuned": 1}',
    '{"kind": "hnsw"}',
    '{"kind": "hnsw", "links": -1}',
    '{"kind": "flat", "codec": "x"}',
    '{"kind": []}',
    "[" * 100_000,
    [],
    {},
    [1, "x"],
    {"hash": "00", "set": 1},
)
FIELDS = [field.name for field in fields(IndexSettings) if field.name != "encoder"]


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    path = tmp_path_factory.mktemp("original") / "index"
    with Index.open(path, encoder="hashing") as index:
        index.upsert(
            {"id": f"{n}", "text": f"word{n} common", "metadata": {"n": n}} for n in range(60)
        )
        index.profiles.save("tuned", SearchProfile(WeightedSum(dense_weight=0.3), 50, BM25(), 1))
    return (path / "catalog.sqlite").read_bytes(), path


def craft(original, path, table, change):
    """Write the catalog anew with one row changed and its checksum made right."""
    data, source = original
    (path / "vectors").mkdir(parents=True)
    (path / "segments").mkdir()
    for name in ("HEAD", "LOCK"):
        (path / name).write_bytes((source / name).read_bytes())
    for folder in ("vectors", "segments"):
        for file in (source / folder).iterdir():
            (path / folder / file.name).write_bytes(file.read_bytes())
    (path / "catalog.sqlite").write_bytes(data)
    catalog = sqlite3.connect(path / "catalog.sqlite", isolation_level=None)
    *values, _ = catalog.execute(f"SELECT * FROM {table}").fetchone()
    values = change(values)
    try:
        checksum = row_checksum(*values)
    except UnicodeEncodeError:  # which no string that SQLite returns raises
        checksum = 0
    marks = ",".join("?" * (len(values) + 1))
    catalog.execute(f"DELETE FROM {table}")
    catalog.execute(f"INSERT INTO {table} VALUES ({marks})", (*values, checksum))
    catalog.close()
    return path


def use(path):
    """Do all that a user does; return how many calls raised an error of the library."""
    calls = (
        lambda index: Retriever(index).retrieve("word3").ids,
        lambda index: Retriever(index, mode="dense").retrieve("word3").ids,
        lambda index: Retriever(index, mode="lexical").retrieve("word3", where={"n": 3}).ids,
        lambda index: index.get(["3"]),
        lambda index: list(index),
        lambda index: index.verify(deep=True),
        lambda index: [index.profiles[name] for name in index.profiles],
        lambda index: list(index.query_adapters),
        lambda index: (index.index_type, index.dim, index.metric, index.analyzer, index.modes),
        lambda index: index.copy(path.with_name("copied")),
        lambda index: index.backup(path.with_name("a.tar")),
        lambda index: index.export(path.with_name("exported")),
        lambda index: index.upsert([{"id": "3", "text": "changed"}, "another"]),
        lambda index: index.delete(["4"]),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            index = Index.open(path, create=False)
        except TwofoldError:
            return len(calls)
        with index:
            return sum(is_refused(call, index) for call in calls)


def is_refused(call, index):
    """Return whether a call raises an error of the library."""
    try:
        call(index)
    except TwofoldError:
        return True
    return False


@pytest.mark.parametrize("field", FIELDS)
def test_no_value_of_a_setting_raises_another_error(original, tmp_path, field):
    refused = 0
    for number, value in enumerate(VALUES):

        def change(values, value=value):
            settings = json.loads(values[0])
            settings[field] = value
            return [json.dumps(settings)]

        refused += use(craft(original, tmp_path / str(number) / "index", "settings", change)) > 0
    assert refused >= 8


@pytest.mark.parametrize(
    "text", ["", "x", "null", "[]", "{}", "1", "[" * 100_000, "\0", '{"format": 5}', b"x", 3]
)
def test_no_text_in_place_of_the_settings_raises_another_error(original, tmp_path, text):
    path = craft(original, tmp_path / "index", "settings", lambda _: [text])
    assert use(path) > 0


@pytest.mark.parametrize(
    "identity",
    [
        *("", "x", "[]", "1", "{}", '{"name": 1}', "[" * 100_000, '"text"'),
        '{"name": "x", "dim": "y", "metric": "cosine", "fingerprint": 1}',
        '{"name": "x", "dim": 1, "metric": "other", "fingerprint": "1"}',
    ],
)
def test_no_identity_of_an_encoder_raises_another_error(original, tmp_path, identity):
    def change(values):
        return [values[0], identity, *values[2:]]

    assert use(craft(original, tmp_path / "index", "vector_sets", change)) > 0


@pytest.mark.parametrize(
    "encoder", [3, True, "", "/", "../../x", "?", "a?b=c", " | ", "hashing?x=1"]
)
def test_no_name_of_an_encoder_raises_another_error(original, tmp_path, encoder):
    def change(values):
        return [json.dumps({**json.loads(values[0]), "encoder": encoder})]

    assert use(craft(original, tmp_path / "index", "settings", change)) > 0


@pytest.mark.parametrize("canaries", [b"", b"x", bytes(16), bytes(4096), "text", 3])
def test_no_canaries_raise_another_error(original, tmp_path, canaries):
    def change(values):
        return [*values[:2], canaries, *values[3:]]

    use(craft(original, tmp_path / "index", "vector_sets", change))


@pytest.mark.parametrize("place", range(8))
@pytest.mark.parametrize("value", [-1, 0, 1, 2**31, 2**62, "x", b"x", 0.5])
def test_no_counter_raises_another_error(original, tmp_path, place, value):
    def change(values):
        return [value if at == place else old for at, old in enumerate(values)]

    use(craft(original, tmp_path / "index", "state", change))


@pytest.mark.parametrize("place", range(1, 7))
@pytest.mark.parametrize("value", [-1, 0, 2**31, 2**62, "x", b"x", b"\0" * 4, 0.5, None])
def test_no_vector_block_raises_another_error(original, tmp_path, place, value):
    def change(values):
        return [value if at == place else old for at, old in enumerate(values)]

    try:
        path = craft(original, tmp_path / "index", "vector_blocks", change)
    except sqlite3.IntegrityError:
        pytest.skip("SQLite refuses the value")
    use(path)


@pytest.mark.parametrize(
    "metadata", ["", "x", "[]", "1", "null", "[" * 100_000, '{"a": NaN}', '"x"']
)
def test_no_metadata_raises_another_error(original, tmp_path, metadata):
    path = craft(original, tmp_path / "index", "state", lambda values: values)
    catalog = sqlite3.connect(path / "catalog.sqlite", isolation_level=None)
    row, *fields, content = catalog.execute(
        "SELECT row, id, title, text, content FROM passages WHERE id = '3'"
    ).fetchone()
    checksum = passage_checksum(row, *fields, metadata, content)
    catalog.execute(
        "UPDATE passages SET metadata = ?, checksum = ? WHERE row = ?", (metadata, checksum, row)
    )
    catalog.close()
    use(path)
