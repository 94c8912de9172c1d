import gzip
import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

if "PYTEST_XDIST_WORKER" in os.environ:  # each core has a worker, so a worker needs one thread
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")

import psycopg
import pytest
from hypothesis import settings
from pymilvus import MilvusClient

from milvus_servers import OldServer
from postgres_server import PostgresServer, make_folder, unpack
from twofold import HashingEncoder, Index, Passage, Retriever
from twofold.backends.milvus import MilvusBackend
from twofold.backends.postgres import PostgresBackend

# The same examples on every run of CI; anywhere else new ones are tried each time.
settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    settings.load_profile("ci")

# Graphs of models are built once per run, and the user's cache stays as it is.
if "PYTEST_XDIST_WORKER" not in os.environ:
    os.environ["TWOFOLD_CACHE"] = tempfile.mkdtemp(prefix="twofold-cache-")


def pytest_unconfigure():
    if "PYTEST_XDIST_WORKER" not in os.environ:
        shutil.rmtree(os.environ["TWOFOLD_CACHE"], ignore_errors=True)


DATA = Path(__file__).parent.parent / "examples" / "data" / "scifact-1000"


@pytest.fixture(scope="session")
def wheel(tmp_path_factory):
    """The built wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder)]
    subprocess.run([*command, str(DATA.parents[2])], check=True, capture_output=True)
    return next(folder.glob("twofold-*.whl"))


@pytest.fixture(scope="session")
def abstracts():
    with gzip.open(DATA / "corpus.jsonl.gz", "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


@pytest.fixture(scope="session")
def claims():
    lines = (DATA / "queries.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["text"] for line in lines]


@pytest.fixture(scope="session")
def trained_cross_encoder(abstracts):
    """A small one on MiniLM's word vectors, taught in seconds by the first 150 abstracts."""
    from reranker_pairs import build_examples, train
    from word_matcher import word_matcher

    passages = [
        Passage(id=each["_id"], title=each["title"], text=each["text"]) for each in abstracts[:150]
    ]
    model = word_matcher(max_length=96)
    with Index.open(None, encoder=None) as index:
        index.upsert(passages)
        examples = build_examples(passages, Retriever(index, mode="lexical", k=8), count=3)
    train(model, examples, steps=40)
    return model


@pytest.fixture(scope="session")
def postgres_server():
    """A PostgreSQL server of this test process, or the one that POSTGRES_URL names."""
    if url := os.environ.get("POSTGRES_URL"):
        yield SimpleNamespace(url=url)
        return
    folder = make_folder()
    server = PostgresServer(unpack(), folder / "data", ["-cfsync=off"]).create().start()
    yield server
    server.stop()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def postgres(postgres_server):
    """Opens backends, each in a schema of its own that is deleted after the test."""
    opened, schemas = [], []

    def open_backend(**options):
        options.setdefault("schema", f"test_{secrets.token_hex(6)}")
        backend = PostgresBackend(options.pop("url", postgres_server.url), **options)
        opened.append(backend)
        schemas.append(backend.schema)
        return backend

    yield open_backend
    for backend in opened:
        backend.close()
    with psycopg.connect(postgres_server.url, autocommit=True) as connection:
        connection.execute("SET lock_timeout = '5s'")  # a transaction left open by a failed test
        for schema in set(schemas):
            connection.execute(f"DROP SCHEMA IF EXISTS {schema} CASCADE")


@pytest.fixture(scope="session")
def milvus_uri(tmp_path_factory):
    """A Milvus Lite file of this test process, or the server that MILVUS_URI names."""
    return os.environ.get("MILVUS_URI") or str(tmp_path_factory.mktemp("milvus") / "lite.db")


@pytest.fixture(scope="session")
def old_milvus():
    """A real Milvus server, of the last version that comes as a wheel."""
    server = OldServer()
    yield server.start()
    server.stop()


@pytest.fixture
def milvus(milvus_uri):
    """Opens backends, each in a collection of its own that is deleted after the test."""
    if not milvus_uri.startswith("http"):
        pytest.importorskip("milvus_lite")
    opened = []

    def open_backend(**options):
        options.setdefault("collection", f"test_{secrets.token_hex(6)}")
        opened.append(MilvusBackend(options.pop("uri", milvus_uri), **options))
        return opened[-1]

    yield open_backend
    names = {backend.collection for backend in opened}
    for backend in opened:
        backend.close()
    client = MilvusClient(milvus_uri, token=os.environ.get("MILVUS_TOKEN", ""))
    for name in names:
        for collection in (name, f"{name}_windows", f"{name}_state"):
            client.drop_collection(collection)
    client.close()


@pytest.fixture
def index(tmp_path):
    with Index.open(tmp_path / "index", encoder=HashingEncoder()) as opened:
        yield opened


@pytest.fixture(scope="session")
def library(tmp_path_factory, abstracts):
    """300 real abstracts, with a year that tests can filter by."""
    with Index.open(tmp_path_factory.mktemp("library") / "index", encoder="hashing") as opened:
        opened.upsert(
            {
                "id": each["_id"],
                "title": each["title"],
                "text": each["text"],
                "metadata": {"year": 1990 + place % 30},
            }
            for place, each in enumerate(abstracts[:300])
        )
        yield opened
