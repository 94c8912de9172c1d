"""Servers and passages that several tests of backends share."""

import pytest

from milvus_servers import LiteServer
from twofold import HashingEncoder, Index, Passage


@pytest.fixture(scope="session")
def passages(abstracts):
    return [
        Passage(each["text"], each["_id"], each["title"], {"year": 2000 + at % 7})
        for at, each in enumerate(abstracts[:300])
    ]


@pytest.fixture(scope="session")
def local(passages):
    with Index.open(None, encoder=HashingEncoder(), title_weight=2) as index:
        index.upsert(passages)
        yield index


@pytest.fixture
def lite_server(tmp_path):
    """A Milvus Lite that other processes reach over TCP."""
    started = LiteServer(tmp_path).start()
    yield started
    started.stop()
