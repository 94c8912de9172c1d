"""Planted faults are found and named first; healthy indexes raise no alarm."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest

from twofold import EncodedBackend, HashingEncoder, Index, ModelEncoder, Passage
from twofold.backend import SearchProfile
from twofold.dense import HNSW
from twofold.diagnosis import diagnose, to_html, to_markdown
from twofold.diagnosis.probe_rules import make_pairs, make_searches, misspell
from twofold.encoders import QueryAdapter
from twofold.encoders.model_spec import ModelOptions
from twofold.errors import InputError
from twofold.fusion import WeightedSum
from twofold.tuning import calibrate

MINILM = "all-MiniLM-L6-v2"
SUBJECTS = [
    "東京の博物館",
    "古い港の町",
    "新しい図書館",
    "山の上の寺",
    "川沿いの工場",
    "小さな空港",
]
VERBS = [
    "は百年前に建てられ、今も使われている。",
    "には毎年多くの人が訪れる。",
    "では新しい研究が始まった。",
]
ENDS = [
    "建物の屋根は赤い。",
    "入口には長い列ができる。",
    "冬の間は閉まっている。",
    "切符は駅で買える。",
]


def opening(text):
    """The first sentences of an abstract, so that encoding takes less time."""
    return re.match(r"(.{200,}?[.] |.*)", text, re.DOTALL).group().strip()


@pytest.fixture(scope="module")
def passages(abstracts):
    return [
        Passage(opening(each["text"]), each["_id"], each["title"], {"year": 1990 + at % 30})
        for at, each in enumerate(abstracts[:120])
    ]


@pytest.fixture(scope="module")
def japanese():
    return [
        Passage(f"{subject}{verb}{end}番号は{1000 + 37 * at + 5 * other}である。", f"{at}-{other}")
        for at, subject in enumerate(SUBJECTS)
        for other, (verb, end) in enumerate((v, e) for v in VERBS for e in ENDS)
    ]


@pytest.fixture(scope="module")
def encoded(passages):
    """The passages' vectors by the model as it was saved, and in other ways."""
    texts = [passage.content for passage in passages]
    ways = {
        "saved": ModelOptions(),
        "cls": ModelOptions(pooling="cls"),
        "prompt": ModelOptions(passage_prompt="passage: "),
    }
    vectors = {
        name: ModelEncoder(MINILM, options=options).encode_passages(texts)
        for name, options in ways.items()
    }
    vectors["cut"] = ModelEncoder(MINILM).encode_passages([text[:200] for text in texts])
    vectors["hashing"] = HashingEncoder().encode_passages(texts)
    return vectors


def build(passages, vectors=None, path=None, **options):
    options = {"encoder": MINILM, **options}
    index = Index.open(path, **options)
    index.upsert(passages, vectors=vectors)
    return index


def names(index, **options):
    return [finding.name for finding in diagnose(index, **options).findings if finding.is_alarm]


def build_hashed(passages, vectors, **options):
    """An index whose fault doesn't depend on the model."""
    return build(passages, vectors, encoder=HashingEncoder(), **options)


def zeroed(passages, encoded):
    vectors = encoded["hashing"].copy()
    vectors[::2] = 0
    return build_hashed(passages, vectors, metric="dot")


def hub(passages, encoded):
    vectors = encoded["saved"].copy()
    vectors[7] *= 30
    return build(passages, vectors, metric="dot")


def half_of_another_model(passages, encoded):
    vectors = encoded["saved"].copy()
    noise = np.random.default_rng(0).normal(size=vectors[::2].shape)
    vectors[::2] = noise / np.linalg.norm(noise, axis=1, keepdims=True)
    return build(passages, vectors)


def of_another_model(passages, encoded):
    rotation = np.linalg.qr(np.random.default_rng(1).normal(size=(384, 384)))[0]
    return build(passages, (encoded["saved"] @ rotation).astype(np.float32))


def half_of_the_dimensions(passages, encoded):
    vectors = encoded["saved"].copy()
    vectors[:, 192:] = 0
    return build(passages, vectors)


def collapsed(passages, encoded):
    vectors = encoded["saved"] * 0.05 + encoded["saved"].mean(axis=0) / 0.2
    return build(passages, vectors.astype(np.float32), encoder=None, dim=384)


