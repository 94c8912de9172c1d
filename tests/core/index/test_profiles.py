"""Settings saved with an index: named, used, dropped, and gone back from."""

import json
import subprocess
import sys
from dataclasses import asdict, dataclass, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twofold import BM25, HashingEncoder, Index, Retriever, WeightedSum
from twofold.backend import SearchProfile
from twofold.errors import (
    IndexClosedError,
    InputError,
    ReadOnlyError,
    UnsupportedStorageError,
)
from twofold.fusion import FUSIONS, GuardedFusion, ReciprocalRank, ZScore
from twofold.index import profile_as_dict, profile_from_dict
from twofold.lexical import SCORERS, scorer_as_dict, scorer_from_dict
from twofold.storage import IndexSettings

PLAIN = SearchProfile(ReciprocalRank(10, 0.3), 200, BM25(0.9, 0.4), 1)
TITLES = SearchProfile(GuardedFusion(WeightedSum(ZScore(), 0.6), weak_dense=0.2), 50, None, 3)


def words(index, query="plants"):
    return Retriever(index, mode="lexical").retrieve(query).scores.tolist()


@pytest.fixture
def garden(index):
    index.upsert(
        [
            {"id": "1", "title": "Plants", "text": "Light makes glucose."},
            {"id": "2", "title": "Gardens", "text": "Plants grow, and plants die."},
            {"id": "3", "text": "The printing press was made in Mainz."},
        ]
    )
    return index


def test_saved_settings_survive_closing_and_each_change_is_one_commit(garden):
    assert dict(garden.profiles) == {}
    assert garden.profiles.active is None
    with garden.view() as view:
        assert view.profile is None
        generation = view.corpus.generation
    garden.profiles.save("a", PLAIN)
    garden.profiles.save("b", TITLES, use=True)
    with garden.view() as view:
        assert view.profile == TITLES
        assert view.corpus.generation == generation + 2
    garden.close()
    with Index.open(garden.path, create=False, read_only=True) as again:
        assert dict(again.profiles) == {"a": PLAIN, "b": TITLES}
        assert (again.profiles.active, again.profiles["b"]) == ("b", TITLES)
        assert again.verify(deep=True).ok
        for change in (
            lambda: again.profiles.use("a"),
            lambda: again.profiles.save("c", PLAIN),
            lambda: again.profiles.drop("a"),
        ):
            with pytest.raises(ReadOnlyError):
                change()
    with Index.open(garden.path, create=False) as again:
        again.profiles.use("a")
        again.profiles.drop("b")
        again.profiles.use("a")  # nothing to do
        with again.view() as view:
            assert view.profile == PLAIN
            assert view.corpus.generation == generation + 4
        assert list(again.profiles) == ["a"]


def test_a_reader_sees_a_change_at_its_next_query(garden):
    with Index.open(garden.path, create=False, read_only=True) as reader:
        assert reader.profiles.active is None
        before = words(reader)
        garden.profiles.save("t", TITLES, use=True)
        assert reader.profiles.active == "t"
        assert words(reader) != before
        with Index.open(garden.path, create=False) as other:
            other.profiles.use(None)
            assert garden.profiles.active is None
    saved = garden.profiles
    garden.close()
    for use in (lambda: saved.use(None), lambda: saved.active, lambda: list(garden.profiles)):
        with pytest.raises(IndexClosedError):
            use()


def test_titles_weigh_what_the_setting_says_and_then_what_they_did(garden, tmp_path):
    passages = list(garden)
    with Index.open(tmp_path / "three", encoder=HashingEncoder(), title_weight=3) as other:
        other.upsert(passages)
        heavy = words(other)
    before = words(garden)
    assert before != heavy
    garden.profiles.save("t", TITLES)
    assert (words(garden), garden.title_weight) == (before, 1)
    garden.profiles.use("t")
    assert (words(garden), garden.title_weight) == (heavy, 3)
    garden.profiles.save("u", replace(TITLES, title_weight=2), use=True)
    assert garden.title_weight == 2
    garden.profiles.save("u", replace(TITLES, title_weight=3))  # in use: at once
    assert words(garden) == heavy
    garden.profiles.use(None)
    assert (words(garden), garden.title_weight) == (before, 1)
    assert garden.verify(deep=True).ok


def test_a_weight_of_titles_chosen_by_hand_stays(garden):
    garden.profiles.save("t", TITLES, use=True)
    garden.reanalyze("english", title_weight=5)
    garden.profiles.use(None)
    assert garden.title_weight == 5
    garden.profiles.use("t")
    assert garden.title_weight == 3
    garden.profiles.use(None)
    assert garden.title_weight == 5


