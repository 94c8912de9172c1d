"""Which characters of PDFs, web pages and e-books a query finds: one table."""

import sys
import unicodedata

import pytest

from twofold import Index, Passage, Retriever
from twofold.lexical import LANGUAGES, analyzer_from_name
from twofold.lexical.analysis.characters import IGNORED

THAI = ("\u0e20\u0e32\u0e29\u0e32", "\u0e44\u0e17\u0e22")  # language, Thai
PERSIAN = ("\u06a9\u062a\u0627\u0628", "\u062e\u0627\u0646\u0647")  # book, house
HEBREW = ("\u05d1\u05d9\u05ea", "\u05e1\u05e4\u05e8")  # house, book

# (language, text of a passage, query that finds all of its words)
FOUND = [
    # Characters that can't be seen don't separate words.
    ("german", "Daten\u00adbank\u00adsystem", "Datenbanksystem"),
    ("english", "inter\u200bnational", "international"),
    ("english", "data\u2060base", "database"),
    ("english", "\ufeffheading", "heading"),
    ("english", "of\u200cfice", "office"),  # a ligature kept apart
    ("english", "inter\u034fnational \u200ework\u200f", "international work"),
    ("english", "\u202ework\u202c", "work"),
    ("multilingual", "\u0915\u094d\u200d\u0937", "\u0915\u094d\u0937"),  # Hindi, joined by hand
    ("thai", "\u200b".join(THAI), "".join(THAI)),
    ("korean", "\ud55c\u3164\uad6d", "\ud55c\uad6d"),
    ("japanese", "\u845b\U000e0100\u98fe", "\u845b\u98fe"),  # a variant of a character
    # A Persian zero-width non-joiner is a hyphen: apart, joined and separated words are found.
    ("persian", "\u200c".join(PERSIAN), "".join(PERSIAN)),
    ("persian", "\u200c".join(PERSIAN), " ".join(PERSIAN)),
    # Hyphens and dashes within a word.
    ("english", "e\u2011mail", "email"),
    ("english", "e\u2010mail", "e-mail"),
    ("english", "Navier\u2013Stokes", "Navier-Stokes"),
    ("english", "X\u2012ray X\u2212ray", "xray"),
    ("english", "well\ufe63known well\uff0dknown", "wellknown"),
    ("hebrew", "\u05be".join(HEBREW), " ".join(HEBREW)),
    ("hebrew", "\u05be".join(HEBREW), "-".join(HEBREW)),
    # Apostrophes.
    ("english", "O\u2019Brien", "O'Brien"),
    ("english", "O\u02bcBrien O\u2018Brien O\uff07Brien O\u00b4Brien", "O'Brien"),
    ("english", "Hawai\u02bbi", "Hawai'i"),
    ("french", "l\u2019\u00e9cole", "\u00e9cole"),
    ("french", "l\u00b4\u00e9cole", "\u00e9cole"),
    ("turkish", "\u0130zmir\u2019de", "izmir"),
    # Ligatures, full-width and other compatibility forms.
    ("english", "\ufb03ce \ufb02ow", "ffice flow"),
    ("english", "\uff32\uff21\uff27", "RAG"),
    ("japanese", "\uff76\uff9e\uff72\uff84\uff9e", "\u30ac\u30a4\u30c9"),
    ("dutch", "\u0133sberg", "ijsberg"),
    ("arabic", "\ufe8d\ufedf\ufe92\ufef4\ufe96", "\u0627\u0644\u0628\u064a\u062a"),
    # Blanks.
    ("english", "New\u00a0York New\u202fYork New\u2009York New\u3000York", "york new"),
    # Vowel points, and letters that are stretched.
    ("hebrew", "\u05e9\u05b8\u05dc\u05d5\u05b9\u05dd", "\u05e9\u05dc\u05d5\u05dd"),
    ("hebrew", "\ufb2a\u05dc\u05d5\u05dd", "\u05e9\u05dc\u05d5\u05dd"),
    ("multilingual", "\u05e9\u05b8\u05dc\u05d5\u05b9\u05dd", "\u05e9\u05dc\u05d5\u05dd"),
    ("multilingual", "\u0643\u0650\u062a\u064e\u0627\u0628", "\u0643\u062a\u0627\u0628"),
    ("persian", "\u062f\u0650\u0644", "\u062f\u0644"),
    ("arabic", "\u0643\u0640\u0640\u0640\u062a\u0627\u0628", "\u0643\u062a\u0627\u0628"),
    ("multilingual", "\u0643\u0640\u062a\u0627\u0628", "\u0643\u062a\u0627\u0628"),
    # Hebrew abbreviations.
    ("hebrew", '\u05e6\u05d4"\u05dc', "\u05e6\u05d4\u05dc"),
    ("hebrew", "\u05e6\u05d4\u05f4\u05dc", '\u05e6\u05d4"\u05dc'),
    ("hebrew", "\u05e6\u05d4\u201d\u05dc", '\u05e6\u05d4"\u05dc'),
    ("hebrew", "\u05e6\u05f3\u05d9\u05e4", "\u05e6'\u05d9\u05e4"),
    # Digits of other scripts.
    ("arabic", "\u0661\u0669\u0668\u0664", "1984"),
    ("hindi", "\u0967\u096f\u096e\u096a", "1984"),
    ("thai", "\u0e51\u0e59\u0e58\u0e54", "1984"),
    ("persian", "\u06f1\u06f9\u06f8\u06f4", "1984"),
    ("japanese", "\uff11\uff19\uff18\uff14", "1984"),
    # Separators of thousands.
    ("english", "1,000,000 people", "1000000"),
    ("english", "$12,500.75", "12500.75"),
    ("english", "$12,500.75", "12500"),
    ("english", "a 2,500-seat hall", "2500"),
    ("english", "12,34,567 rupees", "1234567"),
    ("german", "1.000.000 Menschen", "1000000"),
    ("german", "1.234.567,89", "1234567.89"),
    ("german", "mit 1.000 Sitzen", "1000"),
    ("german", "zu 12.500,50 Euro", "12500"),
    ("german", "zu 12.500,50 Euro", "12500.50"),
    ("turkish", "1.250 lira", "1250"),
    ("spanish", "(2.300)", "2300"),
    ("english", "written in C\u266f", "C#"),
    ("german", "25'000 Franken", "25000"),
    ("german", "25\u2019000 Franken", "25000"),
    ("french", "25\u202f000 habitants", "25000"),
    ("french", "1\u00a0234\u00a0567", "1234567"),
    ("swedish", "1\u2009234\u2009567", "1234567"),
    ("arabic", "\u0661\u066c\u0660\u0660\u0660", "1000"),
    ("english", "1000000", "1000000"),
    # Emoji are words.
    ("english", "love \u2764\ufe0f", "\u2764"),
    ("english", "ok \U0001f44d\U0001f3fd", "\U0001f44d"),
    ("english", "\U0001f468\u200d\U0001f469\u200d\U0001f467", "\U0001f467"),
    ("english", "\U0001f1e9\U0001f1ea\U0001f1eb\U0001f1f7", "\U0001f1eb\U0001f1f7"),
    ("multilingual", "x\U0001f680y", "x \U0001f680 y"),
    ("english", "press 1\ufe0f\u20e3", "1"),
]  # fmt: skip


