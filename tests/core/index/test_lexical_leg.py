"""The lexical leg of an index: its analyzer, its titles, its explanations, and hostile text."""

import json
import sqlite3
import subprocess
import sys

import pytest

from twofold import Index, Retriever
from twofold.errors import (
    CorruptIndexError,
    IndexMismatchError,
    InputError,
    QueryError,
    UnsupportedStorageError,
)
from twofold.index import AS_STORED
from twofold.lexical import BM25, LanguageAnalyzer, language_from_name
from twofold.storage.records import FORMAT, OLDEST_FORMAT, row_checksum

PLANTS = [
    {"id": "1", "title": "Photosynthesis", "text": "Plants make food from light. Light is food."},
    {"id": "2", "title": "Light", "text": "Lamps and plants."},
    {"id": "3", "text": "Nothing of the kind: getUserName(), C++ and vitamin D."},
]


def opened(path=None, **choices):
    return Index.open(path, encoder=None, **choices)


def lexical(index, query, **settings):
    return Retriever(index, mode="lexical", **settings).retrieve(query)


def words(text):
    return text.lower().split()


class Shouting:
    """An analyzer of the user's own, with a name that leads nowhere."""

    name = "shouting"
    version = 3

    def passage_terms(self, text):
        return text.upper().split()

    def query_terms(self, text):
        return self.passage_terms(text)


def test_a_language_is_stored_and_others_are_refused(tmp_path):
    with opened(tmp_path / "i", analyzer="de") as index:
        index.upsert([{"id": "1", "text": "Die H\u00e4user der Stadt"}])
    with opened(tmp_path / "i") as index:
        assert lexical(index, "Haus").ids == ["1"]
    with opened(tmp_path / "i", analyzer="german") as index:
        assert len(index) == 1
    for other in ("english", None, words, Shouting()):
        with pytest.raises(IndexMismatchError, match="german"):
            opened(tmp_path / "i", analyzer=other)
    with pytest.raises(InputError, match="unknown analyzer 'klingon'"):
        opened(tmp_path / "k", analyzer="klingon")
    assert not (tmp_path / "k").exists()


def test_a_function_is_found_again_by_its_import_path(tmp_path):
    (tmp_path / "mine.py").write_text("def cut(text):\n    return text.split('|')\n")
    code = """
import sys
from twofold import Index, Retriever
import mine
with Index.open(sys.argv[1], encoder=None, analyzer=mine.cut) as index:
    index.upsert([{"id": "1", "text": "a b|c"}])
"""
    reading = """
import sys
from twofold import Index, Retriever
with Index.open(sys.argv[1], trust={"mine"}) as index:
    print(Retriever(index, mode="lexical").retrieve("a b").ids)
    print(Retriever(index, mode="lexical").retrieve("a").ids)
"""

    def run(script, folder):
        command = [sys.executable, "-c", script, str(tmp_path / "index")]
        return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)

    assert run(code, tmp_path).returncode == 0
    assert run(reading, tmp_path).stdout.split("\n")[:2] == ["['1']", "[]"]
    (tmp_path / "elsewhere").mkdir()
    lost = run(reading, tmp_path / "elsewhere")
    assert "IndexMismatchError" in lost.stderr
    assert "'mine:cut' can't be imported" in lost.stderr
    (tmp_path / "mine.py").write_text("def cut(text):\n    return text.split('/')\n")
    changed = run(reading, tmp_path)
    assert "IndexMismatchError" in changed.stderr
    assert "gave other terms" in changed.stderr
    assert "restore it, or rebuild its postings" in changed.stderr


def test_an_analyzer_object_is_given_again(tmp_path):
    with opened(tmp_path / "i", analyzer=Shouting()) as index:
        index.upsert(PLANTS)
        assert lexical(index, "lamps").ids == ["2"]
        assert lexical(index, "lamps").highlights(0).text == ()
        assert "contains 'LAMPS'" in str(lexical(index, "lamps").explain())
    with opened(tmp_path / "i", analyzer=Shouting()) as index:
        assert lexical(index, "lamps").ids == ["2"]
    with opened(tmp_path / "i") as index:
        assert index.get(["2"])[0].text == PLANTS[1]["text"]
        with pytest.raises(IndexMismatchError, match="unknown analyzer 'shouting'"):
            lexical(index, "lamps")


