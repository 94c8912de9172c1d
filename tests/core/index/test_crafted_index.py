"""Catalogs with right checksums that name files outside their folder."""

from dataclasses import replace

import pytest

from twofold import HashingEncoder, Index
from twofold.errors import CorruptIndexError
from twofold.storage import Catalog

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
