"""Encoders and rerankers in forked children, pickled and deep-copied."""

import copy
import os
import pickle
import signal
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import joblib
import numpy as np
import pytest

from tiny_models import finished_folder, transformer_folder
from twofold import HashingEncoder, Index, Retriever, SentenceTransformerEncoder
from twofold.encoders import QueryAdapter, TowersEncoder
from twofold.protocols import Encoder
from workers import search_in_worker

COPIES = {"pickle": lambda value: pickle.loads(pickle.dumps(value)), "deepcopy": copy.deepcopy}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    finished_folder(folder / "finished", transformer_folder(folder / "plain", seed=1))
    return folder / "finished"


def make(kind, folder) -> Encoder:
    if kind == "hashing":
        return HashingEncoder()
    if kind == "towers":
        one, two = SentenceTransformerEncoder(folder), SentenceTransformerEncoder(folder)
        return TowersEncoder(one, two)
    return SentenceTransformerEncoder(folder)


@pytest.mark.parametrize("copied", COPIES.values(), ids=COPIES)
@pytest.mark.parametrize("used", [False, True], ids=["new", "used"])
@pytest.mark.parametrize("kind", ["hashing", "transformer", "towers"])
def test_a_copy_of_an_encoder_gives_the_same_vectors(folder, kind, used, copied):
    encoder = make(kind, folder)
    if used:
        encoder.encode_passages(["warm"])
    again = copied(encoder)
    assert again is not encoder
    for method in ("encode_queries", "encode_passages"):
        given = getattr(encoder, method)(["red apple", "cells"])
        np.testing.assert_array_equal(getattr(again, method)(["red apple", "cells"]), given)
    assert again.identity == encoder.identity


@pytest.mark.parametrize("copied", COPIES.values(), ids=COPIES)
def test_a_copy_of_a_query_adapter_maps_as_it_does(copied):
    adapter = QueryAdapter(np.eye(4, dtype=np.float32)[::-1].copy(), "", {"k": 1})
    vectors = np.arange(8, dtype=np.float32).reshape(2, 4)
    np.testing.assert_array_equal(copied(adapter)(vectors), adapter(vectors))


@pytest.mark.parametrize("copied", COPIES.values(), ids=COPIES)
def test_a_copy_of_a_reranker_scores_as_it_does(trained_cross_encoder, copied):
    from twofold import CrossEncoderReranker

    reranker = CrossEncoderReranker(trained_cross_encoder, candidates=7)
    given = reranker.rerank(["cells"], [["cells divide", "red apple"]])
    again = copied(reranker)
    assert again.candidates == 7
    np.testing.assert_array_equal(
        again.rerank(["cells"], [["cells divide", "red apple"]])[0], given[0]
    )


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork")
def test_children_forked_while_a_thread_encodes_give_the_same_vectors(folder):
    encoder = SentenceTransformerEncoder(folder)
    given, stop = encoder.encode_queries(["red apple"]), threading.Event()

    def work():
        while not stop.is_set():
            encoder.encode_passages(["cells divide " * 20] * 8)

    thread = threading.Thread(target=work)
    thread.start()
    children = []
    try:
        for turn in range(6):
            time.sleep(0.01 * turn)
            child = os.fork()
            if child == 0:
                signal.alarm(60)
                same = np.allclose(encoder.encode_queries(["red apple"]), given, atol=1e-6)
                os._exit(0 if same else 3)
            children.append(child)
        ends = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    finally:
        stop.set()
        thread.join()
    assert ends == [0] * 6


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_workers_get_a_retriever_that_reads_only(tmp_path, start):
    with Index.open(tmp_path / "i", encoder="hashing") as index:
        index.upsert([{"id": "t", "text": "green tea"}, {"id": "c", "text": "black coffee"}])
        retriever = Retriever(index, k=1)
        again = pickle.loads(pickle.dumps(retriever))
        again.index.upsert([{"id": "w", "text": "cold water"}])  # in one process it writes
        with ProcessPoolExecutor(2, mp_context=get_context(start)) as pool:
            queries = ["tea", "coffee", "water"]
            found = list(pool.map(search_in_worker, [retriever] * 3, queries))
        assert [best for best, _ in found] == ["t", "c", "w"]
        assert all("was opened with read_only=True" in message for _, message in found)
        answers = joblib.Parallel(n_jobs=2)(
            joblib.delayed(search_in_worker)(retriever, query) for query in queries
        )
        assert answers == found