def test_other_versions_and_other_terms_are_refused(tmp_path):
    with opened(tmp_path / "i") as index:
        index.upsert(PLANTS)
    older = LanguageAnalyzer(language_from_name("en"), version=1)
    with pytest.raises(IndexMismatchError, match=r"version 4 .* and this is version 1"):
        opened(tmp_path / "i", analyzer=older)


@pytest.mark.parametrize("kind", ["hybrid", "lexical"])
def test_reanalysing_changes_postings_and_nothing_else(tmp_path, kind):
    encoder = "hashing" if kind == "hybrid" else None
    with Index.open(tmp_path / "i", encoder=encoder) as index:
        index.upsert(PLANTS)
        index.delete(["3"])
        assert lexical(index, "lamp").ids == ["2"]
        reader = Index.open(tmp_path / "i", read_only=True)
        index.reanalyze("multilingual", title_weight=2)
        assert index.verify(deep=True).ok
        for each in (index, reader):
            assert lexical(each, "lamp").ids == []
            assert lexical(each, "lamps").ids == ["2"]
        assert index.reanalyze("english") is None
        index.upsert([{"id": "4", "text": "a lamp"}])
        assert set(lexical(index, "lamps").ids) == {"2", "4"}
        with pytest.raises(InputError, match="title_weight must be"):
            index.reanalyze("english", title_weight=101)
        with pytest.raises(InputError, match="klingon"):
            index.reanalyze("klingon")
        assert set(lexical(index, "lamps").ids) == {"2", "4"}
    reader.close()
    with Index.open(tmp_path / "i", title_weight=2, analyzer="english") as index:
        assert index.verify(deep=True).ok
        assert len(index) == 3


def test_reanalysing_mends_an_index_whose_analyzer_is_gone(tmp_path):
    with Index.open(tmp_path / "i", encoder="hashing", analyzer=Shouting()) as index:
        index.upsert(PLANTS)
    with Index.open(tmp_path / "i") as index:
        assert Retriever(index, mode="dense").retrieve("light").ids
        with pytest.raises(IndexMismatchError):
            Retriever(index).retrieve("light")
        with pytest.raises(IndexMismatchError):
            index.upsert(["more"])
        assert index.verify().ok
        with pytest.raises(IndexMismatchError):
            index.verify(deep=True)
        index.reanalyze("en")
        assert Retriever(index).retrieve("lamp").ids[0] == "2"
        assert index.verify(deep=True).ok


def test_an_index_without_a_lexical_leg_can_get_one(tmp_path):
    with Index.open(tmp_path / "i", encoder="hashing", analyzer=None) as index:
        index.upsert(PLANTS)
        assert index.modes == ("dense",)
        index.reanalyze("en")
        assert index.modes == ("hybrid", "dense", "lexical")
        assert lexical(index, "lamp").ids == ["2"]
        assert index.verify(deep=True).ok


def test_titles_count_as_often_as_they_weigh(tmp_path):
    for weight, best in ((0, ["1"]), (1, None), (5, ["2"])):
        with opened(tmp_path / f"{weight}", title_weight=weight) as index:
            index.upsert(PLANTS)
            hits = lexical(index, "light")
            assert best is None or hits.ids[:1] == best
            assert ("2" in hits.ids) is (weight > 0)
            match = hits.explain().hits[hits.ids.index("1")].terms[0]
            assert match.frequency == 2
            assert match.length == 8 + weight
    with opened(tmp_path / "5") as index:
        assert index.verify(deep=True).ok
    with pytest.raises(IndexMismatchError, match="title_weight=5"):
        opened(tmp_path / "5", title_weight=1)
    for wrong in (-1, 1.5, True, "2"):
        with pytest.raises(InputError, match="title_weight"):
            opened(tmp_path / "new", title_weight=wrong)