def test_an_index_without_words_has_settings_too(tmp_path):
    with Index.open(tmp_path / "i", dim=2, metric="cosine", analyzer=None) as index:
        index.upsert([{"id": "1", "text": "x"}], vectors=np.ones((1, 2), np.float32))
        index.profiles.save("t", TITLES, use=True)
        assert (index.profiles.active, index.title_weight) == ("t", 1)
        index.profiles.use(None)
        assert index.profiles.active is None


@pytest.mark.parametrize("name", ["", " a", "a\n", "default", "x" * 101, None, 7])
def test_names_that_are_refused(garden, name):
    with pytest.raises(InputError, match="name"):
        garden.profiles.save(name, PLAIN)
    assert len(garden.profiles) == 0


def test_unknown_names_have_hints(garden):
    with pytest.raises(InputError, match="none is saved"):
        garden.profiles.use("tuned")
    garden.profiles.save("tuned", PLAIN, use=True)
    with pytest.raises(InputError, match="there is no profile 'tund'.*did you mean 'tuned'?"):
        garden.profiles.use("tund")
    with pytest.raises(InputError, match="did you mean 'tuned'?"):
        garden.profiles.drop("tuned2")
    with pytest.raises(InputError, match="'tuned' is active"):
        garden.profiles.drop("tuned")
    assert garden.profiles.get("tund") is None
    with pytest.raises(KeyError):
        garden.profiles["tund"]


@dataclass(frozen=True)
class OwnScorer(BM25):
    pass


class OwnNormalizer:
    def normalize(self, leg):
        return leg.completed


def test_what_cannot_be_had_back_is_not_stored(garden):
    for setting in (
        replace(PLAIN, scorer=OwnScorer()),
        replace(PLAIN, fusion=WeightedSum(OwnNormalizer())),
        replace(PLAIN, depth=0),
        replace(PLAIN, title_weight=-1),
        "guarded",
    ):
        with pytest.raises(InputError):
            garden.profiles.save("x", setting)
    assert len(garden.profiles) == 0


@given(st.sampled_from(sorted(FUSIONS)), st.floats(0, 1), st.sampled_from(sorted(SCORERS)))
def test_every_setting_comes_back_as_it_was(fusion, weight, scorer):
    setting = SearchProfile(FUSIONS[fusion].with_dense_weight(weight), 70, SCORERS[scorer](), 2)
    assert profile_from_dict(json.loads(json.dumps(profile_as_dict(setting)))) == setting
    changed = SCORERS[scorer](0.25)
    assert scorer_from_dict(json.loads(json.dumps(scorer_as_dict(changed)))) == changed


def test_what_another_version_saved_is_said_to_be(garden):
    values = profile_as_dict(PLAIN)
    values["fusion"]["name"] = "Telepathy"
    with pytest.raises(UnsupportedStorageError, match="Telepathy"):
        profile_from_dict(values)


def test_settings_of_an_index_made_before_they_could_be_saved():
    values = asdict(IndexSettings(dim=3))
    for name in ("profiles", "active_profile", "default_title_weight"):
        del values[name]
    assert IndexSettings.from_json(json.dumps(values)) == IndexSettings(dim=3)


KILLED = """
import sys
from twofold import Index
from twofold.fusion import ReciprocalRank
from twofold.backend import SearchProfile
with Index.open(sys.argv[1], create=False) as index:
    for weight in (2, 3):
        index.profiles.save(f"w{weight}", SearchProfile(ReciprocalRank(), 50, None, weight))
    while True:
        for name in ("w2", "w3", None):
            index.profiles.use(name)
            print(name, flush=True)
"""


def test_a_killed_writer_leaves_one_setting_or_the_other(garden):
    garden.close()
    for lines in (1, 2, 5):
        with subprocess.Popen(
            [sys.executable, "-c", KILLED, str(garden.path)], stdout=subprocess.PIPE, text=True
        ) as writer:
            for _ in range(lines):
                assert writer.stdout.readline()
            writer.kill()
        with Index.open(garden.path, create=False) as again:
            assert set(again.profiles) == {"w2", "w3"}
            weights = {None: 1, "w2": 2, "w3": 3}
            assert again.title_weight == weights[again.profiles.active]
            assert again.verify(deep=True).ok
            again.profiles.use(None)
            assert again.title_weight == 1


def test_new_names_take_the_place_of_none(garden):
    saved = garden.profiles
    names = []
    for _ in range(3):
        names.append(saved.new_name())
        saved.save(names[-1], PLAIN, use=True)
    assert names == ["tuned", "tuned-2", "tuned-3"]
    saved.use(None)
    saved.drop("tuned-2")
    assert saved.new_name() == "tuned-2"
    assert saved.new_name("mine") == "mine"
    for name, words in (("tuned", "already"), ("default", "defaults"), ("", "1 to 100")):
        with pytest.raises(InputError, match=words):
            saved.new_name(name)
