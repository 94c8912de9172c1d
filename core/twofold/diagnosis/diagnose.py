"""Looks for what makes searches fail without a sign. Needs no judgments."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from twofold.backend import Searchable
from twofold.diagnosis.checks.damage import check_damage
from twofold.diagnosis.checks.encoder import (
    check_encoder,
    check_lengths_of_texts,
    check_vocabulary,
)
from twofold.diagnosis.checks.endings import check_endings
from twofold.diagnosis.checks.language import check_language
from twofold.diagnosis.checks.legs import check_content, check_dense_leg, check_lexical_leg
from twofold.diagnosis.checks.metadata import check_names, check_numbers, check_types, check_values
from twofold.diagnosis.checks.model_options import check_options, check_query_encoding
from twofold.diagnosis.checks.queries import check_judgments, check_query_log
from twofold.diagnosis.checks.saved import check_saved
from twofold.diagnosis.checks.space import (
    check_agreement,
    check_directions,
    check_hubs,
    check_lengths,
    check_reachability,
    check_recall,
)
from twofold.diagnosis.checks.stored_vectors import check_stored_vectors
from twofold.diagnosis.checks.texts import check_boilerplate, check_duplicates, check_titles
from twofold.diagnosis.finding import SEVERITIES, Finding, order_findings, percent
from twofold.diagnosis.probes import ProbeResult, run_probes
from twofold.diagnosis.sample import IndexSample
from twofold.diagnosis.scan import LIMIT, CorpusScan, scan_corpus
from twofold.errors import ConcurrentDeleteError, InputError, QueryError
from twofold.validation import check_integer, check_queries

_TRIES = 5
"""How often an index is read whose passages are deleted meanwhile."""
Check = Callable[[IndexSample], Iterator[Finding]]

_CHECKS: Sequence[Check] = (
    check_content,
    check_encoder,
    check_dense_leg,
    check_lexical_leg,
    check_damage,
    check_endings,
    check_stored_vectors,
    check_options,
    check_query_encoding,
    check_language,
    check_lengths,
    check_directions,
    check_recall,
    check_vocabulary,
    check_agreement,
    check_lengths_of_texts,
    check_hubs,
    check_duplicates,
    check_boilerplate,
    check_titles,
    check_types,
    check_names,
    check_values,
    check_reachability,
    check_numbers,
    check_query_log,
)
"""Causes before effects: of findings of one severity, the first one listed explains the others."""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """The findings about one index.

    Attributes:
        passages: Number of passages.
        looked_at: How many of them were read.
        findings: The findings, the most severe first; of one severity, causes before effects.
        probes: The share of known difficulties that each mode puts right; empty if not asked for.
    """

    passages: int
    looked_at: int
    findings: tuple[Finding, ...]
    probes: tuple[ProbeResult, ...] = ()

    @property
    def alarms(self) -> tuple[Finding, ...]:
        """The findings that are errors or warnings."""
        return tuple(finding for finding in self.findings if finding.is_alarm)

    @property
    def is_healthy(self) -> bool:
        """Whether nothing more than notes was found."""
        return not self.alarms

    def to_dict(self) -> dict[str, Any]:
        """Return the diagnosis as JSON values."""
        return {
            "passages": self.passages,
            "looked_at": self.looked_at,
            "healthy": self.is_healthy,
            "findings": [finding.to_dict() for finding in self.findings],
            "probes": [result.to_dict() for result in self.probes],
        }

    def __str__(self) -> str:
        lines = [describe_size(self)]
        for finding in self.findings:
            lines += ["", f"{finding.severity}: {finding.summary} [{finding.name}]"]
            lines += [f"  {text}" for text in finding.evidence]
            if finding.ids:
                lines.append(f"  such as {', '.join(map(repr, finding.ids[:5]))}")
            lines.append(f"  What to do: {finding.advice}")
        if self.probes:
            lines += ["", "The share of probes that each mode puts right:"]
        for result in self.probes:
            shares = ", ".join(f"{mode} {percent(one)}" for mode, one in result.shares.items())
            lines.append(f"  {result.kind} ({result.count}): {shares}")
        return "\n".join(lines)


def diagnose(
    index: Searchable,
    *,
    queries: Mapping[str, str] | Iterable[str] = (),
    qrels: Mapping[str, Mapping[str, int]] | None = None,
    limit: int = LIMIT,
    probe: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Diagnosis:
    """Look for faults of an index that make searches fail without a sign.

    Reads the passages once, encodes a few hundred texts, and searches with sentences of the
    passages. Nothing is written. Results are equal for equal passages.

    Args:
        index: An index, or another target of searches whose engine lists its passages.
        queries: Queries of users, by id or in a list, to look for those that fail.
        qrels: Grades of passages by query id, to look for passages that the index lacks.
        limit: The most passages to read; of more, a sample is drawn.
        probe: Whether to search with probes made of the passages (`twofold.diagnosis.probes`).
        progress: Called with the number of passages that were read, and of those to read.

    Raises:
        InputError: An argument is invalid.
        QueryError: The engine can't list its passages.

    Example:
        >>> from twofold import HashingEncoder, Index
        >>> from twofold.diagnosis import diagnose
        >>> index = Index.open(None, encoder=HashingEncoder())
        >>> _ = index.upsert([{"text": "plants make food", "metadata": {"year": 2020}},
        ...                   {"text": "a garden in winter", "metadata": {"year": "2021"}}])
        >>> print(diagnose(index).findings[0].summary)
        the field 'year' has 1 numbers, 1 strings: a filter on numbers misses the others
    """
    check_integer("limit", limit)
    texts = _as_mapping(queries)
    check_queries(list(texts.values()), None)
    for _ in range(_TRIES - 1):
        with suppress(ConcurrentDeleteError):
            return _diagnose_once(index, texts, qrels, limit, progress, probe=probe)
    return _diagnose_once(index, texts, qrels, limit, progress, probe=probe)


def _diagnose_once(
    index: Searchable,
    queries: dict[str, str],
    qrels: Mapping[str, Mapping[str, int]] | None,
    limit: int,
    progress: Callable[[int, int], None] | None,
    *,
    probe: bool,
) -> Diagnosis:
    with index.open_search() as scope:
        if scope.statistics is None:
            raise QueryError("a diagnosis needs an engine that lists its passages")
        scan: CorpusScan = scan_corpus(scope, limit, progress=progress)
        sample = IndexSample(
            scope,
            scan,
            _find_model(index, sees_dense=scan.vectors is not None),
            _has_windows(index),
            queries,
        )
        findings = [finding for check in _CHECKS for finding in check(sample)]
        findings += check_saved(index, sample)
        if qrels is not None:
            findings += check_judgments(sample, qrels)
        passages, analyzer = sample.passages, scope.analyzer if sample.has_lexical else None
        encoder = sample.model if sample.encoding.vectors is not None else None
        modes = [
            mode
            for mode in scope.capabilities.modes
            if (mode == "lexical" or sample.encoding.vectors is not None)
            and (mode == "dense" or sample.has_lexical)
        ]
    results = run_probes(index, passages, modes, encoder, analyzer) if probe else ()
    return Diagnosis(scan.total, len(scan), order_findings(findings), tuple(results))


def describe_size(diagnosis: Diagnosis) -> str:
    """Return how many passages were looked at, and what was found, on one line."""
    read = f"{diagnosis.passages:,} passages"
    if diagnosis.looked_at < diagnosis.passages:
        read += f", of which {diagnosis.looked_at:,} were read"
    counts = [
        f"{count:,} {severity}{'s' * (count != 1)}"
        for severity in SEVERITIES
        if (count := sum(finding.severity == severity for finding in diagnosis.findings))
    ]
    return f"{read}: {', '.join(counts) if counts else 'nothing was found'}"


def _as_mapping(queries: Mapping[str, str] | Iterable[str]) -> dict[str, str]:
    if isinstance(queries, str):
        raise InputError(f"queries must be a list or a mapping, got the string {queries!r:.80}")
    if isinstance(queries, Mapping):
        texts = dict(queries)
    else:
        texts = {str(at): text for at, text in enumerate(queries, 1)}
    for name, text in texts.items():
        if not isinstance(text, str):
            raise InputError(f"queries must be texts, got {text!r:.80} as {name!r}")
    return texts


def _has_windows(index: Any) -> bool:
    """Return whether long passages have windows; False if the engine doesn't say."""
    settings = getattr(getattr(index, "backend", index), "last_settings", None)
    return settings is not None and settings.windows != 0


def _find_model(index: Any, *, sees_dense: bool) -> Any:
    """Return the encoder that was passed or is named; None if there is none or it can't load."""
    if not sees_dense:
        return None
    try:
        return getattr(index, "encoder", None)
    except (LookupError, ImportError, OSError, ValueError):
        return None  # the check of the encoder says so
