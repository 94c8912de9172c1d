"""What ``twofold train`` learns from, as files."""

from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Literal

from twofold.corpus import read_qrels, read_queries
from twofold.errors import InputError
from twofold.index import Index
from twofold.retriever import Retriever
from twofold.training import (
    ClickPlan,
    FirstSentences,
    Headings,
    Keyphrases,
    QueryGenerator,
    Titles,
    TrainingSet,
    examples_from_clicks,
    read_clicks,
    read_dpr,
    read_id_triples,
    read_triples,
    filter_round_trip,
    generate_examples,
)


class MakerName(str, Enum):
    """What queries are made of, as the command line lists them."""

    TITLES = "titles"
    FIRST_SENTENCES = "first-sentences"
    HEADINGS = "headings"
    KEYPHRASES = "keyphrases"


_MAKERS: dict[MakerName, QueryGenerator] = {
    MakerName.TITLES: Titles(),
    MakerName.FIRST_SENTENCES: FirstSentences(),
    MakerName.HEADINGS: Headings(),
    MakerName.KEYPHRASES: Keyphrases(),
}


@dataclass(frozen=True, slots=True)
class TrainingFiles:
    """Files of examples, in one or several forms; those that are left out are None."""

    queries: Path | None = None
    qrels: Path | None = None
    triples: Path | None = None
    id_triples: Path | None = None
    dpr: Path | None = None
    clicks: Path | None = None
    propensity: str | None = None
    made: tuple[MakerName, ...] = ()

    def __post_init__(self) -> None:
        if not self._given and not self.made:
            raise InputError(
                "there is nothing to learn from: give --queries with --qrels, or --triples, "
                "--id-triples, --dpr, --clicks or --made"
            )
        by_id = self.qrels is not None or self.id_triples is not None
        if by_id != (self.queries is not None):
            raise InputError("--queries goes with --qrels or --id-triples, whose texts it has")
        if self.propensity is not None and self.clicks is None:
            raise InputError("--propensity goes with --clicks")
        self.click_plan()

    def click_plan(self) -> ClickPlan:
        """Return how clicks are read; raise InputError for a propensity that is none."""
        if self.propensity is None:
            return ClickPlan()
        power: float | Literal["estimated"] = "estimated"
        if self.propensity != power:
            try:
                power = float(self.propensity)
            except ValueError:
                raise InputError(
                    f"--propensity is {self.propensity!r}: a power of 0 or more, or 'estimated', "
                    "is wanted"
                ) from None
        return ClickPlan(propensity=power)

    @property
    def _given(self) -> bool:
        """Whether any file has examples."""
        sources = (self.qrels, self.triples, self.id_triples, self.dpr, self.clicks)
        return any(each is not None for each in sources)

    def read(self, index: Index) -> tuple[TrainingSet, TrainingSet | None]:
        """Return the examples that judge, and those that are only learned from.

        The latter are made of the index's own passages, beside files; without any, they judge, too.
        Raises InputError where two examples share a query id.
        """
        extra = self._made(index) if self.made else None
        if self._given:
            return self._read(), extra
        assert extra is not None  # one of both was given
        return extra, None

    def _made(self, index: Index) -> TrainingSet:
        """Return queries made of passages, those by which the index finds them."""
        made = generate_examples(index, [_MAKERS[each] for each in dict.fromkeys(self.made)])
        return filter_round_trip(made, Retriever(index)).kept

    def _read(self) -> TrainingSet:
        texts = read_queries(self.queries) if self.queries is not None else {}
        sets: list[TrainingSet] = []
        if self.qrels is not None:
            sets.append(TrainingSet.from_qrels(texts, read_qrels(self.qrels)))
        if self.triples is not None:
            sets.append(read_triples(self.triples))
        if self.id_triples is not None:
            sets.append(read_id_triples(self.id_triples, texts))
        if self.dpr is not None:
            sets.append(read_dpr(self.dpr))
        if self.clicks is not None:
            sets.append(examples_from_clicks(read_clicks(self.clicks), self.click_plan()))
        return sets[0].join(*sets[1:])
