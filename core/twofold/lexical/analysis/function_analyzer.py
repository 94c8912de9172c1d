"""User-defined analyzers: functions from a text to its terms, stored by their import path."""

import importlib
import json
import sys
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import MethodType
from typing import Any

import xxhash

from twofold.errors import DegradedWarning, InputError
from twofold.lexical.analysis.language_analyzer import LanguageAnalyzer, check_stemmer
from twofold.lexical.analysis.languages import language_from_name
from twofold.protocols import Analyzer
from twofold.types import TermSpan

AnalyzerLike = Analyzer | Callable[[str], Iterable[str]] | str
"""A language's name or code, an import path, a function of a text, or an Analyzer."""

_SPAN_WINDOW = 2000
"""Characters searched for the next term, so that a missing one doesn't cost the whole text."""
_SYSTEM_MODULES = sys.stdlib_module_names | {"posix", "nt"}


@dataclass(frozen=True, slots=True)
class FunctionAnalyzer:
    """Analyzes passages and queries with one function.

    ``name`` is the function's import path, ``"package.module:function"``.
    """

    function: Callable[[str], Iterable[str]]
    name: str
    version: int = 0

    def passage_terms(self, text: str) -> list[str]:
        """Return the terms of ``text``; raise InputError if they aren't strings."""
        given = self.function(text)
        iterable = isinstance(given, Iterable) and not isinstance(given, str | bytes)
        terms = list(given) if iterable else []
        if not iterable or not all(isinstance(term, str) for term in terms):
            raise InputError(
                f"the analyzer {self.name!r} must return a list of strings, got {given!r:.60}"
            )
        return [term for term in terms if term]

    def query_terms(self, text: str) -> list[str]:
        """Return the terms of a query."""
        return self.passage_terms(text)

    def spans(self, text: str) -> list[TermSpan]:
        """Return the spans of the terms that occur in ``text``, ignoring case."""
        # Character by character, so that positions stay the same.
        low = "".join(lowered if len(lowered := char.lower()) == 1 else char for char in text)
        out: list[TermSpan] = []
        at = 0
        for term in self.passage_terms(text):
            start = low.find(term.lower(), at, at + _SPAN_WINDOW)
            if start >= 0:
                at = start + len(term)
                out.append(TermSpan(term, start, at))
        return out


def as_analyzer(given: AnalyzerLike) -> Analyzer:
    """Return the analyzer for a name, a function or an Analyzer.

    Raises InputError for anything else, and for a function without an import path.
    """
    if isinstance(given, str):
        return analyzer_from_name(given)
    if isinstance(given, LanguageAnalyzer):
        check_stemmer(given.language)
    if isinstance(given, Analyzer) and not isinstance(given, type):
        return given
    if not callable(given) or isinstance(given, type):
        raise InputError(
            "analyzer must be a language's name, a function from a text to its terms, or an object "
            f"with passage_terms and query_terms, got {given!r:.60}"
        )
    path = _find_import_path(given)
    if path is None:
        raise InputError(
            f"the analyzer {given!r:.80} has no import path, by which an index finds it: "
            "define it with def at the top of a module, or pass the path 'package.module:name'"
        )
    if path.startswith("__main__:"):
        warnings.warn(
            f"the analyzer {path!r} is defined in a script or a notebook, so other programs can't "
            "open the index: put it into a module",
            DegradedWarning,
            stacklevel=3,
        )
    return _wrap_function(given, path)


def analyzer_from_name(name: str) -> Analyzer:
    """Return a language's analyzer, or import one by ``"package.module:function"``.

    Raises InputError if there is none.
    """
    if ":" not in name:
        language = language_from_name(name)
        check_stemmer(language)
        return LanguageAnalyzer(language)
    found = _import_object(name)
    if isinstance(found, type) and isinstance(found, Analyzer):
        try:
            found = found()
        except TypeError as error:
            raise InputError(f"{name!r} can't be created without arguments: {error}") from error
    if isinstance(found, type):
        raise InputError(f"the analyzer {name!r} must be a function, got {found!r:.60}")
    return found if isinstance(found, Analyzer) else _wrap_function(found, name)