def test_the_scoring_function_belongs_to_the_query():
    with opened() as index:
        index.upsert(PLANTS)
        plain = lexical(index, "light food")
        flat = lexical(index, "light food", scorer=BM25(k1=0, b=0))
        assert plain.scores.tolist() != flat.scores.tolist()
        again = Retriever(index, mode="lexical").retrieve("light food", scorer=BM25(0, 0))
        assert again.scores.tolist() == flat.scores.tolist()
        assert again.explain().hits[0].terms[0].tf_weight == pytest.approx(1)
        for wrong in ("bm25", BM25, 3):
            with pytest.raises(QueryError, match="scorer must be"):
                lexical(index, "light", scorer=wrong)


def test_explanations_are_sentences_about_the_words_of_the_text():
    with opened() as index:
        index.upsert(PLANTS)
        hits = lexical(index, "What foods do plants make of light?")
        first = hits.explain().hits[0]
        assert first.reason == (
            f"1st by words ({hits.scores[0]:.2f}): contains 'food' 2 times, 'make', 'light' 2 "
            "times and 'Plants'"
        )
        assert sum(each.contribution for each in first.terms) == pytest.approx(hits.scores[0])


@pytest.mark.parametrize(
    ("query", "marked"),
    [
        ("plant light", "**Plants** make food from **light**. **Light** is food."),
        ("FOODS", "Plants make **food** from light. Light is **food**."),
        ("username", "Nothing of the kind: getUserName(), C++ and vitamin D."),
        ("getusername", "Nothing of the kind: **getUserName**(), C++ and vitamin D."),
        ("name", "Nothing of the kind: getUser**Name**(), C++ and vitamin D."),
        ("c++ d", "Nothing of the kind: getUserName(), **C++** and vitamin **D**."),
    ],
)
def test_highlights(query, marked):
    with opened() as index:
        index.upsert(PLANTS)
        hits = lexical(index, query + " plant vitamin" if marked.endswith("D.") else query)
        found = next(
            hits.highlights(place)
            for place, hit in enumerate(hits)
            if hit.passage.text == marked.replace("**", "")
        )
        if marked.endswith("D."):
            marked = marked.replace("vitamin", "**vitamin**")
        assert found.marked() == marked


def test_snippets_show_where_most_matches_are():
    filler = "nothing to see here at all. " * 40
    text = f"{filler}Here are lamps, a lamp and another lamp. {filler}"
    with opened() as index:
        index.upsert([{"id": "1", "title": "On lamps", "text": text}])
        found = lexical(index, "lamp").highlights(0)
        assert found.title == ((3, 8),)
        assert found.marked_title("<", ">") == "On <lamps>"
        snippet = found.snippet(80, "<b>", "</b>")
        assert snippet.count("<b>lamp") == 3
        assert snippet.startswith("... ")
        assert snippet.endswith(" ...")
        assert len(snippet) < 140


HOSTILE = {
    "empty": "",
    "punctuation": "?!... --- ,,, ''' +++ ### ___",
    "megabyte": "word" * 250_000,
    "repeated": "word " * 200_000,
    "nul": "zero\x00byte \x00\x00",
    "right to left": "\u202e\u05e9\u05dc\u05d5\u05dd \u0645\u0631\u062d\u0628\u0627\u202c",
    "emoji": "\U0001f468\u200d\U0001f469\u200d\U0001f467 \U0001f600\U0001f3fd \u2764\ufe0f",
    "marks": "e" + "\u0301" * 1000 + " \u0489\u0489 \u0308alone",
    "astral": "\U0001d400\U0001d401 \U00020000\U00020001 \U000e0061",
    "controls": "\x01\x02\x1b[31m \x7f \x85 \u2028line",
    "joined": "-".join("abc" for _ in range(5000)),
    "humps": "aB" * 5000,
    "dots": "a." * 5000,
    "han": "\u5b57" * 20_000,
    "thai": "\u0e01\u0e34" * 10_000,
    "jamo": "\u1100\u1161\u11a8" * 1000,
}


