import importlib
import os
import shlex
import subprocess
import sys
import types
from dataclasses import replace

import numpy as np
import pytest
import Stemmer
from hypothesis import given
from hypothesis import strategies as st

from twofold.errors import DegradedWarning, InputError
from twofold.lexical import (
    LANGUAGES,
    LanguageAnalyzer,
    PostingsIndex,
    analyzer_fingerprint,
    analyzer_from_name,
    as_analyzer,
)

analyzer = LanguageAnalyzer()
languages = st.sampled_from(sorted(LANGUAGES))
# What has tripped analyzers: marks, ligatures, jamo, other digits, controls, astral letters.
odd = st.text(
    st.sampled_from("aAbI\u0130\u0131e\u0301\u0308n\u0303\u00df\ufb01\u212a\u2460\u3392")
    | st.sampled_from("\uff76\uff9e\u1100\u1161\u11a8\uac00\u0e01\u0e33\u0e34\u0915\u093c\u093f")
    | st.sampled_from("\u0660\u0663\u4e00\u6587\u30fc'\u2019-_.#+ \x00\u200d\u202e\U0001f600")
    | st.sampled_from("\U0001d400\U00016fe4")
    | st.sampled_from("\u00ad\u200b\u200c\u2060\ufeff\u2011\u2013\u00b4\u00a0\u202f,123")
    | st.sampled_from('\u05d0\u05e9\ufb2a\u05b8\u05f4"\u0640\u064e\u0627\u0653\u066c\ufe0f')
    | st.sampled_from("\U0001f3fd\U0001f1e9\U0001f1ea\u2764\u20e3")
)
any_text = st.text() | odd


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("Running dogs ran", ["run", "dog", "ran"]),
        ("Caf\u00e9 na\u00efve \u00dcber", ["cafe", "naiv", "uber"]),
        ("vitamin D, C", ["vitamin", "d", "c"]),
        ("the dog\u2019s bone", ["the", "dog", "bone"]),
        ("\uff26\uff35\uff2c\uff2c \ufb01sh", ["full", "fish"]),
        ("CVE-2024-1234", ["cve", "2024", "1234", "cve2024.1234"]),
        ("C++ and C#", ["c", "c++", "and", "c", "c#"]),
        ("getUserName", ["getusernam", "get", "user", "name"]),
        ("iPhone 15", ["iphon", "i", "phone", "15"]),
        ("e5-small-v2", ["e5", "small", "v2", "e5smallv2"]),
        ("wi-fi wifi", ["wi", "fi", "wifi", "wifi"]),
        ("3.14", ["3", "14", "3.14"]),
        ("snake_case", ["snake", "case", "snakecas"]),
        (
            "pd.DataFrame.merge",
            ["pd", "datafram", "merg", "pddataframemerg", "data", "frame"],
        ),
        ("HTTPServer GPUs", ["httpserver", "http", "server", "gpus"]),
        ("end. Next", ["end", "next"]),
        ("\u0663\u0662", ["32"]),  # Arabic-Indic digits
        (
            "\u91cf\u5b50\u529b\u5b66",
            [*"\u91cf\u5b50\u529b\u5b66", "\u91cf\u5b50", "\u5b50\u529b", "\u529b\u5b66"],
        ),
        ("GPU\u8a08\u7b97", ["gpu", "\u8a08", "\u7b97", "\u8a08\u7b97"]),
        ("\ud55c\uad6d\uc5b4", ["\ud55c", "\uad6d", "\uc5b4", "\ud55c\uad6d", "\uad6d\uc5b4"]),
        (
            "\u0e01\u0e34\u0e19\u0e02",
            ["\u0e01\u0e34", "\u0e19", "\u0e02", "\u0e01\u0e34\u0e19", "\u0e19\u0e02"],
        ),
        ("\u0939\u093f\u0928\u094d\u0926\u0940", ["\u0939\u093f\u0928\u094d\u0926\u0940"]),
        ("", []),
        (" .,;!? ", []),
    ],
)  # fmt: skip
def test_passage_terms(text, terms):
    assert analyzer.passage_terms(text) == terms


