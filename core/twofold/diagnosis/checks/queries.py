"""Checks of a log of queries: those that the index can hardly answer."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from twofold.diagnosis.checks.damage import has_encoding_error
from twofold.diagnosis.checks.language import guess_language
from twofold.diagnosis.finding import Finding, first_ids, percent
from twofold.diagnosis.sample import IndexSample
from twofold.diagnosis.scan import normalize_text
from twofold.index.leg_agreement import MIN_PASSAGES
from twofold.types import LegHits

_TOP, _DEEP = 10, 50
_MOST = 2_000
"""Queries that are searched; of more, so many are drawn."""
_MANY = 0.2
"""The share of queries that is an alarm."""
_SOME = 0.01
"""The share of judged passages that is an alarm if they are missing."""


@dataclass(frozen=True, slots=True)
class QueryHits:
    """The hits of both legs for each query of a log; no dense hits without an encoder."""

    ids: tuple[str, ...]
    texts: tuple[str, ...]
    dense: list[LegHits]
    lexical: list[LegHits]


def check_query_log(sample: IndexSample) -> Iterator[Finding]:
    """Find queries that are blank, whose words no passage has, or on which the legs disagree."""
    if not sample.queries:
        return
    yield from _check_blank(sample.queries)
    yield from _check_repeats(sample.queries)
    yield from _check_texts(sample)
    found = search_queries(sample)
    yield from _check_words(sample, found)
    yield from _check_overlap(found)
    yield from _check_margins(sample, found)


def check_judgments(
    sample: IndexSample, qrels: Mapping[str, Mapping[str, int]]
) -> Iterator[Finding]:
    """Find judgments of passages that the index doesn't have, and of unknown queries."""
    judged = sorted({one for row in qrels.values() for one, grade in row.items() if grade > 0})
    if qrels and not judged:
        yield Finding(
            "no-relevant-passages",
            "error",
            f"none of the {len(qrels):,} judged queries has a passage with a grade above 0",
            "look at the column of grades: 1 and more are relevant",
        )
    if not judged:
        return
    known = sample.scope.find_keys(judged)
    missing = [one for one in judged if one not in known]
    if missing:
        share = len(missing) / len(judged)
        yield Finding(
            "judged-passages-missing",
            "error" if share >= _MANY else "warning" if share >= _SOME else "note",
            f"{len(missing):,} of {len(judged):,} relevant passages ({percent(share)}) are not in "
            "the index, so that no search finds them",
            "add them, or judge again; compare the ids of passages and judgments",
            share=share,
            ids=first_ids(missing),
        )
    yield from _check_ranks(sample, qrels, known)
    unknown = [one for one in qrels if one not in sample.queries]
    if sample.queries and unknown:
        yield Finding(
            "judged-queries-missing",
            "warning",
            f"{len(unknown):,} of {len(qrels):,} judged queries have no text",
            "add them to the file of queries",
            share=len(unknown) / len(qrels),
            ids=first_ids(unknown),
        )


def _check_ranks(
    sample: IndexSample, qrels: Mapping[str, Mapping[str, int]], known: Mapping[str, int]
) -> Iterator[Finding]:
    """Find judgments of other queries: relevant passages are found no more often than by chance."""
    relevant = {
        one: {known[name] for name, grade in qrels[one].items() if grade > 0 and name in known}
        for one in list(sample.queries)[:_MOST]
        if one in qrels and sample.queries[one].strip()
    }
    relevant = {one: keys for one, keys in relevant.items() if keys}
    total = sample.scan.total
    if len(relevant) < 20 or total < 5 * _DEEP:
        return
    texts = [sample.queries[one] for one in relevant]
    hits = sample.search_lexical(texts, _DEEP) if sample.has_lexical else []
    if not hits and sample.metric is not None and sample.encoding.vectors is not None:
        hits = sample.search_dense(sample.scope.encode_queries(texts), _DEEP)
    if not hits:
        return
    found = sum(
        bool(keys & set(one.keys.tolist()))
        for keys, one in zip(relevant.values(), hits, strict=True)
    )
    chances = np.array([1 - (1 - _DEEP / total) ** len(keys) for keys in relevant.values()])
    expected = float(chances.sum())
    deviation = float(np.sqrt((chances * (1 - chances)).sum()))
    if found > expected + 4 * deviation + 1:
        return
    yield Finding(
        "judgments-of-other-queries",
        "error",
        f"searches find a relevant passage among the best {_DEEP} for {found:,} of "
        f"{len(relevant):,} queries, no more than by chance",
        "compare the ids of queries and passages in the judgments: they may be shifted",
        evidence=(f"by chance, it would be {expected:.0f}",),
        share=1 - found / len(relevant),
    )


def search_queries(sample: IndexSample) -> QueryHits:
    """Search both legs for up to 2,000 queries that aren't blank."""
    ids = tuple(one for one, text in sample.queries.items() if text.strip())
    if len(ids) > _MOST:
        chosen = np.random.default_rng(0).permutation(len(ids))[:_MOST]
        ids = tuple(ids[at] for at in np.sort(chosen).tolist())
    texts = tuple(sample.queries[one] for one in ids)
    scope = sample.scope
    dense: list[LegHits] = []
    if texts and sample.metric is not None and sample.encoding.vectors is not None:
        dense = sample.search_dense(scope.encode_queries(texts), 2 * _TOP)
    lexical = sample.search_lexical(texts, 2 * _TOP) if sample.has_lexical else []
    return QueryHits(ids, texts, dense, lexical)


