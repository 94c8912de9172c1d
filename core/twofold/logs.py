"""What hits warn of, in a framework's log."""

import logging
from weakref import WeakKeyDictionary

from twofold.hits import Hits
from twofold.protocols import Store

_said: WeakKeyDictionary[Store, set[str]] = WeakKeyDictionary()


def log_warnings(logger: logging.Logger, index: Store, hits: Hits) -> None:
    """Log what these hits warn of: each text once for an index as a warning, then for debugging.

    A weak leg is a property of the index, and would be said again at every query.
    """
    before = _said.setdefault(index, set())
    for text in hits.warnings:
        level = logging.DEBUG if text in before else logging.WARNING
        before.add(text)
        logger.log(level, "%r: %s", hits.query, text)