def equal_vectors(passages, encoded):
    vectors = encoded["saved"].copy()
    vectors[::3] = vectors[0]
    return build(passages, vectors, encoder=None, dim=384)


def without_terms(text):
    return []


def duplicated(passages, encoded):
    copies = [replace(passage, id=f"copy-{passage.id}") for passage in passages[::3]]
    vectors = encoded["hashing"]
    return build_hashed([*passages, *copies], np.concatenate([vectors, vectors[::3]]))


def mixed_types(passages, encoded):
    changed = [
        replace(passage, metadata={"year": str(passage.metadata["year"]) if at % 4 else 7})
        for at, passage in enumerate(passages)
    ]
    return build_hashed(changed, encoded["hashing"])


def renamed_field(passages, encoded):
    changed = [
        replace(passage, metadata={"Year" if at % 5 else "year": 1990 + at})
        for at, passage in enumerate(passages)
    ]
    return build_hashed(changed, encoded["hashing"])


def with_adapter(passages, encoded):
    index = build(passages, encoded["saved"])
    rotation = np.linalg.qr(np.random.default_rng(1).normal(size=(384, 384)))[0]
    fingerprint = index.encoder.identity.fingerprint
    index.query_adapters.save("odd", QueryAdapter(rotation.astype(np.float32), fingerprint, {}))
    profile = SearchProfile(WeightedSum(), 100, None, 1, "odd")
    index.profiles.save("tuned", profile, use=True)
    return index


def with_lost_adapter(passages, encoded):
    index = with_adapter(passages, encoded)
    next(index.path.rglob("odd.adapter")).unlink()
    return index


def damaged(passages, encoded):
    changed = [
        replace(p, text=p.text.replace("e", "\u00e9").encode().decode("latin-1")) for p in passages
    ]
    return build(changed, encoder=HashingEncoder())


class TwoWays:
    """Queries are pooled in another way than passages."""

    def __init__(self):
        self._queries = ModelEncoder(MINILM, options=ModelOptions(pooling="cls"))
        self._passages = ModelEncoder(MINILM)

    def encode_queries(self, texts):
        return self._queries.encode_queries([f"zebra crossing zebra: {text}" for text in texts])

    def encode_passages(self, texts):
        return self._passages.encode_passages(texts)


class OtherQueryTerms:
    """Words of queries are cut to four letters, and those of passages aren't."""

    name, version = "other", 1

    def passage_terms(self, text):
        return text.lower().split()

    def query_terms(self, text):
        return [word[:4] for word in text.lower().split()]


def normalized_in_part(passages, encoded):
    vectors = encoded["saved"].copy()
    vectors[::2] *= 1.8
    return build(passages, vectors, metric="dot", encoder=None, dim=384)


def half_cut(passages, encoded):
    texts = [
        replace(passage, text=passage.text[:150]) if at % 2 else passage
        for at, passage in enumerate(passages)
    ]
    return build_hashed(texts, encoded["hashing"])


def half_of_the_dimensions_alone(passages, encoded):
    vectors = encoded["saved"].copy()
    vectors[:, 192:] = 0
    return build(passages, vectors, encoder=None, dim=384)


def shuffled_alone(passages, encoded):
    return build(passages, np.roll(encoded["saved"], 5, axis=0), encoder=None, dim=384)


def shallow(passages, encoded):
    index = build_hashed(passages, encoded["hashing"])
    index.profiles.save("tuned", SearchProfile(WeightedSum(), 1, None, 1), use=True)
    return index