@pytest.mark.parametrize(
    ("query", "terms"),
    [
        ("How do plants make food?", ["plant", "make", "food"]),
        ("what is it", ["what", "is", "it"]),  # nothing else is left
        ("\u91cf\u5b50", ["\u91cf", "\u5b50", "\u91cf\u5b50"]),
        ("\u0e01\u0e34\u0e19\u0e02", ["\u0e01\u0e34\u0e19", "\u0e19\u0e02"]),
        ("\u0e01", ["\u0e01"]),
        ("the \u529b", ["\u529b"]),
        ("What is C++?", ["c", "c++"]),
        ("vitamin D", ["vitamin", "d"]),
    ],
)
def test_query_terms(query, terms):
    assert analyzer.query_terms(query) == terms


@pytest.mark.parametrize(
    ("text", "whole", "queries"),
    [
        ("see CVE-2024-1234.", "cve2024.1234", ["CVE-2024-1234", "cve 2024", "1234"]),
        ("iPhone 15 Pro Max", "iphon", ["iphone 15 pro max", "iPhone", "IPHONE", "phone"]),
        ("written in C++", "c++", ["C++", "c++"]),
        ("call getUserName()", "getusernam", ["getUserName", "getusername", "user name"]),
        ("pandas.DataFrame.merge", "pandasdataframemerg", ["DataFrame", "merge", "data frame"]),
        ("e5-small-v2", "e5smallv2", ["e5-small-v2", "e5", "E5 Small"]),
    ],
)
def test_identifiers_are_found_whole_and_in_part(text, whole, queries):
    terms = set(analyzer.passage_terms(text))
    assert whole in terms
    for query in queries:
        assert set(analyzer.query_terms(query)) <= terms, query


@pytest.mark.parametrize(
    ("language", "one", "other", "same"),
    [
        ("french", "caf\u00e9", "cafe", True),
        ("french", "l'eau", "eau", True),
        ("french", "qu'elle aujourd\u2019hui", "aujourd hui elle qu", True),
        ("french", "C\u0153ur", "coeur", True),
        ("english", "Sm\u00f8rrebr\u00f8d \u0141\u00f3d\u017a", "smorrebrod lodz", True),
        ("danish", "br\u00f8d", "brod", False),
        ("spanish", "a\u00f1o", "ano", False),
        ("spanish", "canci\u00f3n", "cancion", True),
        ("vietnamese", "m\u00e1", "ma", False),
        ("german", "H\u00e4user", "Haus", True),
        ("german", "Stra\u00dfe", "STRASSE", True),
        ("german", "M\u00fcller", "Mueller", True),
        ("turkish", "\u0130STANBUL", "istanbul", True),
        ("turkish", "ISPARTA", "\u0131sparta", True),
        ("turkish", "Ankara'da", "ankara da", True),
        ("persian", "\u0643\u062a\u0627\u0628\u064a", "\u06a9\u062a\u0627\u0628\u06cc", True),
        ("russian", "\u043a\u043e\u0448\u043a\u0438", "\u043a\u043e\u0448\u043a\u0430", True),
        ("greek", "\u0393\u0391\u03a4\u0395\u03a3", "\u03b3\u03ac\u03c4\u03b5\u03c2", True),
        ("multilingual", "running", "run", False),
    ],
)  # fmt: skip
def test_what_a_language_takes_for_the_same(language, one, other, same):
    each = analyzer_from_name(language)
    assert (sorted(each.passage_terms(one)) == sorted(each.passage_terms(other))) is same


def test_every_stemmer_has_its_language():
    variants = {"porter", "dutch_porter"}  # of English and Dutch
    assert set(Stemmer.algorithms()) - variants == {
        each.stemmer for each in LANGUAGES.values() if each.stemmer == each.name
    }


def test_stop_words_are_dropped_from_queries_only():
    for name, text, kept in [
        ("french", "le chat de la maison", 2),
        ("german", "der Hund und die Katze", 2),
        ("russian", "\u043a\u043e\u0448\u043a\u0430 \u0438 \u043f\u0435\u0441", 2),
    ]:
        each = analyzer_from_name(name)
        assert len(each.query_terms(text)) == kept
        assert len(each.passage_terms(text)) == len(text.split())
    with_lists = [name for name, each in LANGUAGES.items() if each.stop_words()]
    assert len(with_lists) > 40


