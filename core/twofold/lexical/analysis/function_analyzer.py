"""Analyzers of the user's own: any function from a text to its terms, found by its import path."""

import importlib
import sys
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import MethodType
from typing import Any

from twofold.errors import DegradedWarning, InputError
from twofold.lexical.analysis.language_analyzer import LanguageAnalyzer, check_stemmer
from twofold.lexical.analysis.languages import language_from_name
from twofold.protocols import Analyzer
from twofold.types import TermSpan

AnalyzerLike = Analyzer | Callable[[str], Iterable[str]] | str
"""A language's name or code, an import path, a function of a text, or an Analyzer."""


_NEAR = 2000
"""Characters within which the next term is looked for: one that isn't there must not cost all."""


@dataclass(frozen=True, slots=True)
class FunctionAnalyzer:
    """The terms that one function gives, for passages and queries alike.

    ``name`` is the function's import path, ``"package.module:function"``.
    """

    function: Callable[[str], Iterable[str]]
    name: str
    version: int = 0

    def passage_terms(self, text: str) -> list[str]:
        """Return the terms of ``text``; raise InputError if they aren't strings."""
        given = self.function(text)
        terms = given if isinstance(given, list) else None
        if terms is None and isinstance(given, Iterable) and not isinstance(given, str | bytes):
            terms = list(given)
        if terms is None or not all(isinstance(term, str) for term in terms):
            raise InputError(
                f"the analyzer {self.name!r} gave {given!r:.60}: a list of strings is wanted"
            )
        return [term for term in terms if term]

    def query_terms(self, text: str) -> list[str]:
        """Return the terms of a query."""
        return self.passage_terms(text)

    def spans(self, text: str) -> list[TermSpan]:
        """Return where the terms stand that can be read in ``text``, ignoring case."""
        # Character by character: only so do places in both stay the same.
        low = "".join(lowered if len(lowered := char.lower()) == 1 else char for char in text)
        out: list[TermSpan] = []
        at = 0
        for term in self.passage_terms(text):
            start = low.find(term.lower(), at, at + _NEAR)
            if start >= 0:
                out.append(TermSpan(term, start, start + len(term)))
                at = start + len(term)
        return out


def as_analyzer(given: AnalyzerLike) -> Analyzer:
    """Return the analyzer that was meant; raise InputError for what is none or can't be stored."""
    if isinstance(given, str):
        return analyzer_from_name(given)
    if isinstance(given, LanguageAnalyzer):
        check_stemmer(given.language)
    if isinstance(given, Analyzer) and not isinstance(given, type):
        return given
    if not callable(given) or isinstance(given, type):
        raise InputError(
            f"an analyzer is a language's name, a function from a text to its terms, or an object "
            f"with passage_terms and query_terms, not {given!r:.60}"
        )
    path = _path_of(given)
    if path is None:
        raise InputError(
            f"the analyzer {given!r:.80} has no import path to be found by when the index is "
            "opened again: define it with def at the top of a module of your own, or give the path "
            "of a name that leads to it, 'package.module:name'"
        )
    if path.startswith("__main__:"):
        warnings.warn(
            f"the analyzer {path!r} is defined in a script or a notebook: nothing else will find "
            "it when it opens the index; put it into a module",
            DegradedWarning,
            stacklevel=3,
        )
    return _of_function(given, path)


def analyzer_from_name(name: str) -> Analyzer:
    """Return a language's analyzer, or import one by ``"package.module:function"``.

    Raises InputError where there is none of that name.
    """
    if ":" not in name:
        language = language_from_name(name)
        check_stemmer(language)
        return LanguageAnalyzer(language)
    found = _imported(name)
    if isinstance(found, type) and isinstance(found, Analyzer):
        found = _made(found, name)
    if isinstance(found, Analyzer) and not isinstance(found, type):
        return found
    if isinstance(found, type):
        raise InputError(f"the analyzer {name!r} is {found!r:.60}: a function is wanted")
    return _of_function(found, name)


def _path_of(given: Any) -> str | None:
    """Return an import path that leads to this object: by its own name, or by one in its module."""
    home = getattr(given, "__module__", None)
    names = [getattr(given, "__qualname__", "")]
    # A bound method that a module offers under a name of its own, as jieba does with lcut.
    names += [
        name
        for name, value in vars(sys.modules.get(home or "", object)).items()
        if value is given or (isinstance(value, MethodType) and value == given)
    ]
    for name in filter(None, names):
        path = f"{home}:{name}"
        try:
            found = _imported(path)
        except InputError:
            continue
        if found is given or (isinstance(found, MethodType) and found == given):
            return path
    return None


def _made(kind: type, name: str) -> Any:
    try:
        return kind()
    except TypeError as error:
        raise InputError(
            f"the analyzer {name!r} can't be made without arguments: {error}"
        ) from error


def _of_function(function: Callable[[str], Iterable[str]], path: str) -> FunctionAnalyzer:
    version = getattr(function, "version", 0)
    if not isinstance(version, int):
        raise InputError(f"the analyzer {path!r} has version {version!r}: a whole number is wanted")
    return FunctionAnalyzer(function, path, version)


def _imported(path: str) -> Any:
    """Return what an import path leads to; raise InputError where that is nothing of the user's.

    What a path in a stranger's index leads to must not be called: the standard library is refused
    by whatever name. It is no sandbox, since importing a module already runs it.
    """
    module, _, names = path.partition(":")
    try:
        found: Any = importlib.import_module(module)
        for name in names.split("."):
            found = getattr(found, name)
    except Exception as error:  # a module may raise anything while it is imported
        raise InputError(
            f"the analyzer {path!r} can't be imported ({error}): give the function itself as "
            "analyzer=, or put its module where Python finds it"
        ) from error
    if not callable(found) and not isinstance(found, Analyzer):
        raise InputError(f"the analyzer {path!r} is {found!r:.60}: a function is wanted")
    home = str(getattr(found, "__module__", None) or type(found).__module__)
    roots = {each.partition(".")[0] for each in (home, module)} - {"__main__"}
    if roots & (_OTHERS | sys.stdlib_module_names):
        raise InputError(
            f"the analyzer {path!r} is of the standard library, which has none: an index that "
            "names it is not to be trusted"
        )
    return found


_OTHERS = {"posix", "nt"}  # what os is made of