PLANTS = {
    "pooling-overridden": lambda p, e: build(p, encoder=f"{MINILM}?pooling=cls"),
    "query-prompt-overridden": lambda p, e: build(
        p, e["saved"], encoder=f"{MINILM}?query_prompt=zebra crossing zebra: "
    ),
    "vectors-of-another-model: pooling='cls'": lambda p, e: build(p, e["cls"]),
    "vectors-of-another-model: passage_prompt='passage: '": lambda p, e: build(p, e["prompt"]),
    "vectors-of-another-model: cut off after 200": lambda p, e: build(p, e["cut"]),
    "vectors-of-another-model: another model": of_another_model,
    "vectors-of-another-model: earlier texts": half_of_another_model,
    "vectors-of-another-model": half_of_the_dimensions,
    "vectors-of-other-texts": lambda p, e: build(p, np.roll(e["saved"], 5, axis=0)),
    "missing-vectors": zeroed,
    "dense-leg-empty": lambda p, e: build_hashed(
        p, np.zeros((len(p), 256), np.float32), metric="dot"
    ),
    "lexical-leg-empty": lambda p, e: build_hashed(p, e["hashing"], analyzer=without_terms),
    "texts-end-early": lambda p, e: build(
        [replace(passage, text=passage.text[:150]) for passage in p], encoder=HashingEncoder()
    ),
    "texts-end-early: words": lambda p, e: build(
        [replace(one, text=" ".join(one.text.split()[:20])) for one in p], encoder=HashingEncoder()
    ),
    "texts-cut-off": lambda p, e: build(p, encoder=f"{MINILM}?max_length=64", windows=False),
    "hubs": hub,
    "collapsed-space": collapsed,
    "equal-vectors": equal_vectors,
    "duplicates": duplicated,
    "mixed-types": mixed_types,
    "similar-fields": renamed_field,
    "harmful-adapter": with_adapter,
    "stale-adapter": with_lost_adapter,
    "damaged-texts": damaged,
    "dim-overridden": lambda p, e: build(p, encoder=f"{MINILM}?dim=16"),
    "queries-encoded-otherwise": lambda p, e: build(p, e["saved"], encoder=TwoWays()),
    "query-terms-differ": lambda p, e: build_hashed(p, e["hashing"], analyzer=OtherQueryTerms()),
    "uneven-lengths: of two kinds": normalized_in_part,
    "texts-end-early: 150 characters": half_cut,
    "unused-dimensions": half_of_the_dimensions_alone,
    "encoder-does-not-fit": shuffled_alone,
    "shallow-profile": shallow,
}


@pytest.mark.parametrize("plant", PLANTS)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_planted_fault_is_found_and_named(passages, encoded, plant):
    name, _, detail = plant.partition(": ")
    with PLANTS[plant](passages, encoded) as index:
        findings = diagnose(index).findings
    first = [finding for finding in findings if finding.name == name]
    assert first, [finding.summary for finding in findings]
    assert findings.index(first[0]) < 2, [finding.name for finding in findings]
    assert first[0].is_alarm
    assert detail in first[0].summary
    assert first[0].advice


def split_at_spaces(text):
    return text.split()


JAPANESE = {
    "analyzer-of-another-language": {"analyzer": "english", "encoder": None},
    "unsplit-words": {"analyzer": split_at_spaces, "encoder": None},
    "encoder-does-not-fit": {"analyzer": "japanese"},
}


@pytest.mark.parametrize("name", ["analyzer-of-another-language", "unsplit-words"])
def test_an_analyzer_of_another_language_is_found(japanese, name):
    with build(japanese, **JAPANESE[name]) as index:
        assert name in names(index)[:2]
    with build(japanese, encoder=None, analyzer="japanese") as index:
        assert names(index) == []


def test_a_graph_that_loses_passages_is_found():
    vectors = np.random.default_rng(3).normal(size=(12_000, 32)).astype(np.float32)
    passages = [Passage(f"word{at} of passage {at}", str(at)) for at in range(len(vectors))]
    with Index.open(None, dim=32, encoder=None) as index:
        index.upsert(passages, vectors=vectors)
        index.reindex(HNSW(links=2, build_effort=4, search_effort=1))
        assert names(index)[0] == "low-recall"


def test_queries_and_judgments_are_checked(passages):
    with build(passages, encoder=HashingEncoder()) as index:
        queries = {"1": "gene expression", "2": "zzyzx qwrtz", "3": " "}
        found = {
            finding.name: finding
            for finding in diagnose(
                index, queries=queries, qrels={"1": {passages[0].id: 1, "nowhere": 2}}
            ).findings
        }
    assert found["unknown-words"].ids == ("2",)
    assert found["blank-queries"].ids == ("3",)
    assert found["judged-passages-missing"].ids == ("nowhere",)
    assert found["judged-passages-missing"].share == 0.5