def _check_blank(queries: Mapping[str, str]) -> Iterator[Finding]:
    blank = [one for one, text in queries.items() if not text.strip()]
    if blank:
        yield Finding(
            "blank-queries",
            "warning" if len(blank) >= _MANY * len(queries) else "note",
            f"{len(blank):,} of {len(queries):,} queries are blank",
            "leave them out of the log",
            share=len(blank) / len(queries),
            ids=first_ids(blank),
        )


def _check_repeats(queries: Mapping[str, str]) -> Iterator[Finding]:
    """Find a text that most queries have."""
    if len(queries) < 10:
        return
    (text, count), *_ = Counter(normalize_text(one) for one in queries.values()).most_common(1)
    if not text or count < len(queries) / 2:
        return
    yield Finding(
        "repeated-queries",
        "warning",
        f"{count:,} of {len(queries):,} queries are {text!r:.80}",
        "look for what wrote the file of queries",
        share=count / len(queries),
    )


def _check_texts(sample: IndexSample) -> Iterator[Finding]:
    """Find queries that are damaged, or in another language than the passages."""
    damaged = [one for one, text in sample.queries.items() if has_encoding_error(text)]
    share = len(damaged) / len(sample.queries)
    if share >= _SOME:
        yield Finding(
            "damaged-queries",
            "warning" if share >= 5 * _SOME else "note",
            f"{percent(share)} of the queries have characters that an encoding error left",
            "read the queries again with the right encoding",
            share=share,
            ids=first_ids(damaged),
        )
    texts = [text for text in sample.queries.values() if text.strip()]
    asked = _guess_common_language([" ".join(texts[at::20]) for at in range(min(len(texts), 20))])
    stored = _guess_common_language([passage.content for passage in sample.passages[:200]])
    if damaged or asked is None or stored is None or asked == stored or len(texts) < 10:
        return
    yield Finding(
        "queries-of-another-language",
        "warning",
        f"the queries are in {asked.capitalize()} and the passages in {stored.capitalize()}: the "
        "lexical leg finds names and numbers at best",
        "use a multilingual encoder and mode='dense', or translate the queries",
        evidence=("told by scripts and stop words",),
    )


def _guess_common_language(texts: Sequence[str]) -> str | None:
    """Return the language of most texts, None if there is none."""
    found = Counter(guess_language(text) for text in texts)
    language, count = found.most_common(1)[0] if found else (None, 0)
    return language if count > 0.6 * len(texts) else None


def _check_words(sample: IndexSample, found: QueryHits) -> Iterator[Finding]:
    """Find queries of which no passage has a word."""
    if not found.lexical:
        return
    none = [one for one, hits in zip(found.ids, found.lexical, strict=True) if not len(hits.keys)]
    if not none:
        return
    share = len(none) / len(found.ids)
    yield Finding(
        "unknown-words",
        "warning" if share >= _MANY and len(sample.scan) >= MIN_PASSAGES else "note",
        f"{len(none):,} of {len(found.ids):,} queries ({percent(share)}) share no word with any "
        "passage: only the dense leg answers them",
        "look for another language, for codes and for typing errors in these queries",
        evidence=tuple(f"{one}: {sample.queries[one]!r:.80}" for one in none[:3]),
        share=share,
        ids=first_ids(none),
    )


def _check_overlap(found: QueryHits) -> Iterator[Finding]:
    """Find queries on which the two legs have no passage in common."""
    if not found.dense or not found.lexical:
        return
    apart = [
        one
        for one, first, second in zip(found.ids, found.dense, found.lexical, strict=True)
        if len(first.keys) >= _TOP
        and len(second.keys) >= _TOP
        and not len(np.intersect1d(first.keys[:_TOP], second.keys[:_TOP]))
    ]
    share = len(apart) / max(len(found.ids), 1)
    if share < 0.05:
        return
    yield Finding(
        "legs-disagree",
        "warning" if share >= 0.8 else "note",
        f"on {percent(share)} of the queries the legs have none of their best {_TOP} passages in "
        "common",
        "judge some of these queries, and tune the fusion with `twofold tune`",
        share=share,
        ids=first_ids(apart),
    )


def _check_margins(sample: IndexSample, found: QueryHits) -> Iterator[Finding]:
    """Find queries for which the best dense score hardly differs from those after it."""
    margins = [
        float(hits.scores[0] - hits.scores[_TOP - 1]) if len(hits.keys) >= _TOP else np.inf
        for hits in found.dense
    ]
    finite = np.array([margin for margin in margins if np.isfinite(margin)])
    if len(finite) < 20:
        return
    low = np.median(finite) / 5
    flat = [one for one, margin in zip(found.ids, margins, strict=True) if margin < low]
    if not flat:
        return
    share = len(flat) / len(found.ids)
    yield Finding(
        "low-margin",
        "note",
        f"for {len(flat):,} queries ({percent(share)}) the best {_TOP} passages have nearly the "
        "same dense score: the order among them says little",
        "rerank them (`Retriever(reranker=...)`), or ask users for more words",
        evidence=tuple(f"{one}: {sample.queries[one]!r:.80}" for one in flat[:3]),
        share=share,
        ids=first_ids(flat),
    )
