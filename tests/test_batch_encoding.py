"""Encoding in shards: runners whose workers are killed, jobs that are stopped, and loading."""

import time
from pathlib import Path

import numpy as np
import pytest

from failing_encoders import ChangingEncoder, FatalEncoder, exit_once
from short_reader import ShortReader
from twofold import HashingEncoder, Index, Passage, Retriever
from twofold.backends.batches import as_stored
from twofold.batch_encoding import (
    DaskRunner,
    EncodingJob,
    ProcessRunner,
    RayRunner,
    SerialRunner,
    Shard,
    encode_shard,
)
from twofold.errors import (
    CorruptIndexError,
    EncoderMismatchError,
    IndexMismatchError,
    InputError,
    PassageError,
    WorkerError,
)


@pytest.fixture(scope="module")
def passages(abstracts):
    return [
        Passage(each["text"], each["_id"], each["title"], {"year": 2000 + at % 7})
        for at, each in enumerate(abstracts[:200])
    ]


def check_loaded(job, passages, claims, folder, encoder, **options):
    """The loaded index has the passages, vectors and rankings of one that encoded by itself."""
    assert job.load(passages, folder, **options) == len(passages)
    with (
        Index.open(folder, encoder=encoder, create=False) as loaded,
        Index.open(None, encoder=encoder, **options) as index,
    ):
        index.upsert(passages)
        assert loaded.verify(deep=True).ok
        assert list(loaded) == list(index)
        for claim in claims[:20]:
            for mode in ("dense", "hybrid"):
                ours = Retriever(index, mode=mode).retrieve(claim)
                theirs = Retriever(loaded, mode=mode).retrieve(claim)
                assert len(ours)
                assert list(theirs.ids) == list(ours.ids)
                assert theirs.scores == pytest.approx(ours.scores, abs=1e-9)


def test_a_job_gives_the_index_that_an_upsert_gives(tmp_path, passages, claims):
    job = EncodingJob(tmp_path / "shards", encoder=HashingEncoder(), size=30)
    report = job.run(passages)
    assert (report.shards, report.encoded, report.passages) == (7, 7, 200)
    again = job.run(passages)
    assert (again.shards, again.encoded) == (7, 0)
    check_loaded(job, passages, claims, tmp_path / "index", HashingEncoder(), title_weight=2)


def test_windows_are_in_the_shards(tmp_path, passages, claims):
    encoder = ShortReader(12)
    job = EncodingJob(tmp_path / "shards", encoder=encoder, windows=8, size=30)
    assert job.run(passages).windowed > 100
    assert job.load(passages, tmp_path / "index") == 200
    with (
        Index.open(tmp_path / "index", encoder=encoder, create=False) as loaded,
        Index.open(None, encoder=encoder, windows=8) as index,
    ):
        index.upsert(passages)
        for claim in claims[:10]:
            ours, theirs = (Retriever(t, mode="dense").retrieve(claim) for t in (index, loaded))
            assert list(theirs.ids) == list(ours.ids)
            first, second = ours.explain(), theirs.explain()
            assert [each.window for each in second.hits] == [each.window for each in first.hits]


@pytest.mark.parametrize("server", ["postgres", "milvus"])
def test_shards_are_loaded_into_a_server(request, server, tmp_path, passages, claims):
    job = EncodingJob(tmp_path / "shards", encoder=HashingEncoder(), size=64)
    job.run(passages)
    backend = request.getfixturevalue(server)(encoder=HashingEncoder(), index_type="flat")
    assert job.load(passages, backend) == len(backend) == 200
    with Index.open(None, encoder=HashingEncoder()) as index:
        index.upsert(passages)
        for claim in claims[:10]:
            ours, theirs = (Retriever(t, mode="dense").retrieve(claim) for t in (index, backend))
            assert theirs.scores == pytest.approx(ours.scores, abs=1e-5)
    other = request.getfixturevalue(server)(encoder=HashingEncoder(), windows=9)
    with pytest.raises(IndexMismatchError, match="windows"):
        job.load(passages, other)
    assert len(other) == 0


