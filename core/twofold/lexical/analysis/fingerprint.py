"""Fingerprints that tell analyzers of one name apart by their terms for fixed texts."""

import json

import xxhash

from twofold.errors import InputError
from twofold.protocols import Analyzer

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
