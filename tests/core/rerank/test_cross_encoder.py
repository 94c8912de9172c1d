import copy
import os
import threading

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sentence_transformers import CrossEncoder

from tiny_models import cross_encoder_folder, transformer_folder
from twofold import Index, Passage, Retriever
from twofold.errors import EncoderNotFoundError, InputError
from twofold.protocols import Reranker
from twofold.rerank import CrossEncoderReranker, reranker_from_name

NOISE = 1e-5
"""How far a score may be from that of the same pair in another batch; 6e-7 was measured."""
WORDS = ["plants", "make", "food", "from", "light", "how", "do", "cells", "divide", "red", "apple"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return cross_encoder_folder(tmp_path_factory.mktemp("rerank") / "model", seed=3, positions=256)


@pytest.fixture(scope="module")
def narrow(tmp_path_factory):
    return cross_encoder_folder(tmp_path_factory.mktemp("rerank") / "narrow", positions=64)


@pytest.fixture(scope="module")
def model(folder):
    return CrossEncoder(str(folder), device="cpu")


@pytest.fixture(scope="module")
def asked(claims, abstracts):
    """Real claims, each with some abstracts and titles, one of them with none.

    Abstracts are cut, and claims take less than half of what the model reads: they are whole.
    """
    queries = [claim for claim in claims if len(claim) < 100][:6]
    contents = [f"{each['title']} {each['text']}" for each in abstracts]
    titles = [each["title"] for each in abstracts]
    return queries, [contents[:9], titles[:20], [], contents[5:8] + titles[:3], [""], ["a", "a"]]


def predicted(model, queries, texts, **how):
    return [
        model.predict([(query, text) for text in each], **how) if each else []
        for query, each in zip(queries, texts, strict=True)
    ]


def check(found, wanted, atol=NOISE):
    assert [len(each) for each in found] == [len(each) for each in wanted]
    assert sum(map(len, found)) > 0
    for ours, theirs in zip(found, wanted, strict=True):
        assert ours.dtype == np.float64
        np.testing.assert_allclose(ours, theirs, atol=atol)


def test_scores_are_those_of_predict(folder, model, asked):
    wanted = predicted(model, *asked)
    assert np.std(wanted[1]) > 0.01
    for given_model in (folder, str(folder), model):
        check(CrossEncoderReranker(given_model).rerank(*asked), wanted)
    logits = predicted(model, *asked, activation_fn=torch.nn.Identity())
    check(CrossEncoderReranker(model, activation="identity").rerank(*asked), logits)


def test_a_saved_activation_is_kept_unless_another_is_named(folder, asked, tmp_path):
    model = CrossEncoder(str(folder), device="cpu", activation_fn=torch.nn.Tanh())
    model.save_pretrained(str(tmp_path / "tanh"))
    wanted = predicted(model, *asked)
    assert min(min(each, default=0) for each in wanted) < 0
    check(CrossEncoderReranker(tmp_path / "tanh").rerank(*asked), wanted)
    sigmoid = CrossEncoderReranker(tmp_path / "tanh", activation="sigmoid")
    check(sigmoid.rerank(*asked), predicted(model, *asked, activation_fn=torch.nn.Sigmoid()))


def test_the_sigmoid_keeps_apart_what_float32_makes_equal(model, asked):
    steep = copy.deepcopy(model)
    with torch.no_grad():
        steep.model.classifier.weight.mul_(0.01)
        steep.model.classifier.bias.fill_(20.0)
    queries, texts = asked
    theirs = steep.predict([(queries[1], text) for text in texts[1]])
    assert len(set(theirs.tolist())) == 1
    logits = CrossEncoderReranker(steep, activation="identity").rerank(queries, texts)[1]
    ours = CrossEncoderReranker(steep).rerank(queries, texts)[1]
    assert len(set(ours.tolist())) == len(set(logits.tolist())) > 10
    assert np.argsort(ours).tolist() == np.argsort(logits).tolist()


@pytest.mark.parametrize("batch_tokens", [1, 100, 300, 1_000_000])
def test_batches_change_no_score_and_the_same_call_gives_the_same_bits(model, asked, batch_tokens):
    reranker = CrossEncoderReranker(model, batch_tokens=batch_tokens)
    found = reranker.rerank(*asked)
    check(found, CrossEncoderReranker(model).rerank(*asked))
    for again, before in zip(reranker.rerank(*asked), found, strict=True):
        np.testing.assert_array_equal(again, before)


@settings(deadline=None, max_examples=25)
@given(data=st.data())
def test_any_order_of_queries_and_passages_gives_each_pair_its_score(model, data):
    sentences = st.lists(st.sampled_from(WORDS), max_size=30).map(" ".join)
    queries = data.draw(st.lists(sentences, min_size=1, max_size=4))
    texts = [data.draw(st.lists(sentences, max_size=5)) for _ in queries]
    reranker = CrossEncoderReranker(model, batch_tokens=data.draw(st.integers(1, 500)))
    found = reranker.rerank(queries, texts)
    order = data.draw(st.permutations(range(len(queries))))
    inner = [data.draw(st.permutations(range(len(each)))) for each in texts]
    moved = reranker.rerank(
        [queries[place] for place in order],
        [[texts[place][at] for at in inner[place]] for place in order],
    )
    for scores, place in zip(moved, order, strict=True):
        np.testing.assert_allclose(scores, found[place][np.array(inner[place], int)], atol=NOISE)


def test_batches_hold_what_the_budget_allows_and_progress_counts_their_pairs(model, asked):
    queries, texts = ["red"], [["apple"] * 10 + ["light " * 20]]
    reached = []
    # 3 special tokens and two words each: 5; the long pair has 24 and is alone
    CrossEncoderReranker(model, batch_tokens=20).rerank(queries, texts, reached.append)
    assert reached == [1, 5, 9, 11]
    reached = []
    CrossEncoderReranker(model).rerank(*asked, reached.append)
    assert reached == sorted(set(reached))
    assert reached[-1] == sum(map(len, asked[1]))


def test_nothing_gives_nothing(model):
    reranker, reached = CrossEncoderReranker(model), []
    assert reranker.rerank([], []) == []
    (empty,) = reranker.rerank(["red"], [[]], reached.append)
    assert (empty.shape, empty.dtype, reached) == ((0,), np.float64, [])


def by_hand(folder, query, text):
    """The logit of a pair, put together of its tokens and cut by hand."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(folder))
    network = AutoModelForSequenceClassification.from_pretrained(str(folder)).eval()
    first = [tokenizer.cls_token_id, *query, tokenizer.sep_token_id]
    second = [*text, tokenizer.sep_token_id]
    with torch.no_grad():
        return network(
            input_ids=torch.tensor([first + second]),
            token_type_ids=torch.tensor([[0] * len(first) + [1] * len(second)]),
        ).logits.item()


@pytest.mark.parametrize(
    ("asked", "read", "kept"),
    [
        (5, 100, (5, 56)),  # 64 tokens, 3 of them special, leave room for 61
        (30, 40, (30, 31)),
        (40, 40, (40, 21)),  # here sentence-transformers would cut both
        (45, 100, (45, 16)),
        (46, 100, (30, 31)),  # more than three quarters: both are cut
        (100, 100, (30, 31)),
        (100, 3, (58, 3)),
        (40, 20, (40, 20)),
    ],
)
def test_of_a_long_pair_the_passage_is_cut_and_the_query_is_kept(narrow, asked, read, kept):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(narrow))
    query = [WORDS[place * 7 % len(WORDS)] for place in range(asked)]
    text = [WORDS[place * 5 % len(WORDS)] for place in range(read)]
    ids = [tokenizer.convert_tokens_to_ids(words) for words in (query, text)]
    reranker = CrossEncoderReranker(narrow, activation="identity")
    # With a short pair beside it, so that padding and a second batch are part of it.
    ((score, _),) = reranker.rerank([" ".join(query)], [[" ".join(text), "red"]])
    assert score == pytest.approx(by_hand(narrow, ids[0][: kept[0]], ids[1][: kept[1]]), abs=1e-4)


def test_the_longest_length_cuts_pairs_and_leaves_the_model_as_it_was(folder, model, asked):
    short = CrossEncoder(str(folder), device="cpu", max_length=20)
    check(CrossEncoderReranker(model, max_length=20).rerank(*asked), predicted(short, *asked))
    check(CrossEncoderReranker(model).rerank(*asked), predicted(model, *asked))
    assert model.max_seq_length == 256
    for length, message in [(257, "must be <= 256"), (4, "must be >= 5")]:
        with pytest.raises(InputError, match=message):
            CrossEncoderReranker(model, max_length=length).rerank(["a"], [["b"]])


def test_a_prompt_of_the_model_is_used_and_counted(folder, asked):
    prompts = {"web": "how do plants make food from light : "}
    model = CrossEncoder(str(folder), device="cpu", prompts=prompts, default_prompt_name="web")
    wanted = predicted(model, *asked)
    check(CrossEncoderReranker(model).rerank(*asked), wanted)
    assert np.abs(wanted[1] - predicted(CrossEncoder(str(folder)), *asked)[1]).max() > 1e-3


def test_threads_share_a_model_even_by_two_rerankers(model, asked):
    # Each cuts elsewhere, which is set on the tokenizer that they share.
    rerankers = [CrossEncoderReranker(model, batch_tokens=99, max_length=n) for n in (120, None)]
    alone = [reranker.rerank(*asked) for reranker in rerankers]
    assert abs(alone[0][0] - alone[1][0]).max() > 0.01
    found, start = {}, threading.Barrier(8)

    def work(number):
        start.wait()
        found[number] = [rerankers[number % 2].rerank(*asked) for _ in range(3)]

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert len(found) == 8
    for number, several in found.items():
        for scores in several:
            check(scores, alone[number % 2], atol=0)


def test_a_name_is_a_spec_that_makes_the_reranker_again(folder, model, asked):
    spec = f"{folder}?candidates=30&threshold=.5&batch_tokens=64&max_length=20&activation=identity"
    reranker = reranker_from_name(spec)
    assert (reranker.candidates, reranker.threshold, reranker.max_length) == (30, 0.5, 20)
    again = reranker_from_name(reranker.name)
    assert again == reranker
    assert hash(again) == hash(reranker)
    check(again.rerank(*asked), reranker.rerank(*asked), atol=0)
    assert reranker_from_name(folder) == CrossEncoderReranker(str(folder))
    assert isinstance(reranker, Reranker)
    assert repr(reranker) == f"CrossEncoderReranker({reranker.name!r})"
    assert "BertForSequence" not in repr(CrossEncoderReranker(model))


def test_an_identity_is_that_of_the_scores(folder, model, tmp_path):
    identity = CrossEncoderReranker(folder).identity
    model.save_pretrained(str(tmp_path / "moved"))
    moved = CrossEncoderReranker(tmp_path / "moved", candidates=3, threshold=0.1)
    assert moved.identity.fingerprint == identity.fingerprint
    assert moved.identity.name != identity.name
    other = cross_encoder_folder(tmp_path / "other", seed=4)
    others = [
        CrossEncoderReranker(other),
        CrossEncoderReranker(folder, activation="identity"),
        CrossEncoderReranker(folder, max_length=20),
    ]
    prints = {identity.fingerprint, *(each.identity.fingerprint for each in others)}
    assert len(prints) == 4


def test_a_model_that_cannot_rank_is_refused(tmp_path, folder, monkeypatch):
    three = cross_encoder_folder(tmp_path / "three", labels=3)
    for each in (three, CrossEncoder(str(three), device="cpu")):
        with pytest.raises(InputError, match="gives 3 scores per pair"):
            CrossEncoderReranker(each).rerank(["a"], [["b"]])
    plain = transformer_folder(tmp_path / "plain")
    for each in (plain, "all-MiniLM-L6-v2"):
        with pytest.raises(InputError, match="is a BertModel, which has no scoring head"):
            CrossEncoderReranker(each).rerank(["a"], [["b"]])
    for each in (torch.nn.Linear(1, 1), None, 3):
        with pytest.raises(InputError, match=r"a CrossEncoder of sentence-transformers, a folder"):
            CrossEncoderReranker(each)
    with pytest.raises(EncoderNotFoundError, match="no model folder"):
        CrossEncoderReranker(tmp_path / "nowhere")
    import huggingface_hub.constants

    monkeypatch.setitem(os.environ, "HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(EncoderNotFoundError, match="no model 'no-such-model'"):
        CrossEncoderReranker("no-such-model").rerank(["a"], [["b"]])


def test_a_score_that_is_no_number_raises(folder, tmp_path):
    model = CrossEncoder(str(folder), device="cpu")
    with torch.no_grad():
        model.model.classifier.bias.fill_(float("nan"))
    with pytest.raises(InputError, match="nan for the query 'red' and the passage 'apple'"):
        CrossEncoderReranker(model).rerank(["red"], [["apple"]])


def test_bad_arguments_say_what_is_wanted(folder, model):
    for settings_, message in [
        ({"candidates": 0}, "candidates must be an integer >= 1, got 0"),
        ({"candidates": True}, "candidates must be .*got True"),
        ({"candidates": None}, "candidates must be .*got None"),
        ({"batch_tokens": 1.5}, "batch_tokens must be .*got 1.5"),
        ({"max_length": 0}, "max_length must be .*got 0"),
        ({"threshold": float("nan")}, "threshold must be a number, got nan"),
        ({"threshold": "high"}, "threshold must be a number, got 'high'"),
        ({"activation": "relu"}, "activation must be one of 'sigmoid', 'identity', got 'relu'"),
    ]:
        with pytest.raises(InputError, match=message):
            CrossEncoderReranker(folder, **settings_)
    with pytest.raises(InputError, match="a model that is loaded already"):
        CrossEncoderReranker(model, device="cpu")
    reranker = CrossEncoderReranker(model)
    for queries, texts, message in [
        ("red", [["apple"]], "got one string"),
        (["red"], "apple", "a sequence of strings for each query"),
        (["red"], ["apple"], "got one string"),
        (["red"], [["apple"], ["light"]], "each of the 1 queries, got 2"),
        (["red"], [["apple", None]], "text 1 must be a string, got NoneType"),
        (["red \ud800"], [["apple"]], "lone surrogate"),
    ]:
        with pytest.raises(InputError, match=message):
            reranker.rerank(queries, texts)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("m?candidate=3", "did you mean 'candidates'"),
        ("m?candidates=few", "candidates must be .*got 'few'"),
        ("m?threshold=high", "threshold must be .*got 'high'"),
        ("m?threshold=nan", "threshold must be .*got nan"),
        ("m?threshold", "has no value"),
        ("m?candidates=3&candidates=4", "is repeated"),
        ("m?", "the reranker 'm[?]' has no options"),
        ("?candidates=3", "names no model"),
        ("", "must be a name or a folder's path"),
    ],
)
def test_a_bad_spec_says_what_is_wanted(spec, message):
    with pytest.raises(InputError, match=message):
        reranker_from_name(spec)


def area(model, pairs):
    """How often the right passage is above another: 0.5 for chance, and for equal scores."""
    queries, texts = zip(*pairs, strict=True)
    found = CrossEncoderReranker(model).rerank(queries, texts)
    return np.mean(
        [np.mean(np.sign(scores[0] - scores[1:])) / 2 + 0.5 for scores in found if len(scores) > 1]
    )


@pytest.mark.slow
def test_training_teaches_which_abstract_a_title_belongs_to(trained_cross_encoder, abstracts):
    from word_matcher import word_matcher

    unseen = [
        Passage(id=each["_id"], title=each["title"], text=each["text"])
        for each in abstracts[200:300]
    ]
    by_id = {each.id: each for each in unseen}
    with Index.open(None, encoder=None) as index:
        index.upsert(unseen)
        found = Retriever(index, k=5, mode="lexical").retrieve_many([e.title for e in unseen[:40]])
    # The others are what shares words with the title.
    pairs = [
        (each.title, [each.text, *(by_id[id_].text for id_ in hits.ids if id_ != each.id)])
        for each, hits in zip(unseen, found, strict=False)
    ]
    assert sum(len(texts) for _, texts in pairs) > 150
    untrained = word_matcher(max_length=96)
    assert area(untrained, pairs) == 0.5
    torch.manual_seed(0)
    torch.nn.init.normal_(untrained.model.classifier.weight)
    learned = area(trained_cross_encoder, pairs)
    assert learned > 0.85
    assert learned > area(untrained, pairs) + 0.2


@pytest.mark.slow
def test_a_trained_one_is_the_same_after_saving(trained_cross_encoder, asked, tmp_path):
    trained_cross_encoder.save_pretrained(str(tmp_path / "trained"))
    saved = CrossEncoderReranker(tmp_path / "trained").rerank(*asked)
    check(saved, CrossEncoderReranker(trained_cross_encoder).rerank(*asked), atol=1e-6)
