"""Fuzzes what reads input of others, with atheris (dependency group ``fuzz``).

    python tests/reliability/fuzz.py filters --seconds 60

Only errors of the library may come out. The first other one ends the run with its input.
"""

import argparse
import contextlib
import gzip
import json
import shutil
import sys
import tempfile
import warnings
from pathlib import Path

import atheris

INSTRUMENTED = [
    "twofold.corpus",
    "twofold.encoders.query_adapter",
    "twofold.filters",
    "twofold.fusion",
    "twofold.index.saved_records",
    "twofold.index.segment_types",
    "twofold.lexical.segment",
    "twofold.metadata",
    "twofold.segments",
    "twofold.storage",
]
"""Modules whose coverage guides the inputs; none has functions that numba compiles."""

with atheris.instrument_imports(include=INSTRUMENTED):
    import numpy as np

    from twofold import BM25
    from twofold.backend import SearchProfile
    from twofold.corpus import Corpus, read_qrels, read_queries, read_run
    from twofold.encoders import QueryAdapter
    from twofold.errors import TwofoldError
    from twofold.filters import match_rows, parse_filter
    from twofold.fusion import FUSIONS
    from twofold.index import profile_as_dict, profile_from_dict
    from twofold.index.layout import Layout
    from twofold.index.saved_records import (
        active_profile,
        adapter_records,
        default_title_weight,
        pack_adapter,
        profile_records,
        read_adapter,
    )
    from twofold.index.segment_types import ColumnSegmentType, LexicalSegmentType
    from twofold.lexical import LiveSegment, PostingsIndex, analyzer_from_name
    from twofold.storage import (
        IndexSettings,
        StoredPassage,
        VectorSetRecord,
        content_hash,
        pack_arrays,
        unpack_arrays,
    )
    from twofold.types import Passage

OPERATORS = [
    *("$eq", "$ne", "$gt", "$gte", "$lt", "$lte", "$in", "$nin", "$exists", "$empty", "$contains"),
    *("$any", "$all", "$text", "$itext", "$not", "$and", "$or", "$id"),
    *("year", "name", "flag", "list", "none", "deep.part"),
]
OTHERS = [b"", 1j, {1}, object(), np.float32(2), np.array([1]), 1 << 300]
METADATA = [
    {"year": 1999, "name": "a", "flag": True, "list": [1, "b"]},
    {"year": 2.5, "name": "", "none": None, "deep": {"part": [1, 2]}},
    {"year": "1999", "list": [], "big": 1 << 70},
    {},
]
ANALYZER = analyzer_from_name("english")


def stored_passages():
    """Return rows of passages with the metadata of this module."""
    return [
        StoredPassage.from_passage(
            row, Passage(id=f"p{row}", text=f"plant word{row} light"), json.dumps(metadata)
        )
        for row, metadata in enumerate(METADATA)
    ]


COLUMNS = ColumnSegmentType().build(stored_passages())


def draw_value(data, depth=0):
    """Return a value as a filter may have."""
    kind = data.ConsumeIntInRange(0, 9 if depth < 6 else 6)
    if kind == 0:
        return data.PickValueInList(OPERATORS)
    if kind == 1:
        return data.ConsumeInt(10)
    if kind == 2:
        return data.ConsumeFloat()
    if kind == 3:
        return data.ConsumeBool()
    if kind == 4:
        return data.ConsumeUnicode(8)
    if kind == 5:
        return None
    if kind == 6:
        return data.PickValueInList(
            [b"", 1j, {1}, object(), np.float32(2), np.array([1]), 1 << 300]
        )
    if kind == 7:
        return [draw_value(data, depth + 1) for _ in range(data.ConsumeIntInRange(0, 3))]
    return {
        draw_key(data): draw_value(data, depth + 1) for _ in range(data.ConsumeIntInRange(0, 3))
    }


def draw_key(data):
    """Return a key as a filter may have."""
    if data.ConsumeIntInRange(0, 9) == 0:
        return data.PickValueInList([1, None, (), b"x"])
    return data.PickValueInList(OPERATORS) if data.ConsumeBool() else data.ConsumeUnicode(6)


def fuzz_filters(raw):
    """Parse and evaluate a filter; its negation matches the other rows."""
    data = atheris.FuzzedDataProvider(raw)
    if data.ConsumeBool():
        where = draw_value(data)
    else:
        try:
            where = json.loads(data.ConsumeUnicodeNoSurrogates(len(raw)))
        except (ValueError, RecursionError):
            return
    matched = match_rows(parse_filter(where), [COLUMNS])
    others = match_rows(parse_filter({"$not": where}), [COLUMNS])
    assert np.array_equal(matched, ~others), where


def reader(function, *names):
    """Return a target that writes its input to a file of one of these names, and reads it."""

    def fuzz(raw):
        name = names[raw[0] % len(names)] if raw else names[0]
        path = FOLDER / name
        path.write_bytes(raw[1:])
        function(path)

    return fuzz


