"""Passages that came along with examples, found in an index by what they say."""

from collections.abc import Mapping
from dataclasses import replace

from twofold.index import IndexView
from twofold.training.example import Example
from twofold.training.training_set import TrainingSet

_AT_ONCE = 1_000


def matched(view: IndexView, training_set: TrainingSet) -> TrainingSet:
    """Return the examples with the index's own ids of passages that it has under another id.

    Only passages that came along are looked for, by their title and text.
    """
    lacking = {
        each.id: each.content
        for each in training_set.passages
        if view.row_of(each.id) is None and each.content
    }
    if not lacking:
        return training_set
    own = _ids_of(view, frozenset(lacking.values()))
    names = {brought: own[content] for brought, content in lacking.items() if content in own}
    if not names:
        return training_set
    rest = tuple(each for each in training_set.passages if each.id not in names)
    return TrainingSet(tuple(_renamed(each, names) for each in training_set), rest)


def _ids_of(view: IndexView, contents: frozenset[str]) -> dict[str, str]:
    """Return the first id of each content that the index has."""
    found: dict[str, str] = {}
    rows = view.rows
    for start in range(0, len(rows), _AT_ONCE):
        part = rows[start : start + _AT_ONCE]
        fetched = view.passages(part)
        for place in range(len(part)):
            passage = fetched[place]
            if passage.content in contents:
                found.setdefault(passage.content, passage.id)
    return found


def _renamed(example: Example, names: Mapping[str, str]) -> Example:
    """Return an example with other ids; what becomes a positive is no negative any more."""
    graded: dict[str, int] = {}
    for brought, grade in zip(example.positives, example.grades, strict=True):
        name = names.get(brought, brought)
        graded[name] = max(grade, graded.get(name, 0))
    negatives = dict.fromkeys(names.get(each, each) for each in example.negatives)
    return replace(
        example,
        positives=tuple(graded),
        grades=tuple(graded.values()),
        negatives=tuple(each for each in negatives if each not in graded),
    )
