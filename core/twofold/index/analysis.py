"""The analyzer that belongs to an index: found, and compared with the one that built it."""

from dataclasses import replace

from twofold.catalog import Settings
from twofold.errors import IndexMismatchError, InputError
from twofold.lexical import analyzer_named, signature
from twofold.protocols import Analyzer, SpanAnalyzer
from twofold.types import TermSpan

_MOST_TITLE_WEIGHT = 100


class StoredAnalyzer:
    """The analyzer of an index's settings, looked up and checked when it is first used.

    ``given`` is the caller's own, used instead of looking for one by its name. So an index whose
    analyzer is gone or has changed still opens, serves its dense leg, and can be analysed anew.
    Every use raises IndexMismatchError where it gives other terms than the one that built the
    index.
    """

    def __init__(self, settings: Settings, given: Analyzer | None) -> None:
        self._settings = settings
        self._given = given
        self._found: Analyzer | None = None

    @property
    def name(self) -> str:
        """The name in the settings."""
        return str(self._settings.analyzer)

    @property
    def version(self) -> int:
        """The version in the settings."""
        return self._settings.analyzer_version

    def passage_terms(self, text: str) -> list[str]:
        """Return the terms to be indexed."""
        return self._checked().passage_terms(text)

    def query_terms(self, text: str) -> list[str]:
        """Return the terms to be looked up."""
        return self._checked().query_terms(text)

    def spans(self, text: str) -> list[TermSpan]:
        """Return where terms stand in ``text``; nothing if the analyzer can't tell."""
        analyzer = self._checked()
        return analyzer.spans(text) if isinstance(analyzer, SpanAnalyzer) else []

    def _checked(self) -> Analyzer:
        if self._found is None:
            try:
                found = self._given if self._given is not None else analyzer_named(self.name)
            except InputError as error:
                raise IndexMismatchError(f"the index can't be asked for words: {error}") from error
            check_analyzer(self._settings, found)
            self._found = found
        return self._found


def check_analyzer(settings: Settings, analyzer: Analyzer) -> None:
    """Raise IndexMismatchError unless an index with these settings was built by this analyzer."""
    stored = settings.analyzer, settings.analyzer_version, settings.analyzer_signature
    given = analyzer.name, analyzer.version, signature(analyzer)
    if stored == given:
        return
    if stored[0] != given[0]:
        what = f"the analyzer {stored[0]!r} and not {given[0]!r}"
    elif stored[1] != given[1]:
        what = f"version {stored[1]} of the analyzer {stored[0]!r}, and this is version {given[1]}"
    else:
        what = (
            f"the analyzer {stored[0]!r} when it gave other terms (its function, or a package that "
            "it uses, has changed)"
        )
    raise IndexMismatchError(
        f"the index was built with {what}: leave analyzer= out to open it as it is, and build its "
        "postings anew, without encoding anything, with Index.reanalyze(analyzer)"
    )


def analyzed_by(settings: Settings, analyzer: Analyzer, title_weight: int) -> Settings:
    """Return settings of an index that this analyzer builds."""
    return replace(
        settings,
        analyzer=analyzer.name,
        analyzer_version=analyzer.version,
        analyzer_signature=signature(analyzer),
        title_weight=title_weight,
    )


def check_title_weight(weight: int) -> None:
    """Raise InputError unless a title can weigh that much."""
    whole = isinstance(weight, int) and not isinstance(weight, bool)
    if not whole or not 0 <= weight <= _MOST_TITLE_WEIGHT:
        raise InputError(
            f"title_weight is {weight!r}: a whole number from 0 to {_MOST_TITLE_WEIGHT} is wanted"
        )
