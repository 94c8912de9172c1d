"""One suite for every reranker: scores of the same pairs, however they are asked."""

from dataclasses import dataclass

import numpy as np
import pytest

from tiny_models import cross_encoder_folder
from twofold.protocols import Reranker
from twofold.rerank import CrossEncoderReranker


@dataclass(frozen=True)
class WordOverlap:
    """The share of the query's words that the passage has: the least that can rerank."""

    candidates: int = 50
    threshold: float | None = None

    def rerank(self, queries, texts, progress=None):
        done, found = 0, []
        for query, each in zip(queries, texts, strict=True):
            words = set(query.lower().split())
            shared = [len(words & set(text.lower().split())) for text in each]
            found.append(np.array(shared, np.float64) / max(1, len(words)))
            done += len(each)
            if progress is not None and each:
                progress(done)
        return found


@pytest.fixture(scope="module", params=["cross-encoder", "word overlap"])
def make(request, tmp_path_factory):
    if request.param == "word overlap":
        return WordOverlap
    folder = cross_encoder_folder(tmp_path_factory.mktemp("conformance") / "model", seed=5)
    return lambda **settings: CrossEncoderReranker(folder, **settings)


@pytest.fixture
def asked(claims, abstracts):
    titles = [each["title"] for each in abstracts]
    return claims[:5], [titles[:7], [], titles[3:4], titles[:30], ["", titles[0], titles[0]]]


def test_it_is_a_reranker_with_its_settings(make):
    reranker = make(candidates=7, threshold=0.25)
    assert isinstance(reranker, Reranker)
    assert (reranker.candidates, reranker.threshold) == (7, 0.25)
    assert make().threshold is None


def test_each_query_has_one_finite_score_a_passage(make, asked):
    found = make().rerank(*asked)
    assert [scores.shape for scores in found] == [(len(each),) for each in asked[1]]
    assert all(scores.dtype == np.float64 and np.isfinite(scores).all() for scores in found)
    assert len(set(found[3].tolist())) > 1


def test_a_query_alone_and_a_pair_alone_have_the_scores_they_have_among_others(make, asked):
    reranker, (queries, texts) = make(), asked
    found = reranker.rerank(queries, texts)
    for query, each, scores in zip(queries, texts, found, strict=True):
        (alone,) = reranker.rerank([query], [each])
        np.testing.assert_allclose(alone, scores, atol=1e-5)
        pairs = [reranker.rerank([query], [[text]])[0][0] for text in each]
        np.testing.assert_allclose(pairs, scores, atol=1e-5)


def test_turned_around_it_gives_the_same_turned_around(make, asked):
    reranker, (queries, texts) = make(), asked
    found = reranker.rerank(queries, texts)
    turned = reranker.rerank(queries[::-1], [each[::-1] for each in texts[::-1]])
    assert len(turned) == len(found) > 0
    for scores, before in zip(turned[::-1], found, strict=True):
        np.testing.assert_allclose(scores[::-1], before, atol=1e-5)


def test_settings_of_the_cut_change_no_score_and_leave_no_passage_out(make, asked):
    queries, texts = asked
    found = make().rerank(queries, texts)
    cut = make(candidates=1, threshold=1e9).rerank(queries, texts)
    for scores, before in zip(cut, found, strict=True):
        np.testing.assert_array_equal(scores, before)


def test_progress_grows_to_the_number_of_pairs(make, asked):
    reached = []
    make().rerank(*asked, reached.append)
    assert reached == sorted(set(reached))
    assert reached[-1] == sum(map(len, asked[1]))
    make().rerank(["red"], [[]], reached.append)
    assert make().rerank([], [], reached.append) == []


def test_the_same_call_gives_the_same_bits(make, asked):
    reranker = make()
    for one, two in zip(reranker.rerank(*asked), reranker.rerank(*asked), strict=True):
        assert one.tobytes() == two.tobytes()
