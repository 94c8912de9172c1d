"""Maximal marginal relevance beside LangChain's own, on vectors of length 1."""

import numpy as np
import pytest
from langchain_core.vectorstores.utils import maximal_marginal_relevance

from langchain_twofold import TwofoldVectorStore
from twofold import Index


@pytest.mark.parametrize("metric", ["cosine", "dot", "euclidean"])
@pytest.mark.parametrize(("k", "fetch_k"), [(4, 20), (10, 12), (5, 3)])
@pytest.mark.parametrize("balance", [0.0, 0.3, 0.5, 0.9, 1.0])
def test_the_same_documents_in_the_same_order(metric, k, fetch_k, balance):
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((60, 16)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    with Index.open(None, dim=16, metric=metric) as index:
        index.upsert([{"id": str(n), "text": f"text {n}"} for n in range(60)], vectors=vectors)
        store = TwofoldVectorStore(index)
        for query in vectors[:10] + rng.standard_normal((10, 16)).astype(np.float32) / 8:
            query /= np.linalg.norm(query)
            near = np.argsort(-(vectors @ query), kind="stable")[: max(k, fetch_k)]
            picked = maximal_marginal_relevance(query, list(vectors[near]), balance, k)
            found = store.max_marginal_relevance_search_by_vector(
                query.tolist(), k=k, fetch_k=fetch_k, lambda_mult=balance
            )
            assert [int(each.id) for each in found] == [int(near[place]) for place in picked]
