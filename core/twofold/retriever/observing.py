"""Telling an observer what the stages of a retrieval found."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from twofold.protocols import Observer, Stage, View
from twofold.types import LegHits

Told = Callable[[Sequence[LegHits]], Sequence[LegHits]]
"""Takes what a stage found for each query, and gives it back."""


@contextmanager
def observed(observer: Observer | None, stage: Stage, view: View) -> Iterator[Told]:
    """Open a stage of an observer, if there is one, and let it be told what was found."""
    if observer is None:
        yield _kept
        return
    with observer.stage(stage) as report:

        def told(found: Sequence[LegHits]) -> Sequence[LegHits]:
            if report is None:
                return found
            report(
                [
                    list(zip(view.ids(hits.rows), hits.scores.tolist(), strict=True))
                    for hits in found
                ]
            )
            return found

        yield told


def _kept(found: Sequence[LegHits]) -> Sequence[LegHits]:
    return found