@pytest.mark.parametrize(("language", "text", "query"), FOUND)
def test_a_query_finds_what_looks_the_same_to_a_reader(language, text, query):
    analyzer = analyzer_from_name(language)
    terms = analyzer.query_terms(query)
    assert terms
    assert set(terms) <= set(analyzer.passage_terms(text))
    assert all(term.isprintable() for term in terms)


# (language, one text, another text, which share no term)
DIFFERENT = [
    ("english", "clause\u2014word", "clauseword"),  # an em dash separates
    ("english", "new york", "newyork"),
    ("english", "1, 000", "1000"),  # a list
    ("english", "version 1.000", "1000"),  # decimals
    ("german", "Version 1.0000", "10000"),
    ("german", "3.14", "314"),
    ("english", "12,50", "1250"),
    ("english", "1,0000", "10000"),
    ("english", "12345,678", "12345678"),
    ("english", "\U0001f680", "\U0001f44d"),
    ("english", "\U0001f1e9\U0001f1ea", "\U0001f1eb\U0001f1f7"),
    ("english", "\u2022 \u25aa \u2192 \u27a2", "\u2022 \u27a2"),  # bullets and arrows are no words
    ("thai", "\u0e21\u0e32", "\u0e21\u0e49\u0e32"),  # marks of other scripts carry meaning
]  # fmt: skip


@pytest.mark.parametrize(("language", "one", "other"), DIFFERENT)
def test_what_differs_to_a_reader_is_not_found(language, one, other):
    analyzer = analyzer_from_name(language)
    assert not set(analyzer.passage_terms(one)) & set(analyzer.query_terms(other))


@pytest.mark.parametrize("language", sorted(LANGUAGES))
def test_no_ignored_character_is_part_of_a_term(language):
    analyzer = analyzer_from_name(language)
    for char in sorted(IGNORED)[:300]:
        assert char not in "".join(analyzer.passage_terms(f"a{char}b {char} {char}c"))


def test_format_characters_are_ignored():
    shown = {"\u0600", "\u0601", "\u0602", "\u0603", "\u0604", "\u0605", "\u06dd", "\u070f"}
    shown |= {"\u0890", "\u0891", "\u08e2", "\U000110bd", "\U000110cd"}  # signs around digits
    formats = {
        char
        for char in map(chr, range(sys.maxunicode + 1))
        if unicodedata.category(char) == "Cf" and not "\U00013430" <= char <= "\U0001343f"
    }
    assert formats - shown - IGNORED <= {"\ufff9", "\ufffa", "\ufffb"}  # of annotated texts


def test_marks_stand_on_the_text_as_it_was():
    text = "Daten\u00adbank, 1\u202f000\u202f000 Zeilen, e\u2011mail und \u05e6\u05d4\u05f4\u05dc"
    index = Index.open(None, encoder=None, analyzer="german")
    index.upsert([Passage(id="1", text=text)])
    retriever = Retriever(index, mode="lexical")
    for query, marked in {
        "Datenbank": "Daten\u00adbank",
        "1000000": "1\u202f000\u202f000",
        "email": "e\u2011mail",
        "\u05e6\u05d4\u05dc": "\u05e6\u05d4\u05f4\u05dc",
    }.items():
        found = retriever.retrieve(query).highlights(0)
        assert f"[{marked}]" in found.marked("[", "]"), query
