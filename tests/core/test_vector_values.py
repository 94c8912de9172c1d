"""What is taken for vectors, and what is refused with its place: one table for all entries."""

import ml_dtypes
import numpy as np
import pytest
import torch

from twofold import Index, Retriever
from twofold.errors import QueryError, VectorError

TAKEN = {
    "float16": np.array([[1, 0], [0, 1]], np.float16),
    "float64": np.array([[1, 0], [0, 1]], np.float64),
    "Fortran order": np.asfortranarray(np.eye(2)),
    "big endian": np.eye(2).astype(">f4"),
    "numpy's bfloat16": np.eye(2).astype(ml_dtypes.bfloat16),
    "every other row": np.array([[1, 0], [9, 9], [0, 1], [9, 9]], np.float32)[::2],
    "every other column": np.array([[1.0, 9, 0], [0, 9, 1]])[:, ::2],
    "read-only": np.frombuffer(np.eye(2, dtype=np.float32).tobytes(), np.float32).reshape(2, 2),
    "lists": [[1.0, 0.0], [0.0, 1.0]],
    "tuples": ((1.0, 0.0), (0.0, 1.0)),
    "rows": [np.array([1.0, 0.0]), np.array([0.0, 1.0])],
    "tensor": torch.eye(2),
    "tensor with a gradient": torch.eye(2, requires_grad=True),
    "bfloat16": torch.eye(2, dtype=torch.bfloat16),
    "tensors": [torch.tensor([1.0, 0.0], requires_grad=True), torch.tensor([0.0, 1.0])],
}
REFUSED = {
    "None": ([None, [0.0, 1.0]], "vector 0 is None"),
    "ragged": ([[1.0], [0.0, 1.0]], "must be an array of floats"),
    "words": ([["a", "b"], ["c", "d"]], "must be an array of floats, got <U1"),
    "bytes": (b"abcd", "must be an array of floats"),
    "a mapping": ({"a": [1.0, 0.0]}, "must be an array of floats"),
    "complex": (np.eye(2) * 1j, "must be an array of floats, got complex128"),
    "sparse": (torch.eye(2).to_sparse(), "must be an array of floats"),
    "NaN": ([[1.0, 0.0], [np.nan, 0.0]], "vector 1.* NaN or infinite"),
    "too large for float32": ([[1e200, 0.0], [0.0, 1.0]], "vector 0.* NaN or infinite"),
}


class Given:
    """An encoder that returns given vectors for two texts."""

    def __init__(self, vectors):
        self.vectors = vectors

    def encode_queries(self, texts):
        return self.vectors if len(texts) == 2 else np.eye(2)[np.arange(len(texts)) % 2]

    encode_passages = encode_queries


@pytest.mark.parametrize("vectors", TAKEN.values(), ids=TAKEN)
def test_vectors_that_are_taken(vectors):
    with Index.open(None, dim=2) as index:
        assert index.upsert(["a", "b"], vectors=vectors).added == 2
        retriever = Retriever(index, mode="dense")
        assert [hits[0].passage.text for hits in retriever.retrieve_many(vectors=vectors)] == [
            "a",
            "b",
        ]
        assert retriever.retrieve(vector=vectors[1])[0].passage.text == "b"
    with Index.open(None, encoder=Given(vectors)) as index:
        index.upsert(["a", "b"])
        hits = Retriever(index, mode="dense").retrieve_many(["a", "b"])
        assert [each[0].passage.text for each in hits] == ["a", "b"]


@pytest.mark.parametrize(("vectors", "message"), REFUSED.values(), ids=REFUSED)
def test_vectors_that_are_refused(vectors, message):
    with Index.open(None, dim=2) as index:
        index.upsert(["before"], vectors=np.ones((1, 2)))
        with pytest.raises(VectorError, match=message):
            index.upsert(["a", "b"], vectors=vectors)
        with pytest.raises(QueryError, match=message):
            Retriever(index).retrieve_many(vectors=vectors)
        assert len(index) == 1
    with Index.open(None, encoder=Given(vectors)) as index:
        with pytest.raises(VectorError, match=message):
            index.upsert(["a", "b"])
        assert len(index) == 0