def test_processes_replace_a_worker_that_is_killed(tmp_path, passages, claims):
    job = EncodingJob(tmp_path / "shards", encoder=FatalEncoder(tmp_path / "deaths", 2), size=20)
    report = job.run(passages, ProcessRunner(workers=2))
    assert (report.shards, report.encoded) == (10, 10)
    assert not list((tmp_path / "deaths").iterdir())
    check_loaded(job, passages, claims, tmp_path / "index", HashingEncoder())


def test_processes_give_up_when_every_worker_dies_and_keep_what_is_there(tmp_path, passages):
    job = EncodingJob(
        tmp_path / "shards", encoder=FatalEncoder(tmp_path / "deaths", 1_000), size=20
    )
    with pytest.raises(WorkerError, match="use fewer workers"):
        job.run(passages, ProcessRunner(workers=2))
    for file in (tmp_path / "deaths").iterdir():
        file.unlink()
    assert job.run(passages, ProcessRunner(workers=2)).encoded == 10


@pytest.mark.slow
@pytest.mark.alone  # its workers compete with other tests'
def test_dask_replaces_a_worker_that_is_killed(tmp_path, passages, claims):
    distributed = pytest.importorskip("distributed", reason="not run: Dask is not installed")
    job = EncodingJob(tmp_path / "shards", encoder=FatalEncoder(tmp_path / "deaths", 1), size=20)
    with distributed.Client(n_workers=2, threads_per_worker=1, dashboard_address=None) as client:
        before = set(client.scheduler_info()["workers"])
        assert len(before) == 2
        report = job.run(passages, DaskRunner(client))
    assert (report.shards, report.encoded) == (10, 10)
    assert not list((tmp_path / "deaths").iterdir())
    check_loaded(job, passages, claims, tmp_path / "index", HashingEncoder())
    assert job.run(passages, DaskRunner(workers=2)).encoded == 0


@pytest.mark.slow
@pytest.mark.alone  # likewise
@pytest.mark.filterwarnings("ignore")  # Ray's own
def test_ray_replaces_an_actor_that_is_killed(tmp_path, passages, claims, monkeypatch):
    pytest.importorskip("ray", reason="not run: Ray is not installed")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))  # actors import the encoder
    job = EncodingJob(tmp_path / "shards", encoder=FatalEncoder(tmp_path / "deaths", 1), size=20)
    report = job.run(passages, RayRunner(workers=2))
    assert (report.shards, report.encoded) == (10, 10)
    assert not list((tmp_path / "deaths").iterdir())
    check_loaded(job, passages, claims, tmp_path / "index", HashingEncoder())


def test_a_stopped_job_goes_on_and_a_longer_corpus_adds_shards(tmp_path, passages):
    class StoppedError(Exception):
        pass

    def stop(count):
        if count > 60:
            raise StoppedError

    job = EncodingJob(tmp_path / "shards", encoder=HashingEncoder(), size=20)
    with pytest.raises(StoppedError):
        job.run(passages[:190], progress=stop)
    assert job.run(passages[:190]).encoded == 6  # of 10, 4 were there
    assert job.run(passages).encoded == 1  # the last one was shorter
    changed = [*passages[:25], Passage("changed", passages[25].id), *passages[26:]]
    assert job.run(changed).encoded == 1
    with pytest.raises(InputError, match="run the job on this corpus first"):
        job.load(passages, tmp_path / "index")
    assert not (tmp_path / "index").exists()


def test_a_damaged_shard_is_encoded_again(tmp_path, passages):
    job = EncodingJob(tmp_path / "shards", encoder=HashingEncoder(), size=20)
    job.run(passages)
    file = tmp_path / "shards" / "00000003.shard"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(CorruptIndexError):
        Shard.from_bytes(bytes(content))
    with pytest.raises(InputError, match="run the job"):
        job.load(passages, tmp_path / "index")
    (tmp_path / "shards" / "00000004.shard").write_bytes(b"")
    assert job.run(passages).encoded == 2
    assert job.load(passages, tmp_path / "index") == 200


