import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twofold import Index, Passage, Retriever
from twofold.errors import InputError, QueryError
from twofold.lexical import language_from_name
from twofold.training import Example, TrainingSet
from twofold.training.data.synthetic import (
    FirstSentences,
    Generated,
    Headings,
    Keyphrases,
    Titles,
    filter_round_trip,
    generate_examples,
)

GUIDE = Passage(
    id="guide",
    title="Tea guide",
    text="""Tea is old. It is brewed.

# Green tea
Steep it briefly.

## Water of 80 degrees ##
Not boiling.
```
# not a heading at all
```
# Empty one here
# Black tea
Steep it long.
""",
)


@pytest.fixture(scope="module")
def passages(abstracts):
    return [Passage(id=a["_id"], title=a["title"], text=a["text"]) for a in abstracts[:200]]


def made(maker, passage):
    """Query id to query."""
    return generate_examples([passage], [maker]).queries


def test_titles_first_sentences_and_headings_of_one_passage():
    assert made(Titles(), GUIDE) == {"title:guide:1": "Tea guide"}
    assert made(FirstSentences(), GUIDE) == {"first-sentence:guide:1": "Tea is old."}
    assert made(Headings(), GUIDE) == {
        "heading:guide:1": "Green tea",
        "heading:guide:2": "Water of 80 degrees",
        "heading:guide:4": "Black tea",
    }


def test_targets_are_what_the_query_leaves():
    assert Titles().generate(GUIDE) == [("Tea guide", GUIDE.text)]
    ((first, rest),) = FirstSentences().generate(GUIDE)
    assert first not in rest
    assert rest.startswith("It is brewed.")
    sections = dict(Headings().generate(GUIDE))
    assert "Not boiling." in sections["Green tea"]  # the section below it belongs to it
    assert "Steep it long." not in sections["Green tea"]
    assert sections["Empty one here"] == ""


def test_what_is_blank_short_or_answered_by_nothing_is_left_out():
    lone = Passage(id="1", title="Tea", text="Only one sentence here.")
    empty = Passage(id="2", title="A title alone", text=" ")
    for maker in (Titles(), FirstSentences(), Headings(), Generated(lambda text: " ")):
        with pytest.raises(InputError, match="1 generators found no query of two words"):
            generate_examples([lone, empty], [maker])
    assert list(made(Titles(), Passage(id="3", title="緑茶", text="煎茶。"))) == ["title:3:1"]


def test_real_abstracts_are_the_positives_of_their_own_queries(passages):
    makers = [Titles(), FirstSentences(), Keyphrases(), Generated(lambda text: [text[:50], "so?"])]
    own = generate_examples(passages, makers)
    assert {each.source for each in own} == {"title", "first-sentence", "keyphrases", "generated"}
    by_id = {each.id: each for each in passages}
    for each in own:
        source, passage_id, number = each.query_id.split(":")
        assert each.positives == (passage_id,)
        assert each.source == source
        assert number == "1"
        content = " ".join(by_id[passage_id].content.split())
        if source != "keyphrases":
            assert each.query in content
        assert len(each.query.split()) >= 2
    titled = {each.positives[0]: each.query for each in own if each.source == "title"}
    assert titled == {p.id: " ".join(p.title.split()) for p in passages if " " in p.title.strip()}


def test_keyphrases_are_the_best_by_a_plain_count(passages):
    """With phrases of one word, the oracle is tf times ln(N / df) over words of letters."""
    chosen = [
        Passage(id=each.id, text=re.sub(r"[^a-z]+", " ", each.text.lower()).strip())
        for each in passages[:60]
    ]
    maker = Keyphrases(count=4, max_words=1).with_frequencies(chosen)
    words = [each.text.split() for each in chosen]
    stops = language_from_name("english").stop_words()
    for passage, own in zip(chosen, words, strict=True):
        value = {
            word: own.count(word) * math.log(60 / sum(word in other for other in words))
            for word in set(own) - set(stops)
        }
        ((query, _),) = maker.generate(passage)
        found = [value[word] for word in query.split()]
        assert sorted(found, reverse=True) == pytest.approx(sorted(value.values())[-4:][::-1])