@given(any_text, languages)
def test_any_text_has_terms_and_they_find_it(text, language):
    each = analyzer_from_name(language)
    terms = each.passage_terms(text)
    assert set(each.query_terms(text)) <= set(terms)
    assert bool(each.query_terms(text)) == bool(terms)
    assert all(terms)


@given(st.text("aB1-_.'+#,( \u00e9", max_size=12), languages)
def test_what_is_remembered_of_a_chunk_is_what_a_text_gives(text, language):
    each = analyzer_from_name(language)
    direct = each._terms(text, query=False)
    assert sorted(each.passage_terms(text)) == sorted(direct)


@given(any_text, languages)
def test_spans_are_where_the_terms_stand(text, language):
    each = analyzer_from_name(language)
    spans = each.spans(text)
    assert sorted(span.term for span in spans) == sorted(each.passage_terms(text))
    assert all(0 <= span.start < span.end <= len(text) for span in spans)
    assert [span.start for span in spans] == sorted(span.start for span in spans)


@pytest.mark.parametrize(
    ("text", "term", "shown"),
    [
        ("The Dogs' running", "run", "running"),
        ("un Cafe\u0301 noir", "cafe", "Cafe\u0301"),
        ("\uff26\uff35\uff2c\uff2c width", "full", "\uff26\uff35\uff2c\uff2c"),
        ("see CVE-2024-1234 now", "cve2024.1234", "CVE-2024-1234"),
        ("a getUserName() call", "user", "User"),
        ("\u5728\u91cf\u5b50\u529b\u5b66", "\u5b50\u529b", "\u5b50\u529b"),
        ("\u1112\u1161\u11ab\u1100\u116e\u11a8", "\ud55c", "\u1112\u1161\u11ab"),
        ("the \ufb01sh", "fish", "\ufb01sh"),
    ],
)
def test_spans_of_changed_forms(text, term, shown):
    found = [each for each in analyzer.spans(text) if each.term == term]
    assert [text[each.start : each.end] for each in found] == [shown]


def test_names_and_codes():
    for name in ("de", "DE", "de-CH", "de_AT", " German "):
        assert analyzer_from_name(name).name == "german"
    with pytest.raises(InputError, match="did you mean 'german'"):
        analyzer_from_name("germna")
    with pytest.raises(InputError, match="unknown analyzer 'klingon': use one of multilingual"):
        analyzer_from_name("klingon")


def test_signatures_tell_analyzers_apart():
    signatures = {analyzer_fingerprint(LanguageAnalyzer(each)) for each in LANGUAGES.values()}
    assert len(signatures) > 40  # Hebrew and Latvian, say, differ by their stop words alone
    assert analyzer_fingerprint(analyzer) == analyzer_fingerprint(analyzer_from_name("english"))


def letters(text):
    return list(text.replace(" ", ""))


def test_a_function_is_an_analyzer(monkeypatch):
    each = as_analyzer(letters)
    assert each.name.endswith("test_analyzers:letters")
    assert each.passage_terms("a bc") == each.query_terms("a bc") == ["a", "b", "c"]
    assert [(s.term, s.start) for s in each.spans("a Bc")] == [("a", 0), ("B", 2), ("c", 3)]
    nested = LanguageAnalyzer().passage_terms
    for bad in (lambda text: text.split(), str.split, 7, LanguageAnalyzer, shlex.split, nested):
        with pytest.raises(InputError, match="analyzer"):
            as_analyzer(bad)
    with pytest.raises(InputError, match="must return a list of strings, got 3"):
        as_analyzer(number).passage_terms("x")
    with pytest.raises(InputError, match="list of strings, got 'x'"):
        as_analyzer(same).passage_terms("x")


def test_a_function_keeps_its_version():
    versioned.version = 2
    try:
        assert as_analyzer(versioned).version == 2
        assert analyzer_from_name(as_analyzer(versioned).name).version == 2
    finally:
        del versioned.version


def versioned(text):
    return text.split()


def test_languages_of_the_users_own_are_remembered_apart():
    plain = LanguageAnalyzer(replace(LANGUAGES["english"], stemmer=None))
    assert analyzer.passage_terms("running") == ["run"]
    assert plain.passage_terms("running") == plain.query_terms("running") == ["running"]
    assert analyzer_fingerprint(plain) != analyzer_fingerprint(analyzer)