def fuzz_adapters(raw):
    """Read a query adapter whose hash is right."""
    layout = Layout(FOLDER)
    layout.adapters.mkdir(exist_ok=True)
    layout.adapter_file("x").write_bytes(raw)
    adapter = read_adapter(layout, "x", content_hash(raw).hex())
    adapter(np.ones((1, adapter.dim), np.float32))


def fuzz_settings(raw):
    """Read settings, and the records in them."""
    settings = IndexSettings.from_json(raw.decode(errors="replace"))
    active_profile(settings)
    default_title_weight(settings)
    profile_records(settings)
    adapter_records(settings)
    assert IndexSettings.from_json(settings.to_json()) == settings


def fuzz_identities(raw):
    """Read the identity of an encoder."""
    VectorSetRecord(1, raw.decode(errors="replace"), b"", 1).to_identity()


def fuzz_profiles(raw):
    """Read a saved profile."""
    try:
        values = json.loads(raw)
    except (ValueError, RecursionError):
        return
    profile = profile_from_dict(values)
    assert profile_from_dict(profile_as_dict(profile)) == profile


def fuzz_arrays(raw):
    """Read a container of arrays."""
    for array in unpack_arrays(raw).values():
        array.sum() if array.dtype.kind in "iuf" else array.tobytes()


def fuzz_columns(raw):
    """Load a segment of columns, and evaluate a filter on it."""
    segment = ColumnSegmentType().load(unpack_arrays(raw))
    match_rows(parse_filter({"year": {"$gte": 2}, "name": {"$in": ["a", "b"]}}), [segment])


def fuzz_postings(raw):
    """Load a segment of postings, and search it."""
    segment = LexicalSegmentType(ANALYZER).load(unpack_arrays(raw))
    index = PostingsIndex(ANALYZER, segments=[LiveSegment.from_segment(segment)])
    index.search_many(["plant light"], 3, None, None)


SEEDS = {
    "filters": [b'\0{"year": {"$gte": 1999}, "$or": [{"name": "a"}, {"$not": {"flag": true}}]}'],
    "corpus": [b'\0{"_id": "1", "title": "t", "text": "x", "metadata": {"a": [1]}}\n'],
    "queries": [b'\0{"_id": "1", "text": "x"}\n', b"\1query-id\ttext\n1\tx\n"],
    "qrels": [b"\0query-id\tcorpus-id\tscore\nq\tp\t1\n", b"\0q 0 p 2\n"],
    "runs": [b"\0q Q0 p 1 0.5 run\n"],
    "settings": [IndexSettings(profiles='{"a": {}}', active_profile="a").to_json().encode()],
    "identities": [
        b"null",
        b'{"name": "a", "dim": 3, "metric": "cosine", "fingerprint": "x", "options": ""}',
    ],
    "profiles": [
        json.dumps(profile_as_dict(SearchProfile(fusion, 50, BM25(0.9, 0.4), 1))).encode()
        for fusion in FUSIONS.values()
    ],
    "adapters": [pack_adapter(QueryAdapter(np.eye(3, dtype=np.float32)))],
    "arrays": [pack_arrays({"a": np.arange(3), "b": np.ones((2, 2), np.float32)})],
    "columns": [pack_arrays(COLUMNS.arrays())],
    "postings": [pack_arrays(LexicalSegmentType(ANALYZER).build(stored_passages()).arrays())],
}
SEEDS["corpus"].append(b"\1" + gzip.compress(SEEDS["corpus"][0][1:]))
TARGETS = {
    "filters": fuzz_filters,
    "corpus": reader(lambda path: list(Corpus.from_path(path)), "c.jsonl", "c.jsonl.gz"),
    "queries": reader(read_queries, "q.jsonl", "q.tsv", "q.jsonl.gz"),
    "qrels": reader(read_qrels, "q.tsv", "q.txt", "q.tsv.gz"),
    "runs": reader(read_run, "r.txt", "r.txt.gz"),
    "settings": fuzz_settings,
    "identities": fuzz_identities,
    "profiles": fuzz_profiles,
    "adapters": fuzz_adapters,
    "arrays": fuzz_arrays,
    "columns": fuzz_columns,
    "postings": fuzz_postings,
}
FOLDER = Path(tempfile.mkdtemp(prefix="fuzz-"))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--inputs", type=Path, help="folder of inputs, which new ones are added to")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    inputs = options.inputs if options.inputs is not None else FOLDER / "inputs"
    inputs.mkdir(exist_ok=True, parents=True)
    for number, seed in enumerate(SEEDS[options.target]):
        (inputs / f"seed-{number}").write_bytes(seed)
    target = TARGETS[options.target]

    def run(raw):
        with contextlib.suppress(TwofoldError):
            target(raw)

    failed = f"-artifact_prefix={tempfile.gettempdir()}/twofold-{options.target}-"
    limits = [f"-max_total_time={options.seconds}", "-rss_limit_mb=8192", "-print_final_stats=1"]
    atheris.Setup([sys.argv[0], str(inputs), failed, *limits], run)
    try:
        atheris.Fuzz()
    finally:
        shutil.rmtree(FOLDER, ignore_errors=True)


if __name__ == "__main__":
    main()
