"""Checks that the analyzer is the one that built the stored postings."""

import os
from collections.abc import Collection
from dataclasses import dataclass, replace

from twofold.errors import IndexMismatchError, InputError
from twofold.lexical import analyzer_fingerprint, analyzer_from_name
from twofold.lexical.analysis import bm25_retrievers
from twofold.protocols import Analyzer, SpanAnalyzer
from twofold.storage import MAX_TITLE_WEIGHT, IndexSettings
from twofold.types import TermSpan
from twofold.validation import check_integer

TRUST_VARIABLE = "TWOFOLD_TRUST"
"""Environment variable with the names of trusted modules, separated by commas."""


@dataclass(frozen=True, slots=True)
class AnalyzerSources:
    """The analyzers that an index may use beside those of languages.

    Attributes:
        given: Analyzers passed by the caller.
        trust: Modules from which an analyzer that the index names may be imported, beside those in
            the environment variable.
    """

    given: list[Analyzer]
    trust: frozenset[str] = frozenset()

    @property
    def modules(self) -> frozenset[str]:
        """The trusted modules, and those of the given analyzers."""
        names = [analyzer.name for analyzer in self.given if ":" in analyzer.name]
        return self.trust | {name.partition(":")[0] for name in names}

    def check(self, name: str) -> None:
        """Raise IndexMismatchError unless the index may import an analyzer of this name."""
        module, is_imported, _ = name.partition(":")
        from_environment = os.environ.get(TRUST_VARIABLE, "").split(",")
        trusted = {bm25_retrievers.__name__, *self.trust, *map(str.strip, from_environment)}
        if not is_imported or module in trusted:
            return
        raise IndexMismatchError(
            f"the index names the analyzer {name!r}, which is code that would be imported and run: "
            "pass the function as analyzer=, or if you trust the index, pass "
            f"trust={{{module!r}}} or set {TRUST_VARIABLE}={module}"
        )


def check_trust(modules: Collection[str]) -> frozenset[str]:
    """Return names of modules as a set; raise InputError for anything else."""
    if isinstance(modules, Collection) and not isinstance(modules, str | bytes):
        names = list(modules)
        if all(isinstance(name, str) and name and ":" not in name for name in names):
            return frozenset(names)
    raise InputError(
        f"trust must be a set of modules' names, such as {{'my.analyzers'}}, got {modules!r:.80}"
    )


class StoredAnalyzer:
    """The analyzer named in an index's settings, looked up and checked on first use.

    An index whose analyzer is missing or has changed still opens, serves its dense leg, and can
    be reanalyzed. Only use of the analyzer raises IndexMismatchError.

    Args:
        settings: The index's settings.
        sources: An analyzer given there that built the index takes precedence over the look-up by
            name.
    """

    def __init__(self, settings: IndexSettings, sources: AnalyzerSources) -> None:
        self._settings = settings
        self._sources = sources
        self._analyzer: Analyzer | None = None

    @property
    def name(self) -> str:
        """The analyzer's name in the index's settings."""
        return str(self._settings.analyzer)

    @property
    def version(self) -> int:
        """The analyzer's version in the index's settings."""
        return self._settings.analyzer_version

    def passage_terms(self, text: str) -> list[str]:
        """Return the terms of a passage in order, repeats included."""
        return self._load().passage_terms(text)

    def query_terms(self, text: str) -> list[str]:
        """Return the terms of a query, repeats included."""
        return self._load().query_terms(text)

    def spans(self, text: str) -> list[TermSpan]:
        """Return the spans of the terms of ``text``; none if the analyzer can't locate them."""
        analyzer = self._load()
        return analyzer.spans(text) if isinstance(analyzer, SpanAnalyzer) else []

    def _load(self) -> Analyzer:
        if self._analyzer is None:
            matching = [a for a in self._sources.given if _is_builder(self._settings, a)]
            self._analyzer = matching[-1] if matching else self._look_up()
        return self._analyzer

    def _look_up(self) -> Analyzer:
        self._sources.check(self.name)
        try:
            analyzer = analyzer_from_name(self.name)
        except InputError as error:
            raise IndexMismatchError(f"the index's analyzer can't be loaded: {error}") from error
        check_analyzer(self._settings, analyzer, advice="restore it, or")
        return analyzer


def _is_builder(settings: IndexSettings, analyzer: Analyzer) -> bool:
    """Return whether this analyzer built an index with these settings."""
    stored = settings.analyzer, settings.analyzer_version, settings.analyzer_fingerprint
    return stored == (analyzer.name, analyzer.version, analyzer_fingerprint(analyzer))


def check_analyzer(
    settings: IndexSettings,
    analyzer: Analyzer,
    *,
    advice: str = "leave analyzer= out to open it as it is, or",
) -> None:
    """Raise IndexMismatchError unless this analyzer built an index with these settings.

    ``advice`` precedes the message's advice to rebuild the postings.
    """
    if _is_builder(settings, analyzer):
        return
    name, version = settings.analyzer, settings.analyzer_version
    if name != analyzer.name:
        what = f"the analyzer {name!r} and not {analyzer.name!r}"
    elif version != analyzer.version:
        what = f"version {version} of the analyzer {name!r}, and this is version {analyzer.version}"
    else:
        what = (
            f"the analyzer {name!r} when it gave other terms (its function, or a package that "
            "it uses, has changed)"
        )
    raise IndexMismatchError(
        f"the index was built with {what}: {advice} rebuild its postings with "
        "Index.reanalyze(analyzer) or `twofold reanalyze`, which encodes nothing"
    )


def with_analyzer(settings: IndexSettings, analyzer: Analyzer, title_weight: int) -> IndexSettings:
    """Return the settings with this analyzer and title weight."""
    return replace(
        settings,
        analyzer=analyzer.name,
        analyzer_version=analyzer.version,
        analyzer_fingerprint=analyzer_fingerprint(analyzer),
        title_weight=title_weight,
    )


def check_title_weight(weight: object) -> None:
    """Raise InputError unless ``weight`` is an integer from 0 to 100."""
    check_integer("title_weight", weight, 0, MAX_TITLE_WEIGHT)
