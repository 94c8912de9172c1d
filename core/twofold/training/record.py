"""What the epochs of a run gave so far, on disk, so that a killed run goes on."""

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from twofold.training.fitting import Epoch
from twofold.training.negative import Negative, turnover
from twofold.types import Scores

Marks = Mapping[str, Scores]
"""Measures of queries (n,) by mode, the one that the index serves first; and of ``OTHERS``."""
OTHERS = "others"
"""What marks of queries of another kind are called."""


class Record:
    """The curve of a run, its best epoch, and the ``marks`` of that one and of epoch 0, the base.

    ``work`` holds ``notes.json`` and, in ``best``, the best epoch's model. A record with the same
    ``key``, which says all that a run depends on, goes on where the last one stopped; any other's
    files are deleted.
    """

    def __init__(self, work: Path, key: str) -> None:
        self.curve: list[Epoch] = []
        self.best = 0
        self.marks: dict[int, Marks] = {}
        self.turnover: list[float] = []
        self._mined = 0
        self._negatives: dict[str, tuple[Negative, ...]] = {}
        self._work = work
        self._key = key
        work.mkdir(parents=True, exist_ok=True)
        path = work / "notes.json"
        notes = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        if notes.get("key") != key:
            for each in work.iterdir():
                shutil.rmtree(each) if each.is_dir() else each.unlink()
            return
        self.curve = [Epoch(*each) for each in notes["curve"]]
        self.best, self.turnover = notes["best"], notes["turnover"]
        self.marks = {
            number: {name: np.array(each) for name, each in marks.items()}
            for number, marks in zip(sorted({0, self.best}), notes["marks"], strict=True)
        }
        self._mined = notes["mined"]
        self._negatives = {
            query_id: tuple(Negative(*each) for each in found)
            for query_id, found in notes["negatives"].items()
        }

    @property
    def last(self) -> int:
        """The number of the last epoch, 0 for the base."""
        return self.curve[-1].number

    @property
    def checkpoints(self) -> Path:
        """Where the trainer writes its own state."""
        return self._work / "checkpoints"

    @property
    def model(self) -> Path:
        """Where the best epoch's model is, if any is better than the base."""
        return self._work / "best"

    @property
    def blend(self) -> Path:
        """Where a blend of that model with the base is, if there is one."""
        return self._work / "blend"

    def add(self, epoch: Epoch, marks: Marks, write: Callable[[Path], None]) -> None:
        """Note an epoch; if it is the best, keep its marks, and its model by ``write``."""
        self.curve.append(epoch)
        if epoch.number == 0:
            self.marks = {0: marks}
        elif _height(epoch) > _height(self.curve[self.best]):
            shutil.rmtree(self.model, ignore_errors=True)
            write(self.model)
            self.best = epoch.number
            self.marks = {0: self.marks[0], self.best: marks}
        self._note()

    def mined(self, number: int, negatives: Mapping[str, tuple[Negative, ...]]) -> None:
        """Note what was mined for the epoch ``number``; once, however often that is begun."""
        if number <= self._mined:
            return
        negatives = {
            query_id: tuple(each for each in found if each.source != "given")
            for query_id, found in negatives.items()
        }
        if self._negatives:
            self.turnover.append(turnover(self._negatives, negatives))
        self._mined, self._negatives = number, negatives
        self._note()

    def stops(self, epochs: int, patience: int) -> bool:
        """Whether there is nothing left to do."""
        return self.last >= epochs or self.last - self.best >= patience

    def delete(self) -> None:
        """Delete everything that was noted."""
        shutil.rmtree(self._work)

    def _note(self) -> None:
        notes = {
            "key": self._key,
            "curve": [[each.number, each.loss, each.ndcg] for each in self.curve],
            "best": self.best,
            "turnover": self.turnover,
            # JSON keeps a float64 bit by bit.
            "marks": [
                {name: each.tolist() for name, each in self.marks[number].items()}
                for number in sorted(self.marks)
            ],
            "mined": self._mined,
            "negatives": {
                query_id: [[each.id, each.source] for each in found]
                for query_id, found in self._negatives.items()
            },
        }
        path = self._work / "notes.json"
        path.with_suffix(".tmp").write_text(json.dumps(notes), encoding="utf-8")
        path.with_suffix(".tmp").replace(path)


def _height(epoch: Epoch) -> float:
    assert epoch.ndcg is not None  # every epoch of such a run is examined
    return epoch.ndcg
