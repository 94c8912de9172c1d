from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from twofold.errors import InputError
from twofold.fusion import (
    PRESETS,
    EnsembleFusion,
    LegScores,
    QueryFusion,
    WeightedFusion,
    preset_from_name,
)
from twofold.fusion.presets import FusionMode

DENSE = st.integers(-64, 64).map(lambda n: n / 64)
WEIGHTS = st.integers(0, 64).map(lambda n: n / 64)


@st.composite
def lists(draw):
    """Two ranked lists of (passage, score), ties among them, that share passages."""
    out = []
    for values in (DENSE, st.integers(0, 6).map(float)):
        passages = draw(st.lists(st.integers(0, 9), unique=True, max_size=8))
        scores = draw(st.lists(values, min_size=len(passages), max_size=len(passages)))
        out.append(list(zip(passages, sorted(scores, reverse=True), strict=True)))
    assume(out[0] or out[1])
    return out


def as_evidence(pairs, passages):
    scores, ranks = dict(pairs), {each: rank for rank, (each, _) in enumerate(pairs, 1)}
    # What only the other leg lists is below everything here, as completion finds it.
    below = min(scores.values(), default=0.0) - 0.5
    return LegScores(
        np.array([scores.get(each, below) for each in passages]),
        np.array([ranks.get(each, 0) for each in passages], np.int64),
        -2.0,
    )


def ordered(fusion, dense, lexical):
    """Return passages and scores as a fusion ranks them; ids would decide last."""
    passages = sorted({each for pairs in (dense, lexical) for each, _ in pairs})
    fused = fusion.fuse(as_evidence(dense, passages), as_evidence(lexical, passages))
    order = np.lexsort((passages, fused.precedence, -fused.scores))
    return [passages[place] for place in order], fused.scores[order]


# Weights and constants under which different ranks of different lists tie, or nearly do.
SHARES = st.one_of(st.sampled_from([0.5, 0.25, 0.4, 0.6, 0.75, 1 / 3, 2 / 3, 0.9]), st.floats(0, 1))


@settings(max_examples=400, deadline=None)
@given(found=lists(), weight=SHARES, c=st.sampled_from([0, 1, 2, 60]), dense_first=st.booleans())
def test_langchains_ensemble_ranks_and_ties_alike(found, weight, c, dense_first):
    ours = ordered(EnsembleFusion(weight, c, dense_first), *found)[0]
    assert ours == ensemble(*found, weight, c, dense_first)


def test_langchains_ensemble_rounds_alike():
    """0.4 / (60 + 4) and 0.6 / (60 + 36) tie in long lists, and 0.4 * (1 / 64) may not."""
    dense = [(place, 1 - place / 64) for place in range(40)]
    lexical = [(place + 100, 40.0 - place) for place in range(40)]
    for weight in np.arange(0.1, 0.95, 0.05).round(2).tolist():
        ours = ordered(EnsembleFusion(weight), dense, lexical)[0]
        assert ours == ensemble(dense, lexical, weight, 60, dense_first=False)


def ensemble(dense, lexical, weight, c, dense_first):
    """Ask LangChain's retriever how it ranks two lists."""
    from langchain_classic.retrievers.ensemble import EnsembleRetriever
    from langchain_core.documents import Document
    from langchain_core.runnables import RunnableLambda

    both = [(dense, weight), (lexical, 1 - weight)]
    both = both if dense_first else both[::-1]
    retrievers = [RunnableLambda(lambda _: [])] * 2  # it is given their lists
    theirs = EnsembleRetriever(retrievers=retrievers, weights=[each for _, each in both], c=c)
    documents = theirs.weighted_reciprocal_rank(
        [[Document(page_content=str(each)) for each, _ in pairs] for pairs, _ in both]
    )
    return [int(each.page_content) for each in documents]


@pytest.mark.parametrize("mode", get_args(FusionMode))
@settings(max_examples=150, deadline=None)
@given(found=lists(), weight=WEIGHTS, dense_first=st.booleans())
def test_llama_indexs_fusion_scores_and_ties_alike(mode, found, weight, dense_first):
    dense, lexical = found
    both = [(dense, weight), (lexical, 1 - weight)]
    theirs = query_fusion(mode, both if dense_first else both[::-1])
    passages, scores = ordered(QueryFusion(mode, weight, dense_first), dense, lexical)
    assert passages == [int(each.node.get_content()) for each in theirs]
    np.testing.assert_allclose(scores, [each.score for each in theirs], atol=1e-9)


def test_llama_indexs_deviations_round_alike():
    """Lists that differ by a factor tie by rounding alone."""
    rng = np.random.default_rng(0)
    for _ in range(60):
        scores = np.sort(rng.integers(0, 100, 15))[::-1]
        dense = [(place, each / 128) for place, each in enumerate(scores.tolist())]
        lexical = [(place + 100, each * 0.3) for place, each in enumerate(scores.tolist())]
        theirs = query_fusion("dist_based_score", [(dense, 0.5), (lexical, 0.5)])
        ours = ordered(QueryFusion("dist_based_score"), dense, lexical)[0]
        assert ours == [int(each.node.get_content()) for each in theirs]


def query_fusion(mode, weighted):
    """Ask LlamaIndex's retriever over fixed lists."""
    from llama_index.core.base.base_retriever import BaseRetriever
    from llama_index.core.llms import MockLLM
    from llama_index.core.retrievers import QueryFusionRetriever
    from llama_index.core.schema import NodeWithScore, TextNode

    class Fixed(BaseRetriever):
        def __init__(self, pairs):
            super().__init__()
            self.pairs = pairs

        def _retrieve(self, query_bundle):
            return [
                NodeWithScore(node=TextNode(text=str(each)), score=score)
                for each, score in self.pairs
            ]

    return QueryFusionRetriever(
        [Fixed(pairs) for pairs, _ in weighted],
        llm=MockLLM(),
        mode=mode,
        num_queries=1,
        similarity_top_k=100,
        use_async=False,
        retriever_weights=[weight for _, weight in weighted],
    ).retrieve("query")


def test_presets_by_name():
    assert preset_from_name("langchain").fusion == EnsembleFusion()
    assert preset_from_name("llamaindex-dist-based-score").fusion == QueryFusion("dist_based_score")
    assert all(each.depth_is_k for each in PRESETS.values())
    with pytest.raises(InputError, match="unknown preset 'langchian'.*did you mean 'langchain'"):
        preset_from_name("langchian")
    with pytest.raises(InputError, match="mode must be one of 'reciprocal_rerank'.*got 'best'"):
        QueryFusion("best")


def test_another_share_of_the_dense_leg():
    for fusion in (
        EnsembleFusion(0.4, c=10, dense_first=True),
        QueryFusion("relative_score"),
        QueryFusion("dist_based_score", dense_first=False),
    ):
        other = fusion.with_dense_weight(0.9)
        assert other == replace(fusion, dense_weight=0.9)
        assert isinstance(other, WeightedFusion)
        with pytest.raises(InputError, match=">= 0 and <= 1"):
            fusion.with_dense_weight(1.1)
    for mode in ("reciprocal_rerank", "simple"):
        with pytest.raises(InputError, match=f"mode {mode!r} has no weights"):
            QueryFusion(mode).with_dense_weight(0.9)
