"""Files and records with right checksums that the library has not written."""

import json
from dataclasses import replace

import numpy as np
import pytest

from twofold import HashingEncoder, Index, TwofoldError
from twofold.encoders import QueryAdapter
from twofold.errors import CorruptIndexError
from twofold.storage import Catalog, IndexSettings, content_hash, pack_arrays, unpack_arrays

NAMES = [
    "../../victim",
    "/etc/hostname",
    "0123456789abcdef-0000000001.f32/../../../victim",
    "victim",
    "",
    "0123456789abcdef-0000000001.f32\n",
    "0123456789ABCDEF-0000000001.f32",
]


@pytest.fixture
def path(tmp_path):
    with Index.open(tmp_path / "i", encoder=HashingEncoder()) as index:
        index.upsert(f"text {n}" for n in range(2000))
    (tmp_path / "victim").write_text("mine")
    return tmp_path / "i"


def use(path, tmp_path):
    with Index.open(path) as index:
        index.get(["x"])
        index.upsert(["another"])
        index.copy(tmp_path / "copy")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("table", ["blocks", "segments"])
def test_a_file_name_of_another_form_is_damage(path, tmp_path, table, name):
    catalog = Catalog(path / "catalog.sqlite", read_only=False)
    with catalog.write_transaction() as writer:
        if table == "blocks":
            record = writer.blocks(1, {})[0]
            writer.put_blocks([replace(record, file=name)], [record.number])
        else:
            record = writer.segments()[0]
            writer.put_segments([replace(record, file=name, blob=None)], [record.number])
    catalog.close()
    with pytest.raises(CorruptIndexError):
        use(path, tmp_path)
    assert (tmp_path / "victim").read_text() == "mine"
    assert not (tmp_path / "copy").exists()


@pytest.mark.parametrize("name", ["../../victim", "/etc/hostname", "a/b"])
def test_a_query_adapter_is_never_read_or_copied_from_elsewhere(path, tmp_path, name):
    catalog = Catalog(path / "catalog.sqlite", read_only=False)
    (tmp_path / "victim.adapter").write_text("mine")
    with catalog.write_transaction() as writer:
        records = f'{{"{name}": {{"hash": "00", "set": 1}}}}'
        writer.put_settings(replace(writer.settings(), query_adapters=records))
    catalog.close()
    with Index.open(path) as index:
        assert not index.verify().ok
        with pytest.raises(CorruptIndexError, match="is no name of a query adapter"):
            index.copy(tmp_path / "copy")
        with pytest.raises(CorruptIndexError):
            index.query_adapters[name]
    assert not (tmp_path / "copy").exists()
    assert (tmp_path / "victim.adapter").read_text() == "mine"


def list_adapters(path):
    with Index.open(path) as index:
        assert index.get(["x"]) == []
        return list(index.query_adapters)


@pytest.mark.parametrize(
    "changes",
    [
        {"profiles": "no JSON"},
        {"profiles": "[]"},
        {"active_profile": "missing"},
        {"profiles": '{"a": {"fusion": {"name": 7}}}', "active_profile": "a"},
        {"profiles": '{"a": 1}', "active_profile": "a"},
        {"query_adapters": '{"a": 1}'},
        {"index_type": '{"kind": "none"}'},
        {"index_type": "[" * 5000},
        {"dim": "256"},
        {"title_weight": [1]},
    ],
)
def test_settings_that_no_version_wrote_are_refused(path, changes):
    catalog = Catalog(path / "catalog.sqlite", read_only=False)
    with catalog.write_transaction() as writer:
        writer.put_settings(replace(writer.settings(), **changes))
    catalog.close()
    with pytest.raises(TwofoldError):
        list_adapters(path)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"metric": 1}', '{"metric": null, "x": 1}'])
def test_settings_of_another_form_are_damage(text):
    with pytest.raises(CorruptIndexError, match="settings"):
        IndexSettings.from_json(text)


@pytest.mark.parametrize("dtype", ["<i8, (", "(1", "O", "<U3", "<f16", "i4"])
def test_arrays_of_other_types_are_damage(dtype):
    data = pack_arrays({"a": np.arange(3)}).replace(b'"<i8"', json.dumps(dtype).encode())
    with pytest.raises(CorruptIndexError, match="header is not valid"):
        unpack_arrays(data)


@pytest.mark.parametrize("notes", [b"", b"[]", b"{}", b'{"model": ""}'])
def test_a_query_adapter_of_another_form_is_damage(path, notes):
    with Index.open(path) as index:
        index.query_adapters.save("trained", QueryAdapter(np.eye(256, dtype=np.float32)))
    arrays = {"matrix": np.eye(256, dtype=np.float32), "notes": np.frombuffer(notes, np.uint8)}
    data = pack_arrays(arrays)
    (path / "adapters" / "trained.adapter").write_bytes(data)
    catalog = Catalog(path / "catalog.sqlite", read_only=False)
    with catalog.write_transaction() as writer:
        records = json.dumps({"trained": {"hash": content_hash(data).hex(), "set": 1}})
        writer.put_settings(replace(writer.settings(), query_adapters=records))
    catalog.close()
    with Index.open(path) as index:
        with pytest.raises(CorruptIndexError, match="'trained' is damaged"):
            index.query_adapters["trained"]
        assert len(index.verify().problems) == 1