def test_a_shard_is_a_pure_function_of_its_task(tmp_path, passages):
    job = EncodingJob(tmp_path / "shards", encoder=HashingEncoder(), size=50)
    tasks = [task for task, _ in job._tasks(passages)]
    for task in tasks:
        first, second = encode_shard(task), encode_shard(task)
        assert first.to_bytes() == second.to_bytes()
        back = Shard.from_bytes(first.to_bytes())
        assert (back.number, back.key, back.ids) == (task.number, task.key, task.ids)
        wanted = as_stored(
            HashingEncoder().identity.metric, HashingEncoder().encode_passages(list(task.texts))
        )
        for ours, theirs in zip(back.vectors, wanted, strict=True):
            assert np.array_equal(ours.vectors, theirs.vectors)


def test_other_arguments_and_another_model_are_refused(tmp_path, passages):
    EncodingJob(tmp_path / "shards", encoder=HashingEncoder(), size=50)
    for options in ({"encoder": ShortReader(12)}, {"windows": 9}):
        with pytest.raises(IndexMismatchError, match="another model"):
            EncodingJob(tmp_path / "shards", **{"encoder": HashingEncoder(), "size": 50, **options})
    with pytest.raises(IndexMismatchError, match="another size"):
        EncodingJob(tmp_path / "shards", encoder=HashingEncoder(), size=51)
    with pytest.raises(InputError, match="needs an encoder"):
        EncodingJob(tmp_path / "other", encoder=None)
    with pytest.raises(InputError, match="size must be"):
        EncodingJob(tmp_path / "other", encoder=HashingEncoder(), size=0)
    with pytest.raises(InputError, match="workers must be"):
        ProcessRunner(workers=0)
    job = EncodingJob(tmp_path / "shards", encoder=HashingEncoder(), size=50)
    with pytest.raises(PassageError, match="given twice"):
        job.run([passages[0], passages[0]], SerialRunner())
    (tmp_path / "shards" / "job.json").write_text("{}")
    with pytest.raises(CorruptIndexError, match="damaged"):
        EncodingJob(tmp_path / "shards", encoder=HashingEncoder(), size=50)


def test_a_worker_with_another_model_is_refused(tmp_path, passages):
    job = EncodingJob(tmp_path / "shards", encoder=ChangingEncoder(), size=50)
    with pytest.raises(EncoderMismatchError):
        job.run(passages, ProcessRunner(workers=2))
    assert not list((tmp_path / "shards").glob("*.shard"))


def test_equal_passages_without_ids_are_one(tmp_path):
    texts = ["plants make food", "a garden", "plants make food", "a garden", "green tea"]
    job = EncodingJob(tmp_path / "shards", encoder=HashingEncoder(), size=3)
    job.run(texts)
    assert job.load(texts, tmp_path / "index") == 3
    with Index.open(tmp_path / "index", encoder=HashingEncoder(), create=False) as loaded:
        assert [one.text for one in loaded] == ["plants make food", "a garden", "green tea"]
        assert loaded.verify(deep=True).ok


def test_a_worker_that_dies_while_nobody_waits_is_replaced():
    """The pool is found broken by the next task, not by a result."""
    runner, results = ProcessRunner(1), []
    for result in runner.run(exit_once, range(6)):
        time.sleep(0.3)
        results.append(result)
    assert sorted(results) == list(range(6))


@pytest.mark.parametrize("server", ["postgres", "milvus"])
def test_shards_of_another_model_are_not_loaded_into_an_empty_index(request, server, tmp_path):
    job = EncodingJob(tmp_path / "shards", encoder=HashingEncoder())
    job.run(["a garden"])
    for options in ({"encoder": ShortReader(12)}, {"encoder": HashingEncoder(), "metric": "dot"}):
        backend = request.getfixturevalue(server)(**options)
        with pytest.raises(IndexMismatchError, match="was made with"):
            job.load(["a garden"], backend)
        assert len(backend) == 0
