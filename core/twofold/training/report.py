"""What training did, as a page of Markdown."""

from collections.abc import Iterator

from twofold.training.gain import Gain
from twofold.training.trained import Trained
from twofold.tuning import setting_in_words

_GROUPS = {
    "all": "in all",
    "seen": "with a relevant passage that others were learned from",
    "unseen": "whose relevant passages were never learned from",
}


def training_report(trained: Trained, *, title: str, date: str) -> str:
    """Return the verdict, held-out gains by group, the epochs and the data as Markdown.

    ``title`` names what was trained for, and ``date`` is printed as it is.
    """
    lines = [f"# Query adapter for {title}", "", f"{date}; {trained.queries:,} queries.", ""]
    lines += [f"**{trained.reason}.**", ""]
    if trained.gains:
        lines += _gains(trained)
    if trained.setting is not None:
        lines += ["", "## Setting", "", setting_in_words(trained.setting)]
        if trained.tuned is not None:
            lines += ["", f"Tuning of the fusion: {trained.tuned}."]
    if not trained.kept and trained.needed is not None:
        lines += ["", _hope(trained)]
    if trained.curves:
        lines += ["", "## Epochs", "", *_epochs(trained)]
    if trained.card is not None:
        values = ((name, value) for name, value in trained.card.items() if name != "gains")
        lines += ["", "## Card", "", *(f"- {name}: {value}" for name, value in values)]
    return "\n".join(lines) + "\n"


def _gains(trained: Trained) -> Iterator[str]:
    level = trained.gains[0].interval.level
    yield f"{trained.plan.measure} of queries that nothing was learned from, by cross-validation:"
    yield ""
    yield f"| mode | queries | before | after | gain ({level:.0%} interval) |"
    yield "| --- | --- | --- | --- | --- |"
    for each in trained.gains:
        yield _row(each, f"{each.queries:,} {_GROUPS[each.group]}")
    if trained.forgotten is not None:
        yield _row(trained.forgotten, f"{trained.forgotten.queries:,} of another kind")


def _row(gain: Gain, queries: str) -> str:
    each = gain.interval
    return (
        f"| {gain.mode} | {queries} | {gain.before:.4f} | {gain.after:.4f} | "
        f"{each.mean:+.4f} ({each.low:+.4f} to {each.high:+.4f}) |"
    )


def _hope(trained: Trained) -> str:
    assert trained.needed is not None  # checked before
    more = trained.needed - trained.queries
    if more <= 0:
        return "A gain of this size would be settled by a few more judged queries."
    return f"About {more:,} more judged queries would settle a gain of this size."


def _epochs(trained: Trained) -> Iterator[str]:
    yield "| fold | epochs | best | nDCG@10 before | nDCG@10 at best |"
    yield "| --- | --- | --- | --- | --- |"
    for number, curve in enumerate(trained.curves, start=1):
        known = [each for each in curve if each.ndcg is not None]
        best = max(known, key=lambda each: (each.ndcg or 0.0, -each.number))
        first, top = known[0].ndcg, best.ndcg
        yield f"| {number} | {curve[-1].number} | {best.number} | {first:.4f} | {top:.4f} |"
