"""Checks that each leg can find every passage."""

from collections.abc import Iterator

import numpy as np

from twofold.diagnosis.finding import Finding, first_ids, percent
from twofold.diagnosis.sample import IndexSample

_SOME = 0.01
"""The share of passages from which passages that a leg can't find are an alarm."""


def check_content(sample: IndexSample) -> Iterator[Finding]:
    """Find an empty index, and passages without text."""
    scan = sample.scan
    if not scan.total:
        yield Finding(
            "empty-index", "error", "the index has no passages", "add passages with upsert"
        )
        return
    empty = np.flatnonzero(~scan.has_text)
    if len(empty):
        share = len(empty) / len(scan)
        yield Finding(
            "empty-passages",
            "warning" if share >= 5 * _SOME else "note",
            f"{len(empty):,} passages ({percent(share)}) have no text, so that no leg finds them",
            "delete them, or look for what lost their texts",
            share=share,
            ids=first_ids(sample.ids(empty)),
        )


def check_dense_leg(sample: IndexSample) -> Iterator[Finding]:
    """Find passages with text and no vector, or a vector of zeros."""
    scan, modes = sample.scan, sample.scope.capabilities.modes
    if "dense" not in modes:
        yield Finding(
            "no-dense-leg",
            "note",
            "the index has no vectors by its settings: it finds words alone",
            "create it with an encoder to search by meaning, too",
        )
        return
    with_text = scan.has_text
    missing = np.flatnonzero(with_text & ~scan.has_vector)
    if not len(missing):
        return
    share = len(missing) / max(int(with_text.sum()), 1)
    whole = len(missing) == int(with_text.sum())
    yield Finding(
        "dense-leg-empty" if whole else "missing-vectors",
        "error" if share >= _SOME else "warning",
        "no passage has a vector, so that the dense leg finds nothing"
        if whole
        else f"{len(missing):,} passages ({percent(share)}) have text and no vector, or one of "
        "zeros: the dense leg never finds them",
        "encode them again: Index.reencode encodes all passages, upsert those whose text changes",
        share=share,
        ids=first_ids(sample.ids(missing)),
    )


def check_lexical_leg(sample: IndexSample) -> Iterator[Finding]:
    """Find passages with text and no term that the lexical leg finds."""
    if not sample.scope.has_lexical:
        yield Finding(
            "no-lexical-leg",
            "note",
            "the index has no words by its settings: it finds meaning alone",
            "create it with an analyzer to find names, numbers and rare words",
        )
        return
    if sample.lexical_problem is not None:
        yield Finding(
            "analyzer-unavailable",
            "error",
            f"the analyzer {analyzer_name(sample)!r} can't be used, so that nothing can be "
            "searched by words here",
            "pass it to Index.open, or rebuild the words with Index.reanalyze",
            evidence=(str(sample.lexical_problem),),
        )
        return
    lost, looked = _find_without_terms(sample)
    if not lost or not looked:
        return
    share = len(lost) / looked
    whole = share > 1 - _SOME
    yield Finding(
        "lexical-leg-empty" if whole else "missing-terms",
        "error" if share >= 10 * _SOME else "warning" if share >= _SOME else "note",
        "the lexical leg finds nothing"
        if whole
        else f"{len(lost):,} of {looked:,} passages ({percent(share)}) have text, but no word that "
        "the lexical leg finds them by",
        "pass an analyzer for the language of the texts to Index.reanalyze, such as 'multilingual'",
        evidence=(f"the analyzer is {analyzer_name(sample)!r}",),
        share=share,
        ids=first_ids(lost),
    )


def analyzer_name(sample: IndexSample) -> str:
    """Return the name of the index's analyzer, "unknown" if the engine doesn't expose it."""
    return str(getattr(sample.scope.analyzer, "name", "unknown"))


def _find_without_terms(sample: IndexSample) -> tuple[list[str], int]:
    """Return the ids of passages without terms, or without postings, and how many were checked."""
    passages, keys = sample.passages, sample.scan.keys[sample.read]
    analyzer = sample.scope.analyzer
    if analyzer is not None:
        silent = [one.id for one in passages if not analyzer.passage_terms(one.content)]
        if silent:
            return silent, len(passages)
    # A search for a passage's own text scores it if it has any posting at all.
    checked = passages[: len(sample.probes)]
    lost = [
        one.id
        for at, one in enumerate(checked)
        if not np.nan_to_num(sample.scope.lexical_scores(one.content, keys[at : at + 1])).any()
    ]
    return lost, len(checked)