HEALTHY = {
    "model": lambda p, e: build(p, e["saved"]),
    "hashing": lambda p, e: build(p, encoder=HashingEncoder()),
    "lexical": lambda p, e: build(p, encoder=None),
    "dense": lambda p, e: build(p, e["saved"], analyzer=None),
    "euclidean": lambda p, e: build(p, e["saved"], metric="euclidean"),
    "few": lambda p, e: build(p[:7], e["saved"][:7]),
    "own vectors": lambda p, e: build(p, e["saved"], encoder=None, dim=384),
    "multilingual": lambda p, e: build(p, e["saved"], analyzer="multilingual"),
}


@pytest.mark.parametrize("kind", HEALTHY)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_healthy_index_raises_no_alarm(passages, encoded, claims, kind):
    with HEALTHY[kind](passages, encoded) as index:
        found = diagnose(index, queries=claims[:60])
    assert found.is_healthy, [finding.summary for finding in found.alarms]
    assert found.looked_at == found.passages > 0


def test_copies_are_counted_where_a_sample_holds_few_of_them(passages):
    copies = [replace(one, id=f"copy-{one.id}") for one in passages]
    with build([*passages, *copies], encoder=HashingEncoder()) as index:
        found = {one.name: one for one in diagnose(index, limit=40).findings}
    assert found["duplicates"].share == pytest.approx(0.5, abs=0.05)
    assert found["duplicates"].severity == "warning"


def test_a_calibration_of_another_time_is_found(passages):
    with build(passages, encoder=HashingEncoder()) as index:
        queries = {one.id: one.title for one in passages}
        result = calibrate(index, queries, {one.id: {one.id: 1} for one in passages})
        index.profiles.save("calibrated", result.profile, use=True)
        assert "stale-calibration" not in names(index)
        index.reanalyze("multilingual")
        assert "stale-calibration" in names(index)


def test_an_empty_index_is_said_to_be_empty():
    with Index.open(None, encoder=HashingEncoder()) as index:
        assert names(index) == ["empty-index"]


def test_reports_escape_what_passages_contain(passages):
    odd = [
        replace(one, id=f"<script>{at}</script>", text="same text", title="")
        for at, one in enumerate(passages)
    ]
    with build(odd, encoder=HashingEncoder()) as index:
        found = diagnose(index)
    page = to_html(found, title="a <b>", date="2026-11-30")
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert "<svg" in page
    assert "http" not in page.replace("http-equiv", "").replace("http://www.w3.org/2000/svg", "")
    text = to_markdown(found, title="a <b>", date="2026-11-30")
    assert "# a \\<b\\>" in text
    assert "### duplicates" in text
    assert json.loads(json.dumps(found.to_dict()))["findings"]


def test_bad_arguments_are_refused(passages):
    with build(passages[:3], encoder=HashingEncoder()) as index:
        with pytest.raises(InputError, match="limit"):
            diagnose(index, limit=0)
        with pytest.raises(InputError, match="queries must be a list"):
            diagnose(index, queries="tea")
        with pytest.raises(InputError, match="queries must be texts"):
            diagnose(index, queries=[7])


@pytest.mark.parametrize("server", ["postgres", "milvus"])
def test_an_index_on_a_server_is_diagnosed(request, passages, server):
    backend = request.getfixturevalue(server)(encoder=HashingEncoder())
    changed = replace(passages[0], metadata={"year": "1990"})
    backend.upsert([changed, *passages[1:100], replace(passages[1], id="copy")])
    found = {finding.name: finding for finding in diagnose(backend).findings}
    assert found["mixed-types"].ids == (passages[0].id,)
    assert found["duplicates"].share == pytest.approx(1 / 101)
    assert not {"missing-vectors", "missing-terms", "low-recall", "stale-adapter"} & set(found)


def test_probes_tell_words_from_meaning(abstracts):
    passages = [Passage(one["text"], one["_id"], one["title"]) for one in abstracts[:500]]
    with build(passages, encoder=HashingEncoder()) as index:
        probes = {result.kind: result for result in diagnose(index, probe=True).probes}
    assert {"negation", "numbers", "typos", "identifiers", "one-word", "role-swap"} <= set(probes)
    for result in probes.values():
        assert result.count >= 5
        assert all(0 <= share <= 1 for share in result.shares.values())
    assert probes["identifiers"].shares["lexical"] > 0.8
    assert probes["role-swap"].shares["lexical"] < 0.5  # the same words in another order
    assert probes["role-swap"].examples[0].query