def test_keyphrases_keep_words_together_and_share_none():
    texts = ["the vitamin D level of a vitamin D study", "a study of the level", "other study"]
    chosen = [Passage(id=str(n), text=text) for n, text in enumerate(texts)]
    ((query, target),) = Keyphrases(count=2).with_frequencies(chosen).generate(chosen[0])
    assert query == "vitamin d level"  # vitamin d, twice, and then no phrase that shares a word
    assert target is None
    with pytest.raises(InputError, match="count must be an integer >= 1, got 0"):
        Keyphrases(count=0)
    with pytest.raises(InputError, match="klingon"):
        Keyphrases(language="klingon")


def test_a_function_may_make_many_and_must_make_strings():
    own = made(Generated(lambda text: [f"what is {word}" for word in text.split()[:2]]), GUIDE)
    assert own == {"generated:guide:1": "what is Tea", "generated:guide:2": "what is guide"}
    for wrong in (None, 3, ["a b", 3], {"a b"}):
        with pytest.raises(InputError, match="must return a string or a list of strings"):
            made(Generated(lambda text, wrong=wrong: wrong), GUIDE)


@given(st.data(), st.integers(0, 3))
def test_the_order_is_drawn_by_the_seed_alone(passages, data, seed):
    few = passages[:12]
    makers = [Titles(), Keyphrases()]
    turned = data.draw(st.permutations(few))
    assert generate_examples(turned, makers, seed=seed) == generate_examples(few, makers, seed=seed)


def test_another_seed_gives_another_order_of_the_same(passages):
    one, two = (generate_examples(passages, [Titles()], seed=seed) for seed in (0, 1))
    assert one != two
    assert one.digest == two.digest


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: generate_examples(["no id at all"], [Titles()]), "a passage id is empty"),
        (
            lambda: generate_examples([GUIDE, GUIDE], [Titles()]),
            "passage id must be distinct, got 'guide' 2 times",
        ),
        (
            lambda: generate_examples([GUIDE], [Titles(), Titles()]),
            "source must be distinct, got 'title'",
        ),
        (lambda: generate_examples([GUIDE], []), "0 generators found no query"),
        (lambda: generate_examples([], [Titles()]), "in 0 passages"),
        (lambda: generate_examples([GUIDE], [Titles()], seed=-1), "seed must be an integer"),
    ],
)
def test_what_cannot_be_made_is_refused(call, said):
    with pytest.raises(InputError, match=said):
        call()


def test_a_round_trip_keeps_what_a_plain_search_finds(library, passages):
    own = generate_examples(passages, [Titles(), Keyphrases()])
    stray = Example("zebra xylophone quartz", (passages[0].id,), query_id="stray")
    absent = Example(passages[0].title, ("not in the index",), query_id="absent")
    retriever = Retriever(library, mode="lexical")
    result = filter_round_trip(own.join(TrainingSet((stray, absent))), retriever, k=1)
    firsts = {each.query_id: retriever.retrieve(each.query, k=1).ids for each in own}
    kept = [each.query_id for each in own if firsts[each.query_id] == [each.positives[0]]]
    assert [each.query_id for each in result.accepted] == kept
    assert len(kept) > 0.8 * len(own)
    assert {"stray", "absent"} <= set(result.dropped)
    assert set(result.dropped) == {*own.queries, "stray", "absent"} - set(kept)
    wider = filter_round_trip(own, retriever, k=20)
    assert set(kept) <= set(wider.accepted.queries)
    with pytest.raises(QueryError):
        filter_round_trip(own, retriever, k=0)


def test_a_round_trip_of_nothing_keeps_nothing(library):
    result = filter_round_trip(TrainingSet(()), Retriever(library, mode="lexical"))
    assert (len(result.accepted), result.dropped) == (0, ())


def test_a_round_trip_goes_through_batches(passages):
    with Index.open(None, encoder=None) as index:
        index.upsert(Passage(id=str(n), text=f"word{n} common") for n in range(1100))
        own = TrainingSet(
            tuple(
                Example(f"word{n} common", (str(n + n % 2),), query_id=str(n)) for n in range(1100)
            )
        )
        result = filter_round_trip(own, Retriever(index, mode="lexical"), k=1)
    assert [each.query_id for each in result.accepted] == [str(n) for n in range(0, 1100, 2)]