@pytest.mark.parametrize("analyzer", ["english", "turkish", "french", "thai", "multilingual"])
def test_hostile_text_never_corrupts(tmp_path, analyzer, monkeypatch):
    monkeypatch.setenv("TWOFOLD_MAX_QUERY_CHARACTERS", "1000000")
    with pytest.warns(match="have no words"), opened(tmp_path / "i", analyzer=analyzer) as index:
        index.upsert([{"id": key, "text": text} for key, text in HOSTILE.items()])
        index.upsert([{"id": "plain", "text": "a plain word"}])
        for text in HOSTILE.values():
            hits = lexical(index, text[:100_000], k=20)
            for place in range(len(hits)):
                found = hits.highlights(place)
                assert found.marked("", "") == found.passage.text
                assert len(found.snippet(160, "", "")) <= 168
            str(hits.explain())
        assert lexical(index, "plain").ids == ["plain"]
        assert index.verify(deep=True).ok
    with opened(tmp_path / "i", analyzer=AS_STORED) as index:
        assert len(index.get(list(HOSTILE))) == len(HOSTILE) == len(index) - 1
        assert lexical(index, "plain").ids == ["plain"]
        assert "megabyte" in lexical(index, HOSTILE["megabyte"]).ids
        index.delete(list(HOSTILE))
        assert lexical(index, "word").ids == ["plain"]


def test_a_large_load_ends_in_one_segment(tmp_path):
    passages = [{"id": f"{n}", "text": f"word{n % 100}"} for n in range(9_000)]
    with opened(tmp_path / "i") as index:
        index.upsert(passages)
        assert index.verify().segments == 2  # postings and columns
        index.upsert([{"id": "more", "text": "word"}])
        assert index.verify().segments == 4
        index.reanalyze("german")
        assert index.verify().segments == 3
        assert index.verify(deep=True).ok
        assert (index.analyzer, index.title_weight) == ("german", 1)
        assert len(lexical(index, "word7", k=1_000)) == 90


def test_damage_beside_a_lost_analyzer_leaves_the_rest(tmp_path):
    passages = [{"id": f"{n}", "text": f"a word {n}"} for n in range(9_000)]
    with Index.open(tmp_path / "i", encoder="hashing", analyzer=Shouting()) as index:
        index.upsert(passages)
    file = next((tmp_path / "i" / "segments").glob("*.lexical"))
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    with pytest.warns(match="unknown analyzer 'shouting'"), Index.open(tmp_path / "i") as index:
        assert Retriever(index, mode="dense").retrieve("word 7").ids
        assert not index.verify().ok
        assert not index.verify(deep=True).ok
        for change in (lambda: index.delete(["1"]), lambda: lexical(index, "word")):
            with pytest.raises(IndexMismatchError):
                change()
        index.reanalyze("english")
        assert index.verify(deep=True).ok
        assert lexical(index, "7").ids == ["7"]


@pytest.mark.parametrize("intact", [True, False])
def test_an_index_of_an_older_format_is_refused(tmp_path, intact):
    path = tmp_path / "i"
    opened(path).close()
    catalog = sqlite3.connect(path / "catalog.sqlite", isolation_level=None)
    values = json.loads(catalog.execute("SELECT value FROM settings").fetchone()[0])
    values["saved"] = values.pop("profiles")  # format 3 had other names
    for number, advice in (
        (OLDEST_FORMAT - 1, "index the passages again"),
        (FORMAT + 1, "upgrade"),
    ):
        text = json.dumps({**values, "format": number})
        checksum = row_checksum(text) if intact or number > FORMAT else 0
        catalog.execute("UPDATE settings SET value = ?, checksum = ?", (text, checksum))
        with pytest.raises(
            UnsupportedStorageError,
            match=rf"the index at {path} has format {number}, .* reads format {FORMAT}: {advice}",
        ):
            opened(path)
    catalog.close()


def test_damaged_settings_of_this_format_are_reported(tmp_path):
    opened(tmp_path / "i").close()
    with sqlite3.connect(tmp_path / "i" / "catalog.sqlite") as catalog:
        catalog.execute("UPDATE settings SET checksum = 0")
    catalog.close()
    with pytest.raises(CorruptIndexError, match="the settings row in the catalog is damaged"):
        opened(tmp_path / "i")
