import pytest
from hypothesis import given
from hypothesis import strategies as st

from twofold.errors import InputError
from twofold.lexical import EnglishAnalyzer, analyzer_named

analyzer = EnglishAnalyzer()


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("Running dogs ran", ["run", "dog", "ran"]),
        ("Caf\u00e9 na\u00efve \u00dcber", ["cafe", "naiv", "uber"]),
        ("vitamin D, C", ["vitamin", "d", "c"]),
        ("the dog\u2019s bone", ["the", "dog", "bone"]),
        ("\uff26\uff35\uff2c\uff2c \ufb01sh", ["full", "fish"]),
        ("snake_case CVE-2024-1234", ["snake", "case", "cve", "2024", "1234"]),
        (
            "\u91cf\u5b50\u529b\u5b66",
            [*"\u91cf\u5b50\u529b\u5b66", "\u91cf\u5b50", "\u5b50\u529b", "\u529b\u5b66"],
        ),
        ("GPU\u8a08\u7b97", ["gpu", "\u8a08", "\u7b97", "\u8a08\u7b97"]),
        ("\ud55c\uad6d\uc5b4", ["\ud55c", "\uad6d", "\uc5b4", "\ud55c\uad6d", "\uad6d\uc5b4"]),
        ("\u0939\u093f\u0928\u094d\u0926\u0940", ["\u0939\u093f\u0928\u094d\u0926\u0940"]),
        ("", []),
        (" .,;!? ", []),
    ],
)
def test_passage_terms(text, terms):
    assert analyzer.passage_terms(text) == terms


@pytest.mark.parametrize(
    ("query", "terms"),
    [
        ("How do plants make food?", ["plant", "make", "food"]),
        ("what is it", ["what", "is", "it"]),  # nothing else is left
        ("\u91cf\u5b50\u529b", ["\u91cf\u5b50", "\u5b50\u529b"]),
        ("\u529b", ["\u529b"]),
        ("the \u91cf\u5b50", ["\u91cf\u5b50"]),
    ],
)
def test_query_terms(query, terms):
    assert analyzer.query_terms(query) == terms


@given(st.text())
def test_any_text_has_terms_and_they_find_it(text):
    terms = analyzer.passage_terms(text)
    assert set(analyzer.query_terms(text)) <= set(terms)
    assert bool(analyzer.query_terms(text)) == bool(terms)


def test_unknown_analyzer_names_the_known_ones():
    with pytest.raises(InputError, match="unknown analyzer 'klingon': use one of 'english'"):
        analyzer_named("klingon")