def _find_import_path(given: Any) -> str | None:
    """Return an import path of this object, by its ``__qualname__`` or a name in its module."""
    module = getattr(given, "__module__", None)
    names = [getattr(given, "__qualname__", "")]
    # A bound method that a module offers under another name, as jieba does with lcut.
    names += [
        name
        for name, value in vars(sys.modules.get(module or "", object)).items()
        if value is given or (isinstance(value, MethodType) and value == given)
    ]
    for name in filter(None, names):
        path = f"{module}:{name}"
        try:
            found = _import_object(path)
        except InputError:
            continue
        if found is given or (isinstance(found, MethodType) and found == given):
            return path
    return None


def _wrap_function(function: Callable[[str], Iterable[str]], path: str) -> FunctionAnalyzer:
    version = getattr(function, "version", 0)
    if not isinstance(version, int):
        raise InputError(
            f"the version of the analyzer {path!r} must be an integer, got {version!r}"
        )
    return FunctionAnalyzer(function, path, version)


def _import_object(path: str) -> Any:
    """Import an object; raise InputError unless it is a function or analyzer of a user's module.

    Nothing of the standard library is returned. This is no sandbox: importing a module runs it.
    """
    module, _, names = path.partition(":")
    try:
        found: Any = importlib.import_module(module)
        for name in names.split("."):
            found = getattr(found, name)
    except Exception as error:  # a module may raise anything while it is imported
        raise InputError(
            f"the analyzer {path!r} can't be imported ({error}): pass the function itself as "
            "analyzer=, or put its module where Python finds it"
        ) from error
    if not callable(found) and not isinstance(found, Analyzer):
        raise InputError(f"the analyzer {path!r} must be a function, got {found!r:.60}")
    home = str(getattr(found, "__module__", None) or type(found).__module__)
    roots = {name.partition(".")[0] for name in (home, module)} - {"__main__"}
    if roots & _SYSTEM_MODULES:
        raise InputError(
            f"the analyzer {path!r} is part of Python's standard library, which has no analyzers: "
            "an index that names it may be malicious"
        )
    return found


_PROBES = (
    "The quick brown foxes weren't running;",
    "they jumped over Zo\xeb's caf\xe9 in 2024.",
    'a|b/c\\d,e;f:g\th\ni [j] {k} <l> @m #n $o %p ^q &r *s =t ~u `v "w" !x ?y.z',
    "getUserName() in pandas.DataFrame.merge, CVE-2024-1234, C++ and e5-small-v2",
    "Die H\xe4user der Stra\xdfe.",
    "L'eau des for\xeats.",
    "Los ni\xf1os corr\xedan.",
    "\u0130stanbul'un",
    "\u041a\u043e\u0448\u043a\u0438 \u0431\u0435\u0436\u0430\u043b\u0438.",
    "\u039f\u03b9 \u03b3\u03ac\u03c4\u03b5\u03c2.",
    "\u0627\u0644\u0643\u062a\u0628 \u0648\u0627\u0644\u0645\u062f\u0627\u0631\u0633",
    "\u091c\u093e\u0928\u0935\u0930\u094b\u0902 \u0915\u0940",
    "\u0915\u093f\u0924\u093e\u092c\u0947\u0902.",
    "\u0e20\u0e32\u0e29\u0e32\u0e44\u0e17\u0e22.",
    "\u91cf\u5b50\u529b\u5b66 \u3068\u306f.",
    "\ud55c\uad6d\uc5b4",
)


def analyzer_fingerprint(analyzer: Analyzer) -> str:
    """Return a hash of the analyzer's terms for sentences in several languages.

    An analyzer may add texts by an attribute ``probes``. Raises InputError if it fails on a text.
    """
    probes = [*_PROBES, *getattr(analyzer, "probes", ())]
    try:
        terms = [(analyzer.passage_terms(text), analyzer.query_terms(text)) for text in probes]
    except InputError:
        raise
    except Exception as error:  # a user's function may raise anything
        raise InputError(
            f"the analyzer {analyzer.name!r} fails on plain text: {error!r}"
        ) from error
    return xxhash.xxh3_64_hexdigest(json.dumps(terms).encode())