def test_rules_make_probes_of_sentences():
    text = (
        "Aspirin given by Smith was tested against Placebo from Jones in 120 patients. "
        "They took 5 mg of vaccine_x1 as messenger ribonucleic acid (mRNA) once."
    )
    pairs = {probe.kind: probe for probe in make_pairs([Passage(text, "1")] * 2)}
    assert "in 453 patients" in pairs["numbers"].wrong
    assert "by Placebo was tested against Smith" in pairs["role-swap"].wrong
    assert make_pairs([Passage("It is so. Or so.", "1")]) == []
    searches = {probe.kind: probe for probe in make_searches([Passage(text, "1")])}
    assert searches["identifiers"].query == "vaccine_x1"
    query, right = misspell("ribonucleic vaccine", "1"), "ribonucleic vaccine"
    assert sorted(query) == sorted(right)
    assert query != right


class Odd:
    """An encoder that gives a vector of zeros for some texts."""

    def encode_queries(self, texts):
        vectors = HashingEncoder().encode_queries(texts)
        vectors[::7] = 0
        return vectors

    encode_passages = HashingEncoder().encode_passages


class FailingPassages(Odd):
    def encode_passages(self, texts):
        raise RuntimeError("out of memory")


class Failing(Odd):
    def encode_queries(self, texts):
        raise RuntimeError("out of memory")


def test_encoders_that_fail_end_no_diagnosis(passages):
    with build(passages, encoder=Odd()) as index:
        found = diagnose(index, probe=True, queries=["gene", "cells"])
    assert {finding.name for finding in found.alarms} <= {"encoder-does-not-fit"}
    assert found.probes
    with build(passages, encoder=HashingEncoder()) as index:
        found = diagnose(EncodedBackend(index, Failing()), probe=True)
    assert [finding.name for finding in found.alarms] == ["encoder-unavailable"]
    assert "out of memory" in found.alarms[0].evidence[0]
    assert found.probes  # of the words
    with build(passages, encoder=HashingEncoder()) as index:
        found = diagnose(EncodedBackend(index, FailingPassages()))
    assert "encoder-unavailable" in [finding.name for finding in found.alarms]
    vectors = np.random.default_rng(0).normal(size=(100, 8)).astype(np.float32)
    with build(passages[:100], vectors, encoder=None, dim=8) as index:
        assert {result.kind for result in diagnose(index, probe=True).probes} >= {"one-word"}


def test_an_analyzer_that_is_missing_is_found(passages, tmp_path):
    with build(passages, encoder=HashingEncoder(), analyzer=split_at_spaces, path=tmp_path / "i"):
        pass
    with Index.open(tmp_path / "i", encoder=HashingEncoder()) as index:
        found = diagnose(index)
    assert found.findings[0].name == "analyzer-unavailable"


def test_chunks_of_one_size_are_not_cut_off(abstracts):
    text = " ".join(one["text"] for one in abstracts[:60])
    words = text.split()
    chunks = [Passage(" ".join(words[at : at + 100]), str(at)) for at in range(0, len(words), 100)]
    with build(chunks, encoder=HashingEncoder()) as index:
        found = {finding.name: finding for finding in diagnose(index).findings}
    assert found["texts-end-early"].severity == "note"


def test_vietnamese_is_told_from_english():
    text = "Hà Nội là thủ đô của nước Việt Nam, và đường phố ở đó rất đông người {}."
    with build(
        [Passage(text.format(at), str(at)) for at in range(60)], encoder=None, analyzer="english"
    ) as index:
        assert names(index)[0] == "analyzer-of-another-language"


def test_russian_titles_are_no_other_language():
    titles = [f"\u041a\u043d\u0438\u0433\u0430 {at}" for at in range(60)]
    for analyzer in ("ukrainian", "russian", "bulgarian"):
        with build(
            [Passage(one, str(at)) for at, one in enumerate(titles)],
            encoder=None,
            analyzer=analyzer,
        ) as index:
            assert "analyzer-of-another-language" not in names(index)
