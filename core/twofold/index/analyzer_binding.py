"""The analyzer that belongs to an index: found, and compared with the one that built it."""

from collections.abc import Sequence
from dataclasses import replace

from twofold.errors import IndexMismatchError, InputError
from twofold.lexical import analyzer_from_name, signature
from twofold.protocols import Analyzer, SpanAnalyzer
from twofold.storage import Settings
from twofold.types import TermSpan

_MOST_TITLE_WEIGHT = 100


class StoredAnalyzer:
    """The analyzer of an index's settings, looked up and checked when it is first used.

    ``given`` are the caller's own, of which the one that built the index is used; if there is
    none, one is looked for by its name. So an index whose analyzer is gone or has changed still
    opens, serves its dense leg, and can be analysed anew. Every use raises IndexMismatchError
    where nothing gives the terms that the index was built with.
    """

    def __init__(self, settings: Settings, given: Sequence[Analyzer]) -> None:
        self._settings = settings
        self._given = tuple(given)
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
            own = [each for each in self._given if _built(self._settings, each)]
            self._found = own[-1] if own else self._looked_up()
        return self._found

    def _looked_up(self) -> Analyzer:
        try:
            found = analyzer_from_name(self.name)
        except InputError as error:
            raise IndexMismatchError(f"the index can't be asked for words: {error}") from error
        check_analyzer(self._settings, found, todo="restore it, or")
        return found


def _built(settings: Settings, analyzer: Analyzer) -> bool:
    """Whether an index with these settings was built by this analyzer."""
    stored = settings.analyzer, settings.analyzer_version, settings.analyzer_signature
    return stored == (analyzer.name, analyzer.version, signature(analyzer))


def check_analyzer(
    settings: Settings,
    analyzer: Analyzer,
    *,
    todo: str = "leave analyzer= out to open it as it is, or",
) -> None:
    """Raise IndexMismatchError unless an index with these settings was built by this analyzer.

    ``todo`` is what to do about it but for building the postings anew.
    """
    if _built(settings, analyzer):
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
        f"the index was built with {what}: {todo} build its postings anew, without encoding "
        "anything, with Index.reanalyze(analyzer) or `twofold reanalyze`"
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