def test_terms_that_are_not_in_the_text_cost_little():
    # Some minutes if each were looked for to the end of the text.
    assert as_analyzer(reversed_words).spans("ab " * 400_000) == []


def reversed_words(text):
    return [word[::-1] for word in text.split()]


@pytest.mark.parametrize("language", ["english", "thai", "multilingual"])
def test_stacked_marks_take_linear_time(language):
    each = analyzer_from_name(language)
    stack = "a" + "\u0301\u0316" * 200_000  # some minutes if it were quadratic
    terms = each.passage_terms(stack)
    assert terms
    assert [span.term for span in each.spans(stack)] == terms
    assert each.passage_terms("a" + "\u0301" * 40) == each.passage_terms("a" + "\u0301" * 50)


def test_no_term_is_empty_even_where_a_stemmer_leaves_nothing():
    nepali = analyzer_from_name("ne")
    assert nepali.passage_terms("\u091b") == ["\u091b"]


def test_functions_that_fail(tmp_path, monkeypatch):
    (tmp_path / "broken_module.py").write_text("raise RuntimeError('while imported')\n")
    (tmp_path / "odd_module.py").write_text(
        "pi = 3.14\n"
        "class Kept:\n"
        "    name, version = 'odd_module:Kept', 1\n"
        "    def passage_terms(self, text):\n"
        "        return text.split()\n"
        "    query_terms = passage_terms\n"
        "class Needs(Kept):\n"
        "    def __init__(self, more): ...\n"
        "def late(text):\n"
        "    raise KeyError(text)\n"
        "def dated(text):\n"
        "    return text.split()\n"
        "dated.version = '2024'\n"
        "def half(text):\n"
        "    return ['\\ud800']\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    for path, message in (
        ("broken_module:f", "while imported"),
        ("odd_module:pi", "must be a function"),
        ("odd_module:Needs", "without arguments"),
        ("odd_module:dated", "version of .* integer, got '2024'"),
    ):
        with pytest.raises(InputError, match=message):
            analyzer_from_name(path)
    assert analyzer_from_name("odd_module:Kept").passage_terms("a b") == ["a", "b"]
    for path in ("odd_module:late", "odd_module:Kept.passage_terms"):
        with pytest.raises(InputError, match="fails on plain text"):
            analyzer_fingerprint(analyzer_from_name(path))
    index = PostingsIndex(analyzer_from_name("odd_module:half"))
    with pytest.raises(InputError, match="half a surrogate pair"):
        index.add(np.arange(1), ["x"], ["text"])


def test_a_bound_method_under_a_name_of_its_module(tmp_path, monkeypatch):
    (tmp_path / "cutter.py").write_text(
        "class Cutter:\n    def lcut(self, text):\n        return text.split()\n"
        "_one = Cutter()\nlcut = _one.lcut\ncalled = None\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module("cutter")
    assert as_analyzer(module.lcut).name == "cutter:lcut"
    assert analyzer_from_name("cutter:lcut").passage_terms("a b") == ["a", "b"]
    with pytest.raises(InputError, match="no import path"):
        as_analyzer(module.Cutter().lcut)


def test_a_function_of_a_script_is_warned_about(monkeypatch):
    script = types.ModuleType("__main__")
    exec("def cut(text):\n    return text.split()", script.__dict__)
    monkeypatch.setitem(sys.modules, "__main__", script)
    with pytest.warns(DegradedWarning, match="defined in a script or a notebook"):
        assert as_analyzer(script.cut).name == "__main__:cut"
    script.system = os.system
    with pytest.raises(InputError, match="standard library"):
        analyzer_from_name("__main__:system")


def number(text):
    return 3


def same(text):
    return text


@pytest.mark.parametrize(
    "path",
    [
        "os:system",
        "nowhere_to_be:f",
        "twofold:nothing",
        ":f",
        "twofold.index.index:os.system",
    ],
)
def test_import_paths_that_lead_nowhere(path):
    with pytest.raises(InputError, match="can't be imported|standard library"):
        analyzer_from_name(path)


def test_analyzers_are_the_same_in_another_process():
    code = (
        "from twofold.lexical import analyzer_from_name as a, analyzer_fingerprint as s;"
        "print(s(a('english')), s(a('th')))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.split() == [
        analyzer_fingerprint(analyzer_from_name(each)) for each in ("en", "thai")
    ]
